"""Refuses models that say of themselves that no score can be distilled from them.

See `recipe/schema/distilled.py` for the reasons; here a model's own files are read, whatever the
repository that they came from.
"""

from pathlib import Path

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.json_file import read_object
from dreamfusion_kit.priors.printable import printable

_FEW_STEP_SCHEDULERS = (
    "CMStochasticIterativeScheduler",
    "FlowMatchLCMScheduler",
    "LCMScheduler",
    "SCMScheduler",
    "TCDScheduler",
)
_GUIDED_TRANSFORMERS = ("FluxTransformer2DModel",)
_BASE = "expected a base model with an unconditional prediction; choose another prior.source"


def refuse_distilled(directory: Path) -> None:
    """Raise WeightsError where index, scheduler or denoiser are those of a distilled model."""
    index = read_object(directory / "model_index.json")
    if index.get("is_distilled"):
        raise _refusal(
            f"{directory.name}/model_index.json", "is_distilled is true: a model of a few steps"
        )
    match index.get("scheduler"):
        case [_, str(name)] if name in _FEW_STEP_SCHEDULERS:
            raise _refusal(
                f"{directory.name}/model_index.json",
                f"its scheduler is a {name}: a consistency model, which jumps between few noise "
                "levels",
            )
        case _:
            pass
    for folder in ("unet", "transformer"):
        path = directory / folder / "config.json"
        if not path.is_file():
            continue
        config = read_object(path, place=f"{directory.name}/{folder}/config.json")
        if config.get("guidance_embeds") or config.get("time_cond_proj_dim"):
            raise _refusal(
                f"{directory.name}/{folder}/config.json",
                "it reads the guidance scale (guidance_embeds or time_cond_proj_dim is "
                f"{printable(repr(config.get('time_cond_proj_dim') or True), 40)}): distilled "
                "for guidance",
            )
        name = config.get("_class_name")
        if name in _GUIDED_TRANSFORMERS:
            raise _refusal(
                f"{directory.name}/{folder}/config.json",
                f"is of a {name}: FLUX.1 was published distilled alone",
            )


def _refusal(place: str, found: str) -> WeightsError:
    return WeightsError(f"{place}: {found}; {_BASE}")
