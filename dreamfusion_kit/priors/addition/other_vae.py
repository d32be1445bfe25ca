"""A VAE in place of a model's own, from its own folder or from one file.

Only an encoder of the same latents makes sense: the denoiser knows no others. So the scale of
the latents is the model's own, and a folder whose configuration has another is refused.

A single file has no configuration. Its shapes are checked, but its scale cannot be: a VAE of
SDXL's has the shapes of Stable Diffusion 1.5's and is read as if its latents were the model's.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL  # pyright: ignore[reportPrivateImportUsage]
from diffusers.loaders import single_file_utils
from safetensors import SafetensorError
from safetensors.torch import load_file

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.components import read_config, refuse_quantized
from dreamfusion_kit.priors.config.json_file import checked, read_object
from dreamfusion_kit.priors.config.latent_side import pixels_per_latent
from dreamfusion_kit.priors.config.schema import VaeConfig
from dreamfusion_kit.priors.directory import load_model
from dreamfusion_kit.priors.printable import printable
from dreamfusion_kit.priors.source.single_file import NOT_RENAMED

_DEFAULT_SCALE = 0.18215  # that of the libraries, and of Stable Diffusion 1 and 2


def load_other_vae(path: Path, model: Path, *, dtype: torch.dtype) -> torch.nn.Module:
    """Return the frozen VAE of a folder or file, for the model of the directory `model`.

    Raises WeightsError where it is not one, or has other latents as far as its files tell: a
    folder's configuration has their scale, a single file only their number of channels.
    """
    own = checked(VaeConfig, read_config(model, "vae"), f"{model.name}/vae/config.json")
    if path.is_file():
        return _from_file(path, model, dtype)
    folder = path / "vae" if (path / "vae" / "config.json").is_file() else path
    values, place = read_object(folder / "config.json"), f"{folder.name}/config.json"
    refuse_quantized(values, place)
    other = checked(VaeConfig, values, place)
    scales = [config.scaling_factor or _DEFAULT_SCALE for config in (own, other)]
    if scales[0] != scales[1] or own.latent_channels != other.latent_channels:
        raise WeightsError(
            f"prior.vae: {folder.name} has {other.latent_channels} channels at a scale of "
            f"{scales[1]}; expected the {own.latent_channels} at {scales[0]} that the denoiser was "
            "trained on; choose a VAE of this architecture"
        )
    factors = [pixels_per_latent(config) for config in (own, other)]
    if factors[0] != factors[1]:
        raise WeightsError(
            f"prior.vae: {folder.name} has latents of {factors[1]} pixels a side; expected the "
            f"{factors[0]} that the denoiser was trained on; choose a VAE of this architecture"
        )
    return load_model(AutoencoderKL, folder, dtype=dtype)


def _from_file(path: Path, model: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Return a VAE with the model's own configuration and the file's weights, in either layout.

    The scale is thus the model's, whatever the file was trained with: see above.
    """
    config: Any = {
        key: value for key, value in read_config(model, "vae").items() if not key.startswith("_")
    }
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path.name}: cannot be read ({printable(str(error))}); expected a VAE's safetensors; "
            "restore the file"
        ) from None
    with torch.device("meta"):
        vae: Any = AutoencoderKL.from_config(config)
    try:
        if not any(name.startswith("encoder.down_blocks.") for name in tensors):
            tensors = single_file_utils.convert_ldm_vae_checkpoint(tensors, vae.config)
        vae.load_state_dict(tensors, strict=True, assign=True)
    except NOT_RENAMED as error:
        raise WeightsError(
            f"{path.name}: is not a VAE of this architecture ({printable(str(error), 120)}); "
            "expected the weights of the model's own; choose another prior.vae"
        ) from None
    return torch.nn.Module.to(vae, dtype).eval().requires_grad_(False)
