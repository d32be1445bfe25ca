"""A trainable denoiser: VSD's phi, whichever prior it starts from."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext

from jaxtyping import Float, Int
from torch import Tensor, nn

from dreamfusion_kit.priors.text import TextFeatures


class Adapter(nn.Module, ABC):
    """A trainable denoiser; only parameters that require a gradient are its own."""

    @abstractmethod
    def forward(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
        cameras: Float[Tensor, "batch 16"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Return epsilon, differentiable in the adapter's own parameters.

        `cameras` are camera-to-world matrices row by row; a row of zeros means no camera.
        """

    def resident(self) -> AbstractContextManager[object]:
        """Return a context inside which the frozen weights are on the device that computes.

        Call and differentiate the adapter inside it. Its own parameters never move.
        """
        return nullcontext()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that learn, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}
