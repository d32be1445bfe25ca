"""Compare settings of the toybox recipe, each as one DVC experiment on the suite `study`.

python scripts/study.py run [NAME ...]     run the settings that have no experiment yet
python scripts/study.py table              print the Markdown table of all settings that were run
python scripts/study.py picture OUT.png    one row per setting, each asset from two sides

A setting is a change to recipes/toybox.yaml, named in suites/study/settings.yaml. Each runs
in a temporary checkout of the last commit, so the workspace stays as it is.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contact_sheet import save_sheet, strip
from dvc.api import DVCFileSystem
from PIL import Image

from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.recipe.load import load_yaml
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.report.measures import lookup, written
from dreamfusion_kit.stages.layout import SuiteLayout, view_name

SUITE = "study"
RECIPE = "../../recipes/toybox.yaml"  # seen from the suite, which is a DVC project of its own
SETTINGS = Path("suites/study/settings.yaml")
METRICS_FILE = f"suites/{SUITE}/metrics/{SUITE}.json"
SHOWN: Sequence[Metric] = [
    metric for metric in METRICS if metric.places & {"comparison", "terminal"}
]
VIEWS = (0, 2)  # the front and a side, among the protocol's azimuths


def main(*arguments: str) -> None:
    """Run one of the three commands."""
    match arguments:
        case ("run", *names):
            run(names)
        case ("table",):
            print("\n".join(table()))
        case ("picture", target):
            picture(Path(target))
        case _:
            raise SystemExit(__doc__)


def settings() -> dict[str, dict[str, Any]]:
    """Return each setting's changed keys, dotted, with their values."""
    found: Any = load_yaml(SETTINGS).data
    return found["settings"]


def run(names: Sequence[str]) -> None:
    """Run what was asked for, or every setting, unless it has an experiment."""
    known = settings()
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(
            f"found {unknown[0]!r}, expected settings of {SETTINGS}: {', '.join(known)}"
        )
    done = experiments()
    for name in names or known:
        if name in done:
            continue
        changes = [f"{RECIPE}:{key}={_value(value)}" for key, value in known[name].items()]
        flags = [part for change in changes for part in ("--set-param", change)]
        _dvc("exp", "run", "--temp", "--name", name, *flags)


def experiments() -> dict[str, str]:
    """Return the Git reference of each setting's experiment."""
    listed = _git("for-each-ref", "--format=%(refname)", "refs/exps")
    named = {reference.rsplit("/", 1)[1]: reference for reference in listed.split()}
    return {name: named[name] for name in settings() if name in named}


def table() -> list[str]:
    """Return the Markdown lines: what was changed, and what it gave."""
    lines = [
        "| setting | change | " + " | ".join(metric.heading for metric in SHOWN) + " |",
        "|---|---|" + "---:|" * len(SHOWN),
    ]
    for name, reference in experiments().items():
        metrics = json.loads(_git("show", f"{reference}:{METRICS_FILE}"))
        summary = metrics.get("summary", metrics)  # earlier experiments have nothing else
        changes = ", ".join(f"`{key}: {_value(value)}`" for key, value in settings()[name].items())
        numbers = [written(lookup(summary, metric.key), metric.unit) for metric in SHOWN]
        lines.append(f"| {name} | {changes} | {' | '.join(numbers)} |")
    return lines


def picture(target: Path) -> None:
    """Draw every experiment's meshes, in colour and in plaster, with the setting's name."""
    save_sheet([_row(name, reference) for name, reference in experiments().items()], target)


def _row(name: str, reference: str) -> Image.Image:
    with tempfile.TemporaryDirectory() as folder:
        layout = _fetched(reference, Path(folder), "evaluation")
        pictures = [
            layout.asset(asset).evaluation / "views" / view_name(kind, view)
            for asset in load_suite(Path(folder), SUITE).assets
            for kind in ("color", "textureless")
            for view in VIEWS
        ]
        return strip(pictures, name)


def _fetched(reference: str, root: Path, *kinds: str) -> SuiteLayout:
    """Copy an experiment's recipes, suite and outputs of these kinds to `root`."""
    experiment = DVCFileSystem(rev=reference, subrepos=True)
    outputs = [f"suites/{SUITE}/out/{kind}" for kind in kinds]
    files = ("suite.yaml", "assets")
    for path in ("params.yaml", "recipes", *(f"suites/{SUITE}/{name}" for name in files), *outputs):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        experiment.get(path, str(root / path), recursive=True)
    return SuiteLayout(root, SUITE)


def _value(value: object) -> str:
    return json.dumps(value)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def _dvc(*arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=Path("suites") / SUITE, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
