"""Every JSON that a stage reads from another, damaged in every way: one line, no traceback."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from dreamfusion_kit import files, provenance
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.evaluation.entry import AssetEntry, SuiteCost, SuiteMetrics
from dreamfusion_kit.mesh.facts import MeshFacts
from dreamfusion_kit.priors.source.model_lock import Lock
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.schema import LocalSourceSection
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import fetch, locked, origin, results, score, summary
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout

from .conftest import ASSETS, FACTS, SUITE

CPU = torch.device("cpu")
HUGE = "@huge@"  # a placeholder for a number that JSON's writer refuses
WRONG: tuple[Any, ...] = (
    None, True, -1, 1.5, 10**30, "", "x", "a\n\u202eb", [], [1], {}, {"x": 1}, HUGE,
)  # fmt: skip


VIEWS = {
    "hit": "10", "hit_textureless": "01", "hit_plaster": None, "rank": [1, 3],
    "cosine": [0.5, 0.25],
}  # fmt: skip
JUDGED = {
    "judge": {"name": "a judge"},
    "caption_pool": {"kind": "toybox", "size": 144, "sha256": "0" * 64},
}
ENTRY = {
    **JUDGED, "format_version": 2, "asset": "a", "prompt": "b", "held_out": False, "num_views": 2,
    "inputs": {"field_sha256": "0" * 64, "mesh_sha256": "1" * 64},
    "metrics": {"iou": 0.5, "front_views": None}, "views": VIEWS, "retrieved": ["b", "c"],
    "sides": {"views": ["front", "back"], "true_views": ["front", "back"]},
    "alignment": {"yaw_deg": 10.0, "scale": 1.25},
}  # fmt: skip
ROW = {
    "prompt": "b", "recipe": "toybox", "identity": "0" * 64, "seed": 0, "metrics": {"iou": 0.5},
    "views": VIEWS,
}  # fmt: skip
METRICS_FILE = {
    **JUDGED, "format_version": 2, "suite": "default", "code": {"mesh": "0" * 64},
    "machine": {"cpu": "x"}, "summary": {"num_assets": 1}, "assets": {"a": ROW},
}  # fmt: skip
SUITE_COST = {
    "format_version": 2, "suite": "default", "seconds_per_asset": 1.5, "peak_memory_bytes": 7,
    "assets": {"a": {"seconds": 1.5, "peak_memory_bytes": 7}},
}  # fmt: skip


def record() -> Any:
    return provenance.record(device=CPU, code="0" * 64, inputs={"text": "1" * 64})


def as_json(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


VALID: dict[str, tuple[Any, Any]] = {
    "lock": (Lock, {"unet/model.safetensors": {"sha256": "0" * 64, "size_bytes": 3}}),
    "run record": (provenance.Provenance, record()),
    "cost": (
        provenance.StageCost,
        {"seconds": 1.5, "peak_memory_bytes": 7, "commit": {"hash": "0" * 40, "dirty": False}},
    ),
    "mesh facts": (MeshFacts, FACTS),
    "origin": (
        origin.Origin,
        {"asset": "a", "prompt": "b", "seed": 0, "sections": "0" * 64, "files": {"x": "0" * 64}},
    ),
    "asset metrics": (AssetEntry, ENTRY),
    "suite metrics": (SuiteMetrics, METRICS_FILE),
    "suite cost": (SuiteCost, SUITE_COST),
}


def broken_texts(whole: bytes) -> Iterator[bytes]:
    """Yield texts that are not JSON, or JSON of another kind."""
    yield from (b"", b" ", b"\x00", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf" + whole, b"{" * 200_000)
    yield from (b"[" * 200_000, b'{"a":' * 100_000, b"null", b"true", b"3", b'"x"', b"[]", b"[{}]")
    yield from (b"9" * 100_000, b"NaN", b"-Infinity", b'"\\ud800"', whole + b"x", b"\xc3\x28")
    yield from (whole[: len(whole) * part // 7] for part in range(1, 7))


def broken_values(whole: Any) -> Iterator[bytes]:
    """Yield the value with each part missing, of another type or out of range, or one more."""
    for path in _paths(whole):
        for replace in (*WRONG, KeyError):
            changed = copy.deepcopy(whole)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if replace is KeyError:
                del parent[path[-1]]
            else:
                parent[path[-1]] = replace
            yield _text(changed)
    for path in [(), *(path for path in _paths(whole) if isinstance(_at(whole, path), dict))]:
        changed = copy.deepcopy(whole)
        _at(changed, path)["a\n\u202eb"] = 1
        yield _text(changed)


def _text(value: Any) -> bytes:
    return json.dumps(value).replace(json.dumps(HUGE), "1e999").encode()


def _paths(value: Any, *before: Any) -> Iterator[tuple[Any, ...]]:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield (*before, key)
        yield from _paths(value[key], *before, key)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def attacks(whole: Any) -> Iterator[bytes]:
    yield from broken_texts(_text(whole))
    yield from broken_values(whole)


def refused(error: DreamFusionKitError, path: Path) -> None:
    """Check that a message is one line that names the file and what to do."""
    message = str(error)
    assert message.startswith(str(path))
    assert message.isprintable(), message
    assert len(message) < 500
    assert "run `dvc repro`" in message


@pytest.mark.parametrize("kind", VALID)
def test_a_damaged_file_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    form, valid = VALID[kind]
    path = tmp_path / "file.json"
    files.write_json(path, valid)
    assert as_json(files.read_json(path, form, made_by="embed")) == valid
    num_refused = 0
    for content in attacks(valid):
        path.write_bytes(content)
        try:
            files.read_json(path, form, made_by="embed")
        except DreamFusionKitError as error:
            refused(error, path)
            num_refused += 1
    assert num_refused > 40


def test_a_damaged_entry_never_breaks_a_score(evaluated: Path) -> None:
    layout = SuiteLayout(evaluated, SUITE)
    path = layout.asset(ASSETS[0]).evaluation / "metrics.json"
    prompt = load_suite(evaluated, SUITE).assets[ASSETS[0]].prompt
    valid = json.loads(path.read_text())
    for content in attacks(valid):
        path.write_bytes(content)
        try:
            results.asset_entry(layout.asset(ASSETS[0]), prompt)
        except DreamFusionKitError as error:
            refused(error, path)


def test_damaged_suite_metrics_never_break_a_table(evaluated: Path) -> None:
    layout = SuiteLayout(evaluated, SUITE)
    path = score.run(evaluated, SUITE)
    for content in attacks(json.loads(path.read_text())):
        path.write_bytes(content)
        try:
            found = results.suite_metrics(layout)
        except DreamFusionKitError as error:
            refused(error, path)
        else:
            assert results.judged(found).isprintable()


def test_damaged_costs_never_break_a_summary(evaluated: Path) -> None:
    layout = SuiteLayout(evaluated, SUITE)
    path = layout.asset(ASSETS[0]).cost("mesh")
    asset = resolve(evaluated, SUITE, ASSETS[0])
    valid = json.loads(path.read_text())
    for content in attacks(valid):
        path.write_bytes(content)
        try:
            results.cost_of(layout.asset(ASSETS[0]), asset)
        except DreamFusionKitError as error:
            refused(error, path)
            continue
        score.run(evaluated, SUITE)
        summary.table(evaluated, SUITE)


def test_a_damaged_lock_never_breaks_a_prior(workspace: Path) -> None:
    folder = workspace / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    source = LocalSourceSection(kind="local", path="weights")
    path = SuiteLayout(workspace, "default").model(CLIP)
    files.write_json(path, fetch.fetch.fetch(source, workspace))
    assert locked.locked_directory(source, path, workspace) == folder
    for content in attacks(json.loads(path.read_text())):
        path.write_bytes(content)
        with pytest.raises(DreamFusionKitError) as caught:
            locked.locked_directory(source, path, workspace)
        assert str(caught.value).isprintable(), str(caught.value)


def test_a_damaged_origin_never_breaks_a_stage(workspace: Path) -> None:
    resolved = resolve(workspace, "default", "red_mug")
    own = SuiteLayout(workspace, "default").asset("red_mug")
    own.field.mkdir(parents=True)
    (own.field / "field.safetensors").write_bytes(b"x")
    origin.write_field(own.field, resolved)
    path = own.field / "origin.json"
    valid = json.loads(path.read_text())
    for content in attacks(valid):
        path.write_bytes(content)
        try:
            origin.check_field(own, resolved)
        except DreamFusionKitError as error:
            refused(error, own.field)
        else:
            assert json.loads(content) == valid
