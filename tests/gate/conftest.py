"""Made suites of metrics: numbers without renders, as the gate reads them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamfusion_kit.gate.metrics import Metrics, parse
from dreamfusion_kit.recipe.gate import GatedMetricSection, GateSection

KEYS = ("r_precision.color", "iou", "chamfer")
GATE_YAML = """\
gate:
  measured: two seeds of a made suite
  significance: 0.05
  power: 0.8
  confidence_level: 0.95
  num_flips: 65536
  seed: 0
  view_cosine_spread: 0.02
  metrics:
    r_precision.color: {better: higher, tolerance: 0.02, spread: 0.1, drop: 0.05}
    iou: {better: higher, tolerance: 0.02, spread: 0.05, drop: 0.05}
    chamfer: {better: lower, tolerance: 0.003, spread: 0.01, drop: 0.01}
"""

File = dict[str, Any]


def asset_row(hits: str, *, iou: float | None = 0.7, chamfer: float = 0.03) -> File:
    """Return one asset's row; its R-Precision is the share of ones in `hits`."""
    return {
        "prompt": "a red mug",
        "recipe": "toybox",
        # As of another recipe where the numbers are others.
        "identity": hashlib.sha256(f"{hits}/{iou}/{chamfer}".encode()).hexdigest(),
        "seed": 0,
        "metrics": {
            "r_precision.color": hits.count("1") / len(hits) if hits else None,
            "iou": iou,
            "chamfer": chamfer,
        },
        "views": {
            "hit": hits,
            "rank": [1 if hit == "1" else 3 for hit in hits],
            "cosine": [0.9 if hit == "1" else 0.6 for hit in hits],
        },
    }


def metrics_file(rows: Sequence[File] | Mapping[str, File], **changes: Any) -> File:
    """Return a whole metrics file; a sequence of rows gets ids a000, a001, ..."""
    assets = rows if isinstance(rows, Mapping) else {f"a{i:03d}": r for i, r in enumerate(rows)}
    return {
        "format_version": 2,
        "suite": "default",
        "judge": {"name": "toybox"},
        "caption_pool": {"kind": "toybox", "size": 144, "sha256": "74bc"},
        "code": {"optimize": "11", "mesh": "22", "evaluate": "33"},
        "machine": {"device": "cpu"},
        "summary": {"r_precision": {"color": 0.9}},
        "assets": dict(assets),
        **changes,
    }


def as_metrics(rows: Sequence[File] | Mapping[str, File], **changes: Any) -> Metrics:
    return parse(json.dumps(metrics_file(rows, **changes)).encode(), "made.json")


def made_rows(num_assets: int, seed: int, *, drop: float = 0.0, num_views: int = 8) -> list[File]:
    """Return assets whose hit rates are the suite's own and whose views are drawn by `seed`."""
    rates = np.random.default_rng(7).beta(6, 1, size=num_assets)
    draws = np.random.default_rng(seed)
    rows = []
    for rate in rates:
        its_rate = float(np.clip(rate - drop + draws.normal(0, 0.03), 0, 1))
        hits = "".join("01"[int(draws.random() < its_rate)] for _ in range(num_views))
        iou = float(np.round(0.7 - drop + draws.normal(0, 0.03), 4))
        chamfer = float(np.round(0.03 + draws.normal(0, 0.003), 4))
        rows.append(asset_row(hits, iou=iou, chamfer=chamfer))
    return rows


@pytest.fixture
def gate() -> GateSection:
    """Return the section of `GATE_YAML`."""
    return GateSection(
        measured="two seeds of a made suite",
        significance=0.05,
        power=0.8,
        confidence_level=0.95,
        num_flips=65536,
        seed=0,
        view_cosine_spread=0.02,
        metrics={
            "r_precision.color": GatedMetricSection(
                better="higher", tolerance=0.02, spread=0.1, drop=0.05
            ),
            "iou": GatedMetricSection(better="higher", tolerance=0.02, spread=0.05, drop=0.05),
            "chamfer": GatedMetricSection(better="lower", tolerance=0.003, spread=0.01, drop=0.01),
        },
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a workspace that holds gate: and nothing else."""
    (tmp_path / "params.yaml").write_text(GATE_YAML)
    return tmp_path


@pytest.fixture
def write_metrics(workspace: Path) -> Callable[[File], Path]:
    """Return a function that writes the default suite's metrics."""

    def write(content: File) -> Path:
        target = workspace / "metrics" / "default.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(content))
        return target

    return write
