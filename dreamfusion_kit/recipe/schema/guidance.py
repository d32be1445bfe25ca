"""Guidance: how a prior and a rendered view become a gradient on that view."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import LinearSchedule, NonNegative, Schedule, Section

HalfWidth = Annotated[float, Field(gt=0, lt=180)]


class ViewPrompts(Section):
    """Text appended to the prompt by the camera's direction (DF s. 3.2)."""

    enabled: bool = Field(description="Whether the prompt follows the view at all.")
    combine: Literal["nearest", "interpolated"] = Field(
        description="Whether a view takes the closest text's features (DF A.2) or mixes those of "
        "front, side and back by its azimuth (DF s. 3.2)."
    )
    front: str = Field(description="Appended around azimuth 0, where the object's front is.")
    side: str = Field(description="Appended between front and back.")
    back: str = Field(description="Appended around azimuth 180 degrees.")
    overhead: str = Field(description="Appended above overhead_above_deg, at any azimuth.")
    overhead_above_deg: float = Field(
        ge=-90,
        le=90,
        description="Elevation in degrees strictly above which a view is overhead (DF: 60).",
    )
    front_half_width_deg: HalfWidth = Field(
        description="A view within so many degrees of azimuth 0 is a front view (DF: 45)."
    )
    back_half_width_deg: HalfWidth = Field(
        description="A view within so many degrees of azimuth 180 is a back view (DF: 45)."
    )

    @model_validator(mode="after")
    def _front_and_back_do_not_overlap(self) -> "ViewPrompts":
        total = self.front_half_width_deg + self.back_half_width_deg
        if total > 180:
            raise ValueError(
                f"found front_half_width_deg + back_half_width_deg = {total:g}, "
                "expected at most 180, or front and back overlap"
            )
        return self


class SdsGuidance(Section):
    """Score Distillation Sampling (DF eq. 3)."""

    kind: Literal["sds"] = Field(description="Score Distillation Sampling.")
    guidance_scale: NonNegative = Field(
        description="s in eps_u + s (eps_c - eps_u), the diffusers convention "
        "(DF: omega = 100, which is s = 101)."
    )
    timestep_weight: Literal["sigma_squared", "uniform", "sigma_over_alpha"] = Field(
        description="w(t) of the gradient (DF s. 3.2: sigma_t squared; uniform performs alike)."
    )
    timestep_min: Schedule = Field(
        description="Lowest timestep drawn, as a fraction of the diffusion time (DF: 0.02)."
    )
    timestep_max: Schedule = Field(
        description="Highest timestep drawn, as a fraction of the diffusion time (DF: 0.98)."
    )
    negative_prompt: str = Field(
        description="Text of the unconditional branch; empty is plain guidance (DF: empty)."
    )
    view_prompts: ViewPrompts = Field(description="Text that follows the camera (DF s. 3.2).")

    @model_validator(mode="after")
    def _timesteps_are_ordered_fractions(self) -> "SdsGuidance":
        # Both bounds are piecewise linear, so the ends of their pieces decide.
        steps = {0, *_bends(self.timestep_min), *_bends(self.timestep_max)}
        for step in sorted(steps):
            lower, upper = _at(self.timestep_min, step), _at(self.timestep_max, step)
            if not 0 <= lower < upper <= 1:
                raise ValueError(
                    f"found timestep_min {lower:g} and timestep_max {upper:g} at step {step}, "
                    "expected 0 <= timestep_min < timestep_max <= 1"
                )
        return self


def _bends(schedule: float | LinearSchedule) -> tuple[int, ...]:
    if isinstance(schedule, LinearSchedule):
        return (schedule.from_step, schedule.to_step)
    return ()


def _at(schedule: float | LinearSchedule, step: int) -> float:
    return schedule.value_at(step) if isinstance(schedule, LinearSchedule) else schedule


Guidance = SdsGuidance  # becomes a discriminated union with the second guidance
