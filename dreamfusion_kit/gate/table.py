"""The gate's result as Markdown, for a pull request and for a terminal.

Text from metrics files is shown only if a pattern has checked it (ids, metric keys) or inside
a code span without backticks, so that a pull request cannot add its own markup.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dreamfusion_kit.gate.metrics import AssetRow, Metrics
from dreamfusion_kit.gate.verdict import Comparison, MetricResult, Verdict, signed_differences

_MOST_CHANGED = 5
_NAMED = 8  # ids listed before "and N more"

Pictures = Callable[[str], Path | None]
"""Returns the folder of an asset's views, None where it is not there."""


def markdown(comparison: Comparison, *, against: str, pictures: Pictures) -> str:
    """Return the whole report: decision, table, limitations and largest changes."""
    parts = [
        _headline(comparison, against),
        _remeasured(comparison),
        _table(comparison),
        _limits(comparison),
        _not_compared(comparison),
        _provenance(comparison.before, comparison.after, comparison.pairs.assets),
        _most_changed(comparison, pictures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(comparison: Comparison, against: str) -> str:
    decision = "refused" if comparison.refused else "passed"
    number = len(comparison.pairs.assets)
    return (
        f"## Quality gate: {decision}\n\nSuite {_code(comparison.after.suite)} against "
        f"{_code(against)}: {number} asset{'s' if number != 1 else ''}, "
        f"{comparison.pairs.num_views} views each. A metric is refused where it falls by more "
        f"than its tolerance and p over all metrics is at most {comparison.gate.significance:g}."
    )


def _remeasured(comparison: Comparison) -> str:
    assets = comparison.pairs.remeasured
    if not assets:
        return ""
    return (
        f"**The measurement itself moved**: numbers differ for {_ids(assets)}, made from the same "
        "inputs by the same code on the same machine. Find out why in the evaluate stage and its "
        "judge; if the change is intended, the sides cannot be compared; say so under Results in "
        "the changelog."
    )


def _table(comparison: Comparison) -> str:
    level = f"{100 * comparison.gate.confidence_level:g} %"
    head = ("metric", "before", "after", "change", f"{level} interval", "p", "p, all metrics")
    more = ("tolerance", "power for a drop", "verdict")
    lines = ["| " + " | ".join((*head, *more)) + " |", "|---|" + "---:|" * 8 + "---|"]
    for result in comparison.results:
        lines.append("| " + " | ".join(_cells(result)) + " |")
    return "\n".join(lines)


def _cells(result: MetricResult) -> list[str]:
    change, section = result.change, result.section
    verdict = f"**{result.verdict.value}**" if result.refuses else result.verdict.value
    if change.num_assets == 0:
        return [_code(result.key), *["-"] * 8, verdict]
    sign = 1.0 if section.better == "higher" else -1.0
    interval = "-"
    if change.interval is not None:
        low, high = sorted(sign * end for end in change.interval)
        interval = f"{low:+.4f} to {high:+.4f}"
    return [
        _code(result.key),
        f"{result.before:.4f}",
        f"{result.after:.4f}",
        f"{sign * change.mean:+.4f}",
        interval,
        _p(change.p),
        _p(change.p_family),
        f"{section.tolerance:g}",
        f"{100 * result.power:.0f} % for {section.drop:g}",
        verdict,
    ]


def _limits(comparison: Comparison) -> str:
    """State what the suite cannot detect."""
    lines: list[str] = []
    number = len(comparison.pairs.assets)
    if comparison.too_small:
        metrics = ", ".join(
            f"{_code(result.key)} ({100 * result.power:.0f} %)" for result in comparison.too_small
        )
        lines.append(
            f"**This suite is too small to detect the given drops**: with {number} assets the "
            f"drop would be refused in fewer than {100 * comparison.gate.power:g} of 100 "
            f"cases for {metrics}. A pass says little about these; use a larger suite."
        )
    least = 0.5**number
    if least > comparison.gate.significance:
        lines.append(
            f"**{number} assets can refuse nothing**: the smallest p they can give is {least:.3g}."
        )
    return "\n\n".join(lines)


def _not_compared(comparison: Comparison) -> str:
    pairs = comparison.pairs
    lines = [
        f"- {text}: {_ids(ids)}"
        for text, ids in (
            ("only in the base", pairs.only_before),
            ("only here", pairs.only_after),
            ("with another prompt", pairs.other_prompt),
            ("no longer measured", tuple(f"{asset} {key}" for asset, key in pairs.lost)),
        )
        if ids
    ]
    return "\n".join(["Not compared:", "", *lines]) if lines else ""


def _provenance(before: Metrics, after: Metrics, assets: tuple[str, ...]) -> str:
    """Name what else differs between the sides: code, machine, recipes, seeds."""
    stages = sorted({*before.code, *after.code})
    code = [stage for stage in stages if before.code.get(stage) != after.code.get(stage)]
    rows = [(asset, before.assets[asset], after.assets[asset]) for asset in assets]

    def differing(what: Callable[[AssetRow], object]) -> tuple[str, ...]:
        return tuple(asset for asset, old, new in rows if what(old) != what(new))

    lines = [
        f"- {text}: {_ids(ids)}"
        for text, ids in (
            ("code of the stages", tuple(code)),
            ("recipe's name, of", differing(lambda row: row.recipe)),
            ("resolved recipe, prompt or seed, of", differing(lambda row: row.identity)),
            ("seed, of", differing(lambda row: row.seed)),
        )
        if ids
    ]
    if before.machine != after.machine:
        lines.append(f"- machine: {_json(before.machine)} before, {_json(after.machine)} here")
    if not lines:
        return "Code, machine, recipes and seeds are the same on both sides."
    return "\n".join(["What differs between the sides:", "", *lines])


def _most_changed(comparison: Comparison, pictures: Pictures) -> str:
    """List the assets that moved most, in units of each metric's spread between seeds."""
    pairs = comparison.pairs
    sections = [result.section for result in comparison.results]
    differences = signed_differences(pairs, sections)
    moves = np.nan_to_num(differences / np.array([section.spread for section in sections]))
    order = np.argsort(-np.abs(moves).max(axis=1), kind="stable")[:_MOST_CHANGED]
    rows = [int(row) for row in order if np.abs(moves[row]).max() > 0]
    if not rows:
        return "No asset changed."
    lines = ["Assets that changed most, in standard deviations between seeds:", ""]
    lines += ["| asset | metric | before | after | deviations | views | pictures |"]
    lines += ["|---|---|---:|---:|---:|---|---|"]
    for row in rows:
        asset, column = pairs.assets[row], int(np.abs(moves[row]).argmax())
        folder = pictures(asset)
        cells = [
            _code(asset),
            _code(pairs.metrics[column]),
            f"{pairs.before[row, column]:.4f}",
            f"{pairs.after[row, column]:.4f}",
            f"{moves[row, column]:+.1f}",
            _hits(comparison, asset),
            "-" if folder is None else _code(folder.as_posix()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _hits(comparison: Comparison, asset: str) -> str:
    old, new = (side.assets[asset].hits for side in (comparison.before, comparison.after))
    return _code(old) if old == new else f"{_code(old)} → {_code(new)}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _ids(ids: tuple[str, ...]) -> str:
    named = ", ".join(_code(entry) for entry in ids[:_NAMED])
    return named + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")


def _json(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return _code(text if len(text) <= 200 else text[:197] + "...")


def _code(text: str) -> str:
    """Return a code span on one line; a backtick or pipe in it would end span or cell."""
    clean = "".join(char if char.isprintable() and char not in "`|" else "?" for char in text)
    return f"`{clean}`" if clean else "-"


def summary(comparison: Comparison) -> str:
    """Return the decision on one line, for a log."""
    fallen = [result for result in comparison.results if result.refuses]
    if not comparison.refused:
        return f"gate: passed, {len(comparison.results)} metrics"
    texts = [
        f"{result.key} {result.verdict.value}"
        + (
            f" from {result.before:.4f} to {result.after:.4f}"
            if result.verdict is Verdict.FELL and not math.isnan(result.before)
            else ""
        )
        for result in fallen
    ]
    if comparison.pairs.remeasured:
        texts.insert(0, "the measurement itself moved")
    return "gate: refused: " + "; ".join(texts)
