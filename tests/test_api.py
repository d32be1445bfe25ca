"""The public names: what they are, what they cost, and that docs/python.md is right."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import grimp
import pytest

import dreamfusion_kit
from dreamfusion_kit import api
from dreamfusion_kit.identity import code
from dreamfusion_kit.identity.stage_name import CodeName

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
FIRST, RECIPES, LONG_RUN, STEPS, ERRORS = EXAMPLES


def test_the_package_has_the_names_of_the_api() -> None:
    """For users, for type checkers, and for what is imported at the first use."""
    tree = ast.parse(Path(str(dreamfusion_kit.__file__)).read_text())
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    (typed,) = (node for node in block.body if isinstance(node, ast.ImportFrom))
    assert [alias.name for alias in typed.names] == dreamfusion_kit.__all__ == api.__all__
    assert set(dreamfusion_kit.__all__) <= set(dir(dreamfusion_kit))


@pytest.mark.parametrize("name", api.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(dreamfusion_kit, name)
    assert value is getattr(api, name)
    assert value.__doc__
    assert value.__doc__.splitlines()[0].endswith((".", ":"))
    assert name in PAGE.read_text() or isinstance(value, type)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'make_assets'"):
        dreamfusion_kit.make_assets  # noqa: B018


def test_no_name_is_hidden_by_a_module() -> None:
    """`from dreamfusion_kit import optimize` would be the package once that is loaded."""
    root = Path(str(dreamfusion_kit.__file__)).parent
    modules = {path.stem for path in root.iterdir()}
    assert modules & set(api.__all__) == set()


def test_the_package_alone_loads_nothing() -> None:
    code = "import sys, dreamfusion_kit; from dreamfusion_kit import files; " + (
        "assert not {'torch', 'dreamfusion_kit.api'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("dreamfusion_kit", cache_dir=None, exclude_type_checking_imports=True)


@pytest.mark.parametrize("stage", get_args(CodeName))
def test_no_stage_depends_on_the_api(stage: CodeName, graph: grimp.ImportGraph) -> None:
    """Else a change of the API would rerun every stage."""
    modules = code.closure(stage, graph)
    assert [name for name in modules if name.startswith("dreamfusion_kit.api")] == []


def test_a_new_name_changes_no_digest() -> None:
    assert code._digest(["dreamfusion_kit"], ()) == code._digest([], ())
    assert code._digest(["dreamfusion_kit.files"], ()) != code._digest([], ())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_example_is_three_lines_that_save_a_mesh(folder: Path) -> None:
    """With the recipe of a few steps in the place of the default one."""
    lines = [line for line in FIRST.splitlines() if line]
    assert len(lines) == 3
    exec(FIRST.replace('"a red mug"', '"a red mug", "toybox-smoke"'), {})
    assert [path.name for path in folder.iterdir()] == ["mug"]
    assert (folder / "mug" / "mesh.glb").is_file()


def test_the_example_of_recipes_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(RECIPES, {})
    assert capsys.readouterr().out == "3 True\n"
    assert list(folder.iterdir()) == []


def test_the_example_of_long_runs_keeps_checkpoints(folder: Path) -> None:
    exec(LONG_RUN, {})
    assert len(list(folder.glob("checkpoints/*/checkpoints/*.safetensors"))) > 0


def test_the_example_of_steps_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(STEPS, {})
    assert int(capsys.readouterr().out) > 0
    assert list(folder.iterdir()) == []


def test_the_example_of_errors_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(ERRORS, {})
    assert f"```text\n{capsys.readouterr().out}```" in PAGE.read_text()
