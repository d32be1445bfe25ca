"""Optimise a field until its renders look like the prompt to the prior (DreamFusion, s. 3)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from dreamfusion_kit import files, seeding
from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize import shares, watchdog
from dreamfusion_kit.optimize.checkpoint import (
    Checkpoint,
    Scratch,
    load_checkpoint,
    save_checkpoint,
)
from dreamfusion_kit.optimize.loss import total_loss
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.monitor import Monitor
from dreamfusion_kit.optimize.optimizers import (
    build_optimizer,
    clip_gradients,
    set_learning_rates,
)
from dreamfusion_kit.optimize.penalties import needs_normals, sum_of, weighted_penalties
from dreamfusion_kit.optimize.preview import preview_png
from dreamfusion_kit.optimize.proportion import new_complaints
from dreamfusion_kit.optimize.state import RunState, restore, to_tensors
from dreamfusion_kit.optimize.trace import Digests, DrawnViews, Trace
from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.records import Cameras, Lighting


@dataclass(frozen=True)
class OptimizedModel:
    """The result of a run; `seconds` counts every process that worked on it.

    `digests` are those of every step; see `optimize.trace`.
    """

    model: NerfModel
    history: list[StepMetrics]
    seconds: float
    digests: Digests


def optimize(
    recipe: Recipe,
    *,
    seed: int,
    prior: Teacher,
    text: TextFeatures,
    prompts: Mapping[str, str],
    scratch: Scratch,
    device: torch.device,
    monitor: Monitor,
) -> OptimizedModel:
    """Run the recipe from its first step, or from the scratch's newest checkpoint, to its last.

    Every random number is addressed by (seed, stream, step), so that a resumed run
    produces the same bytes as one that was never stopped.

    Args:
        recipe: The complete method.
        seed: The asset's seed.
        prior: The frozen model that the guidance queries.
        text: Its features of `prompts`, one row each.
        prompts: The purpose of each row (see `guidance.view_prompts.guidance_prompts`).
        scratch: The held working directory; checkpoints and previews go there.
        device: Holds the model; everything is computed there.
        monitor: Notified of every step.
    """
    section = recipe.optimize
    state = _initial_state(recipe, seed, prior, PromptFeatures.of(text, prompts), device)
    model = state.model
    seconds_before = _resume(state, scratch, monitor)
    started = time.monotonic()
    monitor.start(state.history, section.num_steps)

    for step in range(len(state.history), section.num_steps):
        # Set everything that depends on the step; nothing depends on earlier steps.
        draw = partial(seeding.generator, seed, step=step, device=device)
        set_learning_rates(state.optimizer, section, step)
        model.set_step(step)
        model.update_occupancy(step, generator=draw("occupancy"))

        # Render the field from random cameras, under random lights, over random backgrounds.
        cameras = sample_cameras(
            recipe.camera, section.batch_size, generator=draw("camera"), step=step
        )
        lighting = sample_lighting(
            recipe.light, recipe.shading, cameras, step, generator=draw("light")
        )
        rays = pixel_rays(cameras)
        background = model.draw_background(rays, generator=draw("background"))
        output, samples = model.render_with_samples(
            rays,
            lighting,
            background,
            with_normals=needs_normals(section.penalties, step),
            generator=draw("render"),
        )

        # Query the prior for how each image should change, given the text of its view.
        images = output.image.movedim(-1, 1)
        guidance = state.guidance.guide(Views(images, output.opacity, cameras), step, draw)

        # Propagate that gradient, and the penalties', back into the field (DreamFusion, Fig. 8).
        penalties = weighted_penalties(section.penalties, output.opacity, samples, model, step)
        penalty = sum_of(penalties, device)
        norms = (
            shares.measure(guidance, penalties, output, samples, _parameters(state))
            if step % section.watchdog.check_every_steps == 0
            else None
        )
        state.optimizer.zero_grad()
        total_loss(guidance, images, output.opacity, penalty).backward()
        gradient_norm = clip_gradients(_parameters(state), section.max_gradient_norm)
        metrics = _metrics(
            output.opacity, guidance.gradient, gradient_norm, penalty, guidance.timesteps, norms
        )
        watchdog.check_gradient(
            step,
            metrics,
            {
                "cameras": cameras.positions.square(),
                "lights": lighting.positions.square(),
                "background": background,
                "opacity": output.opacity,
                "images": images,
                "guidance": guidance.gradient,
                "penalties": penalty,
            },
        )

        # Update the field and report the step.
        state.optimizer.step()
        drawn = DrawnViews(cameras, lighting)
        state.trace.record(step, drawn, output, guidance, _gradients(state), _fields(state))
        state.history.append(metrics)
        monitor.step(step, metrics)
        for complaint in new_complaints(section.penalties, state.history):
            monitor.note(complaint)
        watchdog.check_opacity(section.watchdog, state.history)

        # Save a preview and the state.
        done = step + 1
        last = done == section.num_steps
        if last or done % section.preview_every_steps == 0:
            _save_preview(recipe, state, scratch, device)
        if last or done % section.checkpoint_every_steps == 0:
            seconds = seconds_before + time.monotonic() - started
            save_checkpoint(scratch, Checkpoint(done, seconds, to_tensors(state)))

    monitor.finish()
    model.set_step(section.num_steps)
    seconds = seconds_before + time.monotonic() - started
    return OptimizedModel(model, state.history, seconds, state.trace.digests(section.num_steps))


def _initial_state(
    recipe: Recipe, seed: int, prior: Teacher, prompts: PromptFeatures, device: torch.device
) -> RunState:
    """Return the state before the first step; all random values are drawn on the CPU."""
    model = NerfModel.build(recipe, seed=seed).to(device)
    optimizer = build_optimizer(recipe.optimize, model.parameter_groups())
    guidance = build_guidance(
        recipe.guidance, prior, prompts, generator=seeding.generator(seed, "phi-initial")
    )
    trace = Trace(recipe.optimize.num_steps, device)
    return RunState(model, optimizer, guidance, history=[], trace=trace)


def _parameters(state: RunState) -> list[Parameter]:
    """Return everything that is optimised."""
    return [p for group in state.optimizer.param_groups for p in group["params"]]


def _gradients(state: RunState) -> list[Tensor | None]:
    """Return the gradients that the step's update used."""
    return [parameter.grad for parameter in _parameters(state)]


def _fields(state: RunState) -> list[Tensor]:
    """Return everything in the model that a step changes."""
    return list(state.model.state_tensors().values())


def _resume(state: RunState, scratch: Scratch, monitor: Monitor) -> float:
    """Restore the newest readable checkpoint, if any; return the seconds it took."""
    checkpoint, complaints = load_checkpoint(scratch)
    for complaint in complaints:
        monitor.note(f"{complaint}; taking the checkpoint before it")
    if checkpoint is None:
        return 0.0
    restore(state, checkpoint.tensors)
    return checkpoint.seconds


def _metrics(
    opacity: Float[Tensor, "batch h w"],
    guidance_gradient: Float[Tensor, "batch 3 h w"],
    gradient_norm: Float[Tensor, ""],
    penalty: Float[Tensor, ""],
    timesteps: Float[Tensor, " batch"],
    norms: shares.GradientNorms | None,
) -> StepMetrics:
    """Return the step's numbers, copied from the device in one transfer."""
    numbers = [opacity.mean(), guidance_gradient.norm(), gradient_norm, penalty, timesteps.mean()]
    return StepMetrics(*torch.stack([number.detach() for number in numbers]).tolist(), norms=norms)


def _save_preview(recipe: Recipe, state: RunState, scratch: Scratch, device: torch.device) -> None:
    """Write the picture of the field after the last step of the history."""

    def render_view(
        cameras: Cameras, lighting: Lighting, background: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch h w 3"]:
        return state.model.render(pixel_rays(cameras), lighting, background).image

    png = preview_png(recipe.camera, recipe.shading, render_view, device=device)
    files.write_bytes(scratch.previews / f"step_{len(state.history):06d}.png", png)
