"""How good the toybox's own models are: the judges on true renders, the prior by the judges."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit.evaluation.frechet import frechet_distance
from dreamfusion_kit.evaluation.judge import ImageTextModel
from dreamfusion_kit.evaluation.r_precision import cosine_similarity, retrieval_hits
from dreamfusion_kit.evaluation.views import render_images
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.toybox.captions import HELD_OUT, caption, caption_pool, plaster_caption
from dreamfusion_kit.toybox.reference_images import ONE_SIDED, Pair, Progress
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.samples import LEFT_RIGHT, SAMPLED_VIEWS, Prompt, Samples
from dreamfusion_kit.toybox.shapes import COLORS, DISTINCT_SIDES, OBJECTS, scene

Json = dict[str, Any]  # the values are what `json` writes


@runtime_checkable
class SideClassifier(Protocol):
    """Names the side that each image of a known object shows; a `ViewModel` is one."""

    def views(self, images: Float[Tensor, "batch h w 3"], object_name: str, /) -> list[str]:
        """Return the view word of each image."""
        ...


@dataclass(frozen=True)
class Judges:
    """Both judges, and the features of the captions that the CLIP chooses from."""

    clip: ImageTextModel
    view: SideClassifier
    captions: Float[Tensor, "captions features"]
    plaster: Float[Tensor, "prompts features"]


def toybox_judges(clip: ImageTextModel, view: SideClassifier) -> Judges:
    """Return the judges with the toybox's captions."""
    return Judges(
        clip=clip,
        view=view,
        captions=clip.text_features(caption_pool()),
        plaster=clip.text_features([plaster_caption(name) for name in OBJECTS]),
    )


def measure_samples(judges: Judges, samples: Samples, reference: Samples) -> Json:
    """Measure images of the prompts: right caption, right side, right distribution."""
    in_turn = samples.where(lambda prompt: prompt.is_in_turn)
    features = judges.clip.image_features(in_turn.images)
    similarity = cosine_similarity(features, judges.captions)
    pool = caption_pool()
    own = [pool.index(caption(prompt.color, prompt.object_name)) for prompt in in_turn.prompts]
    hits = retrieval_hits(similarity, torch.tensor(own))
    return {
        **_by_kind("r_precision", hits, [_pair(prompt) for prompt in in_turn.prompts]),
        **view_accuracy(judges.view, samples),
        "frechet_distance": frechet_distance(
            features, judges.clip.image_features(reference.images)
        ),
    }


def view_accuracy(judge: SideClassifier, samples: Samples) -> Json:
    """Return how often the side is the requested one: overall, by side and by object."""
    distinct = samples.where(lambda prompt: prompt.object_name in DISTINCT_SIDES)
    hits = torch.tensor(
        [
            judge.views(image[None], prompt.object_name) == [prompt.view.split()[-1]]
            for image, prompt in zip(distinct.images, distinct.prompts, strict=True)
        ]
    )

    def share(choose: Callable[[Prompt], bool]) -> float:
        return _mean(hits[[choose(prompt) for prompt in distinct.prompts]])

    return {
        "view_accuracy": _mean(hits),
        **{
            f"view_accuracy_{view.replace(' ', '_')}": share(lambda p, view=view: p.view == view)
            for view in SAMPLED_VIEWS
        },
        "view_accuracy_by_object": {
            name: share(lambda prompt, name=name: prompt.object_name == name)
            for name in OBJECTS
            if name in DISTINCT_SIDES
        },
    }


def side_accuracy(means: Mapping[Pair, Float[Tensor, "2 h w 3"]], samples: Samples) -> Json:
    """Return how often a side view is nearer to the mean picture of its own side.

    The classifier does not tell left from right. A distance between pixels can, for objects
    whose outline points one way; its accuracy on true renders says how well.
    """
    sides = samples.where(lambda p: p.object_name in ONE_SIDED and p.view in LEFT_RIGHT)
    hits = [
        int((means[_pair(prompt)] - image).square().sum(dim=(1, 2, 3)).argmin())
        == LEFT_RIGHT.index(prompt.view)
        for image, prompt in zip(sides.images, sides.prompts, strict=True)
    ]
    return {"side_accuracy": _mean(torch.tensor(hits))}


def ceiling(judges: Judges, protocol: EvaluationSection, progress: Progress) -> Json:
    """Retrieve from true renders on the protocol's orbit, as assets are asked to.

    Colour views of every pair must find their own caption among all; textureless views, which
    are the same in every colour, must find their object's among the plaster captions.
    """
    pairs = [(color, name) for name in OBJECTS for color in COLORS]
    report = progress("protocol's views", len(pairs) + len(OBJECTS))
    color_hits = torch.stack(
        [
            _orbit_hits(judges.clip, judges.captions, own, pair, protocol, textureless=False)
            for own, pair in enumerate(_counted(pairs, report))
        ]
    )
    anything = next(iter(COLORS))
    object_hits = [
        _orbit_hits(judges.clip, judges.plaster, own, (anything, name), protocol, textureless=True)
        for own, name in enumerate(_counted(OBJECTS, report))
    ]
    return {
        **_by_kind("color", color_hits, pairs),
        "textureless_object": _mean(torch.stack(object_hits)),
        "textureless_by_object": dict(zip(OBJECTS, map(_mean, object_hits), strict=True)),
    }


def _orbit_hits(
    clip: ImageTextModel,
    captions: Float[Tensor, "captions features"],
    own: int,
    pair: Pair,
    protocol: EvaluationSection,
    *,
    textureless: bool,
) -> Bool[Tensor, " views"]:
    color, name = pair
    solid = scene(name, color)
    images = render_images(
        lambda *inputs: render_scene(solid, *inputs)[0],
        protocol.views,
        textureless=textureless,
        supersampling=1,
    )
    similarity = cosine_similarity(clip.image_features(images), captions)
    return retrieval_hits(similarity, torch.full((len(images),), own))


def _pair(prompt: Prompt) -> Pair:
    return prompt.color, prompt.object_name


def _by_kind(name: str, hits: Bool[Tensor, "images *views"], pairs: list[Pair]) -> Json:
    """Return the mean over all pairs, and separately over trained and held-out pairs."""
    held_out = torch.tensor([pair in HELD_OUT for pair in pairs])
    return {
        name: _mean(hits),
        f"{name}_trained": _mean(hits[~held_out]),
        f"{name}_held_out": _mean(hits[held_out]),
    }


def _mean(hits: Tensor) -> float:
    return float(hits.double().mean())


def _counted(items: Sequence[Any], report: Callable[[int], None]) -> Iterable[Any]:
    for item in items:
        yield item
        report(1)
