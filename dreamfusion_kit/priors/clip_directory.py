"""Loading a CLIP from a transformers directory, for the guidance and for the judge.

The directory holds `config.json`, `model.safetensors` (or an index of such files), a
tokenizer and `preprocessor_config.json`. None of its code is run and nothing is unpickled.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, CLIPModel, PreTrainedTokenizerBase

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.model_files import read_clip_config
from dreamfusion_kit.priors.printable import printable
from dreamfusion_kit.priors.shards import check_indices


def load_clip_model(directory: Path, *, device: torch.device | str) -> CLIPModel:
    """Return the frozen model in float32, every parameter from the directory.

    Raises WeightsError where a file is missing or damaged, or the checkpoint leaves a
    parameter unset: transformers would fill it with random numbers and only warn.
    """
    read_clip_config(directory)
    check_indices(directory)
    with readable_clip(directory):
        loaded: Any = CLIPModel.from_pretrained(
            directory,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    model, report = loaded
    unset = [*sorted(report["missing_keys"]), *map(str, sorted(report["mismatched_keys"]))]
    if unset:
        raise WeightsError(
            f"{directory.name}: {len(unset)} parameters without values or of another shape, the "
            f"first {unset[0]}; expected those of its own config.json; fetch it again"
        )
    return model.requires_grad_(False).to(device).eval()


def load_clip_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer."""
    with readable_clip(directory):
        return AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )


def clip_text_length(directory: Path) -> int:
    """Return how many tokens the text encoder reads."""
    return read_clip_config(directory).text_config.max_position_embeddings


@contextmanager
def readable_clip(directory: Path) -> Generator[None, None, None]:
    """Turn a library's error about an unreadable directory into a WeightsError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = printable(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise WeightsError(
            f"{directory.name}: found a CLIP that does not load ({reason}); expected its "
            "configuration, safetensors, tokenizer and preprocessor_config.json; fetch it again"
        ) from error
