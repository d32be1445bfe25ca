"""A size is refused before a download is used if, and only if, the networks cannot read it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError

from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.build import unchecked_prior
from dreamfusion_kit.priors.config.model_files import check_model
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe import schema

from ..conftest import mvdream  # noqa: TID252
from ..sections import MULTI_VIEW  # noqa: TID252
from .model_copy import LOCAL, section

__all__ = ["mvdream"]

# Their VAEs halve a side once. The transformers cut 2 x 2 latents, and know 8 x 8 patches.
SIZES = [1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 14, 31, 32, 33, 34, 36, 40]
REFUSED = {
    "stable_diffusion": [1],
    "stable_diffusion_xl": [1],
    "mvdream": [1],
    "stable_diffusion_3": [1, 2, 3, 6, 10, 11, 14, 31, 34, 36, 40],
    "aura_flow": [1, 2, 3, 6, 10, 11, 14, 31, 34, 36, 40],
}


def sized(family: str, side: int) -> Any:
    if family == "mvdream":
        return schema.MultiViewUnetSection.model_validate(
            MULTI_VIEW | {"source": LOCAL, "image_size_px": side}
        )
    return section(family).model_copy(update={"image_size_px": side})


def predict(prior: Any, text: TextFeatures) -> None:
    """Take a step with four views, unchecked."""
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    azimuths = torch.tensor([0.0, 90.0, 180.0, 270.0])
    orbit = orbit_cameras(azimuths, elevation_deg=20, radius=2, fov_y_deg=40, image_size_px=8)
    cameras = replace(orbit, views_per_object=prior.num_views)
    clean = prior.to_model_space(images)
    read = text.beside(prior.camera_features(cameras))
    assert prior.predict(clean, torch.full((4,), 500), read).shape == clean.shape


@pytest.mark.parametrize("family", REFUSED)
def test_what_is_refused_is_what_cannot_be_read(
    family: str, request: pytest.FixtureRequest
) -> None:
    directory: Path = request.getfixturevalue(family)
    text = unchecked_prior(sized(family, 8), directory, "cpu").encode_text(["a"] * 4)
    refused: list[int] = []
    failed: list[int] = []
    said = ""
    for side in SIZES:
        try:
            check_model(sized(family, side), directory)
        except RecipeError as error:
            said += f"{error}\n"
            refused.append(side)
        try:
            predict(unchecked_prior(sized(family, side), directory, "cpu"), text)
        except (RuntimeError, ValueError, IndexError, TypeCheckError):  # not the kit's own
            failed.append(side)
    assert refused == failed == REFUSED[family]
    expected = [f"prior.image_size_px: found {side}, expected " for side in refused]
    assert all(map(str.startswith, said.splitlines(), expected))
