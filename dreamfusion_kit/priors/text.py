"""Text features: the output of a prior's text encoder for prompts, and their file.

The file holds tensors and one metadata entry. safetensors writes several entries in an
arbitrary order, which would change the file's bytes from run to run.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dreamfusion_kit import files
from dreamfusion_kit.errors import WeightsError

_PROMPTS = TypeAdapter(dict[str, str])


@dataclass(frozen=True)
class TextFeatures:
    """Named tensors, one row per prompt. Only the prior that made them reads the names."""

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(next(iter(self.tensors.values())))

    def select(self, indices: Sequence[int]) -> "TextFeatures":
        """Return the rows at `indices`, which may repeat."""
        return TextFeatures({name: rows[list(indices)] for name, rows in self.tensors.items()})

    def cat(self, other: "TextFeatures") -> "TextFeatures":
        """Return this one's rows, then `other`'s."""
        return TextFeatures(
            {name: torch.cat([rows, other.tensors[name]]) for name, rows in self.tensors.items()}
        )

    def beside(self, others: Mapping[str, Tensor]) -> "TextFeatures":
        """Return the same rows with what else a prior reads of each image, such as its camera."""
        return TextFeatures({**self.tensors, **others})

    def to(self, device: torch.device | str) -> "TextFeatures":
        """Return the same features on `device`."""
        return TextFeatures({name: rows.to(device) for name, rows in self.tensors.items()})


@dataclass(frozen=True)
class Texts:
    """Features, and the prompts that they were made from by what each is for: row i, entry i."""

    features: TextFeatures
    prompts: Mapping[str, str]


def save_text(
    path: Path,
    features: TextFeatures,
    prompts: Mapping[str, str],
    others: Mapping[str, Texts] = MappingProxyType({}),
) -> None:
    """Write features with the prompts they were made from, keyed by what each is for.

    Row i belongs to the i-th key. `others` are the texts of further guidances by their keys. Equal
    inputs give equal bytes.
    """
    named = {"": Texts(features, prompts), **{f"{key}/": other for key, other in others.items()}}
    texts: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for prefix, one in named.items():
        texts |= {f"{prefix}{name}": text for name, text in one.prompts.items()}
        for name, rows in one.features.tensors.items():
            tensors[f"{prefix}{name}"] = rows.detach().cpu().contiguous()
    files.write_bytes(path, save(tensors, metadata={"prompts": json.dumps(texts)}))


def load_text(path: Path, key: str = "") -> tuple[TextFeatures, dict[str, str]]:
    """Read what `save_text` wrote: features on the CPU, and the prompts in row order.

    `key` is that of another guidance, where it has texts of its own.
    """
    prefix = f"{key}/" if key else ""

    def own(names: Iterable[str]) -> list[str]:
        return [name for name in names if name.rpartition("/")[0] == key]

    try:
        with safe_open(path, framework="pt") as file:
            stored = _PROMPTS.validate_json((file.metadata() or {})["prompts"], strict=True)
            prompts = {name.removeprefix(prefix): stored[name] for name in own(stored)}
            tensors = {
                name.removeprefix(prefix): file.get_tensor(name)
                for name in own(sorted(file.keys()))
            }
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path.name}: not a file of text features ({error}); expected the embed stage's "
            "text.safetensors; run that stage again"
        ) from error
    return TextFeatures(tensors), prompts
