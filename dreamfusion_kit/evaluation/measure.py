"""Everything that is measured on one asset, as its entry."""

import math
from collections.abc import Sequence

from jaxtyping import Bool
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.entry import (
    FORMAT_VERSION,
    AlignmentEntry,
    AssetEntry,
    InputsEntry,
    JudgeEntry,
    Numbers,
    PoolEntry,
    SidesEntry,
    VerdictEntry,
    ViewsEntry,
)
from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.evaluation.r_precision import own_ranks
from dreamfusion_kit.evaluation.subject import Retrieval, Subject


def measure_asset(
    subject: Subject,
    *,
    asset: str,
    inputs: InputsEntry,
    pool: PoolEntry | None,
    vqa: JudgeEntry | None = None,
    metrics: Sequence[Metric] = METRICS,
) -> AssetEntry:
    """Return the entry of a finished asset.

    Args:
        subject: The asset, the protocol, judge and truth.
        asset: Its id.
        inputs: The hashes of the measured files.
        pool: The declared pool, without the asset's own addition; None without a judge.
        vqa: The question-answering model, if there is one.
        metrics: What to measure.

    Raises:
        EvaluationError: if pictures or a metric are not finite.
    """
    _require_finite_views(subject, asset)
    judge = subject.judge
    return AssetEntry(
        format_version=FORMAT_VERSION,
        asset=asset,
        prompt=subject.prompt,
        held_out=None if subject.truth is None else subject.truth.held_out,
        num_views=len(subject.views.color),
        judge=None if judge is None else JudgeEntry(name=judge.name),
        caption_pool=pool,
        inputs=inputs,
        metrics=_numbers(subject, asset, metrics),
        views=_views(subject),
        retrieved=_retrieved(subject),
        other_judges=_verdicts(subject),
        vqa=vqa,
        sides=_sides(subject),
        alignment=_alignment(subject),
    )


def _numbers(subject: Subject, asset: str, metrics: Sequence[Metric]) -> Numbers:
    found: Numbers = {}
    for metric in metrics:
        if metric.measure is not None:
            value = metric.measure(subject)
            if value is not None and not math.isfinite(value):
                raise EvaluationError(
                    f"asset {asset}: found {metric.key} {value}, expected a finite number; "
                    "look at its views and run the optimize stage again"
                )
            found[metric.key] = value
    return found


def _require_finite_views(subject: Subject, asset: str) -> None:
    """A field or a mesh with a NaN would be measured as fog or as an empty picture."""
    for name, views in (("mesh", subject.views), ("field", subject.field_views)):
        if views is not None and not all(
            image.isfinite().all() for image in (views.color, views.textureless)
        ):
            raise EvaluationError(
                f"asset {asset}: found views of its {name} with values that are not finite, "
                f"expected pixels; the {name} is damaged: run the optimize stage again"
            )


def _views(subject: Subject) -> ViewsEntry | None:
    compared = subject.comparison("mesh", "color")
    if compared is None:
        return None
    retrieved = subject.retrieval("mesh", "color")
    return ViewsEntry(
        hit=_hits(retrieved),
        hit_textureless=_hits(subject.retrieval("mesh", "textureless")),
        hit_plaster=_hits(subject.plaster_retrieval("mesh")),
        rank=None
        if retrieved is None
        else tuple(own_ranks(retrieved.similarity, retrieved.own).tolist()),
        cosine=tuple(round(value, 4) for value in compared.similarity[:, compared.own].tolist()),
    )


def _verdicts(subject: Subject) -> dict[str, VerdictEntry]:
    verdicts: dict[str, VerdictEntry] = {}
    for name, judge in subject.other_judges.items():
        before_it = subject.judged_by(name)
        views = _views(before_it)
        assert views is not None
        verdicts[name] = VerdictEntry(
            judge=JudgeEntry(name=judge.name), views=views, retrieved=_retrieved(before_it)
        )
    return verdicts


def _hits(found: Retrieval | None) -> str | None:
    return None if found is None else _digits(own_ranks(found.similarity, found.own) == 1)


def _digits(hits: Bool[Tensor, " views"]) -> str:
    return "".join("1" if hit else "0" for hit in hits.tolist())


def _retrieved(subject: Subject) -> tuple[str, ...] | None:
    found = subject.retrieval("mesh", "color")
    if found is None or subject.judge is None:
        return None
    captions = subject.judge.pool.captions
    return tuple(captions[index] for index in found.similarity.argmax(dim=1).tolist())


def _sides(subject: Subject) -> SidesEntry | None:
    sides, true_sides = subject.sides("mesh"), subject.sides("truth")
    if sides is None or true_sides is None:
        return None
    return SidesEntry(views=tuple(sides), true_views=tuple(true_sides))


def _alignment(subject: Subject) -> AlignmentEntry | None:
    found = subject.geometry
    return None if found is None else AlignmentEntry(yaw_deg=found.yaw_deg, scale=found.scale)
