"""From a recipe's `prior:` to the object."""

from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

import torch

from dreamfusion_kit.priors.analytic import AnalyticPrior
from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.config.model_files import check_configs
from dreamfusion_kit.priors.source.parts import NOTHING
from dreamfusion_kit.recipe import schema


def build_prior(
    section: schema.PriorSection,
    directory: Path | None,
    device: torch.device | str,
    additions: Mapping[str, Path] = NOTHING,
) -> Teacher:
    """Return the recipe's prior on `device`.

    `directory` is where `fetch.locate` found the pretrained files; the analytic prior
    has none. `additions` has the places of LoRAs and the like: see `additions.locate`.
    """
    if directory is not None:
        check_configs(section, directory)
    return unchecked_prior(section, directory, device, additions)


def unchecked_prior(
    section: schema.PriorSection,
    directory: Path | None,
    device: torch.device | str,
    additions: Mapping[str, Path] = NOTHING,
) -> Teacher:
    """Return the prior without checking its files: benchmarks have none for the text."""
    match section:
        case schema.AnalyticSection():
            return AnalyticPrior(section, device)
        case schema.PixelUnetSection():
            # Imported here: diffusers takes seconds to load; the analytic prior does not use it.
            from dreamfusion_kit.priors.pixel_unet import PixelUnetPrior

            return PixelUnetPrior(section, _present(directory), device)
        case schema.LatentUnetSection():
            from dreamfusion_kit.priors.latent_unet import LatentUnetPrior

            return LatentUnetPrior(section, _present(directory), device, additions)
        case schema.MultiViewUnetSection():
            from dreamfusion_kit.priors.multi_view_unet import MultiViewUnetPrior

            return MultiViewUnetPrior(section, _present(directory), device, additions)
        case schema.FlowTransformerSection():
            from dreamfusion_kit.priors.flow_transformer import FlowTransformerPrior

            return FlowTransformerPrior(section, _present(directory), device, additions)
        case schema.LatentTransformerSection():
            from dreamfusion_kit.priors.latent_transformer import LatentTransformerPrior

            return LatentTransformerPrior(section, _present(directory), device, additions)
        case schema.ClipPriorSection():
            from dreamfusion_kit.priors.clip import ClipTeacher

            return ClipTeacher(_present(directory), device)
        case _:
            assert_never(section)


def _present(directory: Path | None) -> Path:
    if directory is None:
        raise TypeError("a pretrained prior needs the directory of its files")
    return directory
