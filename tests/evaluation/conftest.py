"""A subject of two made-up views, whose judge and truth answer what a test says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamfusion_kit.evaluation.judge import Judge
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.subject import Subject
from dreamfusion_kit.evaluation.surface import Surface, TexturedMesh
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.load import load_yaml
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput, Truth

PARAMS = Path(__file__).parents[2] / "params.yaml"
POOL = ("a red mug", "a blue mug", "a green car")
PLASTER = ("a white plaster car", "a white plaster mug")
SIZE_PX = 16


class PictureReader:
    """A judge by a picture's first pixel: its red counts in sixteenths along `words`."""

    words = (*POOL, *PLASTER, "a wooden horse")

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(len(self.words))[(images[:, 0, 0, 0] * 16).round().long()]

    def text_features(self, captions: Any) -> torch.Tensor:
        return torch.eye(len(self.words))[[self.words.index(caption) for caption in captions]]


def painter(color: list[str], plaster: str) -> Callable[..., torch.Tensor]:
    """Return a renderer whose views show these captions, one per view, and this one in plaster."""

    def render(cameras: Cameras, lighting: Lighting, background: torch.Tensor) -> torch.Tensor:
        view = round(float(cameras.azimuth_deg) * len(color) / 360)
        text = plaster if lighting.textureless.any() else color[view]
        return torch.full_like(background, PictureReader.words.index(text) / 16)

    return render


@pytest.fixture
def protocol() -> EvaluationSection:
    """Return two small views and a small search."""
    document: Any = load_yaml(PARAMS).data["evaluation"]
    document["views"] |= {"num_azimuths": 2, "image_size_px": SIZE_PX, "supersampling": 1}
    document["geometry"] |= {
        "num_points": 200, "surface_resolution": 16, "iou_resolution": 12, "num_azimuths": 2,
        "num_scales": 1, "num_search_points": 40,
    }  # fmt: skip
    return EvaluationSection.model_validate_json(json.dumps(document))


@pytest.fixture
def make_subject(protocol: EvaluationSection) -> Callable[..., Subject]:
    """Return a maker of subjects; keywords replace the parts of a mug that half succeeded."""

    def make(**replacements: Any) -> Subject:
        paint = painter(["a red mug", "a green car"], "a white plaster mug")
        parts: dict[str, Any] = {
            "prompt": "a red mug",
            "section": protocol,
            "mesh": tetrahedron(),
            "render_mesh": rendered(paint),
            "render_field": rendered(paint),
            "facts": {"watertight": True, "components": 3},
            "judge": Judge(PictureReader(), "reader", CaptionPool(POOL)),
            "truth": truth(),
        }
        return Subject(**{**parts, **replacements})

    return make


def rendered(paint: Callable[..., torch.Tensor]) -> Callable[..., RenderOutput]:
    """Return a render callable that shows the paint, opaque in its left half."""

    def render(cameras: Cameras, lighting: Lighting, background: torch.Tensor) -> RenderOutput:
        image = paint(cameras, lighting, background)
        opacity = torch.zeros(image.shape[:3])
        opacity[..., : SIZE_PX // 2] = 1
        return RenderOutput(
            image=image,
            opacity=opacity,
            depth=opacity,
            normals=torch.zeros_like(image),
        )

    return render


def truth(**replacements: Any) -> Truth:
    """Return the truth of a red mug: a ball whose second view shows its back."""
    parts: dict[str, Any] = {
        "caption": "a red mug",
        "held_out": False,
        "distances": lambda points: points.norm(dim=-1) - 0.5,
        "bounding_radius": 0.8,
        "render": painter(["a red mug", "a blue mug"], "a white plaster mug"),
        "names_object": lambda text: text.endswith("mug"),
        "plaster": PLASTER,
        "own_plaster": 1,
        "sides": lambda images: ["front", "back"][: len(images)],
    }
    return Truth(**{**parts, **replacements})


def tetrahedron() -> TexturedMesh:
    """Return a small closed mesh with a plain texture."""
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 2
    faces = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    return TexturedMesh(Surface(corners, faces), torch.zeros(4, 2), torch.ones(2, 2, 3))
