"""A prior whose denoiser lies in a directory: when it is read, where it is, who calls it."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.network.offload import resident
from dreamfusion_kit.priors.phi.lora import LoraDenoiser
from dreamfusion_kit.priors.text import TextFeatures


class PretrainedPrior(Prior):
    """A frozen denoiser of an ordinary diffusers directory, and the adapters made of it.

    It is read when it is first called, so that the embed stage never holds it. Text encoders are
    in memory only while they encode: the two never share it.
    """

    def __init__(
        self,
        directory: Path,
        device: torch.device | str,
        dtype: str,
        *,
        offload: bool | str = False,
    ) -> None:
        """Keep what every prior of a directory needs to read its components.

        Args:
            directory: Holds `model_index.json` and the folders that it names.
            device: Computes.
            dtype: The denoiser's number format, by torch's name.
            offload: The recipe's `cpu_offload`: see `offload.resident`.
        """
        self._directory = directory
        self._device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._offload = offload

    @torch.no_grad()
    def predict(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the denoiser's epsilon in the precision of `noisy`."""
        with self._resident() as denoiser:
            return self._epsilon(denoiser, noisy, timestep, text)

    def adapter(self, rank: int, *, generator: torch.Generator) -> LoraDenoiser:
        """Return the denoiser with LoRA and camera poses."""
        return LoraDenoiser(
            self._denoiser,
            self._epsilon,
            rank,
            device=self._device,
            generator=generator,
            resident=self._resident,
        )

    @abstractmethod
    def _read_denoiser(self) -> torch.nn.Module:
        """Return the denoiser, ready to be called."""

    @abstractmethod
    def _epsilon(
        self,
        denoiser: torch.nn.Module,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        """Return what `denoiser` says about the noise; it may be an adapted one."""

    @cached_property
    def _denoiser(self) -> torch.nn.Module:
        return self._read_denoiser()

    def _resident(self) -> AbstractContextManager[Any]:
        return resident(self._denoiser, self._device, offload=self._offload)
