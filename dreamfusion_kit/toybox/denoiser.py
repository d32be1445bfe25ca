"""What the toybox's two priors on latents share: frozen VAE and text, loss, sampler, files."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor, nn

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.saved_model import half_precision
from dreamfusion_kit.toybox.vae_model import decoded, latent_size, save_vae


@dataclass(frozen=True)
class Text:
    """Features of captions: hidden states, and a pooled feature where the network reads one."""

    hidden: Float[Tensor, "captions tokens width"]
    pooled: Float[Tensor, "captions channels"] | None = None

    def rows(self, numbers: Int[Tensor, " batch"]) -> "Text":
        """Return the features of the captions with these numbers."""
        return Text(self.hidden[numbers], None if self.pooled is None else self.pooled[numbers])


class Denoiser(ABC):
    """A network on scaled latents, with the frozen models on both sides of it.

    Only `network` is trained. A path from image to noise has times in [0, 1): 0 is the image.
    """

    pipeline: ClassVar[str]
    """The class of diffusers that reads the saved directory."""
    index_extras: ClassVar[Mapping[str, Any]] = {}
    """What its index says beside the components."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Keep the frozen VAE."""
        self.vae = vae

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """Return what is trained."""

    @abstractmethod
    def encode(self, captions: Sequence[str]) -> Text:
        """Return the frozen text encoder's features, as the kit's backend reads them."""

    @abstractmethod
    def loss(
        self,
        latents: Float[Tensor, "batch channels height width"],
        noise: Float[Tensor, "batch channels height width"],
        times: Float[Tensor, " batch"],
        text: Text,
    ) -> Float[Tensor, ""]:
        """Return the mean squared error of the network's prediction."""

    @abstractmethod
    def denoise(
        self,
        noise: Float[Tensor, "batch channels height width"],
        text: Text,
        guidance_scale: float,
        num_steps: int,
    ) -> Float[Tensor, "batch channels height width"]:
        """Return latents from noise; `text` holds the captions' features, then the empty ones'."""

    @abstractmethod
    def components(self) -> dict[str, Any]:
        """Return what is saved beside the VAE, by folder; None for what the layout may lack."""

    def to(self, device: torch.device) -> None:
        """Move all models to a device."""
        parts: list[Any] = [self.vae, *self.components().values()]
        for part in parts:
            if isinstance(part, nn.Module):
                part.to(device)

    @torch.no_grad()
    def sample(
        self, captions: Sequence[str], *, guidance_scale: float, num_steps: int, seed: int
    ) -> Float[Tensor, "batch h w 3"]:
        """Draw one image per caption with classifier-free guidance."""
        text = self.encode([*captions, *([""] * len(captions))])
        channels, size = self.vae.config["latent_channels"], self.latent_size
        draw = make_generator(seed, "prior-sample")
        noise = torch.randn(len(captions), channels, size, size, generator=draw)
        device = next(self.vae.parameters()).device
        latents = self.denoise(noise.to(device), text, guidance_scale, num_steps)
        return decoded(self.vae, latents)

    def save_pretrained(self, directory: Path) -> None:
        """Write a directory that diffusers' pipeline reads, in half precision."""
        save_vae(self.vae, directory / "vae")
        index: dict[str, Any] = {
            "_class_name": self.pipeline,
            "vae": ["diffusers", "AutoencoderKL"],
            **self.index_extras,
        }
        for name, part in self.components().items():
            if part is None:
                index[name] = [None, None]
                continue
            index[name] = [type(part).__module__.partition(".")[0], type(part).__name__]
            saved = half_precision(part) if isinstance(part, nn.Module) else part
            saved.save_pretrained(directory / name)
        text = json.dumps(index, indent=2, sort_keys=True)
        (directory / "model_index.json").write_text(text + "\n")

    @property
    def latent_size(self) -> int:
        """Return the side of the latents."""
        return latent_size(self.vae)


def guided(
    predicted: Float[Tensor, "texts channels height width"], guidance_scale: float
) -> Float[Tensor, "batch channels height width"]:
    """Return u + s (c - u) of predictions c for the captions, then u for the empty ones."""
    conditional, unconditional = predicted.chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)
