"""Loading from an ordinary diffusers directory: explicit classes, safetensors and JSON alone.

The directory holds `model_index.json` and the folders that it names; `config/` reads what they
say. Nothing is ever unpickled and no code of a model is ever run.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DDPMScheduler  # pyright: ignore[reportPrivateImportUsage]
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.component_config import read_scheduler_config
from dreamfusion_kit.priors.config.shards import check_indices
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule
from dreamfusion_kit.priors.prediction import DiffusionPrediction
from dreamfusion_kit.priors.printable import printable

_VARIANT = re.compile(r"\.fp16(?=[.-])")

# Below this, float32's 1 - alpha_bar has lost more than ten of its 24 bits.
_CANCELS_BELOW = 2.0**-10


@contextmanager
def readable(path: Path) -> Generator[None, None, None]:
    """Turn any library error about an unreadable folder into a WeightsError."""
    try:
        yield
    except Exception as error:  # The libraries raise a dozen unrelated types here.
        reason = printable(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise WeightsError(
            f"{path.parent.name}/{path.name}: cannot be read ({reason}); expected the "
            "configuration and safetensors of a diffusers model; fetch the prior again"
        ) from error


def load_schedule(
    directory: Path, device: torch.device
) -> tuple[NoiseSchedule, DiffusionPrediction]:
    """Return the noise schedule that the model was trained with, and what it predicts."""
    config = read_scheduler_config(directory)
    with readable(directory / "scheduler"):
        # For any scheduler class: DDPM's constructor turns the stored betas into alpha_bar.
        loaded = DDPMScheduler.from_pretrained(directory / "scheduler", local_files_only=True)
    scheduler = cast(DDPMScheduler, loaded)
    alpha_bar = scheduler.alphas_cumprod
    if not bool(alpha_bar.isfinite().all()) or bool((alpha_bar.diff() > 0).any()):
        raise WeightsError(
            f"{directory.name}/scheduler: its signal levels are not finite or do not fall; "
            "expected betas of a diffusion; choose another prior.source"
        )
    alpha_bar = alpha_bar.to(torch.float32)
    noise_bar = _one_minus(alpha_bar, scheduler.betas)
    schedule = NoiseSchedule(alpha_bar.to(device), noise_bar.to(device))
    return schedule, config.prediction_type


def _one_minus(
    alpha_bar: Float[Tensor, " timesteps"], betas: Float[Tensor, " timesteps"]
) -> Float[Tensor, " timesteps"]:
    """Return `1 - alpha_bar`, from the betas in float64 where float32 would cancel.

    Elsewhere the difference is right within 5e-5, and stays what it has been: an exact value would
    move every earlier result by its rounding.
    """
    exact = (1 - (1 - betas.double()).cumprod(dim=0)).to(torch.float32)
    return torch.where(exact < _CANCELS_BELOW, exact, 1 - alpha_bar)


def load_model(model_class: Any, directory: Path, *, dtype: torch.dtype) -> torch.nn.Module:
    """Load a frozen model from safetensors; refuse weights that do not fit it exactly.

    The libraries only warn about missing weights and continue with random ones. A folder that
    holds only half-precision files (`model.fp16.safetensors`) is read from those.

    Args:
        model_class: Class of diffusers or transformers.
        directory: The component's folder.
        dtype: Number format that the weights are converted to.
    """
    check_indices(directory)
    # The weights replace everything that the constructor draws; the generator is then restored.
    with readable(directory), torch.random.fork_rng(devices=[]):
        model, report = model_class.from_pretrained(
            directory,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            variant=_variant(directory),
        )
    wrong = [key for kind in ("missing_keys", "mismatched_keys") for key in report[kind]]
    if wrong:
        raise WeightsError(
            f"{directory.parent.name}/{directory.name}: {len(wrong)} weights are missing or of "
            f"another shape, the first {sorted(map(str, wrong))[0]}; expected those of its own "
            "config.json; fetch the prior again"
        )
    return model.eval().requires_grad_(False)


def _variant(directory: Path) -> str | None:
    """Return "fp16" where the folder's safetensors exist in half precision alone."""
    names = [path.name for path in directory.glob("*.safetensors")]
    return "fp16" if names and all(_VARIANT.search(name) for name in names) else None
