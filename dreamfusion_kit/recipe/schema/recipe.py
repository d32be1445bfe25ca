"""A recipe: a method whose sections go together."""

from typing import Self

from pydantic import model_validator

from dreamfusion_kit.recipe.schema.method import Method
from dreamfusion_kit.recipe.schema.prior import LatentUnetSection
from dreamfusion_kit.recipe.schema.source import BundledSourceSection, BundledViewsSection


class Recipe(Method):
    """A complete text-to-3D method."""

    @model_validator(mode="after")
    def _cones_meet_a_field_that_knows_them(self) -> Self:
        if self.renderer.footprint == "cone" and not self.field.reads_cones:
            raise ValueError(
                f"found renderer.footprint cone with the field {self.field.kind}, expected the "
                "field mip_mlp, or the footprint point"
            )
        return self

    @model_validator(mode="after")
    def _particles_take_turns_under_adam(self) -> Self:
        if self.field.takes_turns and not self.optimize.optimizer.counts_steps_per_parameter:
            raise ValueError(
                f"found field.kind particles with the optimizer {self.optimize.optimizer.kind}, "
                "expected adam"
            )
        return self

    @model_validator(mode="after")
    def _bundled_models_are_of_the_kind_that_reads_them(self) -> Self:
        for key, prior in self.models.items():
            source = prior.source
            if isinstance(source, BundledSourceSection) and prior.kind not in source.readers:
                raise ValueError(
                    f"found the bundled model {source.name} as {key} of kind {prior.kind}, "
                    f"expected kind {' or '.join(source.readers)}"
                )
        return self

    @model_validator(mode="after")
    def _bundled_views_are_of_their_own_prior(self) -> Self:
        for key, prior in self.models.items():
            if not isinstance(prior.additions.get("view_weights"), BundledViewsSection):
                continue
            source = prior.source
            if not isinstance(source, BundledSourceSection) or source.name != "latent":
                raise ValueError(
                    f"found {key}.view_weights bundled with another {key}.source, expected the "
                    "bundled latent prior, from which they were trained; set source to "
                    "{kind: bundled, name: latent}"
                )
        return self

    @model_validator(mode="after")
    def _phi_shares_plain_weights(self) -> Self:
        for key, guidance in self.guidances.items():
            prior = self.prior_of(key)
            in_blocks = prior.cpu_offload == "group"
            stored = getattr(prior, "storage_dtype", None) is not None
            if guidance.adapter_rank is not None and (in_blocks or stored):
                raise ValueError(
                    f"found {key}.kind {guidance.kind} with {self.prior_key(key)}.cpu_offload "
                    f"group or {self.prior_key(key)}.storage_dtype, expected neither: its second "
                    "denoiser shares the weights as they are; set cpu_offload to true or false and "
                    "storage_dtype to null"
                )
        return self

    @model_validator(mode="after")
    def _phi_of_another_network_is_a_latent_unet(self) -> Self:
        for key, guidance in self.guidances.items():
            prior = self.prior_of(key)
            if guidance.phi_source is not None and not isinstance(prior, LatentUnetSection):
                raise ValueError(
                    f"found {key}.phi.source with {self.prior_key(key)}.kind {prior.kind}, "
                    "expected null: only a latent_unet can train another network's weights"
                )
        return self

    @model_validator(mode="after")
    def _clip_goes_with_clip(self) -> Self:
        for key, guidance in self.guidances.items():
            prior = self.prior_of(key)
            if guidance.model != prior.model:
                raise ValueError(
                    f"found {key}.kind {guidance.kind} with {self.prior_key(key)}.kind "
                    f"{prior.kind}, expected clip with clip, and any other guidance with a "
                    "diffusion model"
                )
        return self

    @model_validator(mode="after")
    def _views_are_those_that_the_prior_denoises(self) -> Self:
        stages = {"guidance": ("", self.camera, self.optimize.batch_size)}
        for index, phase in enumerate(() if self.refine is None else self.refine.phases):
            place = f"refine.phases[{index}]."
            stages[f"{place}guidance"] = (place, phase.camera, phase.optimize.batch_size)
        for key, (place, camera, batch_size) in stages.items():
            prior, found = self.prior_of(key), camera.views_per_object
            if prior.num_views > 1 and found != prior.num_views:
                drawn = "one by one" if found == 1 else f"in groups of {found}"
                raise ValueError(
                    f"found {place}camera that draws views {drawn} with {self.prior_key(key)}.kind "
                    f"{prior.kind}, which denoises {prior.num_views} views of one object together; "
                    f"expected {place}camera.object_views.count {prior.num_views}"
                )
            if batch_size % found:
                raise ValueError(
                    f"found {place}optimize.batch_size {batch_size} with "
                    f"{place}camera.object_views.count {found}, expected a multiple of {found}"
                )
        return self

    @model_validator(mode="after")
    def _texts_that_are_compared_are_read(self) -> Self:
        for key, guidance in self.guidances.items():
            prior = self.prior_of(key)
            if guidance.compares_texts and not prior.reads_text:
                raise ValueError(
                    f"found {key}.kind {guidance.kind} with {self.prior_key(key)}.kind "
                    f"{prior.kind}, which ignores the text, so that the gradient is always 0; "
                    "expected a prior that reads text, or the guidance sds"
                )
        return self
