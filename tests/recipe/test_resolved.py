"""Resolved assets: the recipe with the overrides of the asset and of its suite."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.resolved import resolve

from .edits import edit, override_red_mug


def _line_of(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def _error(workspace: Path, asset: str = "red_mug", suite: str = "default") -> str:
    with pytest.raises(RecipeError) as caught:
        resolve(workspace, suite, asset)
    return str(caught.value)


def test_an_asset_without_overrides_has_the_recipe_as_it_stands(workspace: Path) -> None:
    asset = resolve(workspace, "default", "red_mug")
    assert (asset.id, asset.suite, asset.prompt) == ("red_mug", "default", "a red mug")
    assert (asset.seed, asset.recipe_name) == (0, "toybox")
    assert asset.recipe == load_recipe(Path("recipes/toybox.yaml"))


def test_the_identity_covers_what_decides_the_result(workspace: Path) -> None:
    before = resolve(workspace, "default", "red_mug").identity
    assert before == identity(
        {
            "prompt": "a red mug",
            "seed": 0,
            "recipe": load_recipe(Path("recipes/toybox.yaml")).model_dump(mode="json"),
        }
    )
    edit(workspace / "params.yaml", "  red_mug:", "  # a comment\n  scarlet_mug:")
    assert resolve(workspace, "default", "scarlet_mug").identity == before
    override_red_mug(workspace, "camera.position_jitter: 0.1")
    assert resolve(workspace, "default", "scarlet_mug").identity != before


def test_overrides_replace_single_keys_and_whole_sections(workspace: Path) -> None:
    override_red_mug(
        workspace,
        "optimize.num_steps: 1600",
        "camera.radius_range: [1, 2]",
        "background: {kind: constant, color: [1, 1, 1]}",
    )
    recipe = resolve(workspace, "default", "red_mug").recipe
    plain = resolve(workspace, "default", "blue_house").recipe
    assert recipe.optimize.num_steps == 1600
    assert recipe.camera.radius_range == (1, 2)
    assert recipe.background.kind == "constant"
    assert recipe.mesh == plain.mesh
    assert plain == load_recipe(Path("recipes/toybox.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "optimize.num_stps: 1",
            "overrides.optimize.num_stps: unknown key of the recipe "
            "(did you mean optimize.num_steps?)",
        ),
        (
            "optimise.num_steps: 1",
            "overrides.optimise.num_steps: unknown key of the recipe (did you mean optimize?)",
        ),
        (
            "optimize.num_steps.x: 1",
            "overrides.optimize.num_steps.x: unknown key: optimize.num_steps is a value "
            "without keys",
        ),
        (
            "prior.source.path: toybox",
            "overrides.prior.source.path: found another model; "
            "models are fetched per recipe; expected a recipe of its own",
        ),
        (
            "prior: {kind: analytic}",
            "overrides.prior: found another model; "
            "models are fetched per recipe; expected a recipe of its own",
        ),
        (
            "optimize.num_steps: many",
            'overrides.optimize.num_steps: found "many", expected a whole number',
        ),
        (
            "background: {kind: constant, colour: [1, 1, 1]}",
            "overrides.background.colour: unknown key (did you mean color?)",
        ),
        (
            "guidance.timestep_min: 0.99",
            "overrides.guidance: found timestep_min 0.99 and timestep_max 0.98 at step 0, "
            "expected 0 <= timestep_min < timestep_max <= 1",
        ),
    ],
)
def test_a_wrong_override_names_its_own_line(workspace: Path, override: str, message: str) -> None:
    override_red_mug(workspace, override)
    line = _line_of(workspace / "params.yaml", override)
    assert _error(workspace) == f"params.yaml:{line}: assets.red_mug.{message}"


def test_overrides_inside_each_other_are_refused(workspace: Path) -> None:
    override_red_mug(
        workspace, "background: {kind: constant, color: [1, 1, 1]}", "background.kind: random"
    )
    assert "background.kind: found beside background, which contains it" in _error(workspace)


def test_a_problem_of_the_recipe_itself_names_the_recipe(workspace: Path) -> None:
    override_red_mug(workspace, "optimize.num_steps: 900")
    edit(workspace / "recipes/toybox.yaml", "near: 0.0", "near: -1")
    assert _error(workspace).startswith("recipes/toybox.yaml:")


def test_the_cost_of_unknown_overrides_is_in_proportion(
    workspace: Path, count_calls: Callable[..., int]
) -> None:
    original = (workspace / "params.yaml").read_text()

    def cost(number: int) -> int:
        (workspace / "params.yaml").write_text(original)
        override_red_mug(workspace, *(f"a.b{index}: 1" for index in range(number)))
        lines: list[str] = []
        calls = count_calls(lambda: lines.extend(_error(workspace).splitlines()))
        assert len(lines) == number
        return calls

    costs = cost(300), cost(3000)
    assert costs[1] < 12 * costs[0]


def test_an_unknown_recipe_is_named_with_its_asset(workspace: Path) -> None:
    text = (workspace / "params.yaml").read_text().replace("toybox]", "toybix]")
    (workspace / "params.yaml").write_text(text.replace("recipe: toybox", "recipe: toybix"))
    line = _line_of(workspace / "params.yaml", "recipe: toybix")
    assert _error(workspace) == (
        f"params.yaml:{line}: assets.red_mug.recipe: found no recipes/toybix.yaml "
        "(did you mean toybox?)"
    )


def test_an_unknown_asset_lists_those_there(workspace: Path) -> None:
    assert _error(workspace, "red_mag") == (
        "params.yaml:1: no asset 'red_mag' (did you mean red_mug?); it has red_mug, blue_house, "
        "green_robot, yellow_duck"
    )


def test_a_suites_overrides_come_before_an_assets(workspace: Path) -> None:
    root = workspace / "suites/trio"
    edit(
        root / "suite.yaml",
        "overrides: {}",
        "overrides: {optimize.num_steps: 90, mesh.max_faces: 8}",
    )
    edit(root / "assets/red_ball/asset.yaml", "overrides: {}", "overrides: {mesh.max_faces: 7}")
    ball, cube = (resolve(workspace, "trio", name).recipe for name in ("red_ball", "green_cube"))
    assert (ball.optimize.num_steps, ball.mesh.max_faces) == (90, 7)
    assert (cube.optimize.num_steps, cube.mesh.max_faces) == (90, 8)


def test_a_wrong_override_of_a_suite_names_its_line(workspace: Path) -> None:
    edit(workspace / "suites/trio/suite.yaml", "overrides: {}", "overrides: {mesh.max_face: 8}")
    assert _error(workspace, "red_ball", "trio") == (
        "suites/trio/suite.yaml:5: overrides.mesh.max_face: unknown key of the recipe "
        "(did you mean mesh.max_faces?)"
    )


def test_an_asset_of_a_suite_with_seeds_has_its_seed(workspace: Path) -> None:
    edit(workspace / "suites/trio/suite.yaml", "seeds: null", "seeds: [4, 0]")
    for folder in ("red_ball", "green_cube", "cyan_cone"):
        edit(workspace / f"suites/trio/assets/{folder}/asset.yaml", "seed: 0", "seed: null")
    assert resolve(workspace, "trio", "red_ball_s4").seed == 4
    assert "no asset 'red_ball'" in _error(workspace, "red_ball", "trio")
