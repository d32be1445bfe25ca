"""From a recipe's `guidance:` to the object."""

from functools import partial
from typing import TypeVar, assert_never

import torch

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.base import Guidance
from dreamfusion_kit.guidance.clip import ClipLikeness
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.csd import csd_residual
from dreamfusion_kit.guidance.ism import ism_residual
from dreamfusion_kit.guidance.pure_noise import refuse_pure_noise
from dreamfusion_kit.guidance.rfds_rev import rfds_rev_residual
from dreamfusion_kit.guidance.sdi import sdi_residual
from dreamfusion_kit.guidance.sds import ScoreDistillation, sds_residual
from dreamfusion_kit.guidance.sjc import sjc_residual
from dreamfusion_kit.guidance.vsd import VariationalDistillation
from dreamfusion_kit.guidance.x0_reconstruction import x0_reconstruction_residual
from dreamfusion_kit.priors.base import ImageTextModel, Prior, Teacher
from dreamfusion_kit.priors.phi.lent import check_timesteps
from dreamfusion_kit.recipe import schema

T = TypeVar("T", bound=Teacher)


def build_guidance(
    section: schema.GuidanceSection,
    teacher: Teacher,
    prompts: PromptFeatures,
    *,
    generator: torch.Generator,
    phi: Prior | None = None,
) -> Guidance:
    """Return the recipe's guidance by `teacher`.

    Args:
        section: The guidance.
        teacher: The prior that it asks.
        prompts: The texts' features.
        generator: Draws initial values.
        phi: The model whose network VSD trains, where the section names one.

    Raises:
        RecipeError: if the models do not go with the section or with each other.
    """
    if isinstance(section, schema.ClipGuidanceSection):
        return ClipLikeness(section, _expect(ImageTextModel, teacher, section), prompts)
    prior = _expect(Prior, teacher, section)
    refuse_pure_noise(section, prior.schedule)
    match section:
        case schema.SdsSection():
            residual = partial(sds_residual, section, prior)
        case schema.SjcSection():
            residual = partial(sjc_residual, section, prior)
        case schema.CsdSection():
            residual = partial(csd_residual, section, prior, prompts)
        case schema.IsmSection():
            residual = partial(ism_residual, section, prior)
        case schema.SdiSection():
            residual = partial(sdi_residual, section, prior)
        case schema.RfdsRevSection():
            residual = partial(rfds_rev_residual, section, prior)
        case schema.X0ReconstructionSection():
            residual = partial(x0_reconstruction_residual, section, prior)
        case schema.VsdSection():
            lender = prior if section.phi.source is None else _lender(prior, phi)
            adapter = lender.adapter(section.phi.rank, generator=generator)
            return VariationalDistillation(section, prior, prompts, adapter)
        case _:
            assert_never(section)
    return ScoreDistillation(section, prior, prompts, residual)


def _lender(prior: Prior, phi: Prior | None) -> Prior:
    """Return the other model, whose timesteps have to mean the same noise as the prior's."""
    if phi is None:
        raise RecipeError(
            "guidance.phi.source: found another network, expected it to be loaded beside the "
            "prior; set it to null for the prior's own weights"
        )
    check_timesteps(prior.schedule, phi.schedule)
    return phi


def _expect(kind: type[T], teacher: Teacher, section: schema.GuidanceSection) -> T:
    """Return `teacher` as the type the guidance needs; the recipe was checked for it earlier."""
    if not isinstance(teacher, kind):
        raise RecipeError(
            f"guidance.kind: found {section.kind} with a {type(teacher).__name__}, expected a "
            f"{kind.__name__}; change prior.kind"
        )
    return teacher
