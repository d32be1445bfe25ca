"""Look for faults of score distillation in the assets of made suites.

python scripts/faults.py SUITE [SUITE ...]     print a Markdown table, a row per suite

Fog: how opaque the field is, in percent, where the protocol's views do not show the mesh.
Roughness: the angle in degrees between neighbouring faces of the mesh, by length of edge.
Saturation and fronts are in the tables of compare.py and in metrics/.
"""

import sys
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import trimesh
from torch.nn.functional import max_pool2d

from dreamfusion_kit import files
from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.evaluation.surface import load_mesh
from dreamfusion_kit.evaluation.views import mesh_renderer
from dreamfusion_kit.mesh.facts import MeshFacts
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.recipe.evaluation import ViewsSection
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import load_suite, resolve
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout

COLUMNS = (
    "fog, %",
    "most",
    "roughness",
    "most",
    "pieces cut off",
    "cavities filled, %",
    "open or inside out",
)
IMAGE_SIZE_PX = 64


def main(*suites: str) -> None:
    """Print the table."""
    if not suites:
        raise SystemExit(__doc__)
    print(f"| suite | {' | '.join(COLUMNS)} |\n|---|" + "---:|" * len(COLUMNS))
    for suite in suites:
        print(f"| {suite} | {' | '.join(row(suite))} |")


def row(name: str) -> list[str]:
    """Return the cells of one suite, in the order of `COLUMNS`."""
    suite, layout = load_suite(Path(), name), SuiteLayout(Path(), name)
    views = suite.evaluation.views
    fogs, angles, facts, bad = [], [], [], 0
    for asset in suite.assets:
        own = layout.asset(asset)
        mesh = trimesh.load_mesh(own.mesh / "mesh.ply")
        fogs.append(fog(own, resolve(Path(), name, asset).recipe, views))
        angles.append(roughness(mesh))
        facts.append(files.read_json(own.mesh / "mesh.json", MeshFacts, made_by="mesh"))
        bad += not (mesh.is_watertight and mesh.volume > 0)
    return [
        f"{100 * fmean(fogs):.2f}",
        f"{100 * max(fogs):.2f}",
        f"{fmean(angles):.1f}",
        f"{max(angles):.1f}",
        str(sum(one["dropped_components"] for one in facts)),
        f"{100 * fmean(one['filled_cavity_fraction'] for one in facts):.2f}",
        f"{bad} of {len(suite.assets)}",
    ]


@torch.no_grad()
def fog(own: AssetLayout, recipe: Recipe, views: ViewsSection) -> float:
    """Return the mean opacity of the field's rays that pass the mesh by a pixel or more."""
    count, size = views.num_azimuths, IMAGE_SIZE_PX
    cameras = orbit_cameras(
        torch.arange(count) * 360 / count,
        elevation_deg=views.elevation_deg,
        radius=views.radius,
        fov_y_deg=views.fov_y_deg,
        image_size_px=size,
    )
    light = headlight(cameras, ambient=1.0, diffuse=0.0, textureless=True)
    background = torch.zeros(count, size, size, 3)
    mesh = mesh_renderer(load_mesh(own.mesh / "mesh.obj"), normals=views.normals)
    seen = mesh(cameras, light, background).opacity
    opacity = (
        NerfModel.load(own.field, recipe).render(pixel_rays(cameras), light, background).opacity
    )
    near = max_pool2d(seen[:, None], kernel_size=3, stride=1, padding=1)[:, 0]
    return float(opacity[near == 0].mean())


def roughness(mesh: trimesh.Trimesh) -> float:
    """Return the mean angle between neighbouring faces in degrees, weighted by their edge."""
    ends = mesh.vertices[mesh.face_adjacency_edges]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    return float(np.degrees(np.average(mesh.face_adjacency_angles, weights=lengths)))


if __name__ == "__main__":
    main(*sys.argv[1:])
