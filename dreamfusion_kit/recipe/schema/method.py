"""A method: the sections of a recipe, and the models and texts that follow from them."""

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import Section, Text
from dreamfusion_kit.recipe.schema.field import FieldOrParticlesSection, ParticlesSection
from dreamfusion_kit.recipe.schema.guidance import GuidanceSection
from dreamfusion_kit.recipe.schema.mesh import MeshSection
from dreamfusion_kit.recipe.schema.optimize import OptimizeSection
from dreamfusion_kit.recipe.schema.prior import LatentUnetSection, PriorSection
from dreamfusion_kit.recipe.schema.refine import RefineSection
from dreamfusion_kit.recipe.schema.renderer import RendererSection
from dreamfusion_kit.recipe.schema.view import (
    BackgroundSection,
    CameraSection,
    LightSection,
    ShadingSection,
)


class Method(Section):
    """A text-to-3D method, section by section."""

    summary: Text = Field(min_length=1, description="What the recipe is for, in one sentence.")
    prior: PriorSection = Field(description="The frozen text-to-image diffusion model.")
    guidance: GuidanceSection = Field(
        description="How prior and view become a gradient on the view."
    )
    camera: CameraSection = Field(description="Where training views are taken from.")
    light: LightSection = Field(description="Where the light of training views stands.")
    shading: ShadingSection = Field(description="Which training views are shaded, and how.")
    background: BackgroundSection = Field(description="What training views are composited over.")
    field: FieldOrParticlesSection = Field(description="What maps positions to density and albedo.")
    renderer: RendererSection = Field(description="How a field becomes an image.")
    optimize: OptimizeSection = Field(description="The optimisation loop.")
    mesh: MeshSection = Field(description="How a field becomes a textured mesh.")
    refine: RefineSection | None = Field(
        description="How that mesh is refined (Magic3D, s. 4); null leaves it as it is."
    )

    @property
    def bounding_radius(self) -> float:
        """Return the radius of the ball that holds the object, scene units."""
        field = self.field.particle if isinstance(self.field, ParticlesSection) else self.field
        return field.bounding_radius

    @property
    def guidances(self) -> dict[str, GuidanceSection]:
        """Return the guidance of each optimisation, by its key."""
        phases = () if self.refine is None else self.refine.phases
        numbered = {f"refine.phases[{index}]": phase for index, phase in enumerate(phases)}
        later = {f"{name}.guidance": phase.guidance for name, phase in numbered.items()}
        return {"guidance": self.guidance, **later}

    def prior_key(self, key: str) -> str:
        """Return the key of the prior that the guidance at `key` asks."""
        own = key != "guidance" and self.refine is not None and self.refine.prior is not None
        return "refine.prior" if own else "prior"

    def prior_of(self, key: str) -> PriorSection:
        """Return the prior that the guidance at `key` asks."""
        own = None if self.refine is None or key == "guidance" else self.refine.prior
        return self.prior if own is None else own

    def phi_of(self, key: str) -> PriorSection | None:
        """Return the other model whose network the guidance at `key` trains as phi, if any."""
        source, prior = self.guidances[key].phi_source, self.prior_of(key)
        if source is None or not isinstance(prior, LatentUnetSection):
            return None
        plain: dict[str, object] = {"vae": None, "loras": (), "textual_inversions": ()}
        return prior.model_copy(update={"source": source, **plain})

    @property
    def models(self) -> dict[str, PriorSection]:
        """Return every model by its key: `prior`, `refine.prior` or a guidance's with `.phi`."""
        priors = {self.prior_key(key): self.prior_of(key) for key in self.guidances}
        phis = {f"{key}.phi": self.phi_of(key) for key in self.guidances}
        return priors | {key: phi for key, phi in phis.items() if phi is not None}

    @property
    def text_keys(self) -> list[str]:
        """Return the guidances whose texts are embedded: `guidance`, and those that differ."""
        return list(dict.fromkeys(map(self.text_key, self.guidances)))

    def text_key(self, key: str) -> str:
        """Return the first guidance that reads the texts which the one at `key` reads."""
        return next(other for other in self.guidances if self._texts(other) == self._texts(key))

    def _texts(self, key: str) -> tuple[object, ...]:
        one = self.guidances[key]
        return (self.prior_of(key), one.view_prompts.words, one.other_texts, one.plain_prompt)
