"""CLIP R-Precision: how often a view finds its own caption in a declared pool.

Pure functions of features and similarities (DreamFusion, s. 4; Dream Fields, `run_eval`):
a view scores 1 if the cosine with its own caption is above that with every other
caption of the pool. An asset's R-Precision is the mean over its views, a suite's the mean
over its assets.
"""

import statistics
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.recipe.captions import captions_sha256, normalize_caption


@dataclass(frozen=True)
class CaptionPool:
    """The captions that retrieval chooses from, as the text encoder reads them.

    Two captions that `normalize_caption` makes equal would both be right answers, so a
    pool that holds such a pair is refused. Nothing can be retrieved from a pool of one
    caption, but views can still be compared with it.
    """

    captions: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise `EvaluationError` unless there is one caption or more, all different."""
        distinct = len({normalize_caption(caption) for caption in self.captions})
        if distinct < 1 or distinct != len(self.captions):
            raise EvaluationError(
                f"caption pool: found {len(self.captions)} captions, {distinct} of them different, "
                "expected one or more without repetition; declare each caption once"
            )

    @property
    def sha256(self) -> str:
        """Return the hash of the normalised captions in sorted order, one per line."""
        return captions_sha256(normalize_caption(caption) for caption in self.captions)

    @property
    def chance(self) -> float:
        """Return the R-Precision of guessing: one over the number of captions."""
        return 1 / len(self.captions)

    @property
    def can_retrieve(self) -> bool:
        """Return whether there is a wrong answer."""
        return len(self.captions) > 1

    def including(self, caption: str) -> "CaptionPool":
        """Return this pool, with `caption` added unless an equal one is in it."""
        return self if self.has(caption) else CaptionPool((*self.captions, caption))

    def has(self, caption: str) -> bool:
        """Return whether `caption`, as normalised, is in the pool."""
        return normalize_caption(caption) in {normalize_caption(one) for one in self.captions}

    def index(self, caption: str) -> int:
        """Return the index of `caption`, compared as normalised."""
        places = [normalize_caption(entry) for entry in self.captions]
        try:
            return places.index(normalize_caption(caption))
        except ValueError:
            raise EvaluationError(
                f"caption pool of {len(places)}: found no {caption!r}, expected every asset's own "
                "caption in the pool; add it with CaptionPool.including"
            ) from None


def cosine_similarity(
    image_features: Float[Tensor, "views features"],
    caption_features: Float[Tensor, "captions features"],
) -> Float[Tensor, "views captions"]:
    """Return cosines; the features need not have unit length."""
    images = torch.nn.functional.normalize(image_features, dim=-1)
    captions = torch.nn.functional.normalize(caption_features, dim=-1)
    return images @ captions.T


def retrieval_hits(
    similarity: Float[Tensor, "views captions"], own: Int[Tensor, " views"]
) -> Bool[Tensor, " views"]:
    """Return which views are nearer to their own caption than to every other one.

    A tie is a miss: a judge that cannot tell captions apart has retrieved nothing, and
    constant features score 0 whatever the order of the pool.
    """
    own_similarity = similarity.gather(1, own[:, None])
    others = similarity.scatter(1, own[:, None], -torch.inf)
    return own_similarity[:, 0] > others.amax(dim=1)


def own_ranks(similarity: Float[Tensor, "views captions"], own_index: int) -> Int[Tensor, " views"]:
    """Return the rank of each view's own caption among all, nearest first; 1 is a hit.

    Captions that are exactly as near rank before it, as a tie is a miss.
    """
    return (similarity >= similarity[:, own_index, None]).sum(dim=1)


def object_hits(
    similarity: Float[Tensor, "views captions"], same_object: Bool[Tensor, " captions"]
) -> Bool[Tensor, " views"]:
    """Return which views are nearest to a caption of the right object, in any colour.

    A textureless view cannot show the colour that its caption names; this measure counts the
    shape alone. A tie between right and wrong is a miss.
    """
    right = similarity.masked_fill(~same_object, -torch.inf).amax(dim=1)
    wrong = similarity.masked_fill(same_object, -torch.inf).amax(dim=1)
    return right > wrong


def r_precision(similarity: Float[Tensor, "views captions"], own_index: int) -> float:
    """Return the share of one asset's views that find its caption."""
    own = torch.full((len(similarity),), own_index)
    return float(retrieval_hits(similarity, own).double().mean())


def clip_score(similarity: Float[Tensor, "views captions"], own_index: int) -> float:
    """Return the mean cosine of one asset's views and its own caption."""
    return float(similarity[:, own_index].double().mean())


def wilson_interval(mean: float, num_trials: int, confidence_level: float) -> tuple[float, float]:
    """Return Wilson's interval for a proportion seen in `num_trials` independent trials.

    The views of one asset are not independent, so a suite passes its number of assets.
    That is safe: a variable in [0, 1] of mean p has a variance of at most p (1 - p), the
    binomial's. Unlike a bootstrap over assets, the interval keeps its width where every
    asset of a small suite scores the same.
    """
    z = statistics.NormalDist().inv_cdf((1 + confidence_level) / 2)
    shrink = 1 + z**2 / num_trials
    center = (mean + z**2 / (2 * num_trials)) / shrink
    variance = mean * (1 - mean) / num_trials + z**2 / (4 * num_trials**2)
    half_width = z * variance**0.5 / shrink
    return max(0.0, center - half_width), min(1.0, center + half_width)
