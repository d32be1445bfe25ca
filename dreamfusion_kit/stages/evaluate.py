"""Stage evaluate: views of the mesh and the field, and every metric of one asset."""

import dataclasses
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from dreamfusion_kit import files
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.evaluation.measure import measure_asset
from dreamfusion_kit.evaluation.metrics import metrics_of
from dreamfusion_kit.evaluation.subject import Subject
from dreamfusion_kit.evaluation.surface import load_mesh
from dreamfusion_kit.evaluation.views import Render, ViewImages, mesh_renderer, render_turntable
from dreamfusion_kit.image_files import png_bytes, quantized, webp_bytes
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput
from dreamfusion_kit.stages import judging
from dreamfusion_kit.stages.inputs import checked_inputs
from dreamfusion_kit.stages.layout import VIEW_KINDS, AssetLayout, SuiteLayout, view_name

RecordT = TypeVar("RecordT", Cameras, Lighting, RenderOutput)


def run(workspace: Path, suite: str, asset: str, device: torch.device) -> Path:
    """Measure one asset by the suite's protocol; write metrics, views and a turntable."""
    resolved = resolve(workspace, suite, asset)
    loaded = load_suite(workspace, suite)
    own = SuiteLayout(workspace, suite).asset(asset)
    files.check_writable(own.evaluation, folder=True)
    facts, inputs = checked_inputs(own, resolved)
    protocol = loaded.evaluation
    mesh = load_mesh(own.final_mesh(resolved) / "mesh.obj")
    truth = judging.known_truth(resolved.prompt, device)
    judges = judging.load_judges(loaded, own.suite, resolved.prompt, truth, device)
    main = next(iter(judges), None)
    subject = Subject(
        prompt=resolved.prompt,
        section=protocol,
        mesh=mesh,
        render_mesh=mesh_renderer(mesh, normals=protocol.views.normals),
        render_field=None
        if resolved.imported is not None
        else _field_renderer(own, resolved.recipe, device),
        facts=facts,
        judge=None if main is None else judges[main],
        truth=truth,
        other_judges={name: judge for name, judge in judges.items() if name != main},
        questioner=judging.load_questioner(loaded, own.suite, device),
    )
    entries = judging.entries_of(loaded, workspace)
    entry = measure_asset(
        subject,
        asset=asset,
        inputs=inputs,
        pool=entries.pool,
        vqa=entries.vqa,
        metrics=metrics_of(protocol),
    )
    with files.new_directory(own.evaluation) as directory:
        files.write_json(directory / "metrics.json", entry.model_dump(mode="json"))
        _write_features(directory / "features.safetensors", subject, asset)
        _write_views(directory / "views", subject.views)
        if subject.field_views is not None:
            _write_views(directory / "field_views", subject.field_views)
        turntable = render_turntable(
            subject.render_mesh,
            protocol.views,
            protocol.turntable,
            supersampling=protocol.views.supersampling,
        )
        (directory / "turntable.webp").write_bytes(
            webp_bytes(turntable, frame_duration_ms=protocol.turntable.frame_duration_ms)
        )
    return own.evaluation


def _write_features(target: Path, subject: Subject, asset: str) -> None:
    """Write the judge's features of the colour views, used to compare the seeds of a prompt."""
    features = subject.features("mesh", "color")
    if features is not None and subject.judge is not None:
        # A single entry: safetensors writes several in an order that differs between runs.
        save_file({"color": features.contiguous()}, target, metadata={"asset": asset})


def _field_renderer(own: AssetLayout, recipe: Recipe, device: torch.device) -> Render:
    """Return the volume renderer of the asset's field, with normals and without jitter.

    It takes and returns tensors on the CPU, whichever `device` the field is on.
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
