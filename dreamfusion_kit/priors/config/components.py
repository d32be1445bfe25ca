"""The components of a diffusers directory: what its index names, and each one's settings.

No class is taken from the index: each kind of prior says what it can read, and the index is
compared with that. Nothing here imports the compute libraries.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.json_file import read_object
from dreamfusion_kit.priors.printable import printable

# Schedulers that sample the usual variance-preserving diffusion. They differ in how they
# step, which the kit never does; their betas have the same meaning.
DIFFUSION_SCHEDULERS = (
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
)
FLOW_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler",)

PIXEL_UNET = {
    "unet": ("UNet2DConditionModel",),
    "text_encoder": ("CLIPTextModel", "T5EncoderModel"),
    "tokenizer": (),
    "scheduler": DIFFUSION_SCHEDULERS,
}
LATENT_UNET = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": (),
    "scheduler": DIFFUSION_SCHEDULERS,
}
MVDREAM_UNET = "MultiViewUNetModel"
SECOND_ENCODER = {"text_encoder_2": ("CLIPTextModelWithProjection",), "tokenizer_2": ()}

SD3, AURA_FLOW = "SD3Transformer2DModel", "AuraFlowTransformer2DModel"
FLOW_TRANSFORMER = {
    "transformer": (SD3, AURA_FLOW),
    "vae": ("AutoencoderKL",),
    "scheduler": FLOW_SCHEDULERS,
    "tokenizer": (),
}
SD3_ENCODERS = {
    "text_encoder": ("CLIPTextModelWithProjection",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "tokenizer_2": (),
}
SD3_T5 = {"text_encoder_3": ("T5EncoderModel",), "tokenizer_3": ()}
AURA_FLOW_ENCODERS = {"text_encoder": ("UMT5EncoderModel",)}


TRANSFORMERS = {
    "transformer": (
        "Flux2Transformer2DModel",
        "PixArtTransformer2DModel",
        "QwenImageTransformer2DModel",
        "SanaTransformer2DModel",
        "ZImageTransformer2DModel",
    ),
    "vae": ("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderKLQwenImage", "AutoencoderDC"),
    "text_encoder": (),
    "tokenizer": (),
    "scheduler": (),
}


def multi_view_components(*, latent: bool) -> Mapping[str, Collection[str]]:
    """Return what a multi-view prior reads: the components of a single-view one, or MVDream's."""
    if not latent:
        return PIXEL_UNET | {"text_encoder": ("CLIPTextModel",)}
    return LATENT_UNET | {"unet": ("UNet2DConditionModel", MVDREAM_UNET)}


def read_index(directory: Path, allowed: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the class of each component, refusing an index that lacks one or names another.

    Args:
        directory: The diffusers directory.
        allowed: By component, the classes that the prior reads; empty for any class, where
            the folder's own configuration says enough.
    """
    place = f"{directory.name}/model_index.json"
    index = _index(directory)
    found: dict[str, str] = {}
    for name, classes in allowed.items():
        entry = index.get(name)
        match entry:
            case [str(), str(class_name)]:
                found[name] = class_name
            case _:
                found_text = printable(repr(entry), 80)
                raise WeightsError(
                    f"{place}: cannot be read (its {name} is {found_text}); expected the "
                    f"index of a diffusers directory naming {', '.join(allowed)}; choose another "
                    "prior.kind or another prior.source"
                )
        if classes and class_name not in classes:
            raise WeightsError(
                f"{place}: {name} is a {printable(class_name, 80)}; this kind of prior needs a "
                f"{any_of(classes)}; choose another prior.kind or another "
                "prior.source"
            )
    return found


def any_of(classes: Collection[str]) -> str:
    """Return the classes for a message, the first few where there are many."""
    shown = sorted(classes)[:3] if len(classes) > 4 else sorted(classes)
    return " or ".join(shown) + (" or the like" if len(shown) < len(classes) else "")


def names_component(directory: Path, name: str) -> bool:
    """Return whether the index names the component (with a class, not null)."""
    match _index(directory).get(name):
        case [_, str()]:
            return True
        case _:
            return False


def zeros_for_empty_prompts(directory: Path) -> bool:
    """Return whether the model was trained on zeros in place of an empty prompt's features."""
    return bool(_index(directory).get("force_zeros_for_empty_prompt", True))


def read_config(directory: Path, folder: str) -> dict[str, Any]:
    """Return a component's `config.json`. Raises WeightsError where its weights are quantized."""
    config = read_component(directory, folder, "config.json")
    refuse_quantized(config, f"{directory.name}/{folder}/config.json")
    return config


def refuse_quantized(config: Mapping[str, Any], place: str) -> None:
    """Raise WeightsError for weights of 4 or 8 bits, which only their own library can read."""
    match config.get("quantization_config"):
        case None:
            return
        case {"quant_method": str(method)}:
            found = f"quantized by {printable(method, 40)}"
        case _:
            found = "quantized"
    raise WeightsError(
        f"{place}: its weights are {found}; expected plain floats of 16 or 32 bits; choose the "
        "model that it was made from as prior.source (prior.cpu_offload, and prior.storage_dtype "
        "where the prior has it, save memory)"
    )


def read_component(directory: Path, folder: str, name: str) -> dict[str, Any]:
    """Return a JSON file in a component's folder."""
    path = directory / folder / name
    # A DPM-Solver's file has an infinite bound, on a number that no prior reads.
    finite = name != "scheduler_config.json"
    return read_object(path, place=f"{directory.name}/{folder}/{name}", finite=finite)


def _index(directory: Path) -> dict[str, Any]:
    return read_object(directory / "model_index.json")
