"""Suites: resolution of assets, overrides, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.load import load_recipe, load_yaml
from dreamfusion_kit.recipe.suite import check_suite, load_protocol, load_suite, resolve

ROOT = Path(__file__).parents[2]


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _override_red_mug(workspace: Path, *lines: str) -> None:
    """Give the first asset these overrides."""
    block = "".join(f"      {line}\n" for line in lines)
    _edit(workspace / "params.yaml", "    overrides: {}\n", f"    overrides:\n{block}")


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
    _edit(workspace / "params.yaml", "  red_mug:", "  # a comment\n  scarlet_mug:")
    assert resolve(workspace, "default", "scarlet_mug").identity == before
    _override_red_mug(workspace, "camera.position_jitter: 0.1")
    assert resolve(workspace, "default", "scarlet_mug").identity != before


def test_overrides_replace_single_keys_and_whole_sections(workspace: Path) -> None:
    _override_red_mug(
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
    _override_red_mug(workspace, override)
    line = _line_of(workspace / "params.yaml", override)
    assert _error(workspace) == f"params.yaml:{line}: assets.red_mug.{message}"


@pytest.mark.parametrize(
    "override",
    [
        "guidance.phi.source.revision: 0000000000000000000000000000000000000000",
        "guidance.phi.source: null",  # the same network of the second phase has another name then
        "refine.prior: {kind: pixel_unet, source: {kind: bundled, name: prior}, dtype: float32, "
        "image_size_px: 64}",
        "prior.loras: [{source: {kind: file, path: a.safetensors, sha256: "
        f"{'0' * 64}}}, scale: 1.0}}]",
    ],
)
def test_an_override_cannot_name_a_model_that_fetch_does_not_bring(
    workspace: Path, override: str
) -> None:
    shutil.copy(ROOT / "recipes" / "prolificdreamer.yaml", workspace / "recipes")
    _edit(workspace / "params.yaml", "recipe: toybox\n", "recipe: prolificdreamer\n")
    _override_red_mug(workspace, override)
    line = _line_of(workspace / "params.yaml", override)
    key = override.partition(":")[0]
    expected = "found another model; models are fetched per recipe; expected a recipe of its own"
    if key == "refine.prior":  # a phi beside pixels is refused before its model is looked for
        expected = "found refine.phases[1].guidance.phi.source with refine.prior.kind pixel_unet"
    assert f"params.yaml:{line}: assets.red_mug.overrides" in (found := _error(workspace))
    assert expected in found


def test_overrides_inside_each_other_are_refused(workspace: Path) -> None:
    _override_red_mug(
        workspace, "background: {kind: constant, color: [1, 1, 1]}", "background.kind: random"
    )
    assert "background.kind: found beside background, which contains it" in _error(workspace)


def test_a_problem_of_the_recipe_itself_names_the_recipe(workspace: Path) -> None:
    _override_red_mug(workspace, "optimize.num_steps: 900")
    _edit(workspace / "recipes/toybox.yaml", "near: 0.0", "near: -1")
    assert _error(workspace).startswith("recipes/toybox.yaml:")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("suite: default", "suite: other", "suite: found other, expected default"),
        (
            "recipes: [toybox]",
            "recipes: [toybox, analytic]",
            "recipes: found [toybox, analytic], expected exactly what the assets use: [toybox]",
        ),
        ("    recipe: toybox\n", "    recipe: clip\n", "recipe: found clip, the protocol's CLIP"),
        ("recipes: [toybox]", "recipes: []", "expected exactly what the assets use: [toybox]"),
        (
            "  red_mug:",
            "  Red-Mug:",
            'assets.Red-Mug: found "Red-Mug", expected 1 to 64 of a-z, 0-9',
        ),
        ("  red_mug:", "  12:", "found the key 12, expected text: put it in quotes"),
        ("a red mug", '""', 'prompt: found "", expected at least 1 character(s)'),
        ("a red mug", '" a mug"', "prompt: found white space at an end"),
        ("a red mug", r'"a\nmug"', "prompt: found the character U+000A, expected one line"),
        ("a red mug", r'"a\u2028mug"', "prompt: found the character U+2028"),
        ("a red mug", r'"a\e[2Jmug"', "prompt: found the character U+001B"),
        ("a red mug", "a \u202egum", "prompt: found the character U+202E, expected one line of"),
        ("a red mug", "a \u2067mug", "prompt: found the character U+2067"),
        ("a red mug", "a \u200bmug", "prompt: found the character U+200B"),
        ("a red mug", "a \ue000mug", "prompt: found the character U+E000"),
        ("a red mug", "x" * 501, "expected at most 500 characters"),
        ("a red mug", "x " * 5000 + "x", "expected at most 500 characters"),
        ("    seed: 0\n", "    seed: -1\n", "seed: found -1, expected a number of at least 0"),
        ("    seed: 0\n", f"    seed: {2**63}\n", "seed: found 9223372036854775808, expected"),
        ("    recipe: toybox\n", "    recipe: ../toybox\n", 'recipe: found "../toybox", expected'),
        ("    overrides: {}\n", "", "assets.red_mug.overrides: missing key"),
        ("    overrides: {}\n", "    overrides: []\n", "overrides: found [], expected a mapping"),
        ("evaluation:", "evaluations:", "evaluations: unknown key (did you mean evaluation?)"),
    ],
)
def test_what_a_suite_refuses(workspace: Path, old: str, new: str, message: str) -> None:
    _edit(workspace / "params.yaml", old, new)
    error = _error(workspace)
    assert message in error
    assert error.startswith("params.yaml:")


@pytest.mark.parametrize(
    "prompt",
    [
        "כוס אדומה",
        "كوب أحمر",
        "می‌خواهم",
        "一个红色的杯子",
        "a 👩‍👩‍👧 family",
        "café 🏳️‍🌈",
        "mug " * 124 + "mug",
    ],
)
def test_a_prompt_may_be_in_any_script(workspace: Path, prompt: str) -> None:
    _edit(workspace / "params.yaml", "a red mug", prompt)
    assert resolve(workspace, "default", "red_mug").prompt == prompt


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


def test_the_cost_of_unknown_overrides_is_in_proportion(
    workspace: Path, count_calls: Callable[..., int]
) -> None:
    original = (workspace / "params.yaml").read_text()

    def cost(number: int) -> int:
        (workspace / "params.yaml").write_text(original)
        _override_red_mug(workspace, *(f"a.b{index}: 1" for index in range(number)))
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


def test_another_suite_takes_the_protocol_of_the_root(workspace: Path) -> None:
    suite = load_suite(workspace, "trio")
    assert len(suite.assets) == 3
    assert suite.evaluation == load_suite(workspace, "default").evaluation


def test_another_suite_may_have_a_protocol_of_its_own(workspace: Path) -> None:
    root = load_yaml(workspace / "params.yaml").data["evaluation"]
    own = {**root, "confidence_level": 0.9}
    path = workspace / "suites/trio/suite.yaml"
    _edit(path, "evaluation: null", f"evaluation: {json.dumps(own)}")
    assert load_suite(workspace, "trio").evaluation.confidence_level == 0.9
    assert load_protocol(workspace, "trio").confidence_level == 0.9
    assert load_protocol(workspace, "default").confidence_level == 0.95


def test_seeds_make_an_asset_each(workspace: Path) -> None:
    path = workspace / "suites/trio/suite.yaml"
    _edit(path, "seeds: null", "seeds: [4, 0]")
    for folder in ("red_ball", "green_cube", "cyan_cone"):
        _edit(workspace / f"suites/trio/assets/{folder}/asset.yaml", "seed: 0", "seed: null")
    suite = load_suite(workspace, "trio")
    assert list(suite.assets) == [
        f"{folder}_s{seed}" for folder in ("cyan_cone", "green_cube", "red_ball") for seed in (4, 0)
    ]
    assert suite.assets["red_ball_s4"].seed == 4
    assert suite.in_folder("red_ball") == ["red_ball_s4", "red_ball_s0"]
    assert resolve(workspace, "trio", "red_ball_s4").seed == 4
    assert "no asset 'red_ball'" in _error(workspace, "red_ball", "trio")


def test_a_seed_stands_in_one_place(workspace: Path) -> None:
    _edit(workspace / "suites/trio/suite.yaml", "seeds: null", "seeds: [0, 1]")
    with pytest.raises(RecipeError) as caught:
        load_suite(workspace, "trio")
    assert str(caught.value).splitlines() == [
        f"suites/trio/assets/{folder}/asset.yaml:3: seed: found 0, expected null: the suite's "
        "seeds hold for every asset"
        for folder in ("cyan_cone", "green_cube", "red_ball")
    ]


def test_two_folders_may_not_give_one_asset(workspace: Path) -> None:
    root = workspace / "suites/trio"
    _edit(root / "suite.yaml", "seeds: null", "seeds: [0, 1]")
    for folder in ("red_ball", "green_cube", "cyan_cone"):
        _edit(root / f"assets/{folder}/asset.yaml", "seed: 0", "seed: null")
    # red_ball_s1 with seed 0 is red_ball_s1_s0; only the same folder's ids can meet.
    shutil.copytree(root / "assets/red_ball", root / "assets/red_ball_s1")
    assert "red_ball_s1_s0" in load_suite(workspace, "trio").assets


def test_a_suites_overrides_come_before_an_assets(workspace: Path) -> None:
    root = workspace / "suites/trio"
    _edit(
        root / "suite.yaml",
        "overrides: {}",
        "overrides: {optimize.num_steps: 90, mesh.max_faces: 8}",
    )
    _edit(root / "assets/red_ball/asset.yaml", "overrides: {}", "overrides: {mesh.max_faces: 7}")
    ball, cube = (resolve(workspace, "trio", name).recipe for name in ("red_ball", "green_cube"))
    assert (ball.optimize.num_steps, ball.mesh.max_faces) == (90, 7)
    assert (cube.optimize.num_steps, cube.mesh.max_faces) == (90, 8)


def test_a_wrong_override_of_a_suite_names_its_line(workspace: Path) -> None:
    _edit(workspace / "suites/trio/suite.yaml", "overrides: {}", "overrides: {mesh.max_face: 8}")
    assert _error(workspace, "red_ball", "trio") == (
        "suites/trio/suite.yaml:5: overrides.mesh.max_face: unknown key of the recipe "
        "(did you mean mesh.max_faces?)"
    )


@pytest.mark.parametrize("folder", ["Red", "a-b", "x" * 65, "$(touch x)"])
def test_a_folders_name_is_an_id(workspace: Path, folder: str) -> None:
    root = workspace / "suites/trio/assets"
    shutil.copytree(root / "red_ball", root / folder)
    with pytest.raises(RecipeError, match="expected an id of 1 to 64"):
        load_suite(workspace, "trio")


@pytest.mark.parametrize("name", ["../default", "a/b", "", "UPPER", "x" * 65])
def test_suite_names_are_no_paths(workspace: Path, name: str) -> None:
    assert "expected a name of" in _error(workspace, suite=name)


def test_an_absent_suite_is_named(workspace: Path) -> None:
    assert _error(workspace, suite="absent").startswith("suites/absent/suite.yaml:1: No such file")


def test_checking_a_suite_reports_the_problems_of_all_its_assets(workspace: Path) -> None:
    _override_red_mug(workspace, "optimize.num_steps: 0")
    _override_red_mug(workspace, "mesh.max_faces: 0")  # the next asset that has none yet
    with pytest.raises(RecipeError) as caught:
        check_suite(workspace, "default")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "assets.red_mug.overrides.optimize.num_steps: found 0" in lines[0]
    assert "assets.blue_house.overrides.mesh.max_faces: found 0" in lines[1]
