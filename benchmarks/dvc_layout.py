"""What DVC itself costs: no-op runs, executed stages and lock lines, with stages that cost nothing.

    python benchmarks/dvc_layout.py              the table, and exit status 1 where a bar is missed
    python benchmarks/dvc_layout.py --large 0    without the suite of 100 assets

Times are CPU seconds of DVC and its children, since other work on the machine stretches wall time.
The stages write a digest each; `dreamfusion-kit sync` is the kit's own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dreamfusion_kit.recipe.load import load_yaml  # noqa: E402
from dreamfusion_kit.workspace.folder import new_suite, refresh  # noqa: E402
from dreamfusion_kit.workspace.init import init  # noqa: E402
from dreamfusion_kit.workspace.sync import sync  # noqa: E402

STAND_IN = ROOT / "tests" / "pipeline" / "stand_in.py"
REPEATS = 3  # for a no-op; the minimum counts


@dataclass(frozen=True)
class Bar:
    """A measured number, and what it may be at most."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.value <= self.limit

    def row(self) -> str:
        word = "ok" if self.holds else "MISSED"
        return f"{self.name:<52} {self.value:8.2f} {self.unit:<14} <= {self.limit:<6g} {word}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=100, help="assets of the largest suite")
    large = parser.parse_args().large
    with tempfile.TemporaryDirectory() as name:
        bars: list[Bar] = []
        for bar in measure(Path(name), large):
            print(bar.row(), flush=True)
            bars.append(bar)
    sys.exit(0 if all(bar.holds for bar in bars) else 1)


def measure(folder: Path, large: int) -> Iterator[Bar]:
    environment = free_stages(folder)
    base = min(cpu_seconds(("version",), folder, environment) for _ in range(REPEATS))
    print(f"dvc version: {base:.2f} s of CPU", flush=True)
    for count, limit in ((4, 3.0), (16, 5.0)):
        workspace = folder / f"default-{count}"
        _default_suite(workspace, count)
        cpu_seconds(("repro", "-q"), workspace, environment)
        no_op = min(cpu_seconds(("repro", "-q"), workspace, environment) for _ in range(REPEATS))
        lines = len((workspace / "dvc.lock").read_text().splitlines()) / count
        yield Bar(f"no-op repro, default suite of {count}", no_op / base, limit, "x dvc version")
        yield Bar(f"lock lines per asset, default suite of {count}", lines, 130, "lines")
    workspace = folder / "default-4"
    for count in filter(None, (16, large)):
        suite = _folder_suite(workspace, count)
        fresh = cpu_seconds(("repro", "-q"), suite, environment)
        no_op = cpu_seconds(("repro", "-q"), suite, environment)
        stages = 4 * count + 4
        per_stage = (fresh - no_op) / stages
        locks = [*suite.glob("dvc.lock"), *suite.glob("assets/*/dvc.lock")]
        lines = sum(len(path.read_text().splitlines()) for path in locks) / count
        yield Bar(f"per executed stage, folder suite of {count}", per_stage, 1.0, "s of CPU")
        yield Bar(f"lock lines per asset, folder suite of {count}", lines, 130, "lines")
        one = _one_stage(suite, environment)
        yield Bar(f"one asset's stage with -s, folder suite of {count}", one, 1.0, "s of CPU")
    beside = min(cpu_seconds(("repro", "-q"), workspace, environment) for _ in range(REPEATS))
    yield Bar("no-op repro of 4 with those suites beside it", beside / base, 3.0, "x dvc version")


def _one_stage(suite: Path, environment: dict[str, str]) -> float:
    """Return what executing one stage alone costs beyond DVC's start."""
    asset = sorted((suite / "assets").iterdir())[0].name
    target = f"assets/{asset}/dvc.yaml:mesh"
    idle = min(
        cpu_seconds(("repro", "-q", "-s", target), suite, environment) for _ in range(REPEATS)
    )
    forced = cpu_seconds(("repro", "-q", "-s", "-f", target), suite, environment)
    return forced - idle


def _default_suite(workspace: Path, count: int) -> None:
    init(workspace, "analytic")
    path = workspace / "params.yaml"
    protocol = load_yaml(path).data["evaluation"]
    entry = {"prompt": "a red mug", "recipe": "analytic", "seed": 0, "overrides": {}}
    assets = "".join(f"  asset_{index}: {json.dumps(entry)}\n" for index in range(count))
    head = f"suite: default\nrecipes: [analytic]\nassets:\n{assets}"
    path.write_text(f"{head}evaluation: {json.dumps(protocol)}\n")
    sync(workspace, "default")
    _commit(workspace)


def _folder_suite(workspace: Path, count: int) -> Path:
    name = f"folder-{count}"
    root = new_suite(workspace, name)
    for index in range(count):
        path = root / "assets" / f"asset_{index}" / "asset.yaml"
        path.parent.mkdir(parents=True)
        path.write_text("prompt: a red mug\nrecipe: analytic\nseed: 0\noverrides: {}\n")
    refresh(workspace, name)
    _commit(workspace)
    return root


def _commit(workspace: Path) -> None:
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
    for command in (("add", "-A"), ("commit", "-q", "-m", "as it is")):
        subprocess.run(["git", *identity, *command], cwd=workspace, check=True)


def cpu_seconds(arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> float:
    """Return the CPU seconds that a command of DVC and its children take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def free_stages(folder: Path) -> dict[str, str]:
    """Return variables that put a `dreamfusion-kit` first whose stages cost nothing."""
    programs = folder / "programs"
    programs.mkdir()
    program = programs / "dreamfusion-kit"
    program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    program.chmod(0o755)
    return os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
    }


if __name__ == "__main__":
    main()
