"""Time the mesh renderer, and what else could find a pixel's triangle.

    python benchmarks/mesh_render.py [--device cuda] [--threads 1]

`visible` is the search for the triangle alone, with whatever it has to build for new vertices;
`embree` is Open3D's scene, built again for each set of vertices; `warp` needs `pip install
warp-lang` and refits its hierarchy. `forward` is a shaded picture and `backward` its gradient on
vertices and colours, by the kit's own search.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch
import trimesh

from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.open3d_library import open3d
from dreamfusion_kit.records import Cameras, Surface
from dreamfusion_kit.renderer.mesh.appearance import vertex_colors
from dreamfusion_kit.renderer.mesh.render import render_mesh
from dreamfusion_kit.renderer.mesh.visibility import visible_faces

SIZES = (64, 512)
SECTIONS = ((100, 50), (250, 100))  # of a torus: 10,000 and 50,000 faces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    for sections in SECTIONS:
        surface = _torus(*sections, device)
        for size in SIZES:
            cameras = _cameras(size, device)
            times = {"visible": _ms(lambda s=surface, c=cameras: visible_faces(s, c), device)}
            if device.type == "cpu":
                times["embree"] = _ms(lambda s=surface, c=cameras: _embree(s, c), device)
            if importlib.util.find_spec("warp") is not None:
                times["warp"] = _ms(_warp(surface, cameras, device), device)
            times |= _render_ms(surface, cameras, device)
            line = "  ".join(f"{name} {value:7.1f}" for name, value in times.items())
            print(f"{len(surface.faces)} faces, {size} px, ms: {line}", flush=True)


def _torus(major: int, minor: int, device: torch.device) -> Surface:
    mesh = trimesh.creation.torus(0.5, 0.25, major_sections=major, minor_sections=minor)
    vertices = torch.tensor(np.array(mesh.vertices), dtype=torch.float32)
    return Surface(vertices.to(device), torch.tensor(np.array(mesh.faces)).to(device))


def _cameras(size: int, device: torch.device) -> Cameras:
    return orbit_cameras(
        torch.tensor([30.0], device=device),
        elevation_deg=30.0,
        radius=2.2,
        fov_y_deg=48.0,
        image_size_px=size,
    )


def _render_ms(surface: Surface, cameras: Cameras, device: torch.device) -> dict[str, float]:
    colors = torch.rand(len(surface.vertices), 3, device=device, requires_grad=True)
    moving = Surface(surface.vertices.clone().requires_grad_(), surface.faces)
    light = headlight(cameras, ambient=0.3, diffuse=0.7, textureless=False)
    background = torch.zeros(1, cameras.height_px, cameras.width_px, 3, device=device)
    albedo = vertex_colors(colors, surface.faces)

    def forward() -> torch.Tensor:
        return render_mesh(moving, albedo, cameras, light, background).image

    def both() -> None:
        forward().sum().backward()

    ahead = _ms(forward, device)
    return {"forward": ahead, "backward": _ms(both, device) - ahead}


def _embree(surface: Surface, cameras: Cameras) -> None:
    rays = pixel_rays(cameras)
    bundle = torch.cat([rays.origins, rays.directions], dim=-1)
    scene = open3d.t.geometry.RaycastingScene(nthreads=torch.get_num_threads())
    scene.add_triangles(
        open3d.core.Tensor.from_numpy(surface.vertices.numpy()),
        open3d.core.Tensor.from_numpy(surface.faces.numpy().astype(np.uint32)),
    )
    scene.cast_rays(open3d.core.Tensor.from_numpy(bundle.numpy()), nthreads=torch.get_num_threads())


def _warp(surface: Surface, cameras: Cameras, device: torch.device) -> Callable[[], object]:
    import warp

    warp.config.quiet = True
    warp.init()

    @warp.kernel
    def cast(
        mesh: warp.uint64,
        origins: warp.array(dtype=warp.vec3),
        directions: warp.array(dtype=warp.vec3),
        faces: warp.array(dtype=int),
    ):
        index = warp.tid()
        found = warp.mesh_query_ray(mesh, origins[index], directions[index], 1.0e6)
        faces[index] = -1
        if found.result:
            faces[index] = found.face

    where = str(device)
    rays = pixel_rays(cameras)
    origins = warp.from_torch(rays.origins.reshape(-1, 3).contiguous(), dtype=warp.vec3)
    directions = warp.from_torch(rays.directions.reshape(-1, 3).contiguous(), dtype=warp.vec3)
    points = warp.from_torch(surface.vertices.contiguous(), dtype=warp.vec3)
    indices = warp.from_torch(surface.faces.int().reshape(-1).contiguous())
    mesh = warp.Mesh(points=points, indices=indices)
    faces = warp.zeros(len(origins), dtype=int, device=where)

    def run() -> None:
        mesh.refit()
        inputs = [mesh.id, origins, directions, faces]
        warp.launch(cast, dim=len(origins), inputs=inputs, device=where)
        if device.type == "cuda":
            warp.synchronize_device(where)

    return run


def _ms(run: Callable[[], object], device: torch.device) -> float:
    """Return the median of seven runs after two, in milliseconds."""
    times: list[float] = []
    for _ in range(9):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return sorted(times[2:])[3]


if __name__ == "__main__":
    main()
