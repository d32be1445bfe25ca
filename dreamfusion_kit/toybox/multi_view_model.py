"""The toybox's multi-view prior: the pixel prior with attention across views and cameras.

Only what differs from the pixel prior is trained, saved and shipped.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.schedulers.scheduling_utils import SchedulerOutput
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
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.settings import PriorTrainingSection

WEIGHTS = "multi_view.safetensors"


class ToyboxMultiView(nn.Module):
    """The pixel prior, frozen, and the parts of its U-Net that learn several views.

    `teacher` is its U-Net as it was.
    """

    def __init__(
        self, settings: PriorTrainingSection, initial: Path, image_size_px: int, num_views: int
    ) -> None:
        """Load the pixel prior of `initial`; with the camera's embedding still zero."""
        super().__init__()
        self.prior = ToyboxPrior(settings, image_size_px)
        self.prior.load_pretrained(initial)
        self.prior.requires_grad_(False).eval()
        self.num_views = num_views
        self.teacher = copy.deepcopy(self.prior.unet)
        unet = make_multi_view(self.prior.unet, num_views)
        # On its own, so that optimiser, averages and checkpoints hold nothing else.
        self.own = nn.Module()
        for name, parameter in unet.named_parameters():
            if is_changed(name):
                parameter.requires_grad_(True)
                self.own.register_parameter(name.replace(".", "/"), parameter)

    def predict(
        self,
        noisy: Float[Tensor, "images channels rows columns"],
        timestep: Tensor,
        text: Float[Tensor, "images tokens width"],
        cameras: Float[Tensor, "images 16"],
    ) -> Float[Tensor, "images channels rows columns"]:
        """Return the U-Net's velocity for whole groups of views."""
        with seen_from(self.prior.unet, cameras):
            return self.prior.unet(noisy, timestep, text).sample

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
        """Draw one object per caption from the cameras of one group, as `ToyboxPrior.sample`."""
        prior, views = self.prior, self.num_views
        scheduler = prior.solver(num_steps)
        texts = prior.encode([*captions, *[""] * len(captions)]).repeat_interleave(views, dim=0)
        rows = camera_rows(cameras).to(texts).repeat(2 * len(captions), 1)
        config: Any = prior.unet.config
        size, channels = config["sample_size"], config["in_channels"]
        draw = make_generator(seed, "multi-view-sample")
        noisy = torch.randn(len(captions) * views, channels, size, size, generator=draw)
        noisy = noisy.to(texts.device)
        for timestep in scheduler.timesteps:
            predicted = self.predict(noisy.repeat(2, 1, 1, 1), timestep, texts, rows)
            conditional, unconditional = predicted.chunk(2)
            guided = unconditional + guidance_scale * (conditional - unconditional)
            step = scheduler.step(guided, int(timestep), noisy)
            noisy = cast(SchedulerOutput, step).prev_sample
        images = prior.to_images(noisy)
        return images.reshape(len(captions), views, *images.shape[1:])

    def save(self, directory: Path) -> None:
        """Write what differs from the pixel prior, in half precision."""
        half = {
            name: value.half().contiguous()
            for name, value in changed_tensors(self.prior.unet).items()
        }
        directory.mkdir(parents=True, exist_ok=True)
        files.write_bytes(directory / WEIGHTS, save(half, metadata={"format": "pt"}))

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        found = load_file(directory / WEIGHTS)
        own = changed_tensors(self.prior.unet)
        if found.keys() != own.keys():
            raise ValueError(f"found {len(found)} tensors, expected {len(own)}")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(found[name])
