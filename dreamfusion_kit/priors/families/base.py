"""What one family of text-to-image transformers needs beside the interface that all share.

A family says which classes its directory names, how a prompt becomes features, how a picture
becomes latents, and how its denoiser is called. Prompts are encoded by diffusers' own pipeline
of the family, given nothing but tokenizer and text encoder: no template, layer or length is
written a second time. No tokenizer's template of the model itself is run.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.config.vocabulary import check_readable
from dreamfusion_kit.priors.directory import load_model, readable
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.priors.unknown_tokens import refuse_unknown

Tensors = Mapping[str, Tensor]


class Family(ABC):
    """One family. It holds no state: every method is a function of its arguments."""

    transformer_class: ClassVar[Any]
    vae_class: ClassVar[Any]
    encoder_class: ClassVar[Any]
    pipeline_class: ClassVar[Any]
    # What the transformer's output stands for; a flow's is the velocity epsilon - x.
    prediction: ClassVar[Literal["flow", "epsilon"]] = "flow"
    # Side of the patches of latents that `encode_images` folds into channels.
    folded_side: ClassVar[int] = 1

    @abstractmethod
    def encode(
        self, pipeline: Any, prompts: Sequence[str], num_tokens: int, device: torch.device
    ) -> Tensors:
        """Return features, one row per prompt, with a bool mask where padding is not read.

        `pipeline` is one with tokenizer and text encoder alone.
        """

    @abstractmethod
    def tokens_of(self, tokenizer: Any, prompt: str) -> int:
        """Return how many of the `num_tokens` the prompt takes, special tokens included."""

    @abstractmethod
    def encode_images(
        self, vae: Any, signed: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the latents that the transformer reads, of images in [-1, 1]."""

    @abstractmethod
    def call(
        self,
        transformer: Any,
        noisy: Float[Tensor, "batch channels height width"],
        time: Float[Tensor, " batch"],
        text: Tensors,
    ) -> Float[Tensor, "batch channels height width"]:
        """Return what the transformer predicts.

        Args:
            transformer: The denoiser; an adapted one may stand in its place.
            noisy: What it denoises, in its own precision: a flow's (1 - t) x + t epsilon.
            time: A flow's t in (0, 1), or a diffusion's timestep, in float32.
            text: What `encode` returned, floats in the transformer's precision.
        """

    @abstractmethod
    def text_like(self, config: Mapping[str, Any], rows: int, num_tokens: int) -> Tensors:
        """Return uninitialised features of the shapes that a transformer of `config` reads."""

    def drop_decoder(self, vae: Any) -> None:
        """Remove what no step of an optimisation uses."""
        del vae.decoder


def encode_prompts(
    family: Family,
    directory: Path,
    prompts: Sequence[str],
    *,
    num_tokens: int,
    dtype: torch.dtype,
    device: torch.device,
    adapted: Adapted,
) -> TextFeatures:
    """Return the features of `prompts`, loading tokenizer and text encoder and dropping them.

    Raises RecipeError if a prompt is longer than `num_tokens`, or has what the tokenizer does not
    know: none is ever truncated, and nothing left out.
    """
    folder = directory / "tokenizer"
    check_readable(folder)
    with readable(folder):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    refuse_unknown(tokenizer, prompts)
    for prompt in prompts:
        found = family.tokens_of(tokenizer, prompt)
        if found > num_tokens:
            raise RecipeError(
                f"prompt {prompt!r}: {found} tokens with its view words and the model's template; "
                f"prior.text_tokens allows {num_tokens}; shorten the prompt, or raise it where the "
                "model was trained with more"
            )
    encoder: Any = load_model(family.encoder_class, directory / "text_encoder", dtype=dtype)
    adapted.adapt(encoder, "text_encoder")
    pipeline = text_pipeline(family, tokenizer, encoder.to(device))
    with torch.no_grad():
        found = family.encode(pipeline, prompts, num_tokens, device)
    return TextFeatures(
        {name: rows if rows.dtype == torch.bool else rows.float() for name, rows in found.items()}
    )


def text_pipeline(family: Family, tokenizer: Any, encoder: Any) -> Any:
    """Return the family's pipeline with nothing but what encodes text."""
    others = dict.fromkeys(("scheduler", "vae", "transformer"))
    return family.pipeline_class(tokenizer=tokenizer, text_encoder=encoder, **others)


def vae_pipeline(family: Family, vae: Any) -> Any:
    """Return the family's pipeline with nothing but its VAE."""
    others = dict.fromkeys(("scheduler", "tokenizer", "text_encoder", "transformer"))
    return family.pipeline_class(vae=vae, **others)


def padded(rows: Sequence[Tensor], num_tokens: int) -> Tensors:
    """Return rows of different lengths as one tensor, with the mask of what is text."""
    hidden = rows[0].new_zeros(len(rows), num_tokens, rows[0].shape[-1])
    mask = torch.zeros(len(rows), num_tokens, dtype=torch.bool, device=rows[0].device)
    for index, row in enumerate(rows):
        hidden[index, : len(row)] = row
        mask[index, : len(row)] = True
    return {"hidden": hidden, "mask": mask}


def qwen3_template(tokenizer: Any) -> Any:
    """Give a Qwen3 tokenizer the published template of one message, whatever it came with.

    A template is a program; that of a downloaded file is not run.
    """
    newline = "{{ '\\n' }}"
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}"
        + newline
        + "{{ message.content }}<|im_end|>"
        + newline
        + "{% endfor %}<|im_start|>assistant"
        + newline
        + "{% if enable_thinking is defined and enable_thinking is false %}<think>"
        + 2 * newline
        + "</think>"
        + 2 * newline
        + "{% endif %}"
    )
    return tokenizer


def qwen3_tokens(tokenizer: Any, prompt: str, *, enable_thinking: bool) -> int:
    """Return the tokens of a prompt in Qwen3's template."""
    text = qwen3_template(tokenizer).apply_chat_template(
        [{"role": "user", "content": prompt}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=enable_thinking,
    )
    return len(tokenizer(text).input_ids)
