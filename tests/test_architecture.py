"""The rooms, who may enter them, and that the pages about them tell the truth."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import grimp
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.recipe.schema import FieldOrParticlesSection, GuidanceSection

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dreamfusion_kit"
TESTS = ROOT / "tests"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TEST_FILES = sorted(TESTS.rglob("test_*.py"))

# Third-party package -> the modules, with everything below them, that may import it.
CONFINED = {
    "typer": {"cli"},
    "diffusers": {"priors", "memory.meta_model", "memory.denoiser_calls", "toybox"},
    "transformers": {"priors", "memory.encoder", "toybox", "evaluation.vqa"},
    "open3d": {"open3d_library"},
}
OPEN3D_ROOMS = {"mesh", "evaluation"}

# Test files without a package file of their name, and what they hold instead.
NOT_MIRRORED = {
    "guidance/test_pairs.py": "every guidance with every prior",
    "test_architecture.py": "the whole package",
    "optimize/test_cuda.py": "the toybox's recipes on a GPU",
    "optimize/test_every_kind.py": "every guidance, field and optimiser in the loop",
    "optimize/test_peers.py": "the formulas of other projects",
    "optimize/test_published_parts.py": "the parts of published methods in the loop",
    "optimize/test_resumption.py": "stopped and killed runs",
    "pipeline/test_kills.py": "DVC killed at random moments",
    "stages/test_scripts.py": "scripts/ that read what stages wrote",
    "stages/test_phases.py": "ProlificDreamer's stages and Magic3D's priors, one after the other",
    "suites/test_docs_scaling.py": "the commands of docs/scaling.md",
    "suites/test_faults.py": "what disks, locks, caches, modes and clocks do to a suite",
    "suites/test_prompts.py": "hostile prompts through real DVC",
    "suites/test_kills.py": "workers and drivers killed at random moments",
    "pipeline/test_end_to_end.py": "a suite through real DVC",
    "pipeline/test_imports_and_scenes.py": "imported meshes and scenes through real DVC",
    "pipeline/test_injection.py": "text of users' files in commands",
    "pipeline/test_reruns.py": "what DVC reruns",
    "pipeline/test_suites.py": "suites that are folders, through real DVC",
    "pipeline/test_toybox.py": "the toybox's own pipeline through real DVC",
    "pipeline/test_wheel.py": "the wheel, installed",
    "pipeline/test_docs_team.py": "the commands of docs/team.md",
    "recipe/test_bounds.py": "every number of the schema",
    "recipe/test_mutations.py": "the files in recipes/ and params.yaml, broken",
    "recipe/test_published_numbers.py": "recipes/dreamfusion.yaml",
    "recipe/test_shipped_recipes.py": "the files in recipes/",
    "regression/test_clip_scores.py": "the shipped weights",
    "regression/test_multi_view_prior.py": "the shipped multi-view weights",
    "regression/test_toybox_recipes.py": "the shipped recipes on the shipped weights",
    "regression/test_view_judge.py": "the shipped view classifier",
    "priors/source/test_killed_fetch.py": "a fetch that is killed and resumed",
    "renderer/test_asked_places.py": "where the volume renderer asks a field",
    "report/test_browser.py": "the page in Chromium",
    "stages/test_damaged_json.py": "every JSON that a stage reads from another",
    "stages/test_full_disk.py": "every stage that writes",
    "pipeline/test_gpu_regression.py": "scripts/ci/gpu_regression.sh",
    "test_checkout.py": ".gitattributes",
    "test_ci_scripts.py": "scripts/ci and .github/workflows",
    "test_docs.py": "README.md, docs/ and the site made of it",
    "test_gpu_checks.py": "benchmarks/gpu_checks.py",
    "test_sds_step.py": "benchmarks/sds_step.py",
    "test_toybox_training.py": "benchmarks/toybox_training.py",
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "dreamfusion_kit",
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def importers(graph: grimp.ImportGraph, module: str) -> set[str]:
    """Return the modules that import `module` directly, named from the package's root."""
    found = graph.find_modules_that_directly_import(module)
    return {name.removeprefix("dreamfusion_kit.") for name in found}


def is_within(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def test_layers_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize("third_party", CONFINED)
def test_third_party_packages_stay_in_their_rooms(
    graph: grimp.ImportGraph, third_party: str
) -> None:
    found = importers(graph, third_party)
    assert found, f"{third_party} is not imported at all: drop it from the table"
    assert {module for module in found if not is_within(module, CONFINED[third_party])} == set()


def test_only_two_rooms_use_the_guarded_open3d(graph: grimp.ImportGraph) -> None:
    found = importers(graph, "dreamfusion_kit.open3d_library")
    assert {module.partition(".")[0] for module in found} == OPEN3D_ROOMS


def test_evaluation_knows_the_toybox_in_one_module_alone(graph: grimp.ImportGraph) -> None:
    """What it measures by comes in as a judge and a truth, so that any prompt can be measured."""
    found = {
        name
        for module in graph.find_descendants("dreamfusion_kit.toybox")
        for name in importers(graph, module)
        if name.startswith("evaluation.")
    }
    assert found == {"evaluation.toybox_models"}


NAMED_ELSEWHERE = {  # class -> the module that has to know it, and why
    "HashGridSection": {"memory.field"},  # a kernel that only a GPU has
    # Several fields: each in a file of its own, in the ball of the one that they repeat.
    "ParticlesSection": {"model.storage", "recipe.schema.method"},
}


@pytest.mark.parametrize(
    ("union", "room"),
    [(GuidanceSection, "guidance"), (FieldOrParticlesSection, "field")],
    ids=["guidance", "field"],
)
def test_a_new_one_is_a_class_a_file_and_a_case(union: object, room: str) -> None:
    """Whoever adds a guidance or a field touches the schema and its own room, and nothing else."""
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    for section in get_args(get_args(union)[0]):
        name = section.__name__
        named = [path for path, text in texts.items() if re.search(rf"\b{name}\b", text)]
        modules = {_dotted(path) for path in named}
        expected = {"recipe.schema", f"recipe.schema.{room}", f"{room}.build"}
        assert expected <= modules, name
        own = (f"{room}.", f"recipe.schema.{room}.")
        others = {module for module in modules - expected if not module.startswith(own)}
        assert others == NAMED_ELSEWHERE.get(name, set()), name


def _dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_a_new_metric_is_one_record() -> None:
    """Tables, pages, gates and comparisons go through the records and name none of them."""
    rooms = ("report", "gate", "suites", "cli", "stages/score.py", "stages/summary.py")
    quoted = {f'"{metric.key}"' for metric in METRICS}
    for path in PACKAGE.rglob("*"):
        name = path.relative_to(PACKAGE).as_posix()
        if path.suffix in {".py", ".j2"} and name.startswith(rooms):
            text = path.read_text(encoding="utf-8")
            assert [key for key in quoted if key in text] == [], name


def test_stages_without_a_prior_load_no_model_library() -> None:
    """Importing diffusers or transformers takes seconds, for every asset."""
    stages = ("mesh", "evaluate", "score", "report", "summary")
    imports = "\n".join(f"import dreamfusion_kit.stages.{stage}" for stage in stages)
    found = "import sys\nprint({'diffusers', 'transformers'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{found}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_nobody_imports_the_command_line(graph: grimp.ImportGraph) -> None:
    assert importers(graph, "dreamfusion_kit.cli") == {"__main__"}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_modules_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert [relative(path) for path in SOURCES if path.stem in drawers] == []


@pytest.mark.parametrize("path", TEST_FILES, ids=relative)
def test_tests_mirror_the_package(path: Path) -> None:
    inside = path.relative_to(TESTS)
    module = PACKAGE / inside.parent / inside.stem.removeprefix("test_")
    mirrored = module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()
    assert mirrored != (inside.as_posix() in NOT_MIRRORED)


def test_exceptions_to_the_mirror_exist() -> None:
    assert [name for name in NOT_MIRRORED if not (TESTS / name).is_file()] == []


def test_every_direct_dependency_has_its_reason() -> None:
    """docs/dependencies.md names exactly what pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *_optional(extras)]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    explained = re.findall(r"^\| `([\w.-]+)` \| \S", page, flags=re.MULTILINE)
    assert explained == [re.split(r"[\[<>=]", requirement)[0] for requirement in asked]


def _optional(extras: dict[str, list[str]]) -> list[str]:
    """Return the requirements of the extras in the page's order, each once.

    `dev` also names the kit's own extras.
    """
    order = ("render", "usd", "ray", "slurm", "t5", "docs", "dev")
    names = dict.fromkeys(name for extra in order for name in extras[extra])
    return [name for name in names if not name.startswith("dreamfusion-kit")]


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *_optional(extras)]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in asked}
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert {name for name in names if _key(name) not in {_key(pin) for pin in pinned}} == set()


def _key(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_axis_names_come_from_one_list() -> None:
    """Every axis of every annotation is listed in docs/conventions.md."""
    page = (ROOT / "docs" / "conventions.md").read_text()
    _, _, section = page.partition("## Axis names")
    listed = set(re.findall(r"`([a-z]+)`", section.partition("\n## ")[0]))
    used = {name for path in SOURCES for name in _axis_names(path.read_text(encoding="utf-8"))}
    assert used - listed == set()


def _axis_names(source: str) -> set[str]:
    """Return the named axes of a file's shape annotations, without `*` and sizes."""
    shapes = re.findall(r"\b(?:Float|Int|Bool|UInt8)\[[\w.]+, \"([^\"]*)\"\]", source)
    return {axis for shape in shapes for axis in re.findall(r"[a-z]+", shape)}


PROGRAMS = sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])


@pytest.mark.parametrize("path", PROGRAMS, ids=relative)
def test_programs_beside_the_package_import_what_it_has(path: Path) -> None:
    """The type checker reads the package alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        place = ROOT.joinpath(*node.module.split("."))
        if node.module.partition(".")[0] != "dreamfusion_kit":
            continue
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        assert file.is_file(), f"{relative(path)}:{node.lineno}: no module {node.module}"
        known = names_of(file)
        for name in (alias.name for alias in node.names):
            beside = (place / name).is_dir() or (place / f"{name}.py").is_file()
            assert beside or name in known, f"{relative(path)}:{node.lineno}: no {name} there"


def names_of(file: Path) -> set[str]:
    """Return every name that a module gives something."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {alias.asname or alias.name for alias in names}
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
    return found
