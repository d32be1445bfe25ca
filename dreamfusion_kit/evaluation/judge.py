"""The judge of views: a model that embeds images and captions in one space, and its captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.evaluation.r_precision import CaptionPool


@runtime_checkable
class ImageTextModel(Protocol):
    """Unit features of images in [0, 1] and of captions, on the CPU; a `Clip` is one."""

    def image_features(
        self, images: Float[Tensor, "batch h w 3"], /
    ) -> Float[Tensor, "batch features"]:
        """Return unit features of images."""
        ...

    def text_features(self, captions: Sequence[str], /) -> Float[Tensor, "captions features"]:
        """Return unit features of captions."""
        ...


@runtime_checkable
class Questioner(Protocol):
    """A model that answers a question about an image; a `QuestionAnswerer` is one."""

    def yes_probabilities(
        self, images: Float[Tensor, "batch h w 3"], caption: str, /
    ) -> Float[Tensor, " batch"]:
        """Return how probable "yes" is as the answer to whether an image shows the caption."""
        ...


@dataclass(frozen=True)
class Judge:
    """A model, its name, and the captions that retrieval chooses from."""

    model: ImageTextModel
    name: str
    pool: CaptionPool
