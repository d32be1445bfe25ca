"""Write the dvc.yaml of every suite: `python -m dreamfusion_kit.stages.pipeline`.

All suites have the same stages. What differs is where their params.yaml lies. A stage's
code dependencies are the files that its module imports, directly or not, so that a change
of any of them, and of nothing else, runs it again.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

PACKAGE = "dreamfusion_kit"
STAGES = ("fetch", "embed", "optimize", "mesh", "evaluate", "score", "report")
# What a stage reads beside its modules.
_DATA = {
    "fetch": ("dreamfusion_kit/toybox/weights",),
    "evaluate": ("dreamfusion_kit/toybox/weights/view",),
    "report": ("dreamfusion_kit/report/templates", "dreamfusion_kit/report/vendor"),
}
_HEADER = (
    "# Written by `python -m dreamfusion_kit.stages.pipeline`: edit stages/pipeline.yaml there.\n"
)
_TEMPLATE = Path(__file__).with_name("pipeline.yaml")


def closure(stage: str, graph: grimp.ImportGraph) -> list[str]:
    """Return the files that importing the stage's module reads, sorted."""
    module = f"{PACKAGE}.stages.{stage}"
    modules = {module, *graph.find_upstream_modules(module)}
    # Importing a.b.c also runs the packages a and a.b.
    packages = {name.rsplit(".", depth)[0] for name in modules for depth in range(1, 4)}
    return sorted({_file(name).as_posix() for name in modules | packages if name})


def suite_files(workspace: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the dvc.yaml and the params.yaml of every suite."""
    yield workspace / "dvc.yaml", Path("params.yaml")
    for params in sorted(workspace.glob("suites/*/params.yaml")):
        yield params.with_name("dvc.yaml"), params.relative_to(workspace)


def render(params: Path) -> str:
    """Return the dvc.yaml that stands beside `params` (relative to the workspace)."""
    graph = grimp.build_graph(PACKAGE)
    text = _TEMPLATE.read_text(encoding="utf-8").replace("@params@", params.as_posix())
    depth = len(params.parts) - 1
    text = text.replace("@wdir@", "/".join([".."] * depth) or ".")
    for stage in STAGES:
        paths = [*closure(stage, graph), *_DATA.get(stage, ())]
        text = _fill(text, f"@code {stage}@", paths)
    return _HEADER + text


def _fill(text: str, mark: str, paths: list[str]) -> str:
    """Replace each line `- mark` by one line per path, at its own indentation."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() == f'- "{mark}"':
            indent = line[: line.index("-")]
            lines += [f"{indent}- {path}" for path in paths]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _file(module: str) -> Path:
    base = Path(*module.split("."))
    package = base / "__init__.py"
    root = Path(__file__).parents[2]
    return package if (root / package).exists() else base.with_suffix(".py")


def main() -> None:
    """Write every dvc.yaml of the workspace that is the current folder."""
    for target, params in suite_files(Path()):
        target.write_text(render(params), encoding="utf-8")
        print(target, file=sys.stderr)


if __name__ == "__main__":
    main()
