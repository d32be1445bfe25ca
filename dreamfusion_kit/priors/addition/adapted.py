"""What a recipe adds to a pretrained model, ready to be applied when a component is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from dreamfusion_kit.priors.addition.inversion import Inversion, read_inversion
from dreamfusion_kit.priors.addition.lora_merge import Lora, merge, read_lora
from dreamfusion_kit.priors.addition.other_vae import load_other_vae
from dreamfusion_kit.priors.config.components import read_config
from dreamfusion_kit.priors.source.parts import weights_file
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
        merge(model, component, self.loras)
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

    @cached_property
    def loras(self) -> list[tuple[Lora, float]]:
        """Return the LoRAs with their scales, in the order in which they are merged."""
        layers = None
        if isinstance(self.section, schema.LatentUnetSection) and self.section.loras:
            layers = int(read_config(self.directory, "unet").get("layers_per_block", 2))
        return [
            (read_lora(self._file(f"loras.{index}"), layers_per_block=layers), entry.scale)
            for index, entry in enumerate(self.section.loras)
        ]

    def _file(self, key: str) -> Path:
        return weights_file(self.paths[key], key)
