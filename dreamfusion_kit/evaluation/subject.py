"""One finished asset as metrics see it: pictures, features and shape, each computed on demand.

Nothing is computed twice, and nothing that no metric needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.evaluation.geometry import GeometryMetrics, measure_geometry
from dreamfusion_kit.evaluation.judge import Judge, Questioner
from dreamfusion_kit.evaluation.r_precision import cosine_similarity
from dreamfusion_kit.evaluation.surface import TexturedMesh
from dreamfusion_kit.evaluation.views import (
    Render,
    RenderImage,
    ViewImages,
    render_images,
    render_views,
)
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.records import Truth

Object = Literal["mesh", "truth"]
Light = Literal["color", "textureless", "unlit"]
Number = float | None
"""What a metric gives: None where it has no meaning for the asset."""

T = TypeVar("T")


@dataclass(frozen=True)
class Retrieval:
    """A judge's view of the pictures: cosines with all captions, one of them the asset's own."""

    similarity: Float[Tensor, "views captions"]
    own: int


@dataclass(frozen=True)
class Subject:
    """An asset, the protocol, and the available judges and truth.

    `facts` are what the mesh stage measured on the mesh. `render_field` is None for an
    imported mesh. `judge` is the main one, None if the protocol names none; `other_judges` are
    the rest by name. `truth` is None for a prompt whose object has no known shape.
    """

    prompt: str
    section: EvaluationSection
    mesh: TexturedMesh
    render_mesh: Render
    render_field: Render | None
    facts: Mapping[str, Any]
    judge: Judge | None
    truth: Truth | None
    other_judges: Mapping[str, Judge] = field(default_factory=dict[str, Judge])
    questioner: Questioner | None = None
    _made: dict[Any, Any] = field(default_factory=dict[Any, Any], repr=False)

    # ---- pictures

    @property
    def views(self) -> ViewImages:
        """Return the protocol's views of the mesh."""
        supersampling = self.section.views.supersampling
        return self._once(
            "views",
            lambda: render_views(self.render_mesh, self.section.views, supersampling=supersampling),
        )

    @property
    def field_views(self) -> ViewImages | None:
        """Return the protocol's views of the field; None without one."""
        render = self.render_field
        if render is None:
            return None
        return self._once(
            "field views", lambda: render_views(render, self.section.views, supersampling=1)
        )

    def images(self, of: Object, light: Light) -> Float[Tensor, "views h w 3"] | None:
        """Return the protocol's views of the mesh or of the true object; None without a truth.

        Unlit views show the albedo alone.
        """
        if of == "truth":
            truth = self.truth
            if truth is None:
                return None
            return self._once((of, light), lambda: self._drawn(truth.render, light, 1))
        if light == "unlit":
            render, supersampling = self.render_mesh, self.section.views.supersampling
            return self._once(
                (of, light),
                lambda: self._drawn(lambda *inputs: render(*inputs).image, light, supersampling),
            )
        return self.views.color if light == "color" else self.views.textureless

    def _drawn(
        self, render: RenderImage, light: Light, supersampling: int
    ) -> Float[Tensor, "views h w 3"]:
        section = self.section.views
        if light == "unlit":
            section = section.model_copy(update={"ambient": 1.0, "diffuse": 0.0})
        return render_images(
            render, section, textureless=light == "textureless", supersampling=supersampling
        )

    # ---- what the judge says about them

    def features(self, of: Object, light: Light) -> Float[Tensor, "views features"] | None:
        """Return the judge's unit features of views; None without a judge or a truth."""
        judge, images = self.judge, self.images(of, light) if self.judge else None
        if judge is None or images is None:
            return None
        return self._once(
            (of, light, "features", judge.name), lambda: judge.model.image_features(images)
        )

    def comparison(self, of: Object, light: Light) -> Retrieval | None:
        """Return cosines with the pool's captions; None without a judge or a truth."""
        judge, features = self.judge, self.features(of, light)
        if judge is None or features is None:
            return None
        captions = self._texts("pool", judge.pool.captions)
        return Retrieval(cosine_similarity(features, captions), judge.pool.index(self.own_caption))

    def retrieval(self, of: Object, light: Light) -> Retrieval | None:
        """Return the same if the pool has a wrong answer to retrieve."""
        can_retrieve = self.judge is not None and self.judge.pool.can_retrieve
        return self.comparison(of, light) if can_retrieve else None

    def plaster_retrieval(self, of: Object) -> Retrieval | None:
        """Return cosines of textureless views with captions of plaster objects, one per object.

        A textureless view cannot show the colour that its caption names; "a white plaster
        mug" describes what it does show.
        """
        truth, features = self.truth, self.features(of, "textureless")
        if truth is None or features is None:
            return None
        captions = self._texts("plaster", truth.plaster)
        return Retrieval(cosine_similarity(features, captions), truth.own_plaster)

    @property
    def own_caption(self) -> str:
        """Return the caption of the pool that is the right answer."""
        truth, judge = self.truth, self.judge
        if truth is None or judge is None:
            return self.prompt
        return truth.caption if judge.pool.has(truth.caption) else self.prompt

    @property
    def same_object(self) -> Bool[Tensor, " captions"] | None:
        """Return which of the pool's captions name the asset's own object, in any colour."""
        judge, truth = self.judge, self.truth
        if judge is None or truth is None or not judge.pool.can_retrieve:
            return None
        return torch.tensor([truth.names_object(caption) for caption in judge.pool.captions])

    def _texts(self, name: str, captions: tuple[str, ...]) -> Float[Tensor, "captions features"]:
        assert self.judge is not None
        model = self.judge.model
        return self._once((name, "texts", self.judge.name), lambda: model.text_features(captions))

    def judged_by(self, name: str) -> "Subject":
        """Return the same asset, pictures included, before another of its judges."""
        return replace(self, judge=self.other_judges[name])

    @property
    def vqa_score(self) -> Number:
        """Return the mean probability of "yes" over the colour views; None without a model."""
        questioner = self.questioner
        if questioner is None:
            return None
        answers = self._once(
            "answers", lambda: questioner.yes_probabilities(self.views.color, self.prompt)
        )
        return float(answers.double().mean())

    # ---- what the truth says

    @property
    def geometry(self) -> GeometryMetrics | None:
        """Return the mesh's distance to the true shape; None without one."""
        truth = self.truth
        if truth is None:
            return None
        return self._once(
            "geometry",
            lambda: measure_geometry(
                self.mesh.surface,
                truth.distances,
                self.section.geometry,
                bounding_radius=truth.bounding_radius,
                generator=seeding.generator(self.section.seed, "geometry"),
            ),
        )

    def sides(self, of: Object) -> list[str] | None:
        """Return the side that each colour view shows; None for objects without distinct sides."""
        sides = None if self.truth is None else self.truth.sides
        images = self.images(of, "color")
        if sides is None or images is None:
            return None
        return self._once((of, "sides"), lambda: sides(images))

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]
