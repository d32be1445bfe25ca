"""From a recipe's `prior:` to the object."""

from pathlib import Path
from typing import assert_never

import torch

from dreamfusion_kit.priors.analytic import AnalyticPrior
from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.recipe import schema


def build_prior(
    section: schema.Prior, directory: Path | None, device: torch.device | str
) -> Teacher:
    """Return the recipe's prior on `device`.

    `directory` is where `fetch.locate` found the pretrained files; the analytic prior
    has none.
    """
    match section:
        case schema.AnalyticPrior():
            return AnalyticPrior(section, device)
        case schema.PixelUnetPrior():
            # Imported here: diffusers takes seconds, which the analytic prior need not wait.
            from dreamfusion_kit.priors.pixel_unet import PixelUnetPrior

            if directory is None:
                raise TypeError("a pixel_unet prior needs the directory of its pretrained files")
            return PixelUnetPrior(section, directory, device)
        case schema.ClipPrior():
            from dreamfusion_kit.priors.clip import ClipTeacher

            if directory is None:
                raise TypeError("a clip prior needs the directory of its pretrained files")
            return ClipTeacher(directory, device)
        case _:
            assert_never(section)
