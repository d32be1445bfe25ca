"""Checking the files of a workspace."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.check import check_files, check_suite, notes, workspace_files

from .edits import override_red_mug


def test_every_recipe_and_suite_is_found_in_subfolders_too(workspace: Path) -> None:
    nested = workspace / "recipes" / "mine" / "one.yaml"
    nested.parent.mkdir()
    nested.write_text("{}\n")
    files = workspace_files(workspace)
    assert nested in files
    assert Path("params.yaml") in files
    assert Path("suites/trio/suite.yaml") in files
    assert Path("recipes/toybox.yaml") in files


def test_an_empty_workspace_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="run this at the root of a workspace"):
        workspace_files(tmp_path)


def test_shipped_files_pass(workspace: Path) -> None:
    check_files(workspace_files(workspace))


def test_the_problems_of_all_files_come_together_and_once(workspace: Path) -> None:
    for name in ("toybox", "analytic"):
        path = workspace / "recipes" / f"{name}.yaml"
        path.write_text(path.read_text().replace("near: 0.0", "near: -1"))
    with pytest.raises(RecipeError) as caught:
        check_files(workspace_files(workspace))
    files = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert files == ["recipes/analytic.yaml", "recipes/toybox.yaml"]


def test_a_prompt_that_may_be_too_long_for_the_judge_is_noted(workspace: Path) -> None:
    params = workspace / "params.yaml"
    before, _, after = params.read_text().partition("  clip:\n")
    hub = (
        "  clip: {kind: hub, repository: openai/clip, revision: "
        + "ab" * 20
        + ", mirrors: [], files: ['*.json'], license_note: MIT}\n"
    )
    maybe = " ".join(["incomprehensible"] * 28)
    text = before.replace("a red mug", maybe) + hub + after.split("\n", 2)[2]
    params.write_text(text)
    files = [params, workspace / "recipes" / "toybox.yaml"]
    check_files(files)
    (line,) = notes(files)
    assert line.startswith("params.yaml: assets.red_mug.prompt: about ")


def test_many_assets_and_overrides_cost_in_proportion(
    workspace: Path, count_calls: Callable[..., int]
) -> None:
    """It once cost with the square of the assets."""
    asset = "{prompt: a mug, recipe: toybox, seed: 0, overrides: {camera.radius_range: [2, 3]}}"
    text = (workspace / "params.yaml").read_text()
    before, _, rest = text.partition("assets:\n")
    after = rest[rest.index("evaluation:") :]

    def cost(number: int) -> int:
        lines = "".join(f"  a{index}: {asset}\n" for index in range(number))
        (workspace / "params.yaml").write_text(f"{before}assets:\n{lines}{after}")
        return count_calls(check_suite, workspace, "default")

    hundred, thousand = cost(100), cost(1000)
    assert len(check_suite(workspace, "default").assets) == 1000
    assert thousand < 12 * hundred


def test_checking_a_suite_reports_the_problems_of_all_its_assets(workspace: Path) -> None:
    override_red_mug(workspace, "optimize.num_steps: 0")
    override_red_mug(workspace, "mesh.max_faces: 0")  # the next asset that has none yet
    with pytest.raises(RecipeError) as caught:
        check_suite(workspace, "default")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "assets.red_mug.overrides.optimize.num_steps: found 0" in lines[0]
    assert "assets.blue_house.overrides.mesh.max_faces: found 0" in lines[1]
