"""Every metric as a record, for one judge or for several.

The evaluate stage, the suite's summary, its CSV, the gallery, the terminal's table and
`scripts/compare.py` iterate over these. A new metric is one entry here, or in
`judged_metrics.py` if a judge gives it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from dreamfusion_kit.evaluation.appearance import fog, saturation, seed_distance
from dreamfusion_kit.evaluation.geometry import GeometryMetrics
from dreamfusion_kit.evaluation.judged_metrics import JUDGED_METRICS
from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.subject import Number, Object, Subject
from dreamfusion_kit.evaluation.surface import roughness
from dreamfusion_kit.recipe.evaluation import EvaluationSection


def metrics_of(protocol: EvaluationSection) -> tuple[Metric, ...]:
    """Return what a protocol measures.

    The first judge's metrics have plain keys. Those of any other judge NAME are repeated as
    `judges.NAME.<key>`.
    """
    return metrics_by(list(protocol.judges)[1:], vqa=protocol.vqa is not None)


def metrics_by(other_judges: Iterable[str], *, vqa: bool) -> tuple[Metric, ...]:
    """Return the metrics with those of further judges, and of a question answerer."""
    others = [
        _by_judge(metric, name)
        for name in other_judges
        for metric in JUDGED_METRICS
        if metric.by_judge
    ]
    return (*METRICS, *others, *((VQA_SCORE,) if vqa else ()))


def _by_judge(metric: Metric, name: str) -> Metric:
    """Return the same metric by another judge than the first."""
    measure = metric.measure
    assert measure is not None
    return replace(
        metric,
        key=f"judges.{name}.{metric.key}",
        label=f"{metric.label}, by {name}",
        short="",
        measure=lambda subject: measure(subject.judged_by(name)),
        places=metric.places & {"headline"},
        reference=None if metric.reference is None else f"judges.{name}.{metric.reference}",
    )


# ---- how they are measured


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
    of_field = subject.field_views
    return None if of_field is None else fog(of_field.opacity, subject.views.opacity)


# ---- the records

METRICS: tuple[Metric, ...] = (
    *JUDGED_METRICS,
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
        meaning="The same for the mesh as it is, neither rotated nor scaled.",
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
        meaning="The same for the mesh as it is, neither rotated nor scaled.",
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
        meaning="The same for the mesh as it is, neither rotated nor scaled.",
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
        meaning="Views per asset that the view classifier labels as the front, for objects that "
        "have one. A count above that of true renders indicates the Janus problem.",
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
        meaning="How much the seeds of a prompt differ: 1 - cosine of CLIP features, view by view.",
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
        meaning="Mean angle between neighbouring faces of the mesh, weighted by edge length.",
        measure=lambda subject: roughness(subject.mesh.surface),
        places=frozenset({"comparison"}),
    ),
    Metric(
        key="watertight",
        label="Closed mesh",
        unit="flag",
        better="higher",
        meaning="Without holes: each edge joins two consistently oriented faces.",
        measure=_fact("watertight"),
    ),
    Metric(
        key="components",
        label="Components",
        unit="count",
        better="neither",
        meaning="Connected pieces per mesh; any beyond the object's own float, or are hidden "
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
        meaning="Share of the bounding ball that was hollow inside the object before the mesh "
        "stage filled it.",
        measure=_fact("filled_cavity_fraction"),
    ),
)

VQA_SCORE = Metric(
    key="vqa_score",
    label="VQAScore",
    unit="share",
    better="higher",
    meaning="Mean probability of yes, by a model that is asked whether a view shows the prompt.",
    measure=lambda subject: subject.vqa_score,
    places=frozenset({"headline"}),
)
