"""The one interface behind which every frozen text-to-image diffusion model stands.

Its base is `Teacher`: what a diffusion model and a CLIP have in common.

Notation (DreamFusion, s. 2; variance preserving):
    noisy = alpha_t * clean + sigma_t * epsilon,   alpha_t^2 + sigma_t^2 = 1
    timestep    integer in [0, num_train_timesteps); noise grows with it
    epsilon     the noise that the model sees in `noisy`
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule
from dreamfusion_kit.priors.phi.adapter import Adapter
from dreamfusion_kit.priors.resize import resized
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.records import Cameras


class Teacher(ABC):
    """A frozen model that sees rendered views, with a text."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Return one row of features per prompt, on the model's device."""

    @abstractmethod
    def to_model_space(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Map images in [0, 1] to what the model reads; differentiable in `images`."""


class ImageTextModel(Teacher):
    """A frozen model that says how well an image fits a text, such as CLIP."""

    @abstractmethod
    def similarity(
        self, pixels: Float[Tensor, "batch channels height width"], text: TextFeatures
    ) -> Float[Tensor, " batch"]:
        """Return each image's cosine similarity to its text; differentiable in `pixels`."""


class Prior(Teacher):
    """A frozen diffusion model: text to features, images to its space, noise from noisy.

    `schedule` lies on the device on which the prior computes. `num_views` consecutive images are
    views of one object that are denoised together, under one timestep; 1 for most priors.
    """

    schedule: NoiseSchedule
    num_views: int = 1

    @property
    def num_train_timesteps(self) -> int:
        """Return how many timesteps the schedule has."""
        return len(self.schedule.alpha_bar)

    def alpha_t(self, timestep: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the signal level at each timestep."""
        return self.schedule.alpha_t(timestep)

    def sigma_t(self, timestep: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the noise level at each timestep."""
        return self.schedule.sigma_t(timestep)

    def camera_features(self, cameras: Cameras) -> Mapping[str, Tensor]:
        """Return what the prior reads of each image's camera, by name; most read nothing.

        It goes to `predict` beside the text: see `TextFeatures.beside`.
        """
        return {}

    def num_pixels(self, clean: Float[Tensor, "batch channels height width"]) -> int:
        """Return over how many pixels of an image, or cells of its latents, `clean` extends.

        A prior whose model space folds patches into channels counts them unfolded.
        """
        return clean.shape[-2] * clean.shape[-1]

    @abstractmethod
    def predict(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        timestep: Int[Tensor, " batch"],
        text: TextFeatures,
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the predicted epsilon. Never carries a gradient."""

    def adapter(self, rank: int, *, generator: torch.Generator) -> Adapter:
        """Return a trainable denoiser that starts out as this prior, which stays unchanged.

        Args:
            rank: Size of the adaptation, where it is made of low-rank matrices.
            generator: Draws its initial values, on the CPU.
        """
        raise RecipeError(
            f"prior: {type(self).__name__} has no adapter (asked for rank {rank} on "
            f"{generator.device}); expected a prior.kind that can be fine-tuned, as "
            "guidance.kind vsd does; choose another of the two"
        )


def to_pixel_space(
    images: Float[Tensor, "batch 3 h w"], image_size_px: int
) -> Float[Tensor, "batch 3 size size"]:
    """Map images in [0, 1] to [-1, 1] at the size of a pixel-space model."""
    return resized(images, image_size_px, "bilinear") * 2 - 1
