"""Whether what a recipe adds to a model belongs to it, before the model itself is read."""

from typing import Any

import torch

from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.addition.lora_merge import check_fits
from dreamfusion_kit.priors.config.components import names_component, read_config
from dreamfusion_kit.priors.directory import readable
from dreamfusion_kit.priors.loaded_classes import loaded_classes


def check_additions(adapted: Adapted) -> None:
    """Raise WeightsError where something that is added belongs to another model.

    Models are built without numbers; nothing of the prior itself is read but configurations.
    """
    loras = [lora for lora, _ in adapted.loras]
    for component, model in _on_meta(adapted, {name for lora in loras for name in lora.parts}):
        check_fits(model, component, loras)
    for suffix in ("", "_2"):
        if names_component(adapted.directory, f"text_encoder{suffix}"):
            adapted.inversions(suffix)
    adapted.other_vae(torch.float32)


def _on_meta(adapted: Adapted, components: set[str]) -> list[tuple[str, torch.nn.Module]]:
    classes = loaded_classes(adapted.section, adapted.directory) if components else {}
    found: list[tuple[str, torch.nn.Module]] = []
    for component in sorted(components):
        folder = adapted.section.folders[0] if component == "denoiser" else component
        if component not in classes or not names_component(adapted.directory, folder):
            found.append((component, torch.nn.Module()))  # every name is then refused
            continue
        with torch.device("meta"):
            found.append((component, _built(adapted, classes[component], folder)))
    return found


def _built(adapted: Adapted, model_class: Any, folder: str) -> torch.nn.Module:
    config = read_config(adapted.directory, folder)
    public: Any = {key: value for key, value in config.items() if key[0] != "_"}
    with readable(adapted.directory / folder):
        if hasattr(model_class, "from_config"):  # diffusers'
            return model_class.from_config(public)
        return model_class(model_class.config_class.from_dict(config))
