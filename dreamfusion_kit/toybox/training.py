"""Shared by the toybox's trainings: the loop, learning rate, averaged weights, exact resume."""

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from dreamfusion_kit import files
from dreamfusion_kit.errors import CheckpointError, NumericsError
from dreamfusion_kit.optimizer_state import load_optimizer_tensors, optimizer_tensors, under
from dreamfusion_kit.toybox.training_settings import TrainingSection


def descend(
    model: nn.Module,
    settings: TrainingSection,
    checkpoint: Path,
    loss: Callable[[int], Float[Tensor, ""]],
    *,
    report: Callable[[int, float], None],
    averages: "AveragedWeights | None" = None,
    max_gradient_norm: float | None = 1.0,
    after_step: Callable[[int], None] = lambda step: None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Train the model's parameters by AdamW, or resume from the checkpoint if there is one.

    `loss` draws a step's batch, addressed by the step, and returns its loss. `after_step` is
    called once the parameters and their averages have moved, `report` then gets the loss.
    `optimizer` stands in for that of `make_optimizer`; a group may have a `factor` on the
    learning rate.

    Raises:
        NumericsError: if the loss or a parameter is not finite. The last checkpoint stays.
        CheckpointError: if the checkpoint is damaged.
    """
    optimizer = make_optimizer(model, settings) if optimizer is None else optimizer
    start = resume_training(checkpoint, model, optimizer, averages)
    for step in range(start, settings.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step) * group.get("factor", 1.0)
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        if max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
        optimizer.step()
        number = float(value.detach())
        if not math.isfinite(number):
            raise _diverged(step, f"a loss of {number}")
        if averages is not None:
            averages.update(model, step)
        after_step(step)
        report(step, number)
        if (step + 1) % settings.checkpoint_every_steps == 0 or step + 1 == settings.num_steps:
            # A gradient may overflow where the loss does not.
            if not all(bool(p.isfinite().all()) for p in model.parameters()):
                raise _diverged(step, "parameters that are not finite")
            save_training(checkpoint, step + 1, model, optimizer, averages)


def _diverged(step: int, found: str) -> NumericsError:
    return NumericsError(
        f"step {step + 1}: found {found}, expected finite numbers; lower the training's "
        "learning_rate in toybox/params.yaml"
    )


def learning_rate(settings: TrainingSection, step: int) -> float:
    """Return the trapezoid: linear warm-up, plateau, linear fall to zero at the end."""
    rise = min(1.0, (step + 1) / settings.warmup_steps)
    fall = min(1.0, (settings.num_steps - step) / settings.decay_steps)
    return settings.learning_rate * rise * fall


def make_optimizer(model: nn.Module, settings: TrainingSection) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices and kernels only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), foreach=True)


def stratified(batch: int, generator: torch.Generator) -> Float[Tensor, " batch"]:
    """Draw one number from each of `batch` equal parts of [0, 1): less noise in the loss."""
    unit = torch.rand(batch, generator=generator, device=generator.device)
    return (torch.arange(batch, device=generator.device) + unit) / batch


class AveragedWeights:
    """An exponential moving average of a model's parameters, warmed up from the first step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's parameters; `decay` is the share kept per step in the long run."""
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the model; early steps count more (1 / step)."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in model.named_parameters():
            self.values[name].lerp_(parameter.detach(), 1 - keep)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the model's parameters with the averages."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.values[name])

    @contextmanager
    def used_by(self, model: nn.Module) -> Generator[None, None, None]:
        """Give the model the averages, in evaluation mode, for the time of a sample."""
        current = {name: p.detach().clone() for name, p in model.named_parameters()}
        was_training = model.training
        self.copy_to(model)
        model.eval()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(current[name])
            model.train(was_training)


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return a context in which a GPU multiplies in bfloat16.

    A CPU stays in float32: on one core of AVX-512 a VAE's step took as long in both.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def compiled_where_it_pays(*modules: nn.Module) -> None:
    """Compile modules in place on a GPU, whose kernels are short; weights keep their names."""
    for module in modules:
        if next(module.parameters()).device.type == "cuda":
            module.compile()


def save_training(
    path: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: AveragedWeights | None,
) -> None:
    """Write everything that the next step needs, atomically; the last checkpoint is replaced."""
    kept = {} if averages is None else averages.values
    tensors = {
        **{f"model/{name}": value for name, value in model.state_dict().items()},
        **{f"optimizer/{name}": value for name, value in optimizer_tensors(optimizer).items()},
        **{f"average/{name}": value for name, value in kept.items()},
    }
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    files.write_bytes(path, save(contiguous, metadata={"step": str(step)}))


def resume_training(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: AveragedWeights | None,
) -> int:
    """Load the checkpoint if there is one; return the next step, 0 where nothing was saved.

    Raises:
        CheckpointError: if it is damaged.
    """
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as archive:
            step = int(archive.metadata()["step"])
            tensors = {name: archive.get_tensor(name) for name in sorted(archive.keys())}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: damaged ({error}), expected a training's checkpoint; remove it to start over"
        ) from error
    model.load_state_dict(under("model/", tensors))
    load_optimizer_tensors(optimizer, under("optimizer/", tensors))
    if averages is not None:
        for name, value in under("average/", tensors).items():
            averages.values[name].copy_(value)
    return step
