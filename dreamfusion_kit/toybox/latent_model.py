"""`toybox-latent`: a U-Net on the toybox's latents, laid out like Stable Diffusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from dreamfusion_kit.toybox.denoiser import Denoiser, Text, guided
from dreamfusion_kit.toybox.latent_settings import LatentTrainingSection
from dreamfusion_kit.toybox.saved_model import expect_files
from dreamfusion_kit.toybox.text_model import load_text_encoder, load_tokenizer, token_ids
from dreamfusion_kit.toybox.vae_model import latent_size, load_vae
from dreamfusion_kit.toybox.velocity import velocity_loss

_NUM_TRAIN_TIMESTEPS = 1000


class ToyboxLatent(Denoiser):
    """Frozen text encoder and VAE, and a U-Net that predicts v (Salimans & Ho 2022, app. D)."""

    pipeline = "StableDiffusionPipeline"
    index_extras: ClassVar[Mapping[str, Any]] = {"requires_safety_checker": False}

    def __init__(self, unet: UNet2DConditionModel, vae: AutoencoderKL, text_from: Path) -> None:
        """Keep the U-Net and the frozen VAE; read the text encoder."""
        super().__init__(vae)
        self.tokenizer: CLIPTokenizer = load_tokenizer(text_from)
        self.text_encoder: CLIPTextModel = load_text_encoder(text_from)
        self.unet = unet
        self.unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.scheduler = DDPMScheduler(
            num_train_timesteps=_NUM_TRAIN_TIMESTEPS,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            clip_sample=False,
            steps_offset=1,  # as Stable Diffusion's pipeline expects
        )

    @property
    def network(self) -> UNet2DConditionModel:
        """Return the U-Net."""
        return self.unet

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> Text:
        """Return the text encoder's last hidden states."""
        tokens = token_ids(self.tokenizer, captions).to(self.text_encoder.device)
        return Text(self.text_encoder(tokens).last_hidden_state)

    def loss(
        self,
        latents: Float[Tensor, "batch channels height width"],
        noise: Float[Tensor, "batch channels height width"],
        times: Float[Tensor, " batch"],
        text: Text,
    ) -> Float[Tensor, ""]:
        """Return the mean squared error of v = alpha_t eps - sigma_t x."""
        return velocity_loss(self.unet, self.scheduler, latents, noise, times, text.hidden)

    def denoise(
        self,
        noise: Float[Tensor, "batch channels height width"],
        text: Text,
        guidance_scale: float,
        num_steps: int,
    ) -> Float[Tensor, "batch channels height width"]:
        """Run DPM-Solver++(2M) (Lu et al. 2022) from the last timestep, which is all noise."""
        solver: Any = DPMSolverMultistepScheduler.from_config(
            self.scheduler.config, timestep_spacing="trailing"
        )
        solver.set_timesteps(num_steps)
        noisy = noise
        for timestep in solver.timesteps:
            predicted = self.unet(noisy.repeat(2, 1, 1, 1), timestep, text.hidden).sample
            step = solver.step(guided(predicted, guidance_scale), int(timestep), noisy)
            noisy = cast(SchedulerOutput, step).prev_sample
        return noisy

    def components(self) -> dict[str, Any]:
        """Return Stable Diffusion's components, without its safety checker."""
        return {
            "tokenizer": self.tokenizer,
            "text_encoder": self.text_encoder,
            "unet": self.unet,
            "scheduler": self.scheduler,
            "safety_checker": None,
            "feature_extractor": None,
        }


def make_latent(
    settings: LatentTrainingSection, vae: AutoencoderKL, text_from: Path
) -> ToyboxLatent:
    """Draw the U-Net's initial weights from `settings.seed`."""
    text_width: int = load_text_encoder(text_from).config.hidden_size
    with torch.random.fork_rng(devices=[]):
        # The library initialises from the global generator only.
        torch.manual_seed(settings.seed)
        unet = _unet(
            settings,
            size=latent_size(vae),
            channels=vae.config["latent_channels"],
            text_width=text_width,
        )
    return ToyboxLatent(unet, vae, text_from)


def load_latent(directory: Path) -> ToyboxLatent:
    """Return the model that `save_pretrained` wrote, in float32.

    Raises `WeightsError` if there is none.
    """
    vae = load_vae(directory / "vae", torch.device("cpu"))
    expect_files(
        directory / "unet",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        made_by="train-latent",
    )
    unet: Any = UNet2DConditionModel.from_pretrained(
        directory / "unet", local_files_only=True, torch_dtype=torch.float32
    )
    return ToyboxLatent(unet.eval(), vae, directory)


def _unet(
    settings: LatentTrainingSection, *, size: int, channels: int, text_width: int
) -> UNet2DConditionModel:
    """Build the U-Net; the pooled text also enters with the time (as in DeepFloyd IF)."""
    levels = range(len(settings.block_out_channels))
    attends = [level in settings.attention_levels for level in levels]
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
        block_out_channels=settings.block_out_channels,
        layers_per_block=settings.layers_per_block,
        norm_num_groups=settings.norm_groups,
        attention_head_dim=settings.num_heads,  # the number of heads, in this class
        cross_attention_dim=text_width,
        addition_embed_type="text",
        addition_embed_type_num_heads=settings.num_heads,
    )
