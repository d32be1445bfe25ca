"""What each term of the loss contributes, measured on the render and not through the field.

A penalty's share is the norm of its gradient over that of the guidance:

    opacity, entropy,   on the weights of the samples along the rays, whose sum is the opacity. On
    distortion          the opacity itself the guidance would count the background alone, since a
                        ray's colour has the weights too
    orientation         on the normals, against the guidance on the image: only shaded images
                        depend on normals
    smoothness          on the parameters, against the rest of the step's gradient, as if the two
                        were at right angles

The interlevel loss has no share: it alone trains the proposal network. Measuring draws nothing
and leaves the step's own gradient as it is.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from dreamfusion_kit.optimize.loss import SUMMED_PIXELS
from dreamfusion_kit.optimize.penalties import Penalty
from dreamfusion_kit.records import GuidanceOutput, RenderOutput
from dreamfusion_kit.renderer.ray_samples import RaySamples

Term = Literal["opacity", "orientation", "entropy", "distortion", "smoothness"]


@dataclass(frozen=True)
class GradientNorms:
    """Norms of the gradients of a step's terms, on the scale of the lambdas; 0 without the term."""

    guidance_image: float
    guidance_weights: float
    opacity: float
    orientation: float
    entropy: float
    distortion: float
    smoothness: float

    def shares(self, gradient_norm: float) -> dict[Term, float]:
        """Return each present term's share.

        `gradient_norm` is that of the step's whole gradient on all parameters, as it is logged.
        """
        smooth = self.smoothness
        rest = max((gradient_norm / SUMMED_PIXELS) ** 2 - smooth**2, 0.0) ** 0.5
        pairs: dict[Term, tuple[float, float]] = {
            "opacity": (self.opacity, self.guidance_weights),
            "orientation": (self.orientation, self.guidance_image),
            "entropy": (self.entropy, self.guidance_weights),
            "distortion": (self.distortion, self.guidance_weights),
            "smoothness": (smooth, rest),
        }
        return {
            term: norm / guided if guided > 0 else math.inf
            for term, (norm, guided) in pairs.items()
            if norm > 0
        }


NORM_NAMES = tuple(field.name for field in fields(GradientNorms))


def measure(
    guidance: GuidanceOutput,
    penalties: Mapping[Penalty, Float[Tensor, ""]],
    output: RenderOutput,
    samples: RaySamples,
    parameters: Iterable[Parameter],
) -> GradientNorms:
    """Return the norms of a step; call it before the backward pass frees the graph."""
    on_image = guidance.gradient.movedim(1, -1)
    guided = (output.image * on_image).sum()
    if guidance.opacity_gradient is not None:
        guided = guided + (output.opacity * guidance.opacity_gradient).sum()
    zero = torch.zeros_like(guided)

    def on_weights(term: Tensor) -> Tensor:
        (found,) = _gradients(term, [samples.weights])
        return torch.linalg.vector_norm(samples.packing.pack(found))  # the rest has no density

    def on(tensors: Iterable[Tensor], penalty: Term) -> Tensor:
        found = _gradients(penalties.get(penalty, zero), list(tensors))
        return torch.stack([zero, *map(torch.linalg.vector_norm, found)]).square().sum().sqrt()

    norms = [
        torch.linalg.vector_norm(on_image),
        on_weights(guided),
        on_weights(penalties.get("opacity", zero)),
        on([] if samples.normals is None else [samples.normals], "orientation"),
        on_weights(penalties.get("entropy", zero)),
        on_weights(penalties.get("distortion", zero)),
        on(parameters, "smoothness"),
    ]
    return GradientNorms(*torch.stack([norm.detach() for norm in norms]).tolist())


def _gradients(term: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    """Return the gradients of `term`, and leave its graph; 0 for what it does not depend on."""
    reached = [tensor for tensor in tensors if tensor.requires_grad]
    if not (reached and term.requires_grad):  # no such term, or a hash grid's smoothness
        return [torch.zeros_like(tensor) for tensor in tensors]
    return list(
        torch.autograd.grad(
            term, reached, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    )
