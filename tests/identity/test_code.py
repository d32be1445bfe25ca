"""What a stage's digest covers: the import closure of its module, and the data that it reads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import grimp
import pytest

import dreamfusion_kit
from dreamfusion_kit.identity import code
from dreamfusion_kit.identity.stage_name import CodeName

ROOT = Path(str(dreamfusion_kit.__file__)).parent
MULTI_VIEW = Path("toybox/weights/multiview")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("dreamfusion_kit", cache_dir=None, exclude_type_checking_imports=True)


@pytest.fixture
def package(tmp_path: Path) -> str:
    """Return the name of a package with an import in a function, and packages with code."""
    files = {
        "__init__.py": "",
        "stages/__init__.py": "",
        "stages/devices.py": "",
        "stages/mesh.py": "def run():\n    from {0}.tools.cut import knife\n",
        "tools/__init__.py": "from {0} import setting\n",
        "tools/cut/__init__.py": "",
        "tools/cut/knife.py": "import {0}.steel as steel\n",
        "tools/spoon.py": "",
        "setting.py": "import typing\nif typing.TYPE_CHECKING:\n    from {0} import far\n",
        "steel.py": "",
        "far.py": "",
    }
    name = f"package_{tmp_path.name}"
    for file, text in files.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name))
    return name


def test_a_closure_follows_functions_and_packages(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(code, "PACKAGE", package)
    graph = grimp.build_graph(package, cache_dir=None, exclude_type_checking_imports=True)
    found = {name.removeprefix(package).lstrip(".") for name in code.closure("mesh", graph)}
    packages = {"", "stages", "tools", "tools.cut"}
    picks = {"stages.devices"}  # of the stage's command, not of its module
    assert found == packages | picks | {"stages.mesh", "tools.cut.knife", "steel", "setting"}


def test_a_closure_has_what_importing_the_stage_loads(graph: grimp.ImportGraph) -> None:
    """Python itself reports which modules of the package are loaded, in one process per stage."""
    program = """
import os, sys
import diffusers, open3d, scipy, torch, transformers  # once for all, since they take seconds
for name in sys.argv[1:]:
    if os.fork() == 0:
        __import__(f"dreamfusion_kit.stages.{name}")
        own = [name for name in sys.modules if name.partition(".")[0] == "dreamfusion_kit"]
        print(name, *own, flush=True)
        os._exit(0)
    os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *get_args(CodeName)],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in lines] == list(get_args(CodeName)), done.stderr
    for name, *loaded in lines:
        assert f"dreamfusion_kit.stages.{name}" in loaded
        assert set(loaded) <= set(code.closure(name, graph)), name  # type: ignore[arg-type]


def test_a_stage_does_not_depend_on_what_comes_after_it(graph: grimp.ImportGraph) -> None:
    """An import too many, as in the package's own __init__, would rerun everything."""
    later = {
        "fetch": ("optimize", "mesh", "evaluation", "report"),
        "embed": ("optimize", "mesh", "evaluation", "report"),
        "optimize": ("mesh", "evaluation", "report"),
        "mesh": ("optimize", "guidance", "priors", "evaluation", "report"),
        "evaluate": ("optimize", "guidance", "report"),
    }
    for name, packages in later.items():
        closure = code.closure(name, graph)  # type: ignore[arg-type]
        for package in (*packages, "cli", "workspace"):
            prefix = f"dreamfusion_kit.{package}"
            assert not [module for module in closure if f"{module}.".startswith(f"{prefix}.")], name


def test_every_stage_has_a_digest_of_its_own() -> None:
    digests = code.code_digests()
    assert set(digests) == set(get_args(CodeName))
    assert len(set(digests.values())) == len(digests)
    assert all(len(digest) == 64 for digest in digests.values())
    assert code.code_digest("mesh") == digests["mesh"]


def test_data_that_a_stage_reads_changes_its_digest(tmp_path: Path) -> None:
    """A copy of the package, with a byte more in one file of its data."""
    for data in {entry for entries in code.DATA.values() for entry in entries}:
        assert (ROOT / data).exists(), data
    copy = tmp_path / "dreamfusion_kit"
    _copy_package(copy)
    before = _digests_of(copy)
    style = copy / "report" / "templates" / "style.css"
    style.write_text(style.read_text() + "\n")
    after = _digests_of(copy)
    assert {name for name in before if before[name] != after[name]} == {"report"}


def test_the_memory_answers_until_a_file_changes(tmp_path: Path) -> None:
    copy, memory = tmp_path / "dreamfusion_kit", tmp_path / "memory" / "code.json"
    _copy_package(copy)
    digests = _digests_of(copy, memory)
    assert digests == _digests_of(copy)
    kept = json.loads(memory.read_text())
    assert kept["digests"] == digests
    kept["digests"]["mesh"] = "what only the memory can say"
    memory.write_text(json.dumps(kept))
    assert _digests_of(copy, memory)["mesh"] == "what only the memory can say"
    module = copy / "mesh" / "extract.py"
    module.write_text(module.read_text() + "# a remark\n")
    assert _digests_of(copy, memory) == digests
    for damage in ("", "{", "[]", '{"stamp": 1}', '{"stamp": "", "digests": null}'):
        memory.write_text(damage)
        assert _digests_of(copy, memory) == digests
        assert json.loads(memory.read_text())["digests"] == digests


def test_digests_are_had_where_the_memory_cannot_be_kept(tmp_path: Path) -> None:
    """As in the workspace of somebody else, whose state may still be looked at."""
    copy, memory = tmp_path / "dreamfusion_kit", tmp_path / "memory" / "code.json"
    _copy_package(copy)
    memory.parent.touch()
    assert _digests_of(copy, memory) == _digests_of(copy)


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    """For example, an archive or a copy sets a file's time to that of the old one."""
    copy, memory = tmp_path / "dreamfusion_kit", tmp_path / "code.json"
    _copy_package(copy)
    before = _digests_of(copy, memory)
    path = copy / "mesh" / "extract.py"
    status = path.stat()
    text = path.read_text()
    path.write_text(text.replace("return", "yield ", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert _digests_of(copy, memory)["mesh"] != before["mesh"]


def test_an_installation_without_its_weights_is_said_to_be_one(tmp_path: Path) -> None:
    copy = tmp_path / "dreamfusion_kit"
    _copy_package(copy)
    (copy / MULTI_VIEW).rmdir()
    program = "from dreamfusion_kit.identity.code import code_digests\ncode_digests()\n"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == (
        f"dreamfusion_kit.errors.DreamFusionKitError: {copy / MULTI_VIEW}: missing from the "
        "installation; install dreamfusion-kit again"
    )


def _copy_package(target: Path) -> None:
    """Copy all Python and small data; of the weights only their configurations."""
    for path in ROOT.rglob("*"):
        if path.is_file() and path.suffix in {
            ".py", ".json", ".j2", ".css", ".js", ".gz",
        }:  # fmt: skip
            copied = target / path.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())
    (target / MULTI_VIEW).mkdir(exist_ok=True)  # which has no configuration


def _digests_of(package: Path, memory: Path | None = None) -> dict[str, str]:
    """Return the digests from a process that imports the package from there."""
    argument = "" if memory is None else f"Path({str(memory)!r})"
    program = (
        "import json\nfrom pathlib import Path\n"
        "from dreamfusion_kit.identity.code import code_digests\n"
        f"print(json.dumps(dict(code_digests({argument}))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
