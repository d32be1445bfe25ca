"""From a prompt to a mesh in one call."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dreamfusion_kit import files
from dreamfusion_kit.api.recipe import load_recipe
from dreamfusion_kit.api.refinement import Request, refine_in
from dreamfusion_kit.api.steps import HERE, optimize_in, prior_on, temporary_folder
from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.embed import EmbeddedPrompt
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.identity.inputs import FIELD_SECTIONS, sections
from dreamfusion_kit.image_files import png_bytes, quantized
from dreamfusion_kit.mesh.export import write_mesh
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.mesh.from_model import mesh_from_model
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize.loop import OptimizedModel
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.preview import AZIMUTH_DEG, BACKGROUND, ELEVATION_DEG, middle_cameras
from dreamfusion_kit.optimize.run_key import run_key
from dreamfusion_kit.priors.source.progress_bars import no_progress_bars
from dreamfusion_kit.recipe import suite_schema
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.document import Document, Place, Value
from dreamfusion_kit.recipe.load import validate
from dreamfusion_kit.recipe.schema import MeshFormat, MeshSection, Recipe
from dreamfusion_kit.stages import devices, models
from dreamfusion_kit.stages.fetch import fetch_models, joined_lock
from dreamfusion_kit.workspace.slug import slugs


@dataclass(frozen=True, eq=False)
class Asset:
    """The result for a prompt. It displays itself as a picture in a notebook.

    Attributes:
        prompt: The text that was asked for.
        seed: The seed of every random number.
        recipe: The complete method.
        model: The optimised radiance field, on the device that made it.
        mesh: Its textured surface, refined if the recipe refines.
        history: The values logged at each step, of the field and then of the surface.
    """

    prompt: str
    seed: int
    recipe: Recipe = field(repr=False)
    model: NerfModel = field(repr=False)
    mesh: BakedMesh = field(repr=False)
    history: tuple[StepMetrics, ...] = field(repr=False)

    @property
    def identity(self) -> str:
        """Return the hash of prompt, seed and recipe, 64 hex digits, as for a suite's asset."""
        return identity({"prompt": self.prompt, "seed": self.seed, "recipe": self.recipe})

    def save(
        self,
        directory: str | Path,
        *,
        name: str | None = None,
        formats: Sequence[MeshFormat] | None = None,
    ) -> Path:
        """Write mesh.json and the mesh in every format; return the GLB's path.

        The folder is created if missing. Files with these names are replaced; others stay.

        Args:
            directory: Where to.
            name: Of object, mesh, material and image in the files, of a-z, 0-9 and _; by
                default made from the prompt's words.
            formats: Of glb, obj, ply, stl and usdz; by default the recipe's `mesh.formats`.

        Raises:
            FileError: if a file cannot be written.
            MissingExtraError: if usdz is asked for and usd-core is not installed.
            RecipeError: if name or formats are invalid.
        """
        if name is not None and not re.fullmatch(suite_schema.ASSET_ID, name):
            raise RecipeError(f"name {name!r}: expected 1 to 64 of a-z, 0-9 and _")
        named = name or slugs([(self.prompt, "")])[0]
        asked = {**self.recipe.mesh.model_dump(mode="json")}
        if formats is not None:
            asked["formats"] = list(formats)
        section = validate(Document(asked, {(): Place("formats", 1)}), MeshSection)
        target = Path(directory)
        with temporary_folder() as name:
            made = Path(name)
            self.model.save(made)
            field_sha256 = files.sha256(made / "field.safetensors")
            write_mesh(
                made,
                self.mesh,
                name=named,
                formats=section.formats,
                provenance=self._made_from(field_sha256),
            )
            for path in sorted(made.iterdir()):
                if path.suffix != ".safetensors":
                    files.write_bytes(target / path.name, path.read_bytes())
        return target / "mesh.glb"

    def render(
        self,
        *,
        azimuth_deg: float = AZIMUTH_DEG,
        elevation_deg: float = ELEVATION_DEG,
        image_size_px: int = 256,
    ) -> Image.Image:
        """Return a square picture of the radiance field, lit from the camera, over mid grey.

        Args:
            azimuth_deg: 0 faces the object's front, 90 its left side.
            elevation_deg: Above the horizon, -90 to 90.
            image_size_px: Width and height.
        """
        cameras = middle_cameras(
            self.recipe.camera,
            torch.tensor([float(azimuth_deg)], device=self.model.device),
            float(elevation_deg),
            image_size_px,
        )
        shading = self.recipe.shading
        light = headlight(
            cameras, ambient=shading.ambient, diffuse=shading.diffuse, textureless=False
        )
        size = (1, image_size_px, image_size_px, 3)
        background = torch.full(size, BACKGROUND, device=self.model.device)
        with torch.no_grad():
            image = self.model.render(pixel_rays(cameras), light, background).image
        return Image.fromarray(quantized(image)[0])

    def _repr_png_(self) -> bytes:
        """Return a picture, as notebooks show it."""
        return png_bytes(np.asarray(self.render()))

    def _made_from(self, field_sha256: str) -> dict[str, str | int]:
        """Return the content of the GLB's `asset.extras`."""
        return {
            "generator": "dreamfusion-kit",
            "prompt": self.prompt,
            "seed": self.seed,
            "identity": self.identity,
            "field_sha256": field_sha256,
        }


def make_asset(
    prompt: str,
    recipe: str | Path | Recipe = "magic3d-toybox",
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
    directory: str | Path | None = None,
    offline: bool = False,
) -> Asset:
    """Return the asset that a recipe makes from a prompt.

    It takes the same steps as the pipeline's stages and gives the same bytes on the same machine.
    Nothing is written into the current folder.

    Args:
        prompt: What to make, one line of 1 to 500 characters.
        recipe: A shipped recipe's name, a path, or what `load_recipe` returned.
        seed: Of every random number.
        device: "cpu", "cuda" or "cuda:N". It turns on PyTorch's deterministic algorithms for the
            whole process.
        progress: Whether to report progress on stderr: a live line on a terminal, about twenty
            plain lines in a notebook.
        directory: Where to keep checkpoints. The same call then resumes after an interruption,
            and returns a finished run at once. Each set of inputs has its own folder in it.
            Without it, checkpoints are in a temporary folder.
        offline: Use only what is in the hub's local cache.

    Raises:
        DreamFusionKitError: with what was found, what was expected and what to do; the
            subclasses are in `dreamfusion_kit.errors`.
    """
    _check(prompt, seed)
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    place = devices.pick(device, given_as="device")
    with nullcontext(str(directory)) if directory is not None else temporary_folder() as work:
        with nullcontext() if progress else no_progress_bars():
            fetched = fetch_models(recipe, HERE, offline=offline)
        asked = Request(prompt, recipe, seed, fetched, identity(joined_lock(fetched)))
        result, texts = _optimized(asked, place, progress, Path(work))
        mesh = mesh_from_model(result.model, recipe)
        made = Asset(prompt, seed, recipe, result.model, mesh, tuple(result.history))
        if recipe.refine is None:
            return made
        with nullcontext() if progress else no_progress_bars():
            refined = refine_in(
                Path(work), asked, texts, recipe.refine, result.model, mesh, progress=progress
            )
    history = (*made.history, *refined.history)
    return replace(made, mesh=refined.mesh, history=history)


def _optimized(
    asked: Request, device: torch.device, progress: bool, work: Path
) -> tuple[OptimizedModel, dict[str, EmbeddedPrompt]]:
    """Return the optimised model and all texts; the prior's memory is freed when this returns."""
    prompt, recipe, seed, fetched = asked.prompt, asked.recipe, asked.seed, asked.fetched
    inputs = {
        "recipe": identity(sections(recipe, *FIELD_SECTIONS)),
        "asset": identity({"prompt": prompt, "seed": seed}),
        "model": asked.lock,
        "text_code": code_digest("embed"),
        "code": code_digest("optimize"),
    }
    key = run_key(inputs, device)
    files.check_writable(work / key, folder=True)
    with nullcontext() if progress else no_progress_bars():
        prior = prior_on(device, recipe, fetched)
        texts = asked.texts(prior, device)
        phi = models.built_phi(recipe, "guidance", fetched, device)
    text = texts["guidance"]
    result = optimize_in(
        work, key, recipe, text, prior, seed=seed, device=device, progress=progress, phi=phi
    )
    return result, texts


def _check(prompt: str, seed: int) -> None:
    """Refuse an invalid prompt or seed, as a suite does."""
    asked: dict[str, Value] = {"prompt": prompt, "recipe": "any", "seed": seed, "overrides": {}}
    validate(Document(asked, {(): Place("make_asset", 1)}), suite_schema.Asset)
