"""Published models that no score can be distilled from, by repository: refused before a download.

Guidance subtracts a model's unconditional prediction from its conditional one at every noise
level. A guidance-distilled model has only the mixture of both; a consistency or few-step model
was trained to jump from few noise levels, and predicts no noise at the others.
"""

from collections.abc import Mapping

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


def refuse_distilled(repository: str) -> str:
    """Return `repository`, or raise ValueError where it is known not to be distillable."""
    reason = DISTILLED.get(repository.lower())
    if reason is not None:
        raise ValueError(
            f"found {repository!r}, which {reason}; expected a base model, such as {_INSTEAD}"
        )
    return repository
