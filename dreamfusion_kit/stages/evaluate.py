"""Stage evaluate: views of the mesh and the field, CLIP retrieval, distance to the true shape."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit import files, seeding
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.evaluation.clip import Clip, load_clip
from dreamfusion_kit.evaluation.geometry import GeometryMetrics, measure_geometry
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.summary import (
    Janus,
    MeshHealth,
    ObjectQuestion,
    ViewFeatures,
    asset_metrics,
    janus,
)
from dreamfusion_kit.evaluation.surface import TexturedMesh, load_mesh
from dreamfusion_kit.evaluation.views import (
    ViewImages,
    mesh_renderer,
    render_images,
    render_turntable,
    render_views,
    webp_bytes,
)
from dreamfusion_kit.image_files import png_bytes, quantized
from dreamfusion_kit.mesh.facts import MeshFacts
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.priors.fetch import PACKAGED_MODELS
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import load_suite, resolve
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput
from dreamfusion_kit.stages import models, origin
from dreamfusion_kit.stages.layout import CLIP, VIEW_KINDS, AssetLayout, SuiteLayout, view_name
from dreamfusion_kit.toybox.captions import (
    HELD_OUT,
    caption,
    caption_pool,
    parse,
    plaster_caption,
)
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.shapes import BOUNDING_RADIUS, DISTINCT_SIDES, OBJECTS, Scene, scene
from dreamfusion_kit.toybox.view_model import load_view_model

RecordT = TypeVar("RecordT", Cameras, Lighting, RenderOutput)

_VIEW_WEIGHTS = PACKAGED_MODELS / "view"


@dataclass(frozen=True)
class _Truth:
    """The toybox object that a prompt names, and true renders of it on the protocol's orbit."""

    scene: Scene
    caption: str
    held_out: bool
    color: Float[Tensor, "views h w 3"]
    textureless: Float[Tensor, "views h w 3"]


def run(workspace: Path, suite: str, asset: str, device: torch.device) -> Path:
    """Measure one asset by the suite's protocol; write metrics, views and a turntable."""
    resolved = resolve(workspace, suite, asset)
    layout = SuiteLayout(workspace, suite)
    own = layout.asset(asset)
    files.check_writable(own.evaluation, folder=True)
    origin.check_field(own, resolved)
    origin.check_mesh(own, resolved)
    protocol = load_suite(workspace, suite).evaluation
    judge = models.locked_directory(protocol.clip, layout.model(CLIP), workspace)
    clip = load_clip(judge, device=device)
    mesh = load_mesh(own.mesh / "mesh.obj")
    render_mesh = mesh_renderer(mesh, normals=protocol.views.normals)
    views = render_views(render_mesh, protocol.views, supersampling=protocol.views.supersampling)
    field_views = render_views(
        _field_renderer(resolved.recipe, own, device), protocol.views, supersampling=1
    )
    truth = _truth(resolved.prompt, protocol)
    pool = CaptionPool(caption_pool()).including(resolved.prompt)
    metrics = asset_metrics(
        asset=asset,
        prompt=resolved.prompt,
        held_out=None if truth is None else truth.held_out,
        own_caption=resolved.prompt if truth is None else truth.caption,
        pool=pool,
        caption_features=clip.text_features(list(pool.captions)),
        question=None if truth is None else _question(clip, truth),
        features=_features(clip, views, truth),
        geometry=None if truth is None else _geometry(protocol, mesh, truth),
        janus=None if truth is None else _janus(workspace, views, truth, device),
        mesh=_mesh_health(own),
    )
    with files.new_directory(own.evaluation) as directory:
        files.write_json(directory / "metrics.json", metrics)
        _write_views(directory / "views", views)
        _write_views(directory / "field_views", field_views)
        turntable = render_turntable(
            render_mesh,
            protocol.views,
            protocol.turntable,
            supersampling=protocol.views.supersampling,
        )
        (directory / "turntable.webp").write_bytes(
            webp_bytes(turntable, frame_duration_ms=protocol.turntable.frame_duration_ms)
        )
    return own.evaluation


def _truth(prompt: str, protocol: EvaluationSection) -> _Truth | None:
    pair = parse(prompt)
    if pair is None:
        return None
    color, name = pair
    solid = scene(name, color)

    def renders(*, textureless: bool) -> Float[Tensor, "views h w 3"]:
        return render_images(
            lambda *inputs: render_scene(solid, *inputs)[0],
            protocol.views,
            textureless=textureless,
            supersampling=1,
        )

    return _Truth(
        scene=solid,
        caption=caption(color, name),
        held_out=pair in HELD_OUT,
        color=renders(textureless=False),
        textureless=renders(textureless=True),
    )


def _question(clip: Clip, truth: _Truth) -> ObjectQuestion:
    name = truth.scene.object_name
    named = [parse(text) for text in caption_pool()]
    return ObjectQuestion(
        same_object=torch.tensor([pair is not None and pair[1] == name for pair in named]),
        plaster=clip.text_features([plaster_caption(other) for other in OBJECTS]),
        own_plaster=OBJECTS.index(name),
    )


def _features(clip: Clip, views: ViewImages, truth: _Truth | None) -> ViewFeatures:
    """Return CLIP's features of the views, and of true renders where there are any."""
    return ViewFeatures(
        color=clip.image_features(views.color),
        geometry=clip.image_features(views.textureless),
        ceiling=None if truth is None else clip.image_features(truth.color),
        ceiling_geometry=None if truth is None else clip.image_features(truth.textureless),
    )


def _janus(workspace: Path, views: ViewImages, truth: _Truth, device: torch.device) -> Janus | None:
    """Return what side each view shows; None for an object without distinct sides."""
    name = truth.scene.object_name
    if name not in DISTINCT_SIDES:
        return None
    judge = load_view_model(_VIEW_WEIGHTS, device=device)
    return janus(judge.views(views.color, name), judge.views(truth.color, name))


def _mesh_health(own: AssetLayout) -> MeshHealth:
    facts = files.read_json(own.mesh / "mesh.json", MeshFacts, made_by="mesh")
    return MeshHealth(watertight=facts["watertight"], components=facts["components"])


def _geometry(protocol: EvaluationSection, mesh: TexturedMesh, truth: _Truth) -> GeometryMetrics:
    return measure_geometry(
        mesh.surface,
        truth.scene.distances,
        protocol.geometry,
        bounding_radius=BOUNDING_RADIUS,
        generator=seeding.generator(protocol.seed, "geometry"),
    )


def _field_renderer(
    recipe: Recipe, own: AssetLayout, device: torch.device
) -> Callable[[Cameras, Lighting, Tensor], RenderOutput]:
    """Return the volume renderer of the asset's field, with normals and without jitter.

    It takes and returns tensors on the CPU, whatever `device` the field is on.
    """
    model = NerfModel.load(own.field, recipe).to(device)

    def render_field(cameras: Cameras, lighting: Lighting, background: Tensor) -> RenderOutput:
        output = model.render(
            pixel_rays(_moved(cameras, device)),
            _moved(lighting, device),
            background.to(device),
            with_normals=True,
        )
        return _moved(output, torch.device("cpu"))

    return render_field


def _moved(record: RecordT, device: torch.device) -> RecordT:
    """Return the dataclass with all its tensors on `device`."""
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    return dataclasses.replace(record, **moved)


def _write_views(directory: Path, views: ViewImages) -> None:
    directory.mkdir()
    by_kind = (views.color, views.textureless, views.normals)
    for kind, images in zip(VIEW_KINDS, by_kind, strict=True):
        for index, image in enumerate(images):
            (directory / view_name(kind, index)).write_bytes(png_bytes(quantized(image)))
