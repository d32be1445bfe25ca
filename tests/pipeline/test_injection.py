"""No text of a user's YAML runs in a shell: it is refused before any stage, and never a command.

Each payload would create the file `touched` if a shell read it.
"""

import json
import sys
from pathlib import Path

import pytest

from .conftest import Clone, copy_of

pytestmark = pytest.mark.pipeline

PAYLOADS = (
    "$(touch touched)",
    "`touch touched`",
    "a; touch touched",
    "a\ntouch touched\n",
    'a" ; touch touched ; "',
    "a' ; touch touched ; '",
    "a | touch touched",
    "--help",
)


@pytest.fixture(scope="module")
def clone(sources: Path, kit_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return copy_of(sources, kit_program, tmp_path_factory.mktemp("injection"))


def _params(
    clone: Clone, asset: str = "mug", recipe: str = "analytic", suite: str = "default"
) -> None:
    text = (clone.path / "params.yaml").read_text()
    evaluation = text[text.index("evaluation:") :]
    entry = {"prompt": "a mug", "recipe": recipe, "seed": 0, "overrides": {}}
    lines = [
        f"suite: {json.dumps(suite)}",
        f"recipes: [{json.dumps(recipe)}]",
        f"assets: {json.dumps({asset: entry})}",
    ]
    (clone.path / "params.yaml").write_text("\n".join(lines) + "\n" + evaluation)


def _refused(clone: Clone, *arguments: str, folder: str = ".") -> str:
    done = clone.call(sys.executable, "-m", "dvc", "repro", *arguments, folder=folder)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert not list(clone.path.rglob("touched")), output
    assert "Traceback" not in output
    return output


@pytest.mark.parametrize("payload", PAYLOADS)
def test_in_the_id_of_an_asset(clone: Clone, payload: str) -> None:
    _params(clone, asset=payload)
    assert "params.yaml:" in _refused(clone)
    _refused(clone, "-s", f"embed@{payload}")


@pytest.mark.parametrize("payload", PAYLOADS[:4])
def test_in_the_name_of_a_recipe(clone: Clone, payload: str) -> None:
    _params(clone, recipe=payload)
    assert "params.yaml:" in _refused(clone)
    _refused(clone, "-s", f"fetch@{payload}")


@pytest.mark.parametrize("payload", PAYLOADS[:2])
def test_in_the_name_of_the_suite(clone: Clone, payload: str) -> None:
    _params(clone, suite=payload)
    assert "params.yaml:" in _refused(clone)
    _refused(clone, "-s", "score")


def test_in_a_suites_folder(clone: Clone) -> None:
    clone.run("git", "checkout", "-q", "--", ".")
    clone.kit("suite", "new", "pair")
    clone.kit("suite", "add", "mug", "a mug", "--recipe", "analytic", "--suite", "pair")
    suite = clone.path / "suites" / "pair"
    files = {path: path.read_text() for path in suite.rglob("*.yaml")}
    own, asset = suite / "suite.yaml", suite / "assets" / "mug" / "asset.yaml"
    for payload in PAYLOADS[:3]:
        text = json.dumps(payload)
        for path, old, new in (
            (asset, "recipe: analytic", f"recipe: {text}"),
            (own, "suite: pair", f"suite: {text}"),
        ):
            path.write_text(files[path].replace(old, new))
            assert f"{path.name}:" in _refused(clone, folder="suites/pair")
            assert clone.call("dreamfusion-kit", "upgrade", "--suite", "pair").returncode == 2
            path.write_text(files[path])
        folder = suite / "assets" / payload
        folder.mkdir()
        (folder / "asset.yaml").write_text(files[asset])
        assert "rename the folder" in _refused(clone, folder="suites/pair")
        assert clone.call("dreamfusion-kit", "upgrade", "--suite", "pair").returncode == 2
        (folder / "asset.yaml").unlink()
        folder.rmdir()
    assert {path: path.read_text() for path in suite.rglob("*.yaml")} == files


@pytest.mark.parametrize("payload", PAYLOADS)
def test_on_the_command_line(clone: Clone, payload: str) -> None:
    for command in (("suite", "new", payload), ("suite", "list", "--suite", payload)):
        done = clone.call("dreamfusion-kit", *command)
        assert done.returncode == (0 if payload == "--help" and command[1] == "new" else 2)
        assert "Traceback" not in done.stderr
    assert not list(clone.path.rglob("touched"))
