"""The schema of the evaluation protocol, which all assets of a suite share.

It is kept outside of every recipe, so that no method can choose an easier protocol. Every key that
has a value is required: a value that is not in a file is not tracked. "DF" cites DreamFusion
(arXiv 2209.14988).
"""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from dreamfusion_kit.recipe.schema import (
    BundledSourceSection,
    Color,
    Fraction,
    ImageSize,
    Length,
    Section,
    Seed,
    SourceSection,
    WorkspacePath,
)
from dreamfusion_kit.recipe.schema.base import ONE_TAG, SEVERAL_TAG, Line, SparseSection

Scale = Annotated[float, Field(ge=0.01, le=100)]
SHA256 = r"^[0-9a-f]{64}$"
JUDGE_NAME = r"^[a-z0-9_]{1,64}$"
VQA = "vqa"
SINGLE_JUDGE = "clip"
"""The name of a judge that is declared without one."""


class NamedClipSection(Section):
    """One of several judges."""

    name: Annotated[
        str,
        Field(pattern=JUDGE_NAME, description="Its name in metrics, such as b32; each once."),
    ]
    source: Annotated[SourceSection, Field(description="Where the model's directory comes from.")]


def _number_tag(value: object) -> str:
    return SEVERAL_TAG if isinstance(value, list | tuple) else ONE_TAG


ClipSection = Annotated[
    Annotated[SourceSection, Tag(ONE_TAG)]
    | Annotated[tuple[NamedClipSection, ...], Field(min_length=1, max_length=16), Tag(SEVERAL_TAG)],
    Discriminator(_number_tag),
]


class ViewsSection(Section):
    """Fixed views that are scored. DF averages over azimuths at 30 degrees and says no more."""

    num_azimuths: Annotated[
        int,
        Field(
            ge=1,
            le=360,
            description="Views per asset, evenly spaced; the first faces +x, the front.",
        ),
    ]
    elevation_deg: Annotated[
        float, Field(ge=-89, le=89, description="Degrees above the ground plane (DF A.3: 30).")
    ]
    radius: Annotated[
        Length, Field(description="Distance of the camera from the origin, scene units.")
    ]
    fov_y_deg: Annotated[float, Field(ge=1, le=179, description="Field of view in degrees.")]
    image_size_px: Annotated[ImageSize, Field(description="Side of the square images in pixels.")]
    supersampling: Annotated[
        int,
        Field(
            ge=1,
            le=16,
            description="Rays per pixel and axis, averaged; 2 means four rays per pixel.",
        ),
    ]
    background: Annotated[
        Color, Field(description="Plain colour behind the object, RGB in [0, 1].")
    ]
    ambient: Annotated[
        Fraction, Field(description="Light from everywhere, a factor on the albedo (DF s. 3.1).")
    ]
    diffuse: Annotated[
        Fraction, Field(description="Light from the camera, a factor on max(0, n.l) (DF s. 3.1).")
    ]
    normals: Annotated[
        Literal["smooth", "face"],
        Field(description="Shade a mesh with interpolated vertex normals or with face normals."),
    ]


class TurntableSection(Section):
    """The animation of one full turn: looked at, never scored."""

    num_frames: Annotated[int, Field(ge=1, le=3600, description="Frames of the full turn.")]
    image_size_px: Annotated[ImageSize, Field(description="Side of the square frames in pixels.")]
    frame_duration_ms: Annotated[
        int, Field(ge=1, le=60_000, description="Time each frame is shown.")
    ]


class GeometrySection(Section):
    """How a mesh is compared with the true shape of a toybox object."""

    num_points: Annotated[
        int,
        Field(
            ge=1,
            le=10**7,
            description="Points drawn on each surface for Chamfer distance and F-score.",
        ),
    ]
    f_score_distance: Annotated[
        Length, Field(description="A point closer than this (scene units) counts as met.")
    ]
    surface_resolution: Annotated[
        int, Field(ge=8, le=1024, description="Cells per axis when the true surface is extracted.")
    ]
    iou_resolution: Annotated[
        int, Field(ge=2, le=1024, description="Cells along the longest side of the occupancy grid.")
    ]
    num_azimuths: Annotated[
        int,
        Field(
            ge=1,
            le=3600,
            description="Rotations about the up axis tried before the best is refined.",
        ),
    ]
    scale_range: Annotated[
        tuple[Scale, Scale],
        Field(
            description="Smallest and largest scale tried, 1 = equal extents of the bulk of the "
            "surfaces."
        ),
    ]
    num_scales: Annotated[
        int, Field(ge=1, le=1000, description="Scales tried before the best is refined.")
    ]
    num_search_points: Annotated[
        int,
        Field(
            ge=1, le=10**6, description="Points per surface in the search for rotation and scale."
        ),
    ]

    @model_validator(mode="after")
    def _range_is_ordered(self) -> "GeometrySection":
        lower, upper = self.scale_range
        if lower > upper:
            raise ValueError(f"scale_range: found {lower} above {upper}, expected lower, upper")
        return self


class ToyboxPoolSection(Section):
    """The toybox's own captions: every colour with every object."""

    kind: Literal["toybox"] = Field(description="All captions of the embedded toybox.")


class SuitePoolSection(Section):
    """The prompts of the suite itself, each once (DF s. 4 takes its 153 captions this way)."""

    kind: Literal["suite"] = Field(description="The prompts of the suite's own assets.")


class FilePoolSection(SparseSection):
    """Captions from a text file: a pool that stays the same while a suite grows.

    A published pool is declared with `size` and `sha256`, so that another list is refused.
    """

    kind: Literal["file"] = Field(description="A text file of this workspace.")
    path: Annotated[
        WorkspacePath, Field(description="The file, UTF-8, one caption a line; relative path.")
    ]
    size: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="How many captions it has to hold; null for any."),
    ] = None
    sha256: Annotated[
        str | None,
        Field(
            pattern=SHA256,
            description="Hash of its lines in sorted order, joined by line feeds; null for any.",
        ),
    ] = None
    source: Annotated[
        Line | None, Field(description="Where to get the file; shown if it is missing or differs.")
    ] = None


CaptionPoolSection = Annotated[
    ToyboxPoolSection | SuitePoolSection | FilePoolSection, Field(discriminator="kind")
]


class EvaluationSection(SparseSection):
    """The protocol: the judges, their pool of captions, the views and the geometry measures."""

    seed: Annotated[Seed, Field(description="Seed of the points drawn on surfaces.")]
    clip: Annotated[
        ClipSection | None,
        Field(
            description="The judge, any CLIP in transformers format; or a list of several, the "
            "main one first; null leaves R-Precision and the CLIP score out."
        ),
    ]
    vqa: Annotated[
        SourceSection | None,
        Field(
            description="A BLIP-2 or InstructBLIP with a T5 that is asked whether a view shows "
            "the prompt (VQAScore); null leaves that out."
        ),
    ] = None
    caption_pool: Annotated[
        CaptionPoolSection, Field(description="The captions that retrieval chooses from.")
    ]
    views: ViewsSection
    turntable: TurntableSection
    geometry: GeometrySection
    confidence_level: Annotated[
        float,
        Field(
            ge=0.01,
            le=0.9999,
            description="Coverage of R-Precision's interval (Wilson, over assets).",
        ),
    ]

    @property
    def judges(self) -> dict[str, SourceSection]:
        """Return the CLIPs that judge by name, the main one first; empty without any."""
        if self.clip is None:
            return {}
        if isinstance(self.clip, tuple):
            return {judge.name: judge.source for judge in self.clip}
        return {SINGLE_JUDGE: self.clip}

    @property
    def sources(self) -> dict[str, SourceSection]:
        """Return every model that the protocol needs, by the name it is fetched under."""
        return self.judges | ({} if self.vqa is None else {VQA: self.vqa})

    @property
    def is_plain(self) -> bool:
        """Return whether at most one model judges, and it has no name of its own."""
        return self.vqa is None and not isinstance(self.clip, tuple)

    @model_validator(mode="after")
    def _bundled_judges_are_the_clip(self) -> "EvaluationSection":
        for name, source in self.sources.items():
            if isinstance(source, BundledSourceSection) and (name == VQA or source.name != "clip"):
                raise ValueError(
                    f"found the bundled model {source.name} as {name}, expected a model that can "
                    "judge: the bundled clip as a CLIP, and none that is bundled as vqa"
                )
        return self

    @model_validator(mode="after")
    def _judges_differ(self) -> "EvaluationSection":
        if not isinstance(self.clip, tuple):
            return self
        names = [judge.name for judge in self.clip]
        if len(set(names)) < len(names) or VQA in names:
            raise ValueError(
                f"clip: found the names {', '.join(names)}, expected each once, and none vqa"
            )
        for index, judge in enumerate(self.clip):
            if any(judge.source == other.source for other in self.clip[:index]):
                raise ValueError(
                    f"clip: found the model of {judge.name} twice, expected each model once"
                )
        return self
