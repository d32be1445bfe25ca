"""The metrics that a judge gives: R-Precision, the right object, the CLIP score."""

from collections.abc import Callable

from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.r_precision import clip_score, object_hits, r_precision
from dreamfusion_kit.evaluation.subject import Light, Number, Object, Retrieval, Subject

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


# ---- the records

JUDGED_METRICS: tuple[Metric, ...] = (
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
        by_judge=True,
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
        by_judge=True,
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
        by_judge=True,
    ),
    Metric(
        key="r_precision.ceiling",
        label="R-Precision, true renders",
        unit="share",
        better="neither",
        meaning="R-Precision of true renders of the same objects: the best this judge can give.",
        measure=_retrieved("truth", "color"),
        by_judge=True,
    ),
    Metric(
        key="r_precision.ceiling_geometry",
        label="R-Precision, true geometry",
        unit="share",
        better="neither",
        meaning="The same for true renders without texture.",
        measure=_retrieved("truth", "textureless"),
        by_judge=True,
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
        meaning="Share of views whose nearest caption names the object, in any colour.",
        measure=_in_any_color("mesh"),
        reference="object_precision.ceiling",
        chance="object_precision.chance",
        by_judge=True,
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
        by_judge=True,
    ),
    Metric(
        key="object_precision.ceiling",
        label="Right object, true renders",
        unit="share",
        better="neither",
        meaning="Share of true renders whose nearest caption names the object.",
        measure=_in_any_color("truth"),
        by_judge=True,
    ),
    Metric(
        key="object_precision.ceiling_geometry",
        label="Right object, true geometry",
        unit="share",
        better="neither",
        meaning="Share of true textureless renders that find their object among plaster ones.",
        measure=lambda subject: _precision(subject.plaster_retrieval("truth")),
        by_judge=True,
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
        by_judge=True,
    ),
)
