"""Dream Fields' loss (Jain et al. 2021, arXiv 2112.01455): no diffusion, only similarity.

    loss = - <CLIP(image), CLIP(text)> - lambda min(tau, mean transmittance)

The transmittance of a ray is 1 - opacity. Without the second term the field fills the
scene; above tau, more emptiness earns nothing. tau = 1 - opacity_target rises during training.

The text scores are those of a CLIP. R-Precision by the same CLIP then says how well the
loss was optimised, not how good the object is.
"""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from dreamfusion_kit.guidance.base import Draw, Guidance, Views
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.priors.base import ImageTextModel
from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import ClipGuidanceSection
from dreamfusion_kit.records import GuidanceOutput


@final
class ClipLikeness(Guidance):
    """The loss's gradient on images and on opacity."""

    def __init__(
        self, section: ClipGuidanceSection, model: ImageTextModel, prompts: PromptFeatures
    ) -> None:
        """Keep the model and the asset's texts."""
        self._section = section
        self._model = model
        self._prompts = prompts

    def guide(self, views: Views, step: int, draw: Draw) -> GuidanceOutput:
        """Return the gradient of the mean loss of the images; nothing is drawn.

        An image has one similarity, which counts as a mean over its pixels would.
        """
        text = self._prompts.for_views(views.cameras, self._section.view_prompts)
        images = views.images.detach().requires_grad_()
        opacity = views.opacity.detach().requires_grad_()
        tau = 1 - value_at(self._section.opacity_target, step)
        with torch.enable_grad():
            likeness = self._model.similarity(self._model.to_model_space(images), text)
            transmittance = 1 - opacity.mean(dim=(1, 2))
            reward = self._section.transmittance_lambda * transmittance.clamp(max=tau)
            loss = -(likeness + reward).mean()
        gradient, opacity_gradient = torch.autograd.grad(loss, (images, opacity))
        none = torch.zeros_like(likeness)
        return GuidanceOutput(
            gradient, opacity_gradient, timesteps=none, prediction=likeness.detach()
        )

    def state_tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse anything."""
        if tensors:
            raise ValueError(f"found guidance tensors {', '.join(tensors)}, expected none")
