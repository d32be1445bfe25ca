"""What a guidance makes of colours alone: it paints the true shape, which stays as it is.

python scripts/texture_study.py "a pink car"                     print a Markdown table
python scripts/texture_study.py "a pink car" --picture OUT.png   and draw front and side

An opaque surface with the true geometry takes out what fields add: fog, wrong shapes, and colours
that a mesh gathers from below its surface. Each guidance starts from grey, has the texture, steps,
cameras, lights and noise levels of the others, and two seeds. Measured on the protocol's views:

    saturation   over the truth's, of the unlit views
    detail       energy above half the Nyquist frequency of 64 px, over the truth's
    error        mean absolute difference of the unlit colours from the true ones, per channel
    seeds        the same between the two seeds
"""

import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from critics import SIZE_PX
from PIL import Image
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.evaluation.appearance import saturation
from dreamfusion_kit.evaluation.pictures import detail
from dreamfusion_kit.evaluation.views import render_images
from dreamfusion_kit.guidance.embed import embed_prompt
from dreamfusion_kit.mesh.density_grid import sample_density_grid
from dreamfusion_kit.mesh.isosurface import extract_isosurface
from dreamfusion_kit.mesh.start import start_from
from dreamfusion_kit.model.background import build_background
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import run
from dreamfusion_kit.optimize.monitor import Monitors
from dreamfusion_kit.optimize.surface_trainee import SurfaceTrainee, surface_method
from dreamfusion_kit.packaged import MODELS
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import (
    GridTextureSection,
    Recipe,
    RefineSection,
    VertexOffsetsSection,
    VsdSection,
)
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.shape.start import Start
from dreamfusion_kit.stages.judging import known_truth
from dreamfusion_kit.toybox.captions import parse
from dreamfusion_kit.toybox.shapes import scene

RECIPES = Path("recipes")
CPU = torch.device("cpu")
GREY = 0.7  # toybox.yaml's initial albedo
STEPS = 200  # those of the recipe, whose noise levels are ProlificDreamer's
SEEDS = (0, 1)
GUIDANCES: dict[str, tuple[str, dict[str, object]]] = {
    "SDS, scale 8": ("toybox", {}),
    "VSD, scale 7.5": ("toybox-vsd", {}),
    "SDS, scale 3": ("toybox", {"guidance_scale": 3.0}),
    "SDS, scale 1": ("toybox", {"guidance_scale": 1.0}),
    "VSD, scale 3": ("toybox-vsd", {"guidance_scale": 3.0}),
    "VSD, scale 1": ("toybox-vsd", {"guidance_scale": 1.0}),
    "CSD, scale 8": ("toybox-csd", {}),
    "VSD, scale 7.5, four steps of phi": ("toybox-vsd", {"phi.steps": 4}),
    "VSD, scale 7.5, phi at 1e-4": ("toybox-vsd", {"phi.learning_rate": 1e-4}),
}


@dataclass(frozen=True)
class Painted:
    """The protocol's views of a surface, lit and with its albedo alone."""

    lit: Tensor
    unlit: Tensor


def main(*arguments: str) -> None:
    """Print the table, a row as soon as it is measured."""
    match arguments:
        case (prompt,):
            target = None
        case (prompt, "--picture", target):
            pass
        case _:
            raise SystemExit(__doc__)
    pair = parse(prompt)
    if pair is None:
        raise SystemExit(f"found {prompt!r}, expected a toybox caption such as 'a pink car'")
    views = load_suite(Path(), "default").evaluation.views
    truth = known_truth(prompt, CPU)
    assert truth is not None
    true = _painted(truth.render, views, 1)
    strips = [true.lit]
    print("| colours by | saturation | detail | error | seeds |\n|---|---:|---:|---:|---:|")
    shape = scene(pair[1], pair[0])
    palette = shape.palette()
    exact = _start(shape, lambda positions, _: palette[shape.nearest_part(positions)])
    grey = _start(shape, lambda positions, _: torch.full_like(positions, GREY))
    best = SurfaceModel(_section("toybox", {}), exact, seed=0)
    _row("the true colours, on the texture's lattice", [_views_of(best, views)], true)
    for name, (recipe, changes) in GUIDANCES.items():
        painted = [_views_of(_optimized(recipe, changes, prompt, grey, s), views) for s in SEEDS]
        _row(name, painted, true)
        strips.append(painted[0].lit)
        if target is not None:
            _draw(strips, target)


def _draw(strips: list[Tensor], target: str) -> None:
    """Draw the front and a side of each, one row below the other."""
    rows = [torch.cat([strip[0], strip[2]], dim=1) for strip in strips]
    pixels = (torch.cat(rows).clamp(0, 1) * 255).round().byte().numpy()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target)


def _row(name: str, seeds: list[Painted], true: Painted) -> None:
    true_detail, true_saturation = detail(true.lit, size_px=SIZE_PX), saturation(true.unlit)
    assert true_saturation is not None
    numbers = [
        f"{fmean((saturation(one.unlit) or 0) / true_saturation for one in seeds):.2f}",
        f"{fmean(detail(one.lit, size_px=SIZE_PX) / true_detail for one in seeds):.2f}",
        f"{fmean(_difference(one, true, true) for one in seeds):.3f}",
        *(f"{_difference(a, b, true):.3f}" for a, b in pairwise(seeds)),
    ]
    print(f"| {name} | {' | '.join(numbers)} |" + " - |" * (len(seeds) == 1), flush=True)


def _difference(one: Painted, other: Painted, true: Painted) -> float:
    """Return the mean absolute difference over the true object's pixels."""
    drawn = (true.unlit - true.unlit[0, 0, 0]).abs().amax(dim=-1) > 0.02
    return float((one.unlit - other.unlit).abs()[drawn].mean())


# ---- the surface


def _start(shape, seen) -> Start:
    grid = sample_density_grid(
        # The surface lies where this is a half; twice as steep within 0.02 of it.
        lambda positions: torch.sigmoid(-shape.distances(positions) / 0.02),
        bounding_radius=0.95,
        resolution=96,
        device=CPU,
    )
    surface = extract_isosurface(grid, 0.5)
    return start_from(surface, seen, bounding_radius=0.95, device=CPU, max_faces=None)


def _section(recipe: str, changes: dict[str, object]) -> RefineSection:
    """Return the texture phase of ProlificDreamer's recipe with another guidance."""
    refine = load_recipe(RECIPES / "prolificdreamer-toybox.yaml").refine
    assert refine is not None
    phase = refine.phases[-1]
    levels = {name: getattr(phase.guidance, name) for name in ("timestep_min", "timestep_max")}
    guidance = load_recipe(RECIPES / f"{recipe}.yaml").guidance.model_copy(update=levels)
    if isinstance(guidance, VsdSection):
        of_phi = {key[4:]: value for key, value in changes.items() if key.startswith("phi.")}
        guidance = guidance.model_copy(
            update={"phi": guidance.phi.model_copy(update=levels | of_phi)}
        )
    of_field = {key: value for key, value in changes.items() if not key.startswith("phi.")}
    return refine.model_copy(
        update={
            "representation": VertexOffsetsSection(
                kind="vertex_offsets", max_faces=10**6, learning_rate=1e-3, smoothing_lambda=0.0
            ),
            "texture": GridTextureSection(kind="grid", resolution=64, learning_rate=0.1),
            "phases": (
                phase.model_copy(
                    update={
                        "guidance": guidance.model_copy(update=of_field),
                        "optimize": phase.optimize.model_copy(update={"num_steps": STEPS}),
                    }
                ),
            ),
        }
    )


def _optimized(
    recipe_name: str, changes: dict[str, object], prompt: str, start: Start, seed: int
) -> SurfaceModel:
    section = _section(recipe_name, changes)
    loaded = load_recipe(RECIPES / "prolificdreamer-toybox.yaml")
    recipe: Recipe = loaded.model_copy(
        update={"refine": section, "guidance": section.phases[0].guidance}
    )
    model = SurfaceModel(section, start, seed=seed)
    prior = build_prior(recipe.prior, MODELS / "prior", CPU)
    embedded = embed_prompt(prompt, recipe, prior)
    background = build_background(
        recipe.background, generator=seeding.generator(seed, "background_mlp")
    )
    trainee = SurfaceTrainee(
        section.phases[0], model, lambda rays, draw: background(rays.directions, generator=draw)
    )
    with tempfile.TemporaryDirectory() as folder, open_scratch(Path(folder), "run") as scratch:
        run(
            trainee,
            surface_method(recipe, section, 0),
            seed=seed,
            prior=prior,
            text=embedded.features,
            prompts=embedded.prompts,
            scratch=scratch,
            device=CPU,
            monitor=Monitors(),
        )
    return model


# ---- its pictures


def _views_of(model: SurfaceModel, views) -> Painted:
    with torch.no_grad():
        surface = model.surface()
    return _painted(
        lambda cameras, lighting, background: (
            model.render(surface, cameras, lighting, background, supersampling=1).image
        ),
        views,
        views.supersampling,
    )


def _painted(render, views, supersampling: int) -> Painted:
    unlit = views.model_copy(update={"ambient": 1.0, "diffuse": 0.0})
    return Painted(
        render_images(render, views, textureless=False, supersampling=supersampling),
        render_images(render, unlit, textureless=False, supersampling=supersampling),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
