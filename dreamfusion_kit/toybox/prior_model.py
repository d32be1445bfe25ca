"""The toybox's text-to-image diffusion model, its sampler and its diffusers directory.

The U-Net reads `patch_size^2` pixels as one position with `3 * patch_size^2` channels.
Space-to-depth permutes pixels, so independent noise stays independent noise and the model
is a diffusion over 64x64 images; only the U-Net's costly full-resolution level is saved
(Hoogeboom et al. 2023, "Simple diffusion", s. 3.2).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.captions import NUM_ATTRIBUTES
from dreamfusion_kit.toybox.saved_model import expect_files, half_precision
from dreamfusion_kit.toybox.settings import PriorTrainingSection
from dreamfusion_kit.toybox.text_model import load_text_encoder, load_tokenizer, token_ids
from dreamfusion_kit.toybox.tokenizer import MAX_TOKENS, train_tokenizer

_NUM_TRAIN_TIMESTEPS = 1000
_UNET_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


class ToyboxPrior(nn.Module):
    """Tokenizer, text encoder and U-Net, trained together."""

    def __init__(self, settings: PriorTrainingSection, image_size_px: int) -> None:
        """Draw initial weights from `settings.seed`; nothing is read from disk."""
        super().__init__()
        self.tokenizer: CLIPTokenizer = train_tokenizer()
        with torch.random.fork_rng(devices=[]):
            # The libraries initialise from the global generator only.
            torch.manual_seed(settings.seed)
            self.text_encoder = _text_encoder(settings, len(self.tokenizer))
            self.unet = _unet(settings, image_size_px)
            # Reads the captions' attributes in training; never saved with the model.
            self.attribute_head = nn.Linear(settings.text_width, sum(NUM_ATTRIBUTES))
        self.unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.patch_size = settings.patch_size
        self.scheduler = DDPMScheduler(
            num_train_timesteps=_NUM_TRAIN_TIMESTEPS,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
        )

    def encode(self, captions: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """Return the text encoder's last hidden states; captions are cut at the token limit."""
        return self.encode_tokens(token_ids(self.tokenizer, captions))

    def encode_tokens(
        self, tokens: Int[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the last hidden states of captions whose token ids are known."""
        return self.text_encoder(tokens.to(self.text_encoder.device)).last_hidden_state

    def to_model_space(
        self, images: Float[Tensor, "batch h w 3"]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Map images in [0, 1] to [-1, 1] and fold each patch into channels."""
        signed = images.permute(0, 3, 1, 2) * 2 - 1
        return torch.nn.functional.pixel_unshuffle(signed, self.patch_size)

    def to_images(
        self, samples: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch h w 3"]:
        """Undo `to_model_space`, clipped to [0, 1]."""
        signed = torch.nn.functional.pixel_shuffle(samples, self.patch_size)
        return ((signed + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)

    @torch.no_grad()
    def sample(
        self, captions: Sequence[str], *, guidance_scale: float, num_steps: int, seed: int
    ) -> Float[Tensor, "batch h w 3"]:
        """Draw one image per caption with DPM-Solver++(2M) and classifier-free guidance.

        Ten steps suffice (Lu et al. 2022). They start at the last timestep, where nothing of
        the image is left: at an earlier one the model would see purer noise than in training.
        """
        scheduler = self.solver(num_steps)
        guided = guidance_scale != 1.0  # at 1 the unconditional prediction cancels
        text = self.encode([*captions, *([""] * len(captions))] if guided else captions)
        size = self.unet.config["sample_size"]
        channels = self.unet.config["in_channels"]
        draw = make_generator(seed, "prior-sample")
        noisy = torch.randn(len(captions), channels, size, size, generator=draw).to(text.device)
        for timestep in scheduler.timesteps:
            predicted = self.unet(noisy.repeat(2 if guided else 1, 1, 1, 1), timestep, text).sample
            if guided:
                conditional, unconditional = predicted.chunk(2)
                predicted = unconditional + guidance_scale * (conditional - unconditional)
            step = scheduler.step(predicted, int(timestep), noisy)
            noisy = cast(SchedulerOutput, step).prev_sample
        return self.to_images(noisy)

    def solver(self, num_steps: int) -> DPMSolverMultistepScheduler:
        """Return a solver that clips its estimates of the image to [-1, 1] at every step."""
        solver = DPMSolverMultistepScheduler.from_config(
            self.scheduler.config,
            timestep_spacing="trailing",
            thresholding=True,
            sample_max_value=1,
        )
        solver = cast(DPMSolverMultistepScheduler, solver)
        solver.set_timesteps(num_steps)
        return solver

    def save_pretrained(self, directory: Path) -> None:
        """Write a diffusers directory in half precision."""
        directory.mkdir(parents=True, exist_ok=True)
        self.tokenizer.backend_tokenizer.no_padding()  # undo the padding that the last call enabled
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.save_pretrained(directory / "tokenizer")
        self.scheduler.save_pretrained(directory / "scheduler")
        for name, module in (("text_encoder", self.text_encoder), ("unet", self.unet)):
            half_precision(module).save_pretrained(directory / name)
        index = {
            "_class_name": "DiffusionPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
        }
        (directory / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")

    def load_pretrained(self, directory: Path) -> None:
        """Load the tokenizer and both networks' weights that `save_pretrained` wrote, as float32.

        The tokenizer comes from the directory too: its numbering belongs to the weights.

        Raises `WeightsError` if something is missing, or has another architecture than the
        settings ask for.
        """
        self.tokenizer = load_tokenizer(directory)
        text_encoder = load_text_encoder(directory)
        expect_files(directory / "unet", *_UNET_FILES, made_by="train-prior")
        unet = UNet2DConditionModel.from_pretrained(
            directory / "unet", local_files_only=True, torch_dtype=torch.float32
        )
        try:
            self.text_encoder.load_state_dict(text_encoder.state_dict())
            self.unet.load_state_dict(unet.state_dict())
        except RuntimeError as error:  # names the tensors, one per line
            raise WeightsError(
                f"{directory}: found networks of another architecture, expected that of prior in "
                f"toybox/params.yaml; run `{command_name()} toybox train-prior`"
            ) from error


def _text_encoder(settings: PriorTrainingSection, vocabulary: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=settings.text_width,
            intermediate_size=4 * settings.text_width,
            num_hidden_layers=settings.text_layers,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def _unet(settings: PriorTrainingSection, image_size_px: int) -> UNet2DConditionModel:
    """Build the U-Net; the pooled text also enters with the time (as in DeepFloyd IF)."""
    levels = range(len(settings.block_out_channels))
    attends = [level in settings.attention_levels for level in levels]
    channels = 3 * settings.patch_size**2
    return UNet2DConditionModel(
        sample_size=image_size_px // settings.patch_size,
        in_channels=channels,
        out_channels=channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
        block_out_channels=settings.block_out_channels,
        layers_per_block=settings.layers_per_block,
        norm_num_groups=16,
        attention_head_dim=4,  # the number of heads, in this class
        cross_attention_dim=settings.text_width,
        encoder_hid_dim=None,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )
