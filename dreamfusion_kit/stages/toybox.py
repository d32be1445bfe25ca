"""Render the toybox's data sets: what its judges learn from."""

import sys
from collections.abc import Callable
from pathlib import Path

from dreamfusion_kit.stages.toybox_layout import DATASETS, settings
from dreamfusion_kit.toybox.dataset import render_dataset, save_dataset


def run(workspace: Path) -> list[Path]:
    """Render both data sets; return their files."""
    sections = settings(workspace)
    for name, section in (("dataset", sections.dataset), ("clip_dataset", sections.clip_dataset)):
        dataset = render_dataset(section, report=_counter(name))
        save_dataset(dataset, workspace / DATASETS[name])
    return list(DATASETS.values())


def _counter(name: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        print(f"\r{name}: {done}/{total} pairs", end="", file=sys.stderr, flush=True)
        if done == total:
            print(file=sys.stderr)

    return report
