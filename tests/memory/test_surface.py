"""A refinement's estimate against its loop, and against itself at another scale."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trimesh

from dreamfusion_kit import packaged
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.memory import advice
from dreamfusion_kit.memory import surface as module
from dreamfusion_kit.memory.advice import check_fits, report
from dreamfusion_kit.memory.components import all_components
from dreamfusion_kit.memory.device import Device
from dreamfusion_kit.memory.estimate import REFINING, moments
from dreamfusion_kit.memory.surface import (
    SurfaceMemory,
    rough_surface_bytes,
    start_bytes,
    surface_memory,
)
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import run
from dreamfusion_kit.optimize.monitor import Monitors
from dreamfusion_kit.optimize.surface_trainee import SurfaceTrainee, surface_method
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe, RefineSection
from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.shape.start import Start

ROOT = Path(__file__).parents[2]
GIB = 2**30
CPU = Device("main memory", False, 16 * GIB, 8 * GIB, libraries_bytes=0)
OFFSETS = {
    "kind": "vertex_offsets",
    "max_faces": 5120,
    "learning_rate": 0.001,
    "smoothing_lambda": 20.0,
}
FLEXICUBES = {
    "kind": "flexicubes",
    "resolution": 40,
    "num_levels": 4,
    "learning_rate": 0.002,
    "level_decay": 0.5,
    "offset_learning_rate": 0.01,
    "weight_learning_rate": 0.01,
    "deviation_lambda": 0.002,
}
MATERIAL = {
    "roughness": {"kind": "grid", "start": 0.6, "resolution": 64, "learning_rate": 0.1},
    "metallic": {"kind": "number", "start": 0.2, "learning_rate": 0.1},
}
HASHED = {
    "kind": "hash_grid",
    "start_resolution": 32,
    "num_levels": 8,
    "features_per_level": 2,
    "log2_table_size": 14,
    "min_resolution": 8,
    "max_resolution": 256,
    "hidden_width": 32,
    "num_hidden_layers": 1,
    "backend": "torch",
    "encoding_learning_rate": 0.01,
    "network_learning_rate": 0.001,
}


def recipe(changes: dict[str, Any]) -> Recipe:
    """Return the toybox's refinement with some keys changed."""
    found = load_recipe(ROOT / "recipes" / "magic3d-toybox.yaml")
    data = found.model_dump(mode="json")
    for key, value in changes.items():
        *sections, last = key.split(".")
        node: Any = data["refine"]
        for name in sections:
            node = node[int(name) if name.isdecimal() else name]
        node[last] = value
    return Recipe.model_validate_json(json.dumps(data))  # at once: some go together


def section_of(found: Recipe) -> RefineSection:
    assert found.refine is not None
    return found.refine


def counted(found: Recipe) -> SurfaceMemory:
    """Return the memory of the first phase."""
    return surface_memory(found, section_of(found), section_of(found).phases[0])


def box(radius: float) -> Start:
    """Return a box, about as large as the estimate's sphere; moved vertices are a ball's."""
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.66)
    return Start(
        surface=Surface(torch.tensor(mesh.vertices).float(), torch.tensor(mesh.faces)),
        distances=lambda points: points.abs().amax(dim=-1) - 0.5,
        colors=lambda points: torch.full_like(points, 0.5),
        bounding_radius=radius,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"representation": OFFSETS, "phases.0.optimize.batch_size": 3},
        {"representation": FLEXICUBES},
        {
            "phases.0.supersampling": 1,
            "phases.0.optimize.batch_size": 4,
            "phases.0.camera.image_size_px": 96,
        },
        {"texture.resolution": 128, "representation.offset_learning_rate": 0.01},
        {"phases.0.learns": "geometry"},
        {"material": MATERIAL, "phases.0.camera.image_size_px": 96},
        {
            "phases.0.learns": "texture",
            "texture": HASHED,
            "phases.0.shading.textureless_probability": 0.0,
            "phases.0.optimize.penalties.normal_consistency_lambda": 0.0,
        },
    ],
    ids=[
        "as shipped",
        "vertex offsets",
        "flexicubes",
        "views",
        "texture",
        "geometry alone",
        "material",
        "hash grid alone",
    ],
)
def test_the_loop_takes_what_was_estimated(
    changes: dict[str, Any], tmp_path: Path, allocator_peak: Callable[[Callable[[], object]], int]
) -> None:
    """Three steps of the real loop, by the allocations that torch's profiler saw."""
    small = {
        "phases.0.optimize.learning_rate_decay.warmup_steps": 0,
        "phases.0.optimize.num_steps": 3,
    }
    found = recipe(changes | small)
    section = section_of(found)
    source: Any = found.prior.source  # pyright: ignore
    prior: Any = build_prior(found.prior, packaged.MODELS / source.name, "cpu")
    prompts = guidance_prompts("a red mug", section.phases[0].guidance)
    text = prior.encode_text(list(prompts.values()))
    weights = sum(value.nbytes for value in prior._denoiser.parameters())  # read from disk here
    start = box(found.field.bounding_radius)  # pyright: ignore

    def refine() -> None:
        model = SurfaceModel(section, start, seed=0)
        with open_scratch(tmp_path / ".work", "key") as scratch:
            run(
                SurfaceTrainee(
                    section.phases[0], model, lambda rays, _: torch.ones_like(rays.origins)
                ),
                surface_method(found, section, 0),
                seed=0,
                prior=prior,
                text=text,
                prompts=prompts,
                scratch=scratch,
                device=torch.device("cpu"),
                monitor=Monitors(),
            )

    taken = allocator_peak(refine) + weights
    parts, _ = all_components(found, ROOT)
    second = [each for each in moments(found, parts, CPU) if each.name.startswith(REFINING)]
    said = max(each.total - each.parts["coarse field"] for each in second)
    assert said == pytest.approx(taken, rel=0.2)  # with a material 0.17 above: per visible point


@pytest.mark.parametrize("representation", ["dmtet", "vertex_offsets"])
def test_a_large_one_is_counted_on_a_small_one(
    representation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "phases.0.optimize.batch_size": 3,
        "phases.0.camera.image_size_px": 80,
        "phases.0.supersampling": 2,
    }
    if representation == "vertex_offsets":
        changes |= {"representation": OFFSETS}
    found = recipe(changes)
    whole = counted(found)
    monkeypatch.setattr(module, "_MOST_POINTS_PER_AXIS", 24)
    monkeypatch.setattr(module, "_MOST_PIXELS", 1 << 14)
    monkeypatch.setattr(module, "_MOST_FACES", 1 << 13)
    scaled = counted(found)
    assert (scaled.parameters, scaled.gradient) == (whole.parameters, whole.gradient)
    for name in ("rendered", "learning", "previewing"):
        assert getattr(scaled, name) == pytest.approx(getattr(whole, name), rel=0.15), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"representation.resolution": 256, "texture.resolution": 256},
        {"phases.0.camera.image_size_px": 512, "phases.0.optimize.batch_size": 32},
        {"representation": OFFSETS},
        {
            "phases.0.optimize.batch_size": 1024,
            "phases.0.camera.image_size_px": 1024,
            "phases.0.supersampling": 8,
        },
    ],
    ids=["as shipped", "lattice", "pixels", "vertex offsets", "absurd"],
)
def test_the_rough_count_is_within_its_factor(changes: dict[str, Any]) -> None:
    found = recipe(changes)
    memory = counted(found)
    most = max(memory.learning, memory.gradient + max(memory.rendered, memory.previewing))
    whole = memory.parameters + memory.optimizer + most
    assert (
        1 / 3
        < rough_surface_bytes(found, section_of(found), section_of(found).phases[0]) / whole
        < 3
    )


_START = """
import json, re
from pathlib import Path
import numpy as np, torch, trimesh
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.start import start_from
from dreamfusion_kit.shape.lattice import lattice

def kibibytes(name):
    return int(re.search(rf"{name}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

ball = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
surface = Isosurface(np.array(ball.vertices), np.array(ball.faces))
start = start_from(surface, lambda p, n: p.abs(), bounding_radius=0.9, device=torch.device("cpu"))
taken = []
for ask in (start.distances, start.colors):
    ask(lattice(8, 0.9).reshape(-1, 3))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
    before = kibibytes("VmRSS")
    ask(lattice(112, 0.9).reshape(-1, 3))
    taken.append(1024 * (kibibytes("VmHWM") - before))
print(json.dumps(taken))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_start_takes_what_is_said() -> None:
    """By the process's peak: Open3D's memory is seen by no Python tool."""
    done = subprocess.run([sys.executable, "-c", _START], capture_output=True, check=True)
    distances, colors = json.loads(done.stdout)
    fine, coarse = 112, 8
    for lattice, texture, taken in ((fine, coarse, distances), (coarse, fine, colors)):
        changes = {"representation.resolution": lattice, "texture.resolution": texture}
        assert start_bytes(section_of(recipe(changes))) == pytest.approx(taken, rel=0.2)


def test_the_report_has_both_stages() -> None:
    found = recipe({})
    text = report(found, "magic3d-toybox", *all_components(found, ROOT), CPU)
    assert text.count("while refine: ") == 1  # the highest moment of its only phase
    assert "while the field learns" in text or "the field learns\n" in text
    assert "its refinement's start" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"phases.0.camera.image_size_px": 8192, "phases.0.supersampling": 8},
            r"^the optimisation needs about .* while refine: .*set refine\.",
        ),
        (
            {"representation.resolution": 512, "texture.resolution": 8},
            r"^refine: needs .* of main memory, .* lower refine.representation.resolution",
        ),
    ],
    ids=["pixels", "lattice"],
)
def test_a_refinement_that_cannot_fit_is_refused(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advice, "describe_device", lambda _: CPU)
    with pytest.raises(RecipeError, match=message):
        check_fits(recipe(changes), ROOT, torch.device("cpu"))
