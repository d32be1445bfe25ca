"""A U-Net that denoises several views of one object together: MVDream, the toybox's own.

The directory is diffusers' own, with a VAE (`prior.vae_dtype`) or without one, where the U-Net
denoises pixels. Its U-Net is MVDream's (`mvdream_layout`), or a single-view one whose
self-attention and camera embedding are a file of their own (`prior.view_weights`).

Images come in groups: `num_views` consecutive ones are views of one object, evenly around it,
under one timestep. Texts say nothing of the view unless the recipe makes them: the camera does.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from diffusers import (
    AutoencoderKL,  # pyright: ignore[reportPrivateImportUsage]
    UNet2DConditionModel,  # pyright: ignore[reportPrivateImportUsage]
)
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.base import to_pixel_space
from dreamfusion_kit.priors.config.components import (
    MVDREAM_UNET,
    multi_view_components,
    read_config,
    read_index,
)
from dreamfusion_kit.priors.config.pixel_patch import patch_size
from dreamfusion_kit.priors.directory import load_model, load_schedule, readable
from dreamfusion_kit.priors.latent_space import encode_images, without_decoder
from dreamfusion_kit.priors.network.multi_view import (
    camera_rows,
    changed_tensors,
    make_multi_view,
    seen_from,
)
from dreamfusion_kit.priors.network.mvdream_layout import load_mvdream
from dreamfusion_kit.priors.network.offload import placed
from dreamfusion_kit.priors.prediction import PredictionType, to_epsilon
from dreamfusion_kit.priors.pretrained import PretrainedPrior
from dreamfusion_kit.priors.printable import printable
from dreamfusion_kit.priors.source.parts import NOTHING, weights_file
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.priors.text_encoders import clip_hidden
from dreamfusion_kit.recipe.schema import MultiViewUnetSection
from dreamfusion_kit.records import Cameras

_CAMERA = "camera"


@final
class MultiViewUnetPrior(PretrainedPrior):
    """A U-Net with attention across views, conditioned on one CLIP and the camera."""

    def __init__(
        self,
        section: MultiViewUnetSection,
        directory: Path,
        device: torch.device | str,
        additions: Mapping[str, Path] = NOTHING,
    ) -> None:
        """Check the directory's index and read its noise schedule."""
        classes = read_index(directory, multi_view_components(latent=section.vae_dtype is not None))
        super().__init__(directory, device, section.dtype, offload=section.cpu_offload)
        self._is_mvdream = classes["unet"] == MVDREAM_UNET
        self._section = section
        self._additions = additions
        self.num_views = section.num_views
        pixels = section.vae_dtype is None
        self._patch_size = patch_size(directory, section.image_size_px) if pixels else 1
        self.schedule, prediction_type = load_schedule(directory, self._device)
        self._prediction_type: PredictionType = prediction_type

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return the encoder's last hidden states."""
        return TextFeatures({"hidden": clip_hidden(self._directory, prompts, self._device)})

    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Resize images to the recipe's size; encode them, or fold the pixels' patches."""
        size = self._section.image_size_px
        if self._section.vae_dtype is not None:
            return encode_images(self._vae, images, size)
        return torch.nn.functional.pixel_unshuffle(to_pixel_space(images, size), self._patch_size)

    def num_pixels(self, clean: Float[Tensor, "batch channels height width"]) -> int:
        """Return the cells of a view's latents, or the pixels that patches were folded from."""
        return super().num_pixels(clean) * self._patch_size**2

    def camera_features(self, cameras: Cameras) -> Mapping[str, Tensor]:
        """Return each camera as the U-Net reads it.

        Raises:
            RecipeError: if the views are not in the groups that are denoised together.
        """
        if cameras.views_per_object != self.num_views:
            raise RecipeError(
                f"camera.object_views: found views in groups of {cameras.views_per_object}, "
                f"expected groups of {self.num_views}, which this prior denoises together; set "
                f"camera.object_views.count to {self.num_views}"
            )
        return {_CAMERA: camera_rows(cameras)}

    def _epsilon(
        self,
        denoiser: torch.nn.Module,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        hidden = text.tensors["hidden"].to(self._device, self._dtype)
        with seen_from(denoiser, text.tensors[_CAMERA].to(self._device)):
            output = denoiser(noisy.to(self._dtype), timestep, hidden).sample
        alpha_t, sigma_t = self.alpha_t(timestep), self.sigma_t(timestep)
        output = output.to(noisy.dtype)
        return to_epsilon(output, noisy, alpha_t, sigma_t, self._prediction_type)

    @cached_property
    def _vae(self) -> torch.nn.Module:
        dtype: torch.dtype = getattr(torch, str(self._section.vae_dtype))
        vae = load_model(AutoencoderKL, self._directory / "vae", dtype=dtype)
        return without_decoder(vae, self._device)

    def _read_denoiser(self) -> torch.nn.Module:
        if self._is_mvdream:
            unet: Any = load_mvdream(self._directory, self.num_views, dtype=self._dtype)
        else:
            folder = self._directory / "unet"
            unet = load_model(UNet2DConditionModel, folder, dtype=self._dtype)
            make_multi_view(unet, self.num_views).requires_grad_(False)
            load_view_weights(unet, self._additions["view_weights"])
        unet = unet.to(memory_format=torch.channels_last)
        return placed(unet, self._section, self._device)


def check_view_weights(directory: Path, path: Path) -> None:
    """Raise what `load_view_weights` would, from shapes alone, without reading the U-Net."""
    config = read_config(directory, "unet")
    with torch.device("meta"), readable(directory / "unet"):
        public = {name: value for name, value in config.items() if name[0] != "_"}
        unet: Any = UNet2DConditionModel.from_config(public)
    _fitting(make_multi_view(unet, num_views=1), path)


def load_view_weights(unet: torch.nn.Module, path: Path) -> None:
    """Replace what fine-tuning for several views changes by what a file has of it.

    Raises:
        WeightsError: if the file cannot be read, or belongs to another U-Net.
    """
    found = _fitting(unet, path)
    with torch.no_grad():
        for name, value in changed_tensors(unet).items():
            value.copy_(found[name])


def _fitting(unet: torch.nn.Module, path: Path) -> dict[str, Tensor]:
    file = weights_file(path, "view_weights")
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{file.name}: cannot be read ({printable(str(error))}); expected safetensors; fetch "
            "the prior again"
        ) from None
    own = changed_tensors(unet)
    wrong = sorted(own.keys() ^ found.keys()) or sorted(
        name for name, value in own.items() if found[name].shape != value.shape
    )
    if wrong:
        raise WeightsError(
            f"{file.name}: {len(wrong)} tensors are missing, too many or of another shape, the "
            f"first {printable(wrong[0], 80)}; expected those of this U-Net's self-attention, "
            "time_emb_proj and camera_embedding; choose another prior.view_weights or another "
            "prior.source"
        )
    return found
