"""What a recipe adds to a pretrained model, ready to be applied when a component is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from dreamfusion_kit.priors.additions import weights_file
from dreamfusion_kit.priors.components import names_component, read_config
from dreamfusion_kit.priors.directory import readable
from dreamfusion_kit.priors.inversion import Inversion, read_inversion
from dreamfusion_kit.priors.lora_merge import Lora, check_fits, merge, read_lora
from dreamfusion_kit.priors.other_vae import load_other_vae
from dreamfusion_kit.recipe import schema

Section = schema.LatentUnetSection | schema.FlowTransformerSection | schema.LatentTransformerSection


@dataclass(frozen=True)
class Adapted:
    """LoRAs, learned words and another VAE of one prior.

    `paths` has the place of each by the recipe's own key, such as "loras.0".
    """

    section: Section
    directory: Path
    paths: Mapping[str, Path]

    def adapt(self, model: torch.nn.Module, component: str) -> torch.nn.Module:
        """Merge the LoRAs into a component that was just read: "denoiser", "text_encoder", ..."""
        merge(model, component, self._loras)
        return model

    def inversions(self, suffix: str) -> list[Inversion]:
        """Return the learned words for the text encoder of `suffix`: "" or "_2"."""
        if not isinstance(self.section, schema.LatentUnetSection):
            return []
        return [
            read_inversion(self._file(f"textual_inversions.{index}"), entry.token, suffix)
            for index, entry in enumerate(self.section.textual_inversions)
        ]

    def other_vae(self, dtype: torch.dtype) -> torch.nn.Module | None:
        """Return the VAE in place of the model's own, if there is one."""
        path = self.paths.get("vae")
        return None if path is None else load_other_vae(path, self.directory, dtype=dtype)

    def check(self) -> None:
        """Raise WeightsError where something that is added belongs to another model.

        Models are built without numbers; nothing of the prior itself is read but configurations.
        """
        loras = [lora for lora, _ in self._loras]
        for component, model in self._on_meta({name for lora in loras for name in lora.parts}):
            check_fits(model, component, loras)
        for suffix in ("", "_2"):
            if names_component(self.directory, f"text_encoder{suffix}"):
                self.inversions(suffix)
        self.other_vae(torch.float32)

    @cached_property
    def _loras(self) -> list[tuple[Lora, float]]:
        layers = None
        if isinstance(self.section, schema.LatentUnetSection) and self.section.loras:
            layers = int(read_config(self.directory, "unet").get("layers_per_block", 2))
        return [
            (read_lora(self._file(f"loras.{index}"), layers_per_block=layers), entry.scale)
            for index, entry in enumerate(self.section.loras)
        ]

    def _file(self, key: str) -> Path:
        return weights_file(self.paths[key], key)

    def _on_meta(self, components: set[str]) -> list[tuple[str, torch.nn.Module]]:
        # Imported here: the families import this module.
        from dreamfusion_kit.priors.loaded_classes import loaded_classes

        classes = loaded_classes(self.section, self.directory) if components else {}
        found: list[tuple[str, torch.nn.Module]] = []
        for component in sorted(components):
            folder = self.section.folders[0] if component == "denoiser" else component
            if component not in classes or not names_component(self.directory, folder):
                found.append((component, torch.nn.Module()))  # every name is then refused
                continue
            with torch.device("meta"):
                found.append((component, self._built(classes[component], folder)))
        return found

    def _built(self, model_class: Any, folder: str) -> torch.nn.Module:
        config = read_config(self.directory, folder)
        public: Any = {key: value for key, value in config.items() if key[0] != "_"}
        with readable(self.directory / folder):
            if hasattr(model_class, "from_config"):  # diffusers'
                return model_class.from_config(public)
            return model_class(model_class.config_class.from_dict(config))
