"""Known distilled models are refused when a recipe is read."""

from typing import Any

import pytest
from pydantic import ValidationError

from dreamfusion_kit.recipe.schema import HubSourceSection

KEYS: dict[str, Any] = {
    "kind": "hub",
    "revision": "0" * 40,
    "mirrors": (),
    "files": ("*.json",),
    "license_note": "none",
}


@pytest.mark.parametrize(
    ("repository", "said"),
    [
        ("black-forest-labs/FLUX.1-dev", "distilled for guidance"),
        ("black-forest-labs/FLUX.1-schnell", "distilled to a few steps"),
        ("stabilityai/sdxl-turbo", "distilled to a few steps"),
        ("Tongyi-MAI/Z-Image-Turbo", "distilled to a few steps"),
    ],
)
def test_a_distilled_model_is_refused_before_a_download(repository: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HubSourceSection(repository=repository, **KEYS)


def test_a_mirror_of_one_is_refused_too() -> None:
    mirrors = ({"repository": "stabilityai/SD-Turbo", "revision": "0" * 40},)
    with pytest.raises(ValidationError, match=r"mirrors.*\n.*distilled to a few steps"):
        HubSourceSection.model_validate({**KEYS, "repository": "someone/model", "mirrors": mirrors})


def test_a_base_model_is_not() -> None:
    HubSourceSection(repository="black-forest-labs/FLUX.2-klein-base-4B", **KEYS)
