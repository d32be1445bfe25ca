"""Gathers two assets, suites or revisions for a page that shows them side by side.

A side is named by `[REV:]NAME`. NAME is an asset, SUITE/ASSET or a suite; nothing stands for the
whole suite of the current folder. A name that is none of these is a revision of that suite.
"""

import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError, EvaluationError, RecipeError, SuiteError
from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import metrics_by
from dreamfusion_kit.gate.metrics import AssetRow, Metrics, read_workspace
from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.workspace import suite_names, suite_root
from dreamfusion_kit.report.comparison.content import Column, Comparison, Pair
from dreamfusion_kit.report.comparison.page import render_comparison
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.suites import git
from dreamfusion_kit.suites.compare_metrics import change_of, pair_rows, summary_rows

_MOST_SHOWN = 24  # pairs with their meshes, some 500 kB each


@dataclass(frozen=True)
class Target:
    """What a side's name means; without an asset, the whole suite; without a revision, now."""

    text: str
    revision: str | None
    suite: str
    asset: str | None


@dataclass(frozen=True)
class Side:
    """A target whose files lie in `workspace`, perhaps a temporary clone."""

    target: Target
    workspace: Path
    assets: tuple[str, ...]
    metrics: Metrics | None
    note: str


def compare(workspace: Path, suite: str, left: str, right: str, page: Path) -> Path:
    """Write the comparison of two sides as one page; return its path.

    Raises:
        SuiteError: if a name means nothing, an asset is to be compared with a suite, or the two
            have no asset in common.
    """
    targets = [parse(workspace, suite, text) for text in (left, right)]
    if (targets[0].asset is None) != (targets[1].asset is None):
        raise SuiteError(
            f"{left}, {right}: found an asset and a suite, expected two assets, or two suites or "
            "revisions"
        )
    with ExitStack() as stack:
        a, b = (stack.enter_context(_opened(workspace, target)) for target in targets)
        files.write_text(page, render_comparison(_comparison(a, b)))
    return page


def parse(workspace: Path, suite: str, text: str) -> Target:
    """Return what a side's name means; see the module."""
    revision, colon, name = text.rpartition(":")
    if colon and git.commit_of(workspace, revision) is None:
        raise SuiteError(f"{text}: found no revision {revision}; expected a commit, branch or tag")
    where = revision if colon else None
    if not name:
        return Target(text, where, suite, None)
    if name in _assets(workspace, suite) or (
        colon and "/" not in name and not _suite(workspace, name)
    ):
        return Target(text, where, suite, name)
    if _suite(workspace, name):
        return Target(text, where, name, None)
    of, _, asset = name.rpartition("/")
    if of and _suite(workspace, of) and (colon or asset in _assets(workspace, of)):
        return Target(text, where, of, asset)
    if git.commit_of(workspace, name) is not None:
        return Target(text, name, suite, None)
    raise SuiteError(
        f"{text}: found no such asset of {suite}, suite or revision; expected one of them, as "
        "[REV:]ASSET, SUITE/ASSET, SUITE or REV; see `suite list`"
    )


def _suite(workspace: Path, name: str) -> bool:
    return name in suite_names(workspace)


def _assets(workspace: Path, suite: str) -> tuple[str, ...]:
    return tuple(load_suite(workspace, suite).assets)


@contextmanager
def _opened(workspace: Path, target: Target) -> Generator[Side, None, None]:
    """Yield a side; a revision's in a temporary clone, with the outputs that the cache holds."""
    if target.revision is None:
        yield _side(target, workspace)
        return
    commit = git.commit_of(workspace, target.revision) or target.revision
    with TemporaryDirectory(prefix="dreamfusion-kit-") as folder:
        clone = git.clone(workspace, commit, Path(folder) / "clone")
        _check_out(suite_root(workspace, target.suite), suite_root(clone, target.suite))
        yield _side(target, clone)


def _side(target: Target, workspace: Path) -> Side:
    try:
        known = _assets(workspace, target.suite)
    except RecipeError as error:
        reason = str(error).splitlines()[0]
        raise SuiteError(
            f"{target.text}: its suite cannot be read by this version ({reason})"
        ) from error
    if target.asset is not None and target.asset not in known:
        raise SuiteError(
            f"{target.text}: found no asset {target.asset} of {target.suite} there; it has "
            f"{', '.join(known) or 'none'}"
        )
    note = ""
    try:
        metrics = read_workspace(workspace, target.suite)
    except EvaluationError as error:
        metrics, note = None, f"{target.text}: no metrics ({str(error).splitlines()[0]})."
    assets = known if target.asset is None else (target.asset,)
    return Side(target, workspace, assets, metrics, note)


def _check_out(root: Path, clone: Path) -> None:
    """Link what DVC's cache holds of the outputs into a clone; nothing is fetched."""
    if not (clone / ".dvc").is_dir():
        return
    cache = _dvc(root, "cache", "dir")
    _dvc(clone, "cache", "dir", "--local", str((root / cache).resolve()))
    recursive = ["--recursive", "."] if (clone / "assets").is_dir() else []
    _dvc(clone, "checkout", "--quiet", "--allow-missing", "--force", *recursive)


def _dvc(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="surrogateescape",  # a path need not be UTF-8
        check=False,
    )
    # What is missing in the cache is left out of the page, which says so.
    return done.stdout.strip()


def _comparison(a: Side, b: Side) -> Comparison:
    if a.target.asset is not None:
        names = [(a.assets[0], b.assets[0])]
    else:
        names = [(asset, asset) for asset in b.assets if asset in a.assets]
    if not names:
        raise SuiteError(
            f"{a.target.text}, {b.target.text}: found no asset that both have, expected some; "
            "compare two revisions or variants of one suite"
        )
    rows = [(_row(a, left), _row(b, right)) for left, right in names]
    order = sorted(range(len(names)), key=lambda index: -change_of(rows, index))
    shown, rest = sorted(order[:_MOST_SHOWN]), sorted(order[_MOST_SHOWN:])
    whole = a.target.asset is None
    summary, num_paired = summary_rows(rows, _metrics(a, b)) if whole else ((), 0)
    return Comparison(
        left=_label(a.target),
        right=_label(b.target),
        notes=tuple(_notes(a, b, names)),
        num_paired=num_paired,
        summary=summary,
        pairs=tuple(_pair(a, b, names[index], rows[index]) for index in shown),
        left_out=tuple(names[index][1] for index in rest),
    )


def _label(target: Target) -> str:
    what = target.suite if target.asset is None else f"{target.suite}/{target.asset}"
    return what if target.revision is None else f"{what} at {target.revision}"


def _notes(a: Side, b: Side, names: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield from filter(None, (a.note, b.note))
    if a.metrics and b.metrics and _judged_by(a.metrics) != _judged_by(b.metrics):
        yield (
            "The two were judged by different protocols: R-Precision and CLIP score cannot be "
            "compared."
        )
    if a.target.asset is None:
        common = {name for name, _ in names}
        for side, which in ((a, "A"), (b, "B")):
            if alone := [asset for asset in side.assets if asset not in common]:
                yield f"Only in {which}: {', '.join(alone)}."


def _judged_by(metrics: Metrics) -> tuple[object, ...]:
    return metrics.judge, metrics.other_judges, metrics.vqa, metrics.caption_pool


def _metrics(a: Side, b: Side) -> tuple[Metric, ...]:
    """Return what either side measures."""
    sides = [side.metrics for side in (a, b) if side.metrics is not None]
    judges = dict.fromkeys(name for side in sides for name in side.other_judges)
    return metrics_by(judges, vqa=any(side.vqa is not None for side in sides))


def _row(side: Side, asset: str) -> AssetRow | None:
    return None if side.metrics is None else side.metrics.assets.get(asset)


def _pair(
    a: Side,
    b: Side,
    names: tuple[str, str],
    rows: tuple[AssetRow | None, AssetRow | None],
) -> Pair:
    resolved = [_resolved(side, name) for side, name in zip((a, b), names, strict=True)]
    left, right = (
        _column(side, name, found, row)
        for side, name, found, row in zip((a, b), names, resolved, rows, strict=True)
    )
    glbs = [column.glb for column in (left, right)]
    return Pair(
        anchor=names[1],
        left=left,
        right=right,
        rows=pair_rows(*rows, _metrics(a, b)),
        diff=_diff(*resolved),
        same_mesh=None not in glbs and len({files.sha256(glb) for glb in glbs if glb}) == 1,
    )


def _resolved(side: Side, asset: str) -> ResolvedAsset | None:
    """Return what the asset is made from; None if this version cannot read its recipe."""
    try:
        return resolve(side.workspace, side.target.suite, asset)
    except RecipeError:
        return None


def _column(side: Side, asset: str, resolved: ResolvedAsset | None, row: AssetRow | None) -> Column:
    own = SuiteLayout(side.workspace, side.target.suite).asset(asset)
    mesh = own.mesh if resolved is None else own.final_mesh(resolved)
    glb, views, note = mesh / "mesh.glb", own.evaluation / "views", ""
    found = glb if glb.is_file() else None
    if found is None:
        note = "not made yet" if side.target.revision is None else "not in DVC's cache"
    elif resolved is not None:
        try:
            origin.check_final_mesh(own, resolved)
        except DreamFusionKitError:
            found, note = None, "made from other inputs; run `dvc repro`"
    pictures = tuple(sorted(views.glob("color_*.png"))) if found else ()
    return Column(
        name=asset,
        prompt=resolved.prompt if resolved else row.prompt if row else "",
        recipe=resolved.recipe_name if resolved else row.recipe if row else "unknown",
        seed=resolved.seed if resolved else row.seed if row else None,
        identity=resolved.identity if resolved else row.identity if row else "",
        glb=found,
        views=pictures,
        note=note,
    )


def _diff(left: ResolvedAsset | None, right: ResolvedAsset | None) -> tuple[str, ...]:
    """Return the lines in which what two assets are made from differs, with their context."""
    if left is None or right is None:
        return ("@@ a recipe here cannot be read by this version",)
    old, new = (_text(asset).splitlines() for asset in (left, right))
    return tuple(
        line for line in unified_diff(old, new, lineterm="", n=2) if line[:3] not in ("---", "+++")
    )


def _text(asset: ResolvedAsset) -> str:
    kept: Mapping[str, object] = {
        "prompt": asset.prompt,
        "seed": asset.seed,
        "recipe": asset.recipe.model_dump(mode="json"),
    }
    return yaml_text.dump(kept)
