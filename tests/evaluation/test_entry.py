"""What is read from files is checked."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from dreamfusion_kit.evaluation.entry import AssetEntry, SuiteMetrics

ASSET: dict[str, Any] = {
    "format_version": 2, "asset": "mug", "prompt": "a red mug", "held_out": None, "num_views": 2,
    "judge": None, "caption_pool": None,
    "inputs": {"field_sha256": "ab" * 32, "mesh_sha256": "cd" * 32},
    "metrics": {"iou": 0.5, "fog": None}, "views": None, "retrieved": None, "sides": None,
    "alignment": None,
}  # fmt: skip
SUITE: dict[str, Any] = {
    "format_version": 2, "suite": "trio", "judge": {"name": "tiny"},
    "caption_pool": {"kind": "file", "size": 3, "sha256": "ab" * 32}, "code": {}, "machine": None,
    "summary": {"iou": 0.5}, "assets": {},
}  # fmt: skip


def test_whole_files_are_read() -> None:
    assert AssetEntry.model_validate_json(json.dumps(ASSET)).metrics == {"iou": 0.5, "fog": None}
    assert SuiteMetrics.model_validate_json(json.dumps(SUITE)).summary == {"iou": 0.5}


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 1},
        {"metrics": {"iou": "0.5"}},
        {"metrics": {"iou": [0.5]}},
        {"inputs": {"field_sha256": "../x", "mesh_sha256": "cd" * 32}},
        {"views": {"hit": "12"}},
        {"extra": 1},
    ],
)
def test_damaged_entries_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AssetEntry.model_validate_json(json.dumps(ASSET | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"caption_pool": {"kind": "other", "size": 3, "sha256": "ab" * 32}},
        {"assets": {"a": {"metrics": {}}}},
        {"code": {"mesh": 3}},
        {"seconds_per_asset": 3.0},
    ],
)
def test_damaged_suites_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SuiteMetrics.model_validate_json(json.dumps(SUITE | changes))
