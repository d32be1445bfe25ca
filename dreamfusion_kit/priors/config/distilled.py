"""Refuses models that say of themselves that no score can be distilled from them.

See `recipe/schema/distilled.py` for the reasons, and for the names. Here a model's own files are
read, whatever the repository, folder or file that they came in:

    index and scheduler    `is_distilled`; a consistency model's scheduler; SDXL-Turbo's spacing
    denoiser               `guidance_embeds`, `time_cond_proj_dim`
    `_name_or_path`        where diffusers read a component before it was saved
    a file's header        the names that trainers and merging tools write into it
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.components import read_component
from dreamfusion_kit.priors.config.json_file import read_object
from dreamfusion_kit.priors.printable import printable
from dreamfusion_kit.recipe.schema.distilled import DISTILLED, why_few_steps

_FEW_STEP_SCHEDULERS = (
    "CMStochasticIterativeScheduler",
    "FlowMatchLCMScheduler",
    "LCMScheduler",
    "SCMScheduler",
    "TCDScheduler",
)
_GUIDED_TRANSFORMERS = ("FluxTransformer2DModel",)
_DENOISERS = ("unet", "transformer")
# Keys of a safetensors header that hold the name of the model itself, or of what it was merged of;
# `modelspec` is the community's standard, `ss_` kohya's, `sd_merge_` that of merging tools.
_HEADER_NAMES = (
    "modelspec.title",
    "modelspec.tags",
    "modelspec.merged_from",
    "ss_output_name",
    "sd_merge_models",
    "sd_merge_recipe",
)
_BASE = "expected a base model with an unconditional prediction; choose another prior.source"


def refuse_distilled(directory: Path) -> None:
    """Raise WeightsError where index, scheduler or denoiser are those of a distilled model."""
    for place, config in _configs(directory):
        _check_origin(place, config)
    index = read_object(directory / "model_index.json")
    if index.get("is_distilled"):
        raise _refusal(
            f"{directory.name}/model_index.json", "is_distilled is true: a model of a few steps"
        )
    match index.get("scheduler"):
        case [_, str(name)]:
            _check_scheduler_class(f"{directory.name}/model_index.json", name)
        case _:
            pass


def refuse_distilled_header(metadata: Mapping[str, str], name: str) -> None:
    """Raise WeightsError where the header of a file `name` is that of a model of a few steps.

    A merge with such a model is one too, and so is what a LoRA for a few steps is merged into.
    """
    for key in _HEADER_NAMES:
        reason = why_few_steps(metadata.get(key, ""))
        if reason is not None:
            raise WeightsError(
                f"{name}: its header's {key} is {printable(repr(metadata[key]), 80)}, which "
                f"{reason}; expected a base model and LoRAs for it; choose another file"
            )


def _configs(directory: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each file that speaks of the whole model or of its denoiser, checked for the latter."""
    yield f"{directory.name}/model_index.json", read_object(directory / "model_index.json")
    for folder in _DENOISERS:
        path, place = directory / folder / "config.json", f"{directory.name}/{folder}/config.json"
        if path.is_file():
            config = read_object(path, place=place)
            _check_denoiser(place, config)
            yield place, config
    if (directory / "scheduler" / "scheduler_config.json").is_file():
        place = f"{directory.name}/scheduler/scheduler_config.json"
        config = read_component(directory, "scheduler", "scheduler_config.json")
        _check_scheduler(place, config)
        yield place, config


def _check_denoiser(place: str, config: Mapping[str, Any]) -> None:
    if config.get("guidance_embeds") or config.get("time_cond_proj_dim"):
        raise _refusal(
            place,
            "it reads the guidance scale (guidance_embeds or time_cond_proj_dim is "
            f"{printable(repr(config.get('time_cond_proj_dim') or True), 40)}): distilled "
            "for guidance",
        )
    name = config.get("_class_name")
    if name in _GUIDED_TRANSFORMERS:
        raise _refusal(place, f"is of a {name}: FLUX.1 was published distilled alone")


def _check_scheduler(place: str, config: Mapping[str, Any]) -> None:
    name = config.get("_class_name")
    if isinstance(name, str):
        _check_scheduler_class(place, name)
    if config.get("stochastic_sampling"):
        raise _refusal(
            place, "stochastic_sampling is true: a flow that is noised between few steps"
        )
    # A base model with zero terminal signal also samples so, and says `rescale_betas_zero_snr`.
    is_euler = name in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
    is_trailing = config.get("timestep_spacing") == "trailing"
    if is_euler and is_trailing and not config.get("rescale_betas_zero_snr"):
        raise WeightsError(
            f"{place}: is a {name} of trailing steps, as SD-Turbo, SDXL-Turbo and SDXL-Lightning "
            f"have; {_BASE}, or, if it is a base model, set timestep_spacing to leading, which "
            "changes nothing here"
        )


def _check_scheduler_class(place: str, name: str) -> None:
    if name in _FEW_STEP_SCHEDULERS:
        raise _refusal(
            place,
            f"its scheduler is a {name}: a consistency model, which jumps between few noise levels",
        )


def _check_origin(place: str, config: Mapping[str, Any]) -> None:
    """Raise WeightsError where a component was read from a model of few steps, then saved."""
    origin = config.get("_name_or_path")
    if not isinstance(origin, str):
        return
    parts = [part for part in origin.replace("\\", "/").split("/") if part not in _DENOISERS]
    reason = DISTILLED.get("/".join(parts).lower()) or why_few_steps(parts[-1] if parts else "")
    if reason is not None:
        raise _refusal(place, f"was saved from {printable(repr(origin), 80)}, which {reason}")


def _refusal(place: str, found: str) -> WeightsError:
    return WeightsError(f"{place}: {found}; {_BASE}")
