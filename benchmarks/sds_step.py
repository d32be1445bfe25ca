"""Time one step of score distillation against the bare diffusion, per backend.

    python benchmarks/sds_step.py --device cuda
    python benchmarks/sds_step.py --tiny --threads 1

`benchmarks/gpu_checks.py` runs it with all else that needs a GPU. Models have their full size and
random weights, on which speed does not depend; nothing is fetched. A step is that of the backend's
recipe once shading has begun: render, guidance, backward, optimiser. The floor is what no
implementation can leave out: the VAE's encoder forward and backward, where there is one, and one
forward of the denoiser for both texts. Step and floor are timed in turn, so that other load on the
machine affects both alike. A step is timed twice: with the whole sphere sampled, as at the start,
when no space is known to be empty, and with an object of half the sphere's radius in it, around
which all samples are skipped.

`--tiny` runs small models of the same classes on the toybox's field: this only shows that
the script runs.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from random_prior import random_prior, random_text

from dreamfusion_kit import provenance
from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.memory.architectures import (
    AURA_FLOW,
    DEEPFLOYD_IF_XL,
    FLUX_2_KLEIN_BASE_4B,
    PIXART_SIGMA_1024,
    QWEN_IMAGE,
    SANA_1600M_512,
    STABLE_DIFFUSION_1,
    STABLE_DIFFUSION_2,
    STABLE_DIFFUSION_35_MEDIUM,
    STABLE_DIFFUSION_XL,
    Z_IMAGE,
    Components,
    Config,
)
from dreamfusion_kit.memory.device import Device, format_bytes
from dreamfusion_kit.memory.estimate import PREVIEW, UPDATE, moments
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize.loss import total_loss
from dreamfusion_kit.optimize.optimizers import build_optimizer
from dreamfusion_kit.optimize.penalties import needs_normals, sum_of, weighted_penalties
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import CameraSection, FlowTransformerSection, Recipe
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.seeding import generator
from dreamfusion_kit.stages import devices

ROOT = Path(__file__).parents[1]
TINY_RECIPE = "toybox"


@dataclass(frozen=True)
class Backend:
    """What is timed: a recipe, the model in full size, and what makes that tiny."""

    title: str
    recipe: str
    components: Components
    tiny: Mapping[str, Config]


TINY_UNET = {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 4, "layers_per_block": 1}
TINY_VAE = {"block_out_channels": (4, 8, 8, 8), "norm_num_groups": 2, "layers_per_block": 1}
TINY_TRANSFORMER = {
    "sample_size": 8,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "caption_projection_dim": 16,
    "pos_embed_max_size": 64,
}
TINY_IMAGE_PX = 64

BACKENDS = {
    "if": Backend(
        "pixel_unet, IF-I-XL",
        "if",
        DEEPFLOYD_IF_XL,
        {
            "unet": TINY_UNET
            | {
                "attention_head_dim": 4,
                "cross_attention_dim": 32,
                "encoder_hid_dim": 12,
                "addition_embed_type_num_heads": 4,
            }
        },
    ),
    "sd15": Backend(
        "latent_unet, Stable Diffusion 1.5",
        "sd15",
        STABLE_DIFFUSION_1,
        {
            "unet": TINY_UNET | {"attention_head_dim": 2, "cross_attention_dim": 12},
            "vae": TINY_VAE,
        },
    ),
    "sd21": Backend(
        "latent_unet, Stable Diffusion 2.1",
        "sd21",
        STABLE_DIFFUSION_2,
        {
            "unet": TINY_UNET | {"attention_head_dim": (1, 2, 2, 2), "cross_attention_dim": 12},
            "vae": TINY_VAE,
        },
    ),
    "sdxl": Backend(
        "latent_unet, Stable Diffusion XL",
        "sdxl",
        STABLE_DIFFUSION_XL,
        {
            "unet": TINY_UNET
            | {
                "block_out_channels": (8, 16, 16),
                "transformer_layers_per_block": (1, 1, 2),
                "attention_head_dim": (1, 2, 2),
                "cross_attention_dim": 20,
                "addition_time_embed_dim": 4,
                "projection_class_embeddings_input_dim": 6 * 4 + 8,
            },
            "vae": TINY_VAE,
        },
    ),
    "sd35": Backend(
        "flow_transformer, Stable Diffusion 3.5 medium",
        "sd35",
        STABLE_DIFFUSION_35_MEDIUM,
        {
            "transformer": TINY_TRANSFORMER
            | {
                "num_layers": 2,
                "dual_attention_layers": (0,),
                "pooled_projection_dim": 20,
                "pos_embed_max_size": 8,
            },
            "vae": TINY_VAE,
        },
    ),
    "auraflow": Backend(
        "flow_transformer, AuraFlow",
        "sd35",
        AURA_FLOW,
        {
            "transformer": TINY_TRANSFORMER | {"num_mmdit_layers": 1, "num_single_dit_layers": 1},
            "vae": TINY_VAE,
        },
    ),
    "flux2-klein": Backend(
        "latent_transformer, FLUX.2 [klein] base 4B",
        "flux2-klein",
        FLUX_2_KLEIN_BASE_4B,
        {
            "transformer": {
                "in_channels": 16,
                "num_layers": 1,
                "num_single_layers": 1,
                "attention_head_dim": 16,
                "num_attention_heads": 2,
                "joint_attention_dim": 24,
                "timestep_guidance_channels": 8,
                "axes_dims_rope": (4, 4, 4, 4),
            },
            "vae": TINY_VAE | {"latent_channels": 4},
        },
    ),
    "z-image": Backend(
        "latent_transformer, Z-Image",
        "z-image",
        Z_IMAGE,
        {
            "transformer": {
                "in_channels": 4,
                "dim": 32,
                "n_layers": 1,
                "n_refiner_layers": 1,
                "n_heads": 2,
                "n_kv_heads": 2,
                "cap_feat_dim": 8,
                "axes_dims": (4, 6, 6),
                "axes_lens": (1024, 64, 64),
            },
            "vae": TINY_VAE | {"latent_channels": 4},
        },
    ),
    "qwen-image": Backend(
        "latent_transformer, Qwen-Image",
        "qwen-image",
        QWEN_IMAGE,
        {
            "transformer": {
                "in_channels": 16,
                "out_channels": 4,
                "num_layers": 1,
                "attention_head_dim": 16,
                "num_attention_heads": 2,
                "joint_attention_dim": 16,
                "axes_dims_rope": (4, 6, 6),
            },
            "vae": {
                "base_dim": 4,
                "z_dim": 4,
                "dim_mult": [1, 1, 1, 1],
                "num_res_blocks": 1,
                "latents_mean": [0.0] * 4,
                "latents_std": [1.0] * 4,
            },
        },
    ),
    "sana": Backend(
        "latent_transformer, Sana 1.6B",
        "sana",
        SANA_1600M_512,
        {
            "transformer": {
                "in_channels": 4,
                "out_channels": 4,
                "num_layers": 1,
                "num_attention_heads": 2,
                "attention_head_dim": 4,
                "num_cross_attention_heads": 2,
                "cross_attention_head_dim": 4,
                "cross_attention_dim": 8,
                "caption_channels": 8,
            },
            "vae": {
                "latent_channels": 4,
                "attention_head_dim": 2,
                "encoder_block_out_channels": (8,) * 6,
                "decoder_block_out_channels": (8,) * 6,
                "encoder_layers_per_block": (1,) * 6,
                "decoder_layers_per_block": (1,) * 6,
                "encoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
                "decoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
            },
        },
    ),
    "pixart-sigma": Backend(
        "latent_transformer, PixArt-Sigma XL",
        "pixart-sigma",
        PIXART_SIGMA_1024,
        {
            "transformer": {
                "num_attention_heads": 2,
                "attention_head_dim": 4,
                "num_layers": 1,
                "cross_attention_dim": 8,
                "caption_channels": 8,
                "sample_size": 8,
            },
            "vae": TINY_VAE,
        },
    ),
}


@dataclass(frozen=True)
class Result:
    """Medians in seconds, and all times; memory in bytes, of tensors alone."""

    backend: str
    whole_step_s: float
    object_step_s: float
    floor_s: float
    whole_ratio: float
    object_ratio: float
    peak_bytes: int
    estimated_bytes: int
    times_s: dict[str, list[float]]


def main(arguments: list[str] | None = None) -> None:
    """Print the table and write the numbers."""
    options = _options(arguments)
    # Deterministic products on CUDA need it before the first product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if options.without_triton:
        sys.modules["triton"] = None  # pyright: ignore[reportArgumentType]
    torch.set_num_threads(options.threads)
    device = devices.pick(options.device)
    results: list[Result] = []
    for name in options.backends or BACKENDS:
        print(f"{name} ...", file=sys.stderr)
        backend = BACKENDS[name]
        recipe = _recipe(backend, tiny=options.tiny, field_of=options.field_of)
        if options.field_backend is not None:
            field = recipe.field.model_copy(update={"backend": options.field_backend})
            recipe = recipe.model_copy(update={"field": field})
        parts = _shrunk(backend) if options.tiny else backend.components
        results.append(measure(backend.title, recipe, parts, device, options.rounds))
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    command = f"python benchmarks/sds_step.py {' '.join(arguments or sys.argv[1:])}"
    _print_table(results, command, device)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "command": command,
        "machine": provenance.machine(device),
        "packages": provenance.package_versions(),
        "load": os.getloadavg()[0],
        "results": [asdict(result) for result in results],
    }
    options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "backends",
        nargs="*",
        choices=[[], *BACKENDS],
        metavar="BACKEND",
        help=f"{', '.join(BACKENDS)}; all by default.",
    )
    parser.add_argument("--tiny", action="store_true", help="Small models, the toybox's field.")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N.")
    parser.add_argument("--threads", type=int, default=2, help="Torch's threads.")
    parser.add_argument("--rounds", type=int, default=9, help="Times that each is run.")
    parser.add_argument("--field-of", help="Recipe whose field and renderer are taken instead.")
    parser.add_argument("--field-backend", choices=["torch", "tinycudann"], help="Of a hash grid.")
    parser.add_argument(
        "--without-triton", action="store_true", help="As if it were not installed."
    )
    parser.add_argument("--json", type=Path, default=Path("out/sds_step.json"))
    return parser.parse_args(arguments)


def _recipe(backend: Backend, *, tiny: bool, field_of: str | None) -> Recipe:
    """Return the backend's recipe, with another's field and renderer if asked for."""
    recipe = load_recipe(ROOT / "recipes" / f"{backend.recipe}.yaml")
    prior = recipe.prior
    if backend.components is AURA_FLOW:  # in no shipped recipe: SD 3.5's with its encoder
        assert isinstance(prior, FlowTransformerSection)
        prior = prior.model_copy(update={"t5_enabled": True})
    if tiny:
        small = {"dtype": "float32", "image_size_px": TINY_IMAGE_PX}
        if hasattr(prior, "vae_dtype"):
            small["vae_dtype"] = "float32"
        prior = prior.model_copy(update=small)
    recipe = recipe.model_copy(update={"prior": prior})
    other = field_of or (TINY_RECIPE if tiny else None)
    if other is None:
        return recipe
    found = load_recipe(ROOT / "recipes" / f"{other}.yaml")
    names = ("camera", "light", "shading", "background", "field", "renderer", "optimize")
    return recipe.model_copy(update={name: getattr(found, name) for name in names})


def _shrunk(backend: Backend) -> Components:
    return {name: {**config, **backend.tiny[name]} for name, config in backend.components.items()}


def measure(
    title: str, recipe: Recipe, parts: Components, device: torch.device, rounds: int
) -> Result:
    """Return times and memory of one backend."""
    prior = random_prior(recipe, parts, device)
    keys = list(guidance_prompts("a red mug", recipe.guidance))
    text = random_text(recipe, parts, len(keys)).to(device)
    step = SdsStep(recipe, prior, PromptFeatures(text, keys), device)
    shaded = max(recipe.shading.albedo_only_steps, recipe.renderer.occupancy.warmup_steps)
    step(0)  # the first has no gradients and no moments yet
    # Memory, under the estimate's assumptions: no sample is skipped, and the camera sees as much
    # of the field as possible.
    camera, last = recipe.camera, recipe.renderer.occupancy.warmup_steps - 1
    (nearest, _), (_, longest) = camera.radius_range, camera.focal_range
    close = {"radius_range": (nearest, nearest), "focal_range": (longest, longest)}
    peak = _peak_bytes(lambda: step(last, camera.model_copy(update=close)), device)
    if device.type != "cuda":
        peak += step.held_bytes() + _held_bytes(_modules(prior))
    around_object = object_occupancy(recipe, step.model.bounding_radius, device)
    rows = {
        "whole": lambda: step(shaded),
        "object": lambda: step(shaded, occupancy=around_object),
        "floor": _floor(recipe, prior, text, device),
    }
    times = _times(rows, rounds, device)
    whole_s, object_s, floor_s = (statistics.median(times[row]) for row in rows)
    here = Device("", device.type == "cuda", 0, 0, libraries_bytes=0)
    found = moments(recipe, parts, here)
    estimated = max(moment.total for moment in found if moment.name not in (PREVIEW, UPDATE))
    return Result(
        backend=title,
        whole_step_s=whole_s,
        object_step_s=object_s,
        floor_s=floor_s,
        whole_ratio=whole_s / floor_s,
        object_ratio=object_s / floor_s,
        peak_bytes=peak,
        estimated_bytes=estimated,
        times_s=times,
    )


def object_occupancy(recipe: Recipe, bounding_radius: float, device: torch.device) -> OccupancyGrid:
    """Return a grid as training leaves it: a ball of half the radius is occupied."""
    grid = OccupancyGrid(recipe.renderer.occupancy, bounding_radius, device=device)
    side = recipe.renderer.occupancy.resolution
    squared = ((torch.arange(side, device=device) + 0.5) / side * 2 - 1).square()
    grid.occupied = squared[:, None, None] + squared[:, None] + squared < 0.25
    grid.set_step(recipe.renderer.occupancy.warmup_steps)
    return grid


def _modules(prior: Any) -> list[torch.nn.Module]:
    return [value for value in vars(prior).values() if isinstance(value, torch.nn.Module)]


# ---- what is timed


class SdsStep:
    """One step of the recipe at a given index, as `optimize/loop.py` takes it."""

    def __init__(
        self, recipe: Recipe, prior: Prior, prompts: PromptFeatures, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.model = NerfModel.build(recipe, seed=0).to(device)
        self.occupancy = self.model.occupancy
        self.model.update_occupancy(0, generator=self.draw("occupancy"))
        self.optimizer = build_optimizer(recipe.optimize, self.model.parameter_groups())
        phi = generator(0, "phi-initial")
        self.guidance = build_guidance(recipe.guidance, prior, prompts, generator=phi)

    def draw(self, stream: str) -> torch.Generator:
        return generator(0, stream, device=self.device)

    def held_bytes(self) -> int:
        """Return what lies in memory between two steps, without the prior."""
        moments = [
            value
            for state in self.optimizer.state.values()
            for value in state.values()
            if isinstance(value, torch.Tensor)
        ]
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return _held_bytes([self.model]) + _nbytes([*moments, *gradients])

    def __call__(
        self,
        index: int,
        camera: CameraSection | None = None,
        occupancy: OccupancyGrid | None = None,
    ) -> None:
        recipe, section = self.recipe, self.recipe.optimize
        camera = camera or recipe.camera
        self.model.occupancy = occupancy or self.occupancy
        self.model.set_step(index)
        cameras = sample_cameras(camera, section.batch_size, generator=self.draw("camera"))
        lighting = sample_lighting(
            recipe.light, recipe.shading, cameras, index, generator=self.draw("light")
        )
        rays = pixel_rays(cameras)
        output, samples = self.model.render_with_samples(
            rays,
            lighting,
            self.model.draw_background(rays, generator=self.draw("background")),
            with_normals=needs_normals(section.penalties, index),
            generator=self.draw("render"),
        )
        images = output.image.movedim(-1, 1)
        guidance = self.guidance.guide(Views(images, output.opacity, cameras), index, self.draw)
        terms = weighted_penalties(section.penalties, output.opacity, samples, self.model, index)
        penalty = sum_of(terms, images.device)
        self.optimizer.zero_grad()
        total_loss(guidance, images, output.opacity, penalty).backward()
        self.optimizer.step()


def _floor(
    recipe: Recipe, prior: Prior, text: TextFeatures, device: torch.device
) -> Callable[[], None]:
    """Return the encoder forward and backward, and one forward of the denoiser for two texts."""
    batch, side = recipe.optimize.batch_size, recipe.camera.largest_image_size_px
    images = torch.rand(batch, 3, side, side, generator=generator(0, "images")).to(device)
    images.requires_grad_()
    timestep = torch.full((2 * batch,), prior.num_train_timesteps // 2, device=device)
    texts = text.select([0] * batch + [1] * batch)

    def floor() -> None:
        clean = prior.to_model_space(images)
        prior.predict(torch.cat([clean.detach()] * 2), timestep, texts)
        torch.autograd.grad(clean, images, torch.ones_like(clean))

    return floor


# ---- measuring


def _times(
    rows: dict[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds of each row, one number per round, after two rounds of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for index in range(rounds + 2):
        for name, run in rows.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            if index > 1:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_bytes(run: Callable[[], None], device: torch.device) -> int:
    """Return the peak memory of tensors: on CUDA of all tensors, on a CPU what `run` adds."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    # Each allocation and release in order, not the profiler's own table, which sums up.
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def _held_bytes(modules: list[torch.nn.Module]) -> int:
    return sum(_nbytes([*module.parameters(), *module.buffers()]) for module in modules)


def _nbytes(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _print_table(results: list[Result], command: str, device: torch.device) -> None:
    machine, packages = provenance.machine(device), provenance.package_versions()
    print(f"`{command}`\n")
    print(
        f"{machine['device']} ({machine['cpu']}), {machine['threads']} threads, "
        f"load {os.getloadavg()[0]:.1f}, torch {packages['torch']}, "
        f"diffusers {packages['diffusers']}\n"
    )
    print(
        "| backend | floor, ms | whole sphere, ms | ratio | object, ms | ratio "
        "| memory | estimated |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for result in results:
        print(
            f"| {result.backend} | {1e3 * result.floor_s:.1f} "
            f"| {1e3 * result.whole_step_s:.1f} | {result.whole_ratio:.2f} "
            f"| {1e3 * result.object_step_s:.1f} | {result.object_ratio:.2f} "
            f"| {format_bytes(result.peak_bytes)} "
            f"| {format_bytes(result.estimated_bytes)} |"
        )


if __name__ == "__main__":
    main()
