"""The schema of the metrics files of assets and suites, so that nothing is read unchecked.

A file of one judge has no keys for further ones: it is that of format 2 as it was before there
could be several.

Free of torch, since tables, galleries and gates read these files.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from dreamfusion_kit.recipe.schema import Section
from dreamfusion_kit.recipe.schema.base import SparseSection, is_one_line

FORMAT_VERSION = 2

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bits = Annotated[str, Field(pattern=r"^[01]*$")]
Numbers = dict[str, float | None]


class JudgeEntry(Section):
    """The CLIP that judged: its path, or repository@revision."""

    name: Annotated[str, AfterValidator(is_one_line)]


class PoolEntry(Section):
    """The captions to choose from: their source, number and hash."""

    kind: Literal["toybox", "suite", "file"]
    size: Annotated[int, Field(ge=1)]
    sha256: Hash


class ViewsEntry(Section):
    """The judge's verdict on every view, front first.

    A digit of `hit` is 1 if the view's own caption is the nearest. `hit_textureless` is the same
    for textureless views, `hit_plaster` for textureless views among captions of plaster objects.
    `rank` is the rank of the view's own caption, `cosine` the similarity to it.
    """

    hit: Bits | None
    hit_textureless: Bits | None
    hit_plaster: Bits | None
    rank: tuple[int, ...] | None
    cosine: tuple[float, ...]


class SidesEntry(Section):
    """The side that the view classifier sees in every view, and in every true render."""

    views: tuple[str, ...]
    true_views: tuple[str, ...]


class AlignmentEntry(Section):
    """The turn and scale that bring the mesh nearest to the true shape."""

    yaw_deg: float
    scale: float


class InputsEntry(Section):
    """The files that were measured."""

    field_sha256: Hash | None
    """None for an imported mesh."""
    mesh_sha256: Hash
    """Of mesh.json, which names every other file of the mesh by its hash."""


class VerdictEntry(Section):
    """Another judge than the main one, and its verdicts."""

    judge: JudgeEntry
    views: ViewsEntry
    retrieved: tuple[str, ...] | None


class AssetEntry(SparseSection):
    """The metrics.json of one asset.

    `held_out` says whether the prior's training never saw the object in its colour; None
    without a truth. `metrics` has a number, or None, for every metric of
    `evaluation.metrics` that is measured on one asset. `retrieved` is the caption that each
    colour view is nearest to. `other_judges` are by name; `vqa` is the question-answering
    model.
    """

    format_version: Literal[2]
    asset: str
    prompt: str
    held_out: bool | None
    num_views: int
    judge: JudgeEntry | None
    caption_pool: PoolEntry | None
    inputs: InputsEntry
    metrics: Numbers
    views: ViewsEntry | None
    retrieved: tuple[str, ...] | None
    other_judges: dict[str, VerdictEntry] = Field(default_factory=dict)
    vqa: JudgeEntry | None = None
    sides: SidesEntry | None
    alignment: AlignmentEntry | None


class AssetRow(SparseSection):
    """One asset in a suite's metrics: small, since a suite may have a thousand."""

    prompt: str
    recipe: str
    identity: Hash
    seed: int
    metrics: Numbers
    views: ViewsEntry | None
    other_judges: dict[str, ViewsEntry] = Field(default_factory=dict)


class SuiteMetrics(SparseSection):
    """The metrics/<suite>.json: a summary, and a row per asset for comparing suites.

    `code` holds, per stage, the digest of the code that determines its result; `machine` is what
    it was computed on. Each is given if known.
    """

    format_version: Literal[2]
    suite: str
    judge: JudgeEntry | None
    other_judges: dict[str, JudgeEntry] = Field(default_factory=dict)
    vqa: JudgeEntry | None = None
    caption_pool: PoolEntry | None
    code: dict[str, str]
    machine: dict[str, JsonValue] | None
    summary: dict[str, JsonValue]
    assets: dict[str, AssetRow]


class CostRow(Section):
    """Time from text features to mesh, and the peak memory over the stages."""

    seconds: float
    peak_memory_bytes: int


class SuiteCost(Section):
    """The metrics/<suite>.cost.json: numbers that depend on the machine, apart from metrics."""

    format_version: Literal[2]
    suite: str
    seconds_per_asset: float
    peak_memory_bytes: int
    assets: dict[str, CostRow]
