"""An extra that is not installed is named before an optimisation, not after it."""

import shutil
from pathlib import Path

import pytest

from dreamfusion_kit.errors import MissingExtraError
from dreamfusion_kit.stages import extras

DATA = Path(__file__).parents[1] / "recipe" / "data" / "workspace"


def _workspace(folder: Path, formats: str) -> Path:
    workspace = shutil.copytree(DATA, folder / "workspace")
    for recipe in (workspace / "recipes").glob("*.yaml"):
        text = recipe.read_text()
        assert "formats: [glb, obj, ply, stl]" in text
        recipe.write_text(text.replace("[glb, obj, ply, stl]", formats))
    return workspace


def _first_asset(workspace: Path) -> str:
    from dreamfusion_kit.recipe.suite import load_suite

    return next(iter(load_suite(workspace, "default").assets))


def test_usdz_without_usd_core_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtraError("usdz: not installed")

    monkeypatch.setattr(extras, "check_usd", missing)
    plain = _workspace(tmp_path / "plain", "[glb, obj]")
    extras.check(plain, "default", _first_asset(plain))
    asking = _workspace(tmp_path / "asking", "[glb, obj, usdz]")
    with pytest.raises(MissingExtraError, match="usdz"):
        extras.check(asking, "default", _first_asset(asking))
