"""Every metric as one record: its name, how it is measured and summarised, and its meaning.

The evaluate stage, the suite's summary, its CSV, the gallery, the terminal's table and
`scripts/compare.py` iterate over `METRICS`. A new metric is one entry here.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from dreamfusion_kit.evaluation.appearance import fog, saturation, seed_distance
from dreamfusion_kit.evaluation.geometry import GeometryMetrics
from dreamfusion_kit.evaluation.r_precision import clip_score, object_hits, r_precision
from dreamfusion_kit.evaluation.subject import Light, Number, Object, Retrieval, Subject
from dreamfusion_kit.evaluation.surface import roughness

Unit = Literal["share", "score", "distance", "angle", "count", "flag"]
Better = Literal["higher", "lower", "neither"]
Place = Literal["headline", "card", "terminal", "comparison"]


@dataclass(frozen=True)
class Metric:
    """One number per asset, and its mean over a suite.

    Exactly one of `measure` and `among_seeds` is set. `reference` and `chance` are the keys
    of the metrics that true renders and guessing reach.
    """

    key: str
    """Its dotted place in a suite's summary; its name in an asset's metrics."""
    label: str
    unit: Unit
    better: Better
    meaning: str
    measure: Callable[[Subject], Number] | None = None
    """Measures a finished asset; flags are 1 and 0. None where it has no meaning."""
    among_seeds: Callable[[Tensor, list[Tensor]], float] | None = None
    """Measures the judge's features of an asset's colour views, `views features`, against those
    of assets that differ from it in nothing but the seed."""
    total: Callable[[Sequence[float]], float] = statistics.fmean
    """Sums the assets' numbers up."""
    has_interval: bool = False
    """Whether the suite's mean, a share, comes with a confidence interval."""
    short: str = ""
    """A label for narrow columns; the label itself by default."""
    places: frozenset[Place] = frozenset()
    """Where it is shown beside the full tables."""
    reference: str | None = None
    chance: str | None = None

    def __post_init__(self) -> None:
        """Refuse a record with no way of being measured, or with two."""
        if (self.measure is None) == (self.among_seeds is None):
            raise ValueError(f"metric {self.key}: expected one of measure and among_seeds")

    @property
    def column(self) -> str:
        """Return its column in a suite's CSV."""
        return self.key.replace(".", "_")

    @property
    def heading(self) -> str:
        """Return the label for narrow columns."""
        return self.short or self.label


# ---- how they are measured


def _retrieved(of: Object, light: Light) -> Callable[[Subject], Number]:
    """Return a function that measures R-Precision of these views."""

    def measure(subject: Subject) -> Number:
        return _precision(subject.retrieval(of, light))

    return measure


def _precision(found: Retrieval | None) -> Number:
    return None if found is None else r_precision(found.similarity, found.own)


def _in_any_color(of: Object) -> Callable[[Subject], Number]:
    """Return a function that counts colour views whose nearest caption names the right object."""

    def measure(subject: Subject) -> Number:
        same_object, found = subject.same_object, subject.retrieval(of, "color")
        if same_object is None or found is None:
            return None
        return float(object_hits(found.similarity, same_object).double().mean())

    return measure


def _clip_score(subject: Subject) -> Number:
    found = subject.comparison("mesh", "color")
    return None if found is None else clip_score(found.similarity, found.own)


def _chance(subject: Subject) -> Number:
    judge = subject.judge
    return judge.pool.chance if judge is not None and judge.pool.can_retrieve else None


def _object_chance(subject: Subject) -> Number:
    same_object = subject.same_object
    return None if same_object is None else float(same_object.double().mean())


def _of_shape(read: Callable[[GeometryMetrics], float]) -> Callable[[Subject], Number]:
    """Return a function that reads one number of the comparison with the true shape."""

    def measure(subject: Subject) -> Number:
        return None if subject.geometry is None else read(subject.geometry)

    return measure


def _fronts(of: Object) -> Callable[[Subject], Number]:
    """Return a function that counts the views that the view classifier takes for the front."""

    def measure(subject: Subject) -> Number:
        sides = subject.sides(of)
        return None if sides is None else float(sides.count("front"))

    return measure


def _fact(key: str) -> Callable[[Subject], Number]:
    """Return a function that reads a fact of the mesh stage; older meshes may lack it."""

    def measure(subject: Subject) -> Number:
        value = subject.facts.get(key)
        return None if value is None else float(value)

    return measure


def _saturation(of: Object) -> Callable[[Subject], Number]:
    def measure(subject: Subject) -> Number:
        views = subject.images(of, "unlit")
        return None if views is None else saturation(views)

    return measure


def _fog(subject: Subject) -> Number:
    return fog(subject.field_views.opacity, subject.views.opacity)


# ---- the records

METRICS: tuple[Metric, ...] = (
    Metric(
        key="r_precision.color",
        label="R-Precision, colour",
        short="R-Prec.",
        unit="share",
        better="higher",
        meaning="Share of views whose own caption is the nearest of all captions, by CLIP.",
        measure=_retrieved("mesh", "color"),
        has_interval=True,
        places=frozenset({"headline", "card", "terminal", "comparison"}),
        reference="r_precision.ceiling",
        chance="r_precision.chance",
    ),
    Metric(
        key="r_precision.unlit",
        label="R-Precision, unlit",
        short="unlit",
        unit="share",
        better="higher",
        meaning="The same for views that show the albedo alone, without light and shadow.",
        measure=_retrieved("mesh", "unlit"),
        places=frozenset({"comparison"}),
        chance="r_precision.chance",
    ),
    Metric(
        key="r_precision.geometry",
        label="R-Precision, geometry",
        unit="share",
        better="higher",
        meaning="The same for views without texture. They cannot show the colour that a caption "
        "names: where captions differ by it, true shapes score no better than chance.",
        measure=_retrieved("mesh", "textureless"),
        has_interval=True,
        reference="r_precision.ceiling_geometry",
        chance="r_precision.chance",
    ),
    Metric(
        key="r_precision.ceiling",
        label="R-Precision, true renders",
        unit="share",
        better="neither",
        meaning="R-Precision of true renders of the same objects: the most this judge can give.",
        measure=_retrieved("truth", "color"),
    ),
    Metric(
        key="r_precision.ceiling_geometry",
        label="R-Precision, true geometry",
        unit="share",
        better="neither",
        meaning="The same for true renders without texture.",
        measure=_retrieved("truth", "textureless"),
    ),
    Metric(
        key="r_precision.chance",
        label="R-Precision, chance",
        unit="share",
        better="neither",
        meaning="R-Precision of guessing: one over the number of captions.",
        measure=_chance,
    ),
    Metric(
        key="object_precision.color",
        label="Right object, colour",
        unit="share",
        better="higher",
        meaning="Share of views whose nearest caption names the object, in whatever colour.",
        measure=_in_any_color("mesh"),
        reference="object_precision.ceiling",
        chance="object_precision.chance",
    ),
    Metric(
        key="object_precision.geometry",
        label="Right object, geometry",
        short="object (plaster)",
        unit="share",
        better="higher",
        meaning="Share of textureless views that find their object among captions of plaster "
        "objects.",
        measure=lambda subject: _precision(subject.plaster_retrieval("mesh")),
        places=frozenset({"headline", "terminal", "comparison"}),
        reference="object_precision.ceiling_geometry",
        chance="object_precision.chance",
    ),
    Metric(
        key="object_precision.ceiling",
        label="Right object, true renders",
        unit="share",
        better="neither",
        meaning="Share of true renders whose nearest caption names the object.",
        measure=_in_any_color("truth"),
    ),
    Metric(
        key="object_precision.ceiling_geometry",
        label="Right object, true geometry",
        unit="share",
        better="neither",
        meaning="Share of true textureless renders that find their object among plaster ones.",
        measure=lambda subject: _precision(subject.plaster_retrieval("truth")),
    ),
    Metric(
        key="object_precision.chance",
        label="Right object, chance",
        unit="share",
        better="neither",
        meaning="What guessing gives: the share of captions that name the object.",
        measure=_object_chance,
    ),
    Metric(
        key="clip_score",
        label="CLIP score",
        unit="score",
        better="higher",
        meaning="Mean cosine of a view and its own caption, from -1 to 1.",
        measure=_clip_score,
    ),
    Metric(
        key="iou",
        label="IoU",
        unit="score",
        better="higher",
        meaning="Volume shared with the true shape over the volume of both; 1 is a perfect fit.",
        measure=_of_shape(lambda shape: shape.iou),
        places=frozenset({"headline", "card", "terminal", "comparison"}),
    ),
    Metric(
        key="iou_raw",
        label="IoU, not aligned",
        unit="score",
        better="higher",
        meaning="The same as the mesh stands, neither turned nor scaled.",
        measure=_of_shape(lambda shape: shape.iou_raw),
    ),
    Metric(
        key="chamfer",
        label="Chamfer distance",
        short="Chamfer",
        unit="distance",
        better="lower",
        meaning="Mean distance between the two surfaces, in scene units.",
        measure=_of_shape(lambda shape: shape.chamfer),
        places=frozenset({"terminal", "comparison"}),
    ),
    Metric(
        key="chamfer_raw",
        label="Chamfer distance, not aligned",
        unit="distance",
        better="lower",
        meaning="The same as the mesh stands, neither turned nor scaled.",
        measure=_of_shape(lambda shape: shape.chamfer_raw),
    ),
    Metric(
        key="f_score",
        label="F-score",
        unit="share",
        better="higher",
        meaning="Harmonic mean of the shares of both surfaces that lie near the other one.",
        measure=_of_shape(lambda shape: shape.f_score),
    ),
    Metric(
        key="f_score_raw",
        label="F-score, not aligned",
        unit="share",
        better="higher",
        meaning="The same as the mesh stands, neither turned nor scaled.",
        measure=_of_shape(lambda shape: shape.f_score_raw),
    ),
    Metric(
        key="normal_angle",
        label="Normal angle",
        short="normals",
        unit="angle",
        better="lower",
        meaning="Mean angle between the normals of the mesh and of the true shape, where they are "
        "nearest.",
        measure=_of_shape(lambda shape: shape.normal_angle),
        places=frozenset({"comparison"}),
    ),
    Metric(
        key="front_views",
        label="Front views",
        short="fronts",
        unit="count",
        better="neither",
        meaning="Views per asset that the view classifier takes for the front, where an object "
        "has one. More than true renders have is the Janus problem.",
        measure=_fronts("mesh"),
        places=frozenset({"terminal"}),
        reference="true_front_views",
    ),
    Metric(
        key="true_front_views",
        label="Front views, true",
        short="true fronts",
        unit="count",
        better="neither",
        meaning="The same on true renders.",
        measure=_fronts("truth"),
        places=frozenset({"terminal"}),
    ),
    Metric(
        key="saturation",
        label="Saturation",
        short="saturation",
        unit="score",
        better="neither",
        meaning="Mean HSV saturation of the albedo that the views show; score distillation tends "
        "to exceed that of true renders.",
        measure=_saturation("mesh"),
        places=frozenset({"comparison"}),
        reference="true_saturation",
    ),
    Metric(
        key="true_saturation",
        label="Saturation, true",
        unit="score",
        better="neither",
        meaning="The same on true renders.",
        measure=_saturation("truth"),
    ),
    Metric(
        key="diversity",
        label="Diversity",
        short="diversity",
        unit="score",
        better="higher",
        meaning="How far seeds of one prompt differ: 1 - cosine of CLIP features, view by view.",
        among_seeds=seed_distance,
        places=frozenset({"comparison"}),
    ),
    Metric(
        key="fog",
        label="Fog",
        short="fog",
        unit="share",
        better="lower",
        meaning="Opacity of the field where the views do not show the mesh.",
        measure=_fog,
        places=frozenset({"comparison"}),
    ),
    Metric(
        key="roughness",
        label="Roughness",
        short="roughness",
        unit="angle",
        better="lower",
        meaning="Mean angle between neighbouring faces of the mesh, by length of edge.",
        measure=lambda subject: roughness(subject.mesh.surface),
        places=frozenset({"comparison"}),
    ),
    Metric(
        key="watertight",
        label="Closed mesh",
        unit="flag",
        better="higher",
        meaning="Without holes: each edge joins two faces that agree on the outside.",
        measure=_fact("watertight"),
    ),
    Metric(
        key="components",
        label="Components",
        unit="count",
        better="neither",
        meaning="Connected pieces per mesh; what is more than the object has floats or is hidden "
        "inside.",
        measure=_fact("components"),
    ),
    Metric(
        key="dropped_components",
        label="Pieces cut off",
        unit="count",
        better="lower",
        meaning="Small pieces that the mesh stage removed.",
        measure=_fact("dropped_components"),
    ),
    Metric(
        key="filled_cavity_fraction",
        label="Cavities filled",
        unit="share",
        better="lower",
        meaning="Share of the field's ball that lay hollow inside the object until the mesh stage "
        "filled it.",
        measure=_fact("filled_cavity_fraction"),
    ),
)
