"""The keys of a prior's section that fit the tiny models, by family, without `source`."""

from typing import Any

LATENT: dict[str, Any] = {
    "dtype": "float32",
    "vae_dtype": "float32",
    "image_size_px": 16,
    "cpu_offload": False,
    "storage_dtype": None,
    "loras": (),
}
PIXELS: dict[str, Any] = {"kind": "pixel_unet", "dtype": "float32", "image_size_px": 8}
UNET = LATENT | {
    "kind": "latent_unet",
    "vae": None,
    "textual_inversions": (),
    "long_prompts": "refuse",
}
MULTI_VIEW: dict[str, Any] = {
    "kind": "multi_view_unet",
    "view_weights": None,
    "num_views": 4,
    "dtype": "float32",
    "vae_dtype": "float32",
    "image_size_px": 16,
    "cpu_offload": False,
    "storage_dtype": None,
}
FLOW = LATENT | {"kind": "flow_transformer", "vae": None, "t5_enabled": True, "t5_tokens": 20}
OPEN = LATENT | {"kind": "latent_transformer", "text_dtype": "float32", "text_tokens": 64}
FAMILIES = {
    "pipeline": PIXELS,
    "make_if": PIXELS,
    "stable_diffusion": UNET,
    "stable_diffusion_xl": UNET,
    "stable_diffusion_3": FLOW,
    "aura_flow": FLOW,
}
