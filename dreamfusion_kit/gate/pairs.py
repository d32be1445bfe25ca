"""Pairs the assets of two metrics files by id, and says what cannot be compared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.gate.metrics import AssetRow, Metrics
from dreamfusion_kit.recipe.document import did_you_mean
from dreamfusion_kit.recipe.gate import GatedMetricSection

_MAKING = ("optimize", "mesh")  # the stages that produce what is measured
_SAME = 1e-3  # rounding, and sums in another order


@dataclass(frozen=True)
class Pairs:
    """Two suites of metrics, asset by asset.

    `before` and `after` hold the watched metrics, NaN where not measured on either side.
    `lost` names what the base measured and the new side did not, as (asset, metric).
    `remeasured` names assets that are the same on both sides but whose numbers differ.
    """

    assets: tuple[str, ...]
    metrics: tuple[str, ...]
    before: Float[np.ndarray, "assets metrics"]
    after: Float[np.ndarray, "assets metrics"]
    num_views: int
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    other_prompt: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    remeasured: tuple[str, ...]


def pair(before: Metrics, after: Metrics, watched: Mapping[str, GatedMetricSection]) -> Pairs:
    """Return the assets that both sides have, made from the same prompt.

    Raises:
        EvaluationError: if the protocols differ, a watched metric is in neither file, or no asset
            is left.
    """
    _check_protocol(before, after)
    common = [asset for asset in after.assets if asset in before.assets]
    same = [a for a in common if before.assets[a].prompt == after.assets[a].prompt]
    if not same:
        raise EvaluationError(
            f"suite {after.suite!r}: found no asset that both sides have with the same prompt, "
            "expected one or more; compare two revisions of one suite"
        )
    _check_keys(before, after, watched)
    table_before = _table([before.assets[asset] for asset in same], watched)
    table_after = _table([after.assets[asset] for asset in same], watched)
    gone = ~np.isnan(table_before) & np.isnan(table_after)
    keys = tuple(watched)
    return Pairs(
        assets=tuple(same),
        metrics=keys,
        before=table_before,
        after=table_after,
        num_views=_num_views([before, after], same),
        only_before=tuple(asset for asset in before.assets if asset not in after.assets),
        only_after=tuple(asset for asset in after.assets if asset not in before.assets),
        other_prompt=tuple(asset for asset in common if asset not in same),
        lost=tuple((same[row], keys[column]) for row, column in np.argwhere(gone).tolist()),
        remeasured=_remeasured(before, after, same, np.abs(table_after - table_before)),
    )


def _remeasured(
    before: Metrics, after: Metrics, assets: list[str], moves: Float[np.ndarray, "assets metrics"]
) -> tuple[str, ...]:
    """Return the assets whose numbers moved although nothing that makes them changed.

    The same recipe, prompt and seed, with the same code on the same machine, give the same mesh.
    Then the measurement itself changed, up or down, and no test over assets can judge it.
    """
    if before.machine is None or before.machine != after.machine:
        return ()
    if any(before.code.get(s, 0) != after.code.get(s, 1) for s in _MAKING):
        return ()  # made by different code, or by code that was not recorded
    moved = np.nan_to_num(moves).max(axis=1) > _SAME
    return tuple(
        asset
        for asset, has_moved in zip(assets, moved, strict=True)
        if has_moved and before.assets[asset].identity == after.assets[asset].identity
    )


def _check_protocol(before: Metrics, after: Metrics) -> None:
    for name in ("judge", "other_judges", "vqa", "caption_pool"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            raise EvaluationError(
                f"{name}: found {_short(new)} against {_short(old)}, expected the same protocol "
                "on both sides; measure the base again with the current protocol"
            )


def _check_keys(before: Metrics, after: Metrics, watched: Mapping[str, GatedMetricSection]) -> None:
    rows = [*before.assets.values(), *after.assets.values()]
    known = sorted({key for row in rows for key in row.metrics})
    for key in watched:
        if key not in known:
            meant = did_you_mean(key, known)
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"
            raise EvaluationError(
                f"params.yaml: gate.metrics.{key}: not in the metrics of either side; {hint}"
            )


def _num_views(sides: list[Metrics], assets: list[str]) -> int:
    rows = [side.assets[asset] for side in sides for asset in assets]
    counts = {len(row.cosines) or len(row.hits) for row in rows}
    if len(counts) != 1:
        raise EvaluationError(
            f"views: found {', '.join(map(str, sorted(counts)))} per asset, expected the same "
            "number on both sides; measure the base again with the current protocol"
        )
    return counts.pop()


def _table(
    rows: list[AssetRow], watched: Mapping[str, GatedMetricSection]
) -> Float[np.ndarray, "assets metrics"]:
    values = [[row.value(key) for key in watched] for row in rows]
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return text if len(text) <= 120 else text[:117] + "..."
