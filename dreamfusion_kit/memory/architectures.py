"""Architectures of the models in the shipped recipes, as in their config.json files.

With these, a model's memory and time are known before anything is fetched. Only keys that
differ from the defaults of diffusers' classes and decide a shape are listed; a fetched
model's own files take precedence. A test compares each model's parameter count with the
number that its publishers give.
"""

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]  # a component's config.json
Components = Mapping[str, Config]  # by the component's folder

_UNET: Config = {"_class_name": "UNet2DConditionModel"}
_THREE_ATTEND: Config = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "sample_size": 64,
}
_VAE: Config = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}

STABLE_DIFFUSION_1: Components = {
    "unet": {**_UNET, **_THREE_ATTEND, "attention_head_dim": 8, "cross_attention_dim": 768},
    "vae": {**_VAE, "scaling_factor": 0.18215},
}
STABLE_DIFFUSION_2: Components = {
    "unet": {
        **_UNET,
        **_THREE_ATTEND,
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    },
    "vae": {**_VAE, "scaling_factor": 0.18215},
}
MVDREAM: Components = {
    "unet": {
        "_class_name": "MultiViewUNetModel",
        "attention_resolutions": [4, 2, 1],
        "camera_dim": 16,
        "channel_mult": [1, 2, 4, 4],
        "context_dim": 1024,
        "image_size": 32,
        "in_channels": 4,
        "model_channels": 320,
        "num_head_channels": 64,
        "num_res_blocks": 2,
        "out_channels": 4,
        "transformer_depth": 1,
    },
    "vae": {**_VAE, "scaling_factor": 0.18215},
}
STABLE_DIFFUSION_XL: Components = {
    "unet": {
        **_UNET,
        "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "sample_size": 128,
    },
    "vae": {**_VAE, "scaling_factor": 0.13025, "sample_size": 1024},
}
STABLE_DIFFUSION_35_MEDIUM: Components = {
    "transformer": {
        "_class_name": "SD3Transformer2DModel",
        "sample_size": 128,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": 24,
        "attention_head_dim": 64,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1536,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 384,
        "dual_attention_layers": tuple(range(13)),
        "qk_norm": "rms_norm",
    },
    "vae": {
        **_VAE,
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
        "sample_size": 1024,
    },
}
AURA_FLOW: Components = {
    "transformer": {
        "_class_name": "AuraFlowTransformer2DModel",
        "sample_size": 64,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_mmdit_layers": 4,
        "num_single_dit_layers": 32,
        "attention_head_dim": 256,
        "num_attention_heads": 12,
        "joint_attention_dim": 2048,
        "caption_projection_dim": 3072,
        "pos_embed_max_size": 9216,
    },
    "vae": {**_VAE, "scaling_factor": 0.13025, "sample_size": 1024},
}
DEEPFLOYD_IF_XL: Components = {
    "unet": {
        **_UNET,
        "in_channels": 3,
        "out_channels": 6,
        "sample_size": 64,
        "down_block_types": ("ResnetDownsampleBlock2D",) + ("SimpleCrossAttnDownBlock2D",) * 3,
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ("SimpleCrossAttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",),
        "block_out_channels": (704, 1408, 2112, 2816),
        "layers_per_block": 3,
        "attention_head_dim": 64,
        "cross_attention_dim": 2816,
        "cross_attention_norm": "group_norm",
        "encoder_hid_dim": 4096,
        "encoder_hid_dim_type": "text_proj",
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 64,
        "resnet_time_scale_shift": "scale_shift",
        "time_embedding_act_fn": "gelu",
        "act_fn": "gelu",
    },
}

_FLUX_VAE: Config = {
    **_VAE,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "sample_size": 1024,
}
FLUX_2_KLEIN_BASE_4B: Components = {
    "transformer": {
        "_class_name": "Flux2Transformer2DModel",
        "in_channels": 128,
        "num_layers": 5,
        "num_single_layers": 20,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 7680,
        "guidance_embeds": False,
    },
    "vae": {"_class_name": "AutoencoderKLFlux2"},
}
Z_IMAGE: Components = {"transformer": {"_class_name": "ZImageTransformer2DModel"}, "vae": _FLUX_VAE}
QWEN_IMAGE: Components = {
    "transformer": {"_class_name": "QwenImageTransformer2DModel"},
    "vae": {"_class_name": "AutoencoderKLQwenImage"},
}
SANA_1600M_512: Components = {
    "transformer": {"_class_name": "SanaTransformer2DModel", "sample_size": 16},
    "vae": {
        "_class_name": "AutoencoderDC",
        "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
        "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
        "downsample_block_type": "Conv",
        "upsample_block_type": "interpolate",
        "scaling_factor": 0.41407,
    },
}
PIXART_SIGMA_1024: Components = {
    "transformer": {
        "_class_name": "PixArtTransformer2DModel",
        "caption_channels": 4096,
        "sample_size": 128,
        "use_additional_conditions": False,
    },
    "vae": {**_VAE, "scaling_factor": 0.13025, "sample_size": 1024},
}

PUBLISHED: Mapping[str, Components] = {
    "DeepFloyd/IF-I-XL-v1.0": DEEPFLOYD_IF_XL,
    "Efficient-Large-Model/Sana_1600M_512px_diffusers": SANA_1600M_512,
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS": PIXART_SIGMA_1024,
    "Qwen/Qwen-Image": QWEN_IMAGE,
    "Tongyi-MAI/Z-Image": Z_IMAGE,
    "ashawkey/mvdream-sd2.1-diffusers": MVDREAM,
    "black-forest-labs/FLUX.2-klein-base-4B": FLUX_2_KLEIN_BASE_4B,
    "fal/AuraFlow-v0.3": AURA_FLOW,
    "stabilityai/stable-diffusion-2-1-base": STABLE_DIFFUSION_2,
    "stabilityai/stable-diffusion-3.5-medium": STABLE_DIFFUSION_35_MEDIUM,
    "stabilityai/stable-diffusion-xl-base-1.0": STABLE_DIFFUSION_XL,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": STABLE_DIFFUSION_1,
}
