"""Published models that no score can be distilled from, by name: refused before a download.

Guidance subtracts a model's unconditional prediction from its conditional one at every noise
level. A guidance-distilled model has only the mixture of both; a consistency or few-step model
was trained to jump from few noise levels, and predicts no noise at the others.
"""

import re
from collections.abc import Iterable, Mapping

_GUIDANCE = "is distilled for guidance: it has no unconditional prediction to subtract"
_FEW_STEPS = "is distilled to a few steps: between them it predicts no noise"

DISTILLED: Mapping[str, str] = {
    "black-forest-labs/flux.1-dev": _GUIDANCE,
    "black-forest-labs/flux.1-krea-dev": _GUIDANCE,
    "black-forest-labs/flux.1-schnell": _FEW_STEPS,
    "black-forest-labs/flux.2-dev": _GUIDANCE,
    "black-forest-labs/flux.2-klein-4b": _FEW_STEPS,
    "black-forest-labs/flux.2-klein-9b": _FEW_STEPS,
    "bytedance/sdxl-lightning": _FEW_STEPS,
    "bytedance/hyper-sd": _FEW_STEPS,
    "efficient-large-model/sana_sprint_0.6b_1024px_diffusers": _FEW_STEPS,
    "efficient-large-model/sana_sprint_1.6b_1024px_diffusers": _FEW_STEPS,
    "latent-consistency/lcm-sdxl": _FEW_STEPS,
    "qwen/qwen-image-lightning": _FEW_STEPS,
    "simianluo/lcm_dreamshaper_v7": _FEW_STEPS,
    "stabilityai/sd-turbo": _FEW_STEPS,
    "stabilityai/sdxl-turbo": _FEW_STEPS,
    "stabilityai/stable-diffusion-3.5-large-turbo": _FEW_STEPS,
    "tongyi-mai/z-image-turbo": _FEW_STEPS,
}
_INSTEAD = (
    "Stable Diffusion, SDXL, SD 3.5, FLUX.2-klein-base, Z-Image, Qwen-Image, Sana or PixArt-Sigma"
)
# Names of methods that distil to a few steps, as people write them into names of their models:
# SDXL-Turbo, someXL_lightningBakedVae, dreamshaper_8LCM, Hyper-SD15, sdxl_dmd2_4step; but not
# hyperrealism, nor a checkpoint after 4000 steps.
_FEW_STEP_NAME = re.compile(
    r"(?i:turbo|lightning|schnell|hyper[-_. ]?sd|sdxs|instaflow|perflow|flash[-_. ]?(sd|pixart))"
    r"|(?<![A-Z])LCM|(?<![A-Za-z])[Ll]cm(?![a-z])"
    r"|((?<![A-Za-z])h|H)yper(?![a-z])(?![-_. ]?[Rr]eal)|(?<![A-Z])HYPER(?![A-Z])"
    r"|(?i:(?<![a-z])(dmd2?|tcd|pcm|yoso|sana[-_. ]sprint)(?![a-z]))"
    r"|(?i:(?<![a-z0-9])(few|1|2|4|8|16)[-_. ]?steps?(?![a-z]|[-_. ]?[0-9]))"
)


def refuse_distilled(repository: str) -> str:
    """Return `repository`, or raise ValueError where it is known not to be distillable."""
    reason = DISTILLED.get(repository.lower())
    if reason is not None:
        raise ValueError(
            f"found {repository!r}, which {reason}; expected a base model, such as {_INSTEAD}"
        )
    return repository


def why_few_steps(name: str) -> str | None:
    """Return what a name says, if it is that of a model or a LoRA of a few steps."""
    found = _FEW_STEP_NAME.search(name)
    return None if found is None else f"by its name ({found.group()}) {_FEW_STEPS}"


def refuse_few_step_names(names: Iterable[str]) -> None:
    """Raise ValueError where one of the names says that a model or a LoRA is of a few steps.

    A model's files need not say so: some have the configurations of the model that they were
    distilled from, and a LoRA has none. What files say is read in `priors/config/distilled.py`.
    """
    for name in names:
        reason = why_few_steps(name)
        if reason is not None:
            raise ValueError(
                f"found {name!r}, which {reason}; expected a base model and LoRAs for it; if the "
                "name misleads, rename the file or folder, or download the repository into a "
                "folder of another name and use kind: local"
            )
