"""Time one optimiser step's rendering against the prior's own forward, side by side.

    python benchmarks/render_step.py --threads 2
    python benchmarks/render_step.py --unet PATH_OF_A_DIFFUSERS_UNET

Everything is timed in turn, round after round, so that other load on the machine affects all
rows alike; the ratio is what counts. A row "step" is one view of the recipe's size:
render, backward and Adam, on the recipe's initial blob, with a settled occupancy grid.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from dreamfusion_kit.camera.light import albedo_lighting, headlight
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import FieldSection, HashGridSection, Recipe
from dreamfusion_kit.renderer.ray_penalties import orientation
from dreamfusion_kit.seeding import generator

RECIPE = Path(__file__).parents[1] / "recipes" / "toybox.yaml"


def main() -> None:
    """Print the table."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    recipe = load_recipe(RECIPE)
    size_px = recipe.camera.largest_image_size_px
    rows = {"U-Net, CFG pair, forward": _unet_forward(arguments.unet, size_px)}
    for section in (recipe.field, _hash_section(recipe.field)):
        rows |= _field_rows(recipe, section)
    seconds = _measure(rows, arguments.rounds)
    _print_table(seconds, reference=next(iter(rows)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="Torch's threads.")
    parser.add_argument("--rounds", type=int, default=9, help="Times that each row is run.")
    parser.add_argument("--unet", type=Path, help="A trained U-Net; random weights without it.")
    return parser.parse_args()


def _unet_forward(path: Path | None, image_size_px: int) -> Callable[[], None]:
    """Return the forward of one classifier-free pair, without gradients."""
    if path is None:
        unet = _random_unet(image_size_px)
    else:
        unet = UNet2DConditionModel.from_pretrained(path, local_files_only=True)
    unet = unet.requires_grad_(False).float().to(memory_format=torch.channels_last)
    size, width = unet.config["sample_size"], unet.config["cross_attention_dim"]
    noisy = torch.randn(2, unet.config["in_channels"], size, size, generator=generator(0, "noise"))
    text = torch.randn(2, 16, width, generator=generator(0, "text"))
    timesteps = torch.tensor([500, 500])

    @torch.no_grad()
    def forward() -> None:
        unet(noisy, timesteps, text)

    return forward


def _random_unet(image_size_px: int) -> UNet2DConditionModel:
    """Return the architecture that was timed for the toybox's first trial, untrained."""
    return UNet2DConditionModel(
        sample_size=image_size_px,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D",) * 3 + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * 3,
        block_out_channels=(32, 64, 128, 128),
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=4,
        cross_attention_dim=128,
    )


def _hash_section(base: FieldSection) -> HashGridSection:
    """Return a small hash grid with the blob, activation and learning rate of `base`."""
    return HashGridSection(
        kind="hash_grid",
        num_levels=8,
        features_per_level=2,
        log2_table_size=15,
        min_resolution=8,
        max_resolution=128,
        initial_levels=8,
        level_every_steps=1,
        hidden_width=32,
        num_hidden_layers=1,
        backend="torch",
        bounding_radius=base.bounding_radius,
        density_activation=base.density_activation,
        density_bias=base.density_bias,
        density_offset=base.density_offset,
        normal_epsilon=0.02,
        encoding_learning_rate=0.01,
        network_learning_rate=0.001,
    )


def _field_rows(recipe: Recipe, section: FieldSection) -> dict[str, Callable[[], None]]:
    """Return what to time of one kind of field."""
    model = NerfModel.build(recipe.model_copy(update={"field": section}), seed=0)
    model.set_step(recipe.renderer.occupancy.warmup_steps)
    _update(model)
    rows = {"occupancy update": lambda: _update(model)}
    for shading in ("albedo", "shaded"):
        rows[f"step, {shading}"] = _step(recipe, model, shaded=shading == "shaded")
    rows["roughness and backward"] = lambda: _backward(model.smoothness())
    return {f"{section.kind}: {name}": run for name, run in rows.items()}


def _update(model: NerfModel) -> None:
    model.update_occupancy(0, generator=generator(0, "occupancy"))


def _backward(loss: torch.Tensor) -> None:
    if loss.requires_grad:
        loss.backward()


def _step(recipe: Recipe, model: NerfModel, *, shaded: bool) -> Callable[[], None]:
    """Return one optimiser step on one view from the middle of the recipe's ranges."""
    cameras = orbit_cameras(
        torch.tensor([30.0]),
        elevation_deg=20.0,
        radius=sum(recipe.camera.radius_range) / 2,
        fov_y_deg=45.0,
        image_size_px=recipe.camera.largest_image_size_px,
    )
    rays = pixel_rays(cameras)
    lamp = headlight(
        cameras, ambient=recipe.shading.ambient, diffuse=recipe.shading.diffuse, textureless=False
    )
    lighting = lamp if shaded else albedo_lighting(cameras)
    background = torch.full_like(rays.origins, 0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=True)

    def step() -> None:
        output, samples = model.render_with_samples(
            rays, lighting, background, with_normals=shaded, generator=generator(0, "jitter")
        )
        loss = output.image.sum() + output.opacity.mean()
        if shaded:
            loss = loss + orientation(samples).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _measure(rows: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each row, one number per round, after one round of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for index in range(rounds + 1):
        for name, run in rows.items():
            start = time.perf_counter()
            run()
            if index > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _print_table(seconds: dict[str, list[float]], *, reference: str) -> None:
    load = os.getloadavg()[0]
    print(
        f"cpu ({platform.processor() or platform.machine()}), {torch.get_num_threads()} threads, "
        f"{os.cpu_count()} cores, load {load:.1f}, torch {torch.__version__}, "
        f"python {platform.python_version()}\n"
    )
    print("| what | median ms | fastest ms | ratio of medians |")
    print("|---|---:|---:|---:|")
    base = statistics.median(seconds[reference])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"| {name} | {1e3 * median:.1f} | {1e3 * min(times):.1f} | {median / base:.2f} |")


if __name__ == "__main__":
    main()
