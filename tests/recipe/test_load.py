"""What a user reads when a recipe is wrong: the exact messages, all at once."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe import load
from dreamfusion_kit.recipe.load import load_recipe


def _edit(recipe: Path, *edits: tuple[str, str]) -> None:
    text = recipe.read_text()
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    recipe.write_text(text)


def _messages(recipe: Path) -> list[str]:
    """Return the error's lines without their numbers, which every comment would move."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    lines = str(caught.value).splitlines()
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)
    text = recipe.read_text().splitlines()
    assert all(1 <= number <= len(text) for number in numbers)
    return [": ".join(line.split(": ")[1:]) for line in lines]


@pytest.fixture
def recipe(workspace: Path) -> Path:
    return workspace / "recipes" / "toybox.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "guidance_scale: 15.0",
            "guidance_scle: 15.0",
            "guidance.guidance_scle: unknown key (did you mean guidance_scale?)",
        ),
        ("summary:", "sumary:", "sumary: unknown key (did you mean summary?)"),
        ("  jitter: true", "  jitter: true\n  speed: 9", "renderer.speed: unknown key"),
        ("  jitter: true\n", "", "renderer.jitter: missing key"),
        ("num_steps: 800", 'num_steps: "800"', 'num_steps: found "800", expected a whole number'),
        ("num_steps: 800", "num_steps: 800.5", "num_steps: found 800.5, expected a whole number"),
        (
            "num_steps: 800",
            "num_steps: 8e2",
            "num_steps: found 800.0, expected a whole number: write 800",
        ),
        ("summary: ", "summary: 12 #", "summary: found 12, expected text: put it in quotes"),
        ("num_steps: 800", "num_steps: true", "num_steps: found true, expected a whole number"),
        (
            "num_steps: 800",
            "num_steps:",
            "num_steps: found nothing (null), expected a whole number",
        ),
        ("near: 0.0", "near: -1", "near: found -1, expected a number of at least 0"),
        ("near: 0.0", 'near: "0"', 'near: found "0", expected a number'),
        ("near: 0.0", "near: [0]", "near: found [0], expected a number"),
        ("jitter: true", "jitter: on", 'jitter: found "on", expected true or false'),
        ("jitter: true", "jitter: 1", "jitter: found 1, expected true or false"),
        ("decay: 0.9", "decay: 1.5", "decay: found 1.5, expected a number of at most 1"),
        (
            "density_activation: softplus",
            "density_activation: relu",
            "field.density_activation: found \"relu\", expected 'exp' or 'softplus'",
        ),
        (
            "kind: adaptive",
            "kind: adaptiv",
            "mesh.threshold.kind: found \"adaptiv\", expected 'adaptive', 'fixed'",
        ),
        ("    kind: adaptive\n", "", "mesh.threshold.kind: missing key"),
        (
            "radius_range: [2.0, 2.4]",
            "radius_range: [2.4, 2.0]",
            "camera.radius_range: found 2.4 above 2, expected [lower, upper]",
        ),
        (
            "radius_range: [2.0, 2.4]",
            "radius_range: [0, 2]",
            "camera.radius_range[0]: found 0, expected a number of at least 1e-06",
        ),
        (
            "radius_range: [2.0, 2.4]",
            "radius_range: [1, 2, 3]",
            "camera.radius_range: found [1, 2, 3], expected at most 2 item(s)",
        ),
        ("radius_range: [2.0, 2.4]", "radius_range: [1]", "radius_range[1]: missing list item"),
        ("radius_range: [2.0, 2.4]", "radius_range: 2", "radius_range: found 2, expected a list"),
        (
            "opacity_lambda: 0.001",
            "opacity_lambda: -1",
            "opacity_lambda: found -1, expected a number of at least 0",
        ),
        (
            "opacity_lambda: 0.001",
            "opacity_lambda: high",
            'opacity_lambda: found "high", expected a number, or a schedule such as '
            "{start: 0, end: 1, from_step: 0, to_step: 100}",
        ),
        (
            "      to_step: 260",
            "      to_step: 0",
            "optimize.penalties.orientation_lambda: found from_step 0 and to_step 0, "
            "expected from_step below to_step",
        ),
        (
            "      to_step: 260",
            "      until: 260",
            "optimize.penalties.orientation_lambda.until: unknown key",
        ),
        (
            "timestep_max: 0.98",
            "timestep_max: 0.01",
            "guidance: found timestep_min 0.02 and timestep_max 0.01 at step 0, "
            "expected 0 <= timestep_min < timestep_max <= 1",
        ),
        (
            "path: dreamfusion_kit/toybox/weights/prior",
            "path: ../prior",
            "prior.source.path: found '../prior', expected a relative path with forward "
            "slashes that stays inside the workspace",
        ),
        ("summary: ", "summary: [] #", "summary: found [], expected text"),
    ],
)
def test_a_problem_gives_a_line(recipe: Path, old: str, new: str, message: str) -> None:
    _edit(recipe, (old, new))
    assert [line for line in _messages(recipe) if line.endswith(message)]


def test_the_line_is_the_key_s_own(recipe: Path) -> None:
    _edit(recipe, ("near: 0.0", "near: -1"))
    line = next(n for n, text in enumerate(recipe.read_text().splitlines(), 1) if "near:" in text)
    with pytest.raises(RecipeError, match=rf"^recipes/toybox\.yaml:{line}: renderer\.near: "):
        load_recipe(recipe)


def test_all_problems_are_reported_at_once_in_the_file_s_order(recipe: Path) -> None:
    _edit(
        recipe,
        ("num_steps: 800", "num_stps: 800"),
        ("guidance_scale: 15.0", "guidance_scale: strong"),
        ("  near: 0.0\n", ""),
        ("kind: random", "kind: rainbow"),
    )
    assert _messages(recipe) == [
        'guidance.guidance_scale: found "strong", expected a number',
        "background.kind: found \"rainbow\", expected 'constant', 'random', 'mlp'",
        "renderer.near: missing key",
        "optimize.num_stps: unknown key (did you mean num_steps?)",
    ]


def test_a_misspelt_key_is_one_problem_even_where_another_is_missing(recipe: Path) -> None:
    _edit(recipe, ("num_samples: 96", "num_sample: 96"), ("  near: 0.0\n", ""))
    assert _messages(recipe) == [
        "renderer.near: missing key",
        "renderer.num_sample: unknown key (did you mean num_samples?)",
    ]


def test_keys_that_would_corrupt_the_terminal_are_quoted(recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + '"\\e[31m": 1\n')
    assert _messages(recipe) == [r'"\u001b[31m": unknown key']


def test_keys_and_values_that_reorder_the_line_are_escaped(recipe: Path) -> None:
    _edit(recipe, ("jitter: true", 'jitter: "\u202eeurt"'))
    recipe.write_text(recipe.read_text() + "\u2066x: 1\n")
    assert _messages(recipe) == [
        r'renderer.jitter: found "\u202eeurt", expected true or false',
        r'"\u2066x": unknown key',
    ]


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("unknown keys", "".join(f"k{number}: 1\n" for number in range(5_000))),
        ("misspelt", "".join(f"optimiz{number}: 1\n" for number in range(5_000))),
        ("list", "x: [" + "[]," * 5_000 + "]\n"),
        ("word", "x: " + "a." * 200_000 + "\n"),
    ],
)
def test_a_large_broken_file_costs_little_more_than_reading_it(
    recipe: Path, name: str, broken: str, count_calls: Callable[..., int]
) -> None:
    recipe.write_text(recipe.read_text().replace("optimize:", "optimise:") + broken)
    lines: list[str] = []
    reading = count_calls(load.load_yaml, recipe)
    both = count_calls(lambda: lines.extend(_messages(recipe)))
    assert both < 1.5 * reading, name  # 1.2 times; 20,000 unknown keys once took 4 times
    assert "optimize: missing key" in lines or "optimise: unknown key (did you mean" in lines[0]
    assert all(len(line) < 1000 for line in lines)


def test_an_empty_mapping_misses_every_section(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("{}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    sections = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert sections[:3] == ["summary", "prior", "guidance"]
    assert len(sections) == 12


def test_bytes_that_are_not_utf_8_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: 1\nb: caf\xe9\n".encode("latin-1"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{path}:2: found byte 0xe9, expected UTF-8 text"


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (load.MAX_BYTES + 1))
    with pytest.raises(RecipeError, match="found more than 1000000 bytes"):
        load_recipe(path)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.yaml:1: No such file or directory; expected"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match=":1: found a directory, expected a YAML file"):
        load_recipe(tmp_path)


def test_a_pipe_a_socket_and_a_device_are_refused_unopened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)  # nobody writes to it: opening it would wait for ever
    link = tmp_path / "link.yaml"
    link.symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.yaml"))
        for path in (pipe, link, tmp_path / "socket.yaml", Path("/dev/null")):
            with pytest.raises(RecipeError) as caught:
                load_recipe(path)
            assert str(caught.value) == (
                f"{path}:1: found a pipe, socket or device, expected a YAML file"
            )


@pytest.mark.parametrize("name", ["a\0b.yaml", "\ud800.yaml", "x" * 5000])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r":1: .*") as caught:
        load_recipe(Path(name))
    assert len(str(caught.value).splitlines()) == 1


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(RecipeError, match=r"loop\.yaml:1: Too many levels of symbolic links"):
        load_recipe(tmp_path / "loop.yaml")


def test_a_file_without_permission_is_named(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:  # root may read every file, so no chmod
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RecipeError, match=rf"{recipe.name}:1: Permission denied; expected"):
        load_recipe(recipe)


def test_a_missing_file_is_told_what_is_beside_it(workspace: Path) -> None:
    with pytest.raises(RecipeError, match=r"toybx\.yaml:1: .*\(did you mean toybox\.yaml\?\)$"):
        load_recipe(workspace / "recipes" / "toybx.yaml")
    with pytest.raises(RecipeError, match=r"expected a YAML file$"):
        load_recipe(workspace / "recipes" / "something.yaml")
