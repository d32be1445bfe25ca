"""Broken recipes and suites: valid, or one line per problem and exit status 2.

Shipped files are mutated as text: pieces go, move, repeat, or something hostile comes in. Some
hundred examples run each time; FUZZ_EXAMPLES=10000 in the environment runs more.
"""

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamfusion_kit import cli
from dreamfusion_kit.errors import LONGEST_LINE, first_unprintable
from dreamfusion_kit.recipe.resolved import resolve

ROOT = Path(__file__).parents[2]
_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))

_HOSTILE = (
    *('"\\U00110000"', '"\\UFFFFFFFF"', '"\\ud800"', '"\\e[31m": 1', '"a\\0b"', '"\\u202ex": 1'),
    *("%YAML 1." + "9" * 5000 + "\n---\n", "%YAML 2.0\n---\n", "%TAG ! x\n---\n", "%FOO\n---\n"),
    *("? [a]\n: b\n", "? {a: b}\n: c\n", "1: 2", "1.5: 2", "~: 1", "true: x", "[1]: 2", "=: 1"),
    *("&a ", "*a", "!!int ", "!%0Aparams.yaml:%20ok 1", "!%FF a", "!<%0A> b", "<<: {a: 1}"),
    *("\u202e", "\u2066", "\x1b[2J", "\x00", "\x85", "\u2028", "\ufeff", "\r", "\t"),
    *("- ", "[", "]", "{", "}", ": ", ":", "#", "|\n", ">\n", '"', "'", "@", "`", "? ", ", "),
    *("null", "~", ".nan", "1e999", "-1", "0", "1e39", "9" * 200, "true", "0x", "1_", "1:2"),
    *("{}", "[]", "[" * 40, "{a: " * 40, "---\n", "...\n", "x" * 3000, "a.b: 1"),
    *("k" * 3000 + ": 1", "\U0001f469\u200d", "kind: sds", "kind: cone", "curve: sqrt"),
    "points: [[0, 1], [5, 0.5]]",
    "{start: 0.1, end: 0.9, from_step: 0, to_step: 1000000000, curve: sqrt}",
)  # fmt: skip

_positions = st.floats(0, 1, exclude_max=True)
_texts = st.sampled_from(_HOSTILE) | st.text(st.characters(codec="utf-8"), max_size=3)
_mutations = st.lists(
    st.tuples(
        st.sampled_from(["insert", "cut", "swap", "repeat", "value", "line", "indent"]),
        _positions,
        _positions,
        _texts,
    ),
    min_size=1,
    max_size=4,
)


def _mutated(text: str, kind: str, at: float, other: float, new: str) -> str:
    index = int(at * len(text))
    lines = text.split("\n")
    first, second = int(at * len(lines)), int(other * len(lines))
    match kind:
        case "insert":
            return text[:index] + new + text[index:]
        case "cut":
            return text[:index] + text[index + int(other * other * 400) :]
        case "swap":
            lines[first], lines[second] = lines[second], lines[first]
        case "repeat":
            lines.insert(first, lines[second])
        case "value":
            lines[first] = lines[first].partition(": ")[0] + ": " + new
        case "line":
            indent = len(lines[first]) - len(lines[first].lstrip())
            lines.insert(first, " " * indent + new)
        case _:
            lines[first] = " " * (1 + int(other * 3)) + lines[first]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Enter a copy of the shipped recipes and suite, the file to mutate beside them."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    with contextlib.chdir(folder):
        yield Path()


def _validated(file: Path) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr of `validate FILE`."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["dreamfusion-kit", "validate", str(file)]),
        contextlib.redirect_stderr(stderr),
        contextlib.redirect_stdout(stdout),
        pytest.raises(SystemExit) as caught,
    ):
        cli.main()
    status = caught.value.code
    return (status if isinstance(status, int) else 0), stdout.getvalue(), stderr.getvalue()


def _check(file: Path, files: str) -> None:
    status, _, stderr = _validated(file)
    assert status in (0, 2)
    assert (status == 2) == bool(stderr)
    lines = stderr.removesuffix("\n").split("\n") if stderr else []
    for line in lines:
        assert re.match(rf"(?:{files}):[1-9]\d*: \S", line), ascii(line)
        assert len(line) <= LONGEST_LINE
        assert first_unprintable(line) is None
        assert len(line.splitlines()) == 1
    assert len(set(lines)) == len(lines)


_SETTINGS = settings(
    deadline=None,  # a busy machine is not a failure
    max_examples=_EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_RECIPES = ["toybox", "toybox-vsd", "toybox-hash", "mip-nerf-360-scene", "sd15", "analytic"]


@_SETTINGS
@given(name=st.sampled_from(_RECIPES), mutations=_mutations)
def test_a_mutated_recipe_is_valid_or_refused_in_lines(
    workspace: Path, name: str, mutations: list[tuple[str, float, float, str]]
) -> None:
    text = (ROOT / "recipes" / f"{name}.yaml").read_text()
    for mutation in mutations:
        text = _mutated(text, *mutation)
    path = workspace / "recipes" / "mutated.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _check(path, r"recipes/mutated\.yaml")


_SUITE = (ROOT / "params.yaml").read_text()
_OVERRIDDEN = _SUITE.replace(
    "overrides: {}",
    "overrides:\n      optimize.num_steps: 900\n      camera.radius_range: [2.0, 2.5]\n"
    "      background: {kind: constant, color: [1, 1, 1]}",
    2,
)


@_SETTINGS
@given(text=st.sampled_from([_SUITE, _OVERRIDDEN]), mutations=_mutations)
def test_a_mutated_suite_is_valid_or_refused_in_lines(
    workspace: Path, text: str, mutations: list[tuple[str, float, float, str]]
) -> None:
    for mutation in mutations:
        text = _mutated(text, *mutation)
    path = workspace / "params.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _check(path, r"params\.yaml")


_SUITE_FILE = """\
suite: folder
seeds: [0, 1]
overrides:
  optimize.num_steps: 900
  camera.radius_range: [2.0, 2.5]
evaluation: null
"""
_ASSET_FILE = """\
prompt: a red mug
recipe: toybox
seed: null
overrides:
  background: {kind: constant, color: [1, 1, 1]}
"""


def _write_suite(workspace: Path, suite_text: str, asset_text: str) -> Path:
    """Write a suite with a folder of one asset beside a valid params.yaml; return its file."""
    (workspace / "params.yaml").write_text(_SUITE)
    folder = workspace / "suites" / "folder"
    (folder / "assets" / "mug").mkdir(parents=True, exist_ok=True)
    for path, text in ((folder / "assets/mug/asset.yaml", asset_text),
                       (folder / "suite.yaml", suite_text)):  # fmt: skip
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return folder / "suite.yaml"


@_SETTINGS
@given(of_asset=st.booleans(), mutations=_mutations)
def test_a_mutated_suites_folder_is_valid_or_refused_in_lines(
    workspace: Path, of_asset: bool, mutations: list[tuple[str, float, float, str]]
) -> None:
    texts = {False: _SUITE_FILE, True: _ASSET_FILE}
    for mutation in mutations:
        texts[of_asset] = _mutated(texts[of_asset], *mutation)
    path = _write_suite(workspace, texts[False], texts[True])
    _check(path, r"suites/folder/(?:suite|assets/mug/asset)\.yaml")


def test_what_is_mutated_is_valid(workspace: Path) -> None:
    path = _write_suite(workspace, _SUITE_FILE, _ASSET_FILE)
    assert _validated(path) == (0, "suites/folder/suite.yaml: ok\n", "")
    (workspace / "params.yaml").write_text(_OVERRIDDEN)
    assert _validated(Path("params.yaml")) == (0, "params.yaml: ok\n", "")
    assert resolve(workspace, "default", "red_mug").recipe.optimize.num_steps == 900


@pytest.mark.parametrize(
    "name", ["a\x1b[31m.yaml", "a\nb.yaml:1: ok.yaml", "\u202e.yaml", "x\udc80"]
)
def test_a_file_name_forges_nothing(workspace: Path, name: str) -> None:
    path = workspace / name
    path.write_text("a: 1\n")
    status, _, stderr = _validated(path)
    assert status == 2
    shown = ascii(name)[1:-1].replace("\\x1b", "\\u001b")
    for line in stderr.splitlines():
        assert line.startswith(f"{shown}:1: ")
    path.write_text((ROOT / "recipes" / "toybox.yaml").read_text())
    assert _validated(path) == (0, f"{shown}: ok\n", "")


def test_a_long_name_leaves_room_for_the_problem(workspace: Path) -> None:
    folder = workspace
    for _ in range(15):
        folder = folder / ("d" * 100)
        folder.mkdir()
    (folder / "r.yaml").write_text('"' + "k" * 900 + '": 1\nprior: "' + "v" * 5000 + '"\n')
    _, _, stderr = _validated(folder / "r.yaml")
    lines = stderr.splitlines()
    assert max(map(len, lines)) <= LONGEST_LINE
    assert all(re.match(r"\.\.\.[d/]+/r\.yaml:[12]: ", line) for line in lines)
    assert [line for line in lines if line.endswith(": unknown key")]
