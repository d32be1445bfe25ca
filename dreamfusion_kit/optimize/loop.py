"""Optimise a model until its renders look like the prompt to the prior (DreamFusion, s. 3).

One loop for both stages: a radiance field, and the surface that starts from it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from dreamfusion_kit import files, seeding
from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.guidance.base import Draw, Views
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
from dreamfusion_kit.optimize.field_trainee import FieldTrainee, field_method
from dreamfusion_kit.optimize.loss import total_loss
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.monitor import Monitor
from dreamfusion_kit.optimize.optimizers import (
    build_optimizer,
    clip_gradients,
    set_learning_rates,
)
from dreamfusion_kit.optimize.penalties import sum_of
from dreamfusion_kit.optimize.preview import preview_png
from dreamfusion_kit.optimize.state import RunState, restore, to_tensors
from dreamfusion_kit.optimize.trace import Digests, DrawnViews, Trace
from dreamfusion_kit.optimize.trainee import Method, Trainee
from dreamfusion_kit.priors.base import Prior, Teacher
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import Recipe


@dataclass(frozen=True)
class OptimizedModel:
    """The result of a run; `seconds` counts every process that worked on it.

    `digests` are those of every step; see `optimize.trace`.
    """

    model: NerfModel
    history: list[StepMetrics]
    seconds: float
    digests: Digests


@dataclass(frozen=True)
class Run:
    """What a run leaves beside the optimised trainee; see `OptimizedModel`."""

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
    phi: Prior | None = None,
) -> OptimizedModel:
    """Optimise the field of a recipe from its first step, or from the newest checkpoint.

    See `run` for the arguments.
    """
    model = NerfModel.build(recipe, seed=seed).to(device)
    done = run(
        FieldTrainee(recipe, model),
        field_method(recipe),
        seed=seed,
        prior=prior,
        text=text,
        prompts=prompts,
        scratch=scratch,
        device=device,
        monitor=monitor,
        phi=phi,
    )
    return OptimizedModel(model, done.history, done.seconds, done.digests)


def run(
    trainee: Trainee,
    method: Method,
    *,
    seed: int,
    prior: Teacher,
    text: TextFeatures,
    prompts: Mapping[str, str],
    scratch: Scratch,
    device: torch.device,
    monitor: Monitor,
    phi: Prior | None = None,
) -> Run:
    """Run the method from its first step, or from the scratch's newest checkpoint, to its last.

    Every random number is addressed by (seed, stream, step), so that a resumed run
    produces the same bytes as one that was never stopped.

    Args:
        trainee: Optimised in place; it is on `device`.
        method: The sections of the recipe.
        seed: The asset's seed.
        prior: The frozen model that the guidance queries.
        text: Its features of `prompts`, one row each.
        prompts: The purpose of each row (see `guidance.view_prompts.guidance_prompts`).
        scratch: The held working directory; checkpoints and previews go there.
        device: Everything is computed there.
        monitor: Notified of every step.
        phi: The model whose network VSD trains, if the recipe names one beside the prior.
    """
    section = method.optimize
    features = PromptFeatures.of(text, prompts)
    state = _initial_state(trainee, method, seed, prior, features, device, phi)
    seconds_before = _resume(state, scratch, monitor)
    started = time.monotonic()
    monitor.start(state.history, section.num_steps)

    for step in range(len(state.history), section.num_steps):
        # Set everything that depends on the step; nothing depends on earlier steps.
        draw = _streams(method, seed, step, device)
        set_learning_rates(state.optimizer, section, step)
        trainee.set_step(step)

        # Render from random cameras, under random lights, over random backgrounds.
        cameras = sample_cameras(
            method.camera, section.batch_size, generator=draw("camera"), step=step
        )
        lighting = sample_lighting(
            method.light, method.shading, cameras, step, generator=draw("light")
        )
        views = trainee.training_views(cameras, lighting, step, draw)
        output = views.output

        # Query the prior for how each image should change, given the text of its view.
        images = output.image.movedim(-1, 1)
        guidance = state.guidance.guide(Views(images, output.opacity, cameras), step, draw)

        # Propagate that gradient, and the penalties', back into the model (DreamFusion, Fig. 8).
        penalties = views.penalties()
        penalty = sum_of(penalties, device)
        norms = (
            views.norms(guidance, penalties, _parameters(state))
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
                "background": views.background,
                "opacity": output.opacity,
                "images": images,
                "guidance": guidance.gradient,
                "penalties": penalty,
            },
            place=method.place,
        )

        # Update the model and report the step.
        state.optimizer.step()
        drawn = DrawnViews(cameras, lighting)
        state.trace.record(step, drawn, output, guidance, _gradients(state), _fields(state))
        state.history.append(metrics)
        monitor.step(step, metrics)
        for complaint in trainee.complaints(state.history):
            monitor.note(complaint)
        watchdog.check_opacity(section.watchdog, state.history, place=method.place)

        # Save a preview and the state.
        done = step + 1
        last = done == section.num_steps
        if last or done % section.preview_every_steps == 0:
            _save_preview(method, state, scratch, device)
        if last or done % section.checkpoint_every_steps == 0:
            seconds = seconds_before + time.monotonic() - started
            save_checkpoint(scratch, Checkpoint(done, seconds, to_tensors(state)))

    monitor.finish()
    trainee.set_step(section.num_steps)
    seconds = seconds_before + time.monotonic() - started
    return Run(state.history, seconds, state.trace.digests(section.num_steps))


def _streams(method: Method, seed: int, step: int, device: torch.device) -> Draw:
    """Return the generators of a step by the names of their streams."""

    def draw(stream: str) -> torch.Generator:
        return seeding.generator(seed, method.streams + stream, step=step, device=device)

    return draw


def _initial_state(
    trainee: Trainee,
    method: Method,
    seed: int,
    prior: Teacher,
    prompts: PromptFeatures,
    device: torch.device,
    phi: Prior | None,
) -> RunState:
    """Return the state before the first step; all random values are drawn on the CPU."""
    optimizer = build_optimizer(method.optimize, trainee.parameter_groups())
    initial = seeding.generator(seed, method.streams + "phi-initial")
    guidance = build_guidance(method.guidance, prior, prompts, generator=initial, phi=phi)
    trace = Trace(method.optimize.num_steps, device)
    return RunState(trainee, optimizer, guidance, history=[], trace=trace)


def _parameters(state: RunState) -> list[Parameter]:
    """Return everything that is optimised."""
    return [p for group in state.optimizer.param_groups for p in group["params"]]


def _gradients(state: RunState) -> list[Tensor | None]:
    """Return the gradients that the step's update used."""
    return [parameter.grad for parameter in _parameters(state)]


def _fields(state: RunState) -> list[Tensor]:
    """Return everything in the model that a step changes."""
    return list(state.trainee.state_tensors().values())


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


def _save_preview(method: Method, state: RunState, scratch: Scratch, device: torch.device) -> None:
    """Write the picture of the model after the last step of the history."""
    png = preview_png(method.camera, method.shading, state.trainee.preview, device=device)
    files.write_bytes(scratch.previews / f"step_{len(state.history):06d}.png", png)
