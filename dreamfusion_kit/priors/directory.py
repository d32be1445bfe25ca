"""Reading an ordinary diffusers directory: explicit classes, safetensors and JSON alone.

The directory holds `model_index.json` and the folders that it names. No class is taken from
the index: each prior says what it can read, and the index is compared with that. Nothing is
ever unpickled and no code of a model is ever run.
"""

import json
import re
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DDPMScheduler  # pyright: ignore[reportPrivateImportUsage]

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.base import NoiseSchedule
from dreamfusion_kit.priors.prediction import (
    PREDICTION_TYPES,
    DiffusionPrediction,
)

# Schedulers that sample the usual variance-preserving diffusion. They differ in how they
# step, which the kit never does; their betas mean the same.
DIFFUSION_SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
)
_VARIANT = re.compile(r"\.fp16(?=[.-])")


@contextmanager
def readable(path: Path) -> Generator[None, None, None]:
    """Turn whatever a library says of a folder that it cannot read into a WeightsError."""
    try:
        yield
    except Exception as error:  # The libraries raise a dozen unrelated types here.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path.parent.name}/{path.name}: cannot be read ({reason}); expected the "
            "configuration and safetensors of a diffusers model; fetch the prior again"
        ) from error


def read_index(directory: Path, allowed: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the class of each component, refusing an index that lacks one or names another.

    Args:
        directory: The diffusers directory.
        allowed: By component, the classes that the prior reads; empty for any class, where
            the folder's own configuration says enough.
    """
    where = f"{directory.name}/model_index.json"
    try:
        index = json.loads((directory / "model_index.json").read_text(encoding="utf-8"))
        found = {name: index[name][1] for name in allowed}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise WeightsError(
            f"{where}: cannot be read ({type(error).__name__}: {error}); expected the index of a "
            f"diffusers directory naming {', '.join(allowed)}; fetch the prior again"
        ) from error
    for name, classes in allowed.items():
        if classes and found[name] not in classes:
            raise WeightsError(
                f"{where}: {name} is a {found[name]}; this kind of prior needs a "
                f"{' or '.join(sorted(classes))}; choose another prior.kind or another "
                "prior.source"
            )
    return found


def read_config(directory: Path, folder: str) -> dict[str, Any]:
    """Return a component's `config.json`."""
    with readable(directory / folder):
        return json.loads((directory / folder / "config.json").read_text(encoding="utf-8"))


def names_component(directory: Path, name: str) -> bool:
    """Return whether the index names the component (with a class, not null)."""
    with readable(directory / "model_index.json"):
        index = json.loads((directory / "model_index.json").read_text(encoding="utf-8"))
        return bool(index.get(name, (None, None))[1])


def load_schedule(
    directory: Path, device: torch.device
) -> tuple[NoiseSchedule, DiffusionPrediction]:
    """Return the noise schedule that the model was trained with, and what it predicts."""
    with readable(directory / "scheduler"):
        # Whatever the class: DDPM's constructor turns the stored betas into alpha_bar.
        loaded = DDPMScheduler.from_pretrained(directory / "scheduler", local_files_only=True)
    scheduler = cast(DDPMScheduler, loaded)
    found = scheduler.config["prediction_type"]
    if found not in PREDICTION_TYPES:
        raise WeightsError(
            f"{directory.name}/scheduler: prediction_type is {found!r}; expected one of "
            f"{', '.join(PREDICTION_TYPES)}; choose another prior.source"
        )
    alpha_bar = scheduler.alphas_cumprod.to(device, torch.float32)
    return NoiseSchedule(alpha_bar), cast(DiffusionPrediction, found)


def load_model(model_class: Any, directory: Path, *, dtype: torch.dtype) -> torch.nn.Module:
    """Load a frozen model from safetensors; refuse weights that do not fit it exactly.

    The libraries only warn of missing weights and go on with random ones. A folder that
    holds only half-precision files (`model.fp16.safetensors`) is read from those.

    Args:
        model_class: Class of diffusers or transformers.
        directory: The component's folder.
        dtype: Number format that the weights are turned into.
    """
    # The weights replace all that the constructor draws; its draws are taken back.
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
