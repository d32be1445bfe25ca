"""MVDream's U-Net as it is published for diffusers, read as diffusers' own U-Net.

The repository's `unet/` names a class of its own, `MultiViewUNetModel`, whose code came with the
weights and needs xformers. None of it is run: its tensors have the names of the original Stable
Diffusion repository, which diffusers renames, and its configuration says the architecture in that
repository's words. The one addition is `camera_embed`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
from diffusers.loaders import single_file_utils
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.component_config import read_mvdream_config
from dreamfusion_kit.priors.config.schema import MvdreamUnetConfig
from dreamfusion_kit.priors.directory import readable
from dreamfusion_kit.priors.network.multi_view import CAMERA, make_multi_view
from dreamfusion_kit.priors.printable import printable

_CAMERA_IN_FILE = "camera_embed."


def as_diffusers(config: MvdreamUnetConfig) -> dict[str, Any]:
    """Return the configuration of the `UNet2DConditionModel` of the same architecture."""
    widths = [config.model_channels * factor for factor in config.channel_mult]
    attends = [2**level in config.attention_resolutions for level in range(len(widths))]
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": config.image_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": widths,
        "layers_per_block": config.num_res_blocks,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]],
        "attention_head_dim": [width // config.num_head_channels for width in widths],
        "transformer_layers_per_block": config.transformer_depth,
        "cross_attention_dim": config.context_dim,
        "use_linear_projection": True,
    }


def load_mvdream(directory: Path, num_views: int, *, dtype: torch.dtype) -> torch.nn.Module:
    """Return the U-Net in `unet/`, frozen. Raises WeightsError where tensors do not fit."""
    config = as_diffusers(read_mvdream_config(directory))
    with torch.device("meta"), readable(directory / "unet"):
        public = {name: value for name, value in config.items() if name[0] != "_"}
        unet: Any = UNet2DConditionModel.from_config(public)
    make_multi_view(unet, num_views)
    found = _renamed(_read(directory), config)
    expected = {name: value.shape for name, value in unet.state_dict().items()}
    wrong = sorted(expected.keys() ^ found.keys()) or sorted(
        name for name, shape in expected.items() if found[name].shape != shape
    )
    if wrong:
        raise WeightsError(
            f"{directory.name}/unet: {len(wrong)} weights are missing, too many or of another "
            f"shape, the first {printable(wrong[0], 80)}; expected those of its own config.json; "
            "fetch the prior again"
        )
    unet.load_state_dict({name: value.to(dtype) for name, value in found.items()}, assign=True)
    return unet.eval().requires_grad_(False)


def _read(directory: Path) -> dict[str, Tensor]:
    paths = sorted((directory / "unet").glob("*.safetensors"))
    if len(paths) != 1:
        raise WeightsError(
            f"{directory.name}/unet: holds {len(paths)} safetensors files; expected one; name it "
            "alone in prior.source.files"
        )
    try:
        return load_file(paths[0])
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{directory.name}/unet/{paths[0].name}: cannot be read ({printable(str(error))}); "
            "expected safetensors; fetch the prior again"
        ) from None


def _renamed(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors under diffusers' names; one that has no place keeps its own."""
    prefix = single_file_utils.LDM_UNET_KEY
    plain = {
        f"{prefix}{name}": value
        for name, value in tensors.items()
        if not name.startswith(_CAMERA_IN_FILE)
    }
    try:
        found = single_file_utils.convert_ldm_unet_checkpoint(plain, config)
    except (KeyError, IndexError, AttributeError) as error:
        raise WeightsError(
            f"prior.source: lacks what MVDream's U-Net has ({printable(str(error), 80)}); expected "
            "its tensors under the original repository's names; fetch the prior again"
        ) from None
    camera = {
        f"{CAMERA}.{name.removeprefix(_CAMERA_IN_FILE)}": value
        for name, value in tensors.items()
        if name.startswith(_CAMERA_IN_FILE)
    }
    renamed: dict[str, Tensor] = {**found, **camera}
    if len(renamed) != len(tensors):
        taken = {id(value) for value in renamed.values()}
        renamed |= {name: value for name, value in tensors.items() if id(value) not in taken}
    return renamed
