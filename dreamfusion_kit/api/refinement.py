"""The second stage without a workspace: what `stages.refine` does, between a field and a mesh."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from dreamfusion_kit import files
from dreamfusion_kit.api.steps import monitor_of, temporary_folder
from dreamfusion_kit.guidance.embed import EmbeddedPrompt, embed_prompt
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.identity.inputs import REFINE_SECTIONS, sections
from dreamfusion_kit.mesh.export import write_mesh
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.mesh.refined import read_surface
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.phases import Guide, run_phases
from dreamfusion_kit.optimize.run_key import run_key
from dreamfusion_kit.priors.base import Teacher
from dreamfusion_kit.priors.source.parts import Model
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.schema import Recipe, RefineSection
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.stages import models
from dreamfusion_kit.stages.coarse import SURFACE, baked, coarse_of
from dreamfusion_kit.stages.refine import phases_of
from dreamfusion_kit.system_errors import explained


@dataclass(frozen=True)
class Refined:
    """A refined mesh, and the values logged at each step of every phase."""

    mesh: BakedMesh
    history: tuple[StepMetrics, ...]


@dataclass(frozen=True)
class Request:
    """What is made of which prompt, with the models' files as `fetch_models` found them."""

    prompt: str
    recipe: Recipe
    seed: int
    fetched: Mapping[str, Model]
    lock: str

    def texts(self, prior: Teacher, device: torch.device) -> dict[str, EmbeddedPrompt]:
        """Return the features of all texts, by `Recipe.text_keys`; the first stage's is first.

        All are made before that stage begins: a text that a later phase's model cannot read would
        otherwise be refused only when the field is finished. The later ones wait on the CPU.

        Args:
            prior: The recipe's prior on `device`.
            device: Where texts are encoded.
        """
        first, *later = self.recipe.text_keys
        found = {first: embed_prompt(self.prompt, self.recipe, prior, key=first)}
        for key in later:
            name = self.recipe.prior_key(key)
            own = (
                prior if name == "prior" else models.built(self.recipe, name, self.fetched, device)
            )
            text = embed_prompt(self.prompt, self.recipe, own, key=key)
            found[key] = replace(text, features=text.features.to("cpu"))
        return found


def refine_in(
    work: Path,
    asked: Request,
    texts: Mapping[str, EmbeddedPrompt],
    section: RefineSection,
    field: NerfModel,
    mesh: BakedMesh,
    *,
    progress: bool,
) -> Refined:
    """Return the refined mesh of a field and its coarse one, with checkpoints below `work`.

    `texts` are those of `Request.texts`.
    """
    device, recipe = field.device, asked.recipe
    with temporary_folder() as name:  # through its OBJ, whose numbers are those the stage reads
        folder = Path(name)
        write_mesh(folder, mesh, name="coarse", formats=("obj",), provenance={})
        coarse = coarse_of(read_surface(folder / SURFACE), field, recipe.mesh, section)
        inputs = {
            "recipe": identity(sections(recipe, *REFINE_SECTIONS)),
            "asset": identity({"prompt": asked.prompt, "seed": asked.seed}),
            "model": asked.lock,
            "mesh": files.sha256(folder / SURFACE),
            "text_code": code_digest("embed"),
            "code": code_digest("refine"),
        }
    model = SurfaceModel(section, coarse.start, seed=asked.seed).to(device)
    guides = _Guides(asked, texts, device)
    phases = phases_of(recipe, section, model, coarse, guides.guide)
    key = run_key(inputs, device)
    files.check_writable(work / key, folder=True)
    with (
        explained(work),
        open_scratch(work, key) as scratch,
        monitor_of(asked.prompt, progress) as monitor,
    ):
        done = run_phases(phases, seed=asked.seed, scratch=scratch, device=device, monitor=monitor)
    found = baked(coarse, model, recipe.mesh, mesh.facts, device)
    return Refined(found, tuple(done.history))


@dataclass(frozen=True)
class _Guides:
    """Loads what guides a phase; the prior once, since all phases have the same."""

    asked: Request
    texts: Mapping[str, EmbeddedPrompt]
    device: torch.device

    def guide(self, key: str) -> Guide:
        recipe, fetched = self.asked.recipe, self.asked.fetched
        text = self.texts[recipe.text_key(key)]
        phi = models.built_phi(recipe, key, fetched, self.device)
        return Guide(self._prior, phi, text.features.to(self.device), text.prompts)

    @cached_property
    def _prior(self) -> Teacher:
        recipe = self.asked.recipe
        return models.built(recipe, recipe.prior_key(_FIRST), self.asked.fetched, self.device)


_FIRST = "refine.phases[0].guidance"
