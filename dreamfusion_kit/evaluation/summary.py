"""What is written down of an asset and of a suite: plain dictionaries, ready for JSON.

`None` stands where a number has no meaning: the ceiling and the geometry of a prompt that
names no toybox object, or a mean over no assets.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.geometry import GeometryMetrics
from dreamfusion_kit.evaluation.r_precision import (
    CaptionPool,
    clip_score,
    cosine_similarity,
    object_hits,
    r_precision,
    wilson_interval,
)
from dreamfusion_kit.provenance import Cost

_DECIMALS = 4

Json = dict[str, Any]  # the values are what `json` writes; their keys are listed below


@dataclass(frozen=True)
class ViewFeatures:
    """CLIP features of one asset's views; the ceilings are true renders of its own object."""

    color: Float[Tensor, "views features"]
    geometry: Float[Tensor, "views features"]
    ceiling: Float[Tensor, "views features"] | None
    ceiling_geometry: Float[Tensor, "views features"] | None


@dataclass(frozen=True)
class ObjectQuestion:
    """How views are asked for their object alone, in words that describe what they show.

    A colour view finds it where the nearest caption of the pool names it in whatever colour:
    `same_object`. A textureless view shows no colour: it must find its own of the captions
    "a white plaster mug", one per object, whose features are `plaster`.
    """

    same_object: Bool[Tensor, " captions"]
    plaster: Float[Tensor, "prompts features"]
    own_plaster: int


class Janus(TypedDict):
    """What a view classifier takes each colour view for, the first view facing the front.

    `front_views` counts the views it calls front; `true_front_views` is the same count on
    true renders. More fronts than the truth has is the Janus problem.
    """

    views: list[str]
    true_views: list[str]
    front_views: int
    true_front_views: int


class MeshHealth(TypedDict):
    """What the mesh stage states of the final mesh, of its facts."""

    watertight: bool
    components: int


class PerKind(TypedDict):
    """One number for each kind of view."""

    color: float
    geometry: float
    ceiling: float | None
    ceiling_geometry: float | None


class AssetMetrics(TypedDict):
    """The metrics.json of one asset.

    `held_out` says whether the prompt's pair was kept from the toybox's training, None
    for other prompts. `object_precision` counts views that retrieve the right object, asked
    as `ObjectQuestion` says; `object_chance` is what guessing gives. Both are None for other
    prompts, `janus` also for objects that look the same from several sides.
    `retrieved` holds the caption that each colour view is nearest to.
    """

    asset: str
    prompt: str
    held_out: bool | None
    num_views: int
    num_captions: int
    r_precision: PerKind
    object_precision: PerKind | None
    object_chance: float | None
    clip_score: PerKind
    retrieved: list[str]
    geometry: dict[str, float | bool] | None
    janus: Janus | None
    mesh: MeshHealth


def asset_metrics(
    *,
    asset: str,
    prompt: str,
    held_out: bool | None,
    own_caption: str,
    pool: CaptionPool,
    caption_features: Float[Tensor, "captions features"],
    question: ObjectQuestion | None,
    features: ViewFeatures,
    geometry: GeometryMetrics | None,
    janus: Janus | None,
    mesh: MeshHealth,
) -> AssetMetrics:
    """Gather all measures of one asset.

    Args:
        asset: The asset's id.
        prompt: The prompt it was made from.
        held_out: Whether the toybox's training never saw the prompt's pair.
        own_caption: The caption in `pool` that is the right answer.
        pool: The captions retrieval chooses from.
        caption_features: Features of the pool's captions, in its order.
        question: How views are asked for the object; None where the prompt names no toybox
            object.
        features: Features of the views.
        geometry: Distances to the true shape, where there is one.
        janus: What sides the views show, where the object has distinct ones.
        mesh: Whether the mesh is closed and in one piece.
    """
    own = pool.index(own_caption)

    def precision(views: Tensor) -> float:
        return r_precision(cosine_similarity(views, caption_features), own)

    def score(views: Tensor) -> float:
        return clip_score(cosine_similarity(views, caption_features), own)

    nearest = cosine_similarity(features.color, caption_features).argmax(dim=1)
    return AssetMetrics(
        asset=asset,
        prompt=prompt,
        held_out=held_out,
        num_views=len(features.color),
        num_captions=len(pool.captions),
        r_precision=_per_kind(features, precision, precision),
        object_precision=_object_precision(features, caption_features, question),
        object_chance=None if question is None else float(question.same_object.double().mean()),
        clip_score=_per_kind(features, score, score),
        retrieved=[pool.captions[index] for index in nearest.tolist()],
        geometry=None if geometry is None else asdict(geometry),
        janus=janus,
        mesh=mesh,
    )


def janus(views: Sequence[str], true_views: Sequence[str]) -> Janus:
    """Count the views called "front"; both sequences go once around the object."""
    return Janus(
        views=list(views),
        true_views=list(true_views),
        front_views=views.count("front"),
        true_front_views=true_views.count("front"),
    )


def summarize(
    per_asset: Sequence[AssetMetrics],
    *,
    costs: Mapping[str, Cost],
    clip: str,
    pool: CaptionPool,
    confidence_level: float,
) -> Json:
    """Return a suite's metrics: means over its assets, rounded for stable diffs.

    All assets stand at the top level; `trained` and `held_out` repeat the table for the
    toybox pairs that training saw and never saw, each where the suite has any.

    Args:
        per_asset: The metrics of every asset.
        costs: Time and memory by asset id, for every asset.
        clip: The judge's name, written beside its verdict.
        pool: The declared captions, without any asset's own addition.
        confidence_level: Coverage of R-Precision's intervals.
    """
    if not per_asset:
        raise EvaluationError(
            "suite: found no assets, expected one or more; add one to params.yaml"
        )
    summary = _table(per_asset, costs, confidence_level)
    groups = {
        "trained": [entry for entry in per_asset if entry["held_out"] is False],
        "held_out": [entry for entry in per_asset if entry["held_out"] is True],
    }
    tables = {
        name: _table(group, costs, confidence_level) for name, group in groups.items() if group
    }
    judge = {"clip": clip, "caption_pool": {"size": len(pool.captions), "sha256": pool.sha256}}
    return _rounded(summary | tables | judge)


def asset_row(entry: AssetMetrics, cost: Cost) -> Json:
    """Return one asset as a flat row of the suite's CSV; the keys are the same for all."""
    geometry = entry["geometry"] or {}
    objects = entry["object_precision"] or {}
    sides = entry["janus"] or {}
    measures = {name: geometry.get(name) for name in _GEOMETRY_MEANS}
    return _rounded(
        {
            "asset": entry["asset"],
            "prompt": entry["prompt"],
            "held_out": entry["held_out"],
            "r_precision_color": entry["r_precision"]["color"],
            "r_precision_geometry": entry["r_precision"]["geometry"],
            "object_precision_color": objects.get("color"),
            "object_precision_geometry": objects.get("geometry"),
            "r_precision_ceiling": entry["r_precision"]["ceiling"],
            "r_precision_ceiling_geometry": entry["r_precision"]["ceiling_geometry"],
            "clip_score": entry["clip_score"]["color"],
            **measures,
            **{name: sides.get(name) for name in _JANUS_MEANS},
            **entry["mesh"],
            "seconds": cost.seconds,
            "peak_memory_bytes": cost.peak_memory_bytes,
        }
    )


_GEOMETRY_MEANS = ("iou", "iou_raw", "chamfer", "chamfer_raw", "f_score", "f_score_raw")
_JANUS_MEANS = ("front_views", "true_front_views")


def _per_kind(
    features: ViewFeatures, color: Callable[[Tensor], float], geometry: Callable[[Tensor], float]
) -> PerKind:
    """Measure colour views by `color` and textureless ones by `geometry`."""
    ceiling, ceiling_geometry = features.ceiling, features.ceiling_geometry
    return PerKind(
        color=color(features.color),
        geometry=geometry(features.geometry),
        ceiling=None if ceiling is None else color(ceiling),
        ceiling_geometry=None if ceiling_geometry is None else geometry(ceiling_geometry),
    )


def _object_precision(
    features: ViewFeatures,
    caption_features: Float[Tensor, "captions features"],
    question: ObjectQuestion | None,
) -> PerKind | None:
    if question is None:
        return None

    def in_any_color(views: Tensor) -> float:
        similarity = cosine_similarity(views, caption_features)
        return float(object_hits(similarity, question.same_object).double().mean())

    def as_plaster(views: Tensor) -> float:
        return r_precision(cosine_similarity(views, question.plaster), question.own_plaster)

    return _per_kind(features, in_any_color, as_plaster)


def _table(
    entries: Sequence[AssetMetrics], costs: Mapping[str, Cost], confidence_level: float
) -> Json:
    precision = [entry["r_precision"] for entry in entries]
    color = statistics.fmean(kinds["color"] for kinds in precision)
    geometry = statistics.fmean(kinds["geometry"] for kinds in precision)
    color_low, color_high = wilson_interval(color, len(entries), confidence_level)
    geometry_low, geometry_high = wilson_interval(geometry, len(entries), confidence_level)
    shapes = [entry["geometry"] for entry in entries if entry["geometry"] is not None]
    objects = [entry["object_precision"] for entry in entries if entry["object_precision"]]
    sides = [entry["janus"] for entry in entries if entry["janus"] is not None]
    return {
        "num_assets": len(entries),
        "r_precision": {
            "color": color,
            "color_low": color_low,
            "color_high": color_high,
            "geometry": geometry,
            "geometry_low": geometry_low,
            "geometry_high": geometry_high,
            "ceiling": _mean_of_known(kinds["ceiling"] for kinds in precision),
            "ceiling_geometry": _mean_of_known(kinds["ceiling_geometry"] for kinds in precision),
            "chance": statistics.fmean(1 / entry["num_captions"] for entry in entries),
        },
        "object_precision": {
            "color": _mean_of_known(kinds["color"] for kinds in objects),
            "geometry": _mean_of_known(kinds["geometry"] for kinds in objects),
            "ceiling": _mean_of_known(kinds["ceiling"] for kinds in objects),
            "ceiling_geometry": _mean_of_known(kinds["ceiling_geometry"] for kinds in objects),
            "chance": _mean_of_known(entry["object_chance"] for entry in entries),
        },
        "clip_score": statistics.fmean(entry["clip_score"]["color"] for entry in entries),
        **{name: _mean_of_known(shape[name] for shape in shapes) for name in _GEOMETRY_MEANS},
        **{name: _mean_of_known(views[name] for views in sides) for name in _JANUS_MEANS},
        "watertight": statistics.fmean(entry["mesh"]["watertight"] for entry in entries),
        "components": statistics.fmean(entry["mesh"]["components"] for entry in entries),
        "seconds_per_asset": statistics.fmean(costs[entry["asset"]].seconds for entry in entries),
        "peak_memory_bytes": max(costs[entry["asset"]].peak_memory_bytes for entry in entries),
    }


def _mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is there, None where nothing is."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _rounded(value: Any) -> Any:
    """Return nested dictionaries with every float rounded."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return round(value, _DECIMALS) if isinstance(value, float) else value
