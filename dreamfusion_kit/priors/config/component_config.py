"""The configuration of each component, read in bounds and checked by itself."""

from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config import components
from dreamfusion_kit.priors.config.components import read_component, read_config
from dreamfusion_kit.priors.config.json_file import checked, read_object
from dreamfusion_kit.priors.config.schema import (
    ClipConfig,
    ClipTextConfig,
    MvdreamUnetConfig,
    SchedulerConfig,
    T5Config,
    UnetConfig,
)
from dreamfusion_kit.priors.printable import printable


def read_clip_config(directory: Path) -> ClipConfig:
    """Return the configuration of a whole CLIP."""
    values = read_object(directory / "config.json")
    return checked(ClipConfig, values, f"{directory.name}/config.json")


def read_text_config(directory: Path, folder: str) -> ClipTextConfig | T5Config:
    """Return the configuration of a text encoder."""
    values: Any = read_config(directory, folder)
    place = f"{directory.name}/{folder}/config.json"
    if values.get("model_type") in ("t5", "umt5"):
        return checked(T5Config, values, place)
    return checked(ClipTextConfig, values, place)


def read_scheduler_config(directory: Path) -> SchedulerConfig:
    """Return the settings of a diffusion's scheduler; betas are never taken from a default."""
    place = f"{directory.name}/scheduler/scheduler_config.json"
    values = read_component(directory, "scheduler", "scheduler_config.json")
    config = checked(SchedulerConfig, values, place)
    check_class(place, config.class_name, components.DIFFUSION_SCHEDULERS)
    return config


def read_unet_config(directory: Path) -> UnetConfig:
    """Return the configuration of a diffusion's U-Net."""
    place = f"{directory.name}/unet/config.json"
    config = checked(UnetConfig, read_config(directory, "unet"), place)
    check_class(place, config.class_name, ("UNet2DConditionModel",))
    return config


def read_mvdream_config(directory: Path) -> MvdreamUnetConfig:
    """Return the configuration of MVDream's own U-Net."""
    place = f"{directory.name}/unet/config.json"
    config = checked(MvdreamUnetConfig, read_config(directory, "unet"), place)
    check_class(place, config.class_name, (components.MVDREAM_UNET,))
    return config


def check_class(place: str, found: str, allowed: tuple[str, ...]) -> None:
    """Raise WeightsError where a configuration is of a class that is not read."""
    if found not in allowed:
        raise unfit(place, f"is of a {printable(found, 80)}", components.any_of(allowed))


def unfit(place: str, found: str, expected: str) -> WeightsError:
    """Return the error about a model that this kind of prior cannot read."""
    return WeightsError(
        f"{place}: {found}; expected {expected}; choose another prior.source or prior.kind"
    )
