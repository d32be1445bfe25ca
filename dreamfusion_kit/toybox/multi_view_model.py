"""The toybox's multi-view prior: the latent prior with attention across views and cameras.

Only what differs from the latent prior is trained, saved and shipped.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dreamfusion_kit import files
from dreamfusion_kit.priors.network.multi_view import (
    camera_rows,
    changed_tensors,
    is_changed,
    make_multi_view,
    seen_from,
)
from dreamfusion_kit.records import Cameras
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.denoiser import Text
from dreamfusion_kit.toybox.latent_model import ToyboxLatent
from dreamfusion_kit.toybox.training import mixed_precision
from dreamfusion_kit.toybox.vae_model import decoded

WEIGHTS = "multi_view.safetensors"


class ToyboxMultiView:
    """The latent prior, frozen, and the parts of its U-Net that learn several views.

    `teacher` is its U-Net as it was. `own` holds the parts that learn and nothing else, so that
    optimiser, averages and checkpoints do too.
    """

    def __init__(self, latent: ToyboxLatent, num_views: int) -> None:
        """Change the U-Net of `latent`; the camera's embedding is still zero."""
        self.latent = latent
        self.num_views = num_views
        latent.unet.requires_grad_(False).eval()
        self.teacher: nn.Module = copy.deepcopy(latent.unet)
        self.own = nn.Module()
        for name, parameter in make_multi_view(latent.unet, num_views).named_parameters():
            if is_changed(name):
                parameter.requires_grad_(True)
                self.own.register_parameter(name.replace(".", "/"), parameter)

    def to(self, device: torch.device) -> None:
        """Move all networks to a device."""
        self.latent.to(device)
        self.teacher.to(device)

    def predict(
        self,
        noisy: Float[Tensor, "images channels height width"],
        timestep: Tensor,
        text: Float[Tensor, "images tokens features"],
        cameras: Float[Tensor, "images 16"],
    ) -> Float[Tensor, "images channels height width"]:
        """Return the U-Net's velocity for whole groups of views."""
        unet = self.latent.unet
        with seen_from(unet, cameras), mixed_precision(noisy.device):
            return unet(noisy, timestep, text).sample.float()

    @torch.no_grad()
    def taught(
        self,
        noisy: Float[Tensor, "images channels height width"],
        timestep: Tensor,
        text: Float[Tensor, "images tokens features"],
    ) -> Float[Tensor, "images channels height width"]:
        """Return the teacher's velocity, each view for itself."""
        with mixed_precision(noisy.device):
            return self.teacher(noisy, timestep, text).sample.float()

    @torch.no_grad()
    def sample(
        self,
        captions: Sequence[str],
        cameras: Cameras,
        *,
        guidance_scale: float,
        num_steps: int,
        seed: int,
    ) -> Float[Tensor, "objects views h w 3"]:
        """Draw one object per caption from the cameras of one group, as `Denoiser.sample`."""
        latent, views = self.latent, self.num_views
        hidden = latent.encode([*captions, *[""] * len(captions)]).hidden
        text = Text(hidden.repeat_interleave(views, dim=0))
        rows = camera_rows(cameras).to(hidden).repeat(2 * len(captions), 1)
        channels, size = latent.vae.config["latent_channels"], latent.latent_size
        draw = make_generator(seed, "multi-view-sample")
        noise = torch.randn(len(captions) * views, channels, size, size, generator=draw)
        with seen_from(latent.unet, rows):
            latents = latent.denoise(noise.to(hidden), text, guidance_scale, num_steps)
        images = decoded(latent.vae, latents)
        return images.reshape(len(captions), views, *images.shape[1:])

    def save(self, directory: Path) -> None:
        """Write what differs from the latent prior, in half precision."""
        half = {
            name: value.cpu().half().contiguous()
            for name, value in changed_tensors(self.latent.unet).items()
        }
        directory.mkdir(parents=True, exist_ok=True)
        files.write_bytes(directory / WEIGHTS, save(half, metadata={"format": "pt"}))

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        found = load_file(directory / WEIGHTS)
        own = changed_tensors(self.latent.unet)
        if found.keys() != own.keys():
            raise ValueError(f"found {len(found)} tensors, expected {len(own)}")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(found[name])
