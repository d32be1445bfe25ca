"""The two towers of a CLIP, as transformers writes them, in plain torch (Radford et al. 2021).

The one architecture of the guidance's and the judges' CLIP: OpenAI's, and OpenCLIP's as converted
to transformers' layout. transformers' own class gives the same features, but importing it takes
longer than judging an asset: it loads torch's compiler, distributed tensors and SymPy. The tests
compare the two. A SigLIP is another architecture (its text tower is not causal, and its image
tower pools by attention), and is refused.

Module names are those of the checkpoint's tensors, `pre_layrnorm` included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_LEGACY_EOS = 2  # in configurations from before 2023, whatever the tokenizer says


@dataclass(frozen=True)
class ClipConfig:
    """A CLIP's config.json, with transformers' defaults for the keys it omits."""

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    projection_dim: int

    @property
    def max_tokens(self) -> int:
        """Return how many tokens the text tower reads."""
        return self.text["max_position_embeddings"]


class ClipModel(nn.Module):
    """Both towers with their projections into one space."""

    def __init__(self, config: ClipConfig) -> None:
        """Build the towers with random weights."""
        super().__init__()
        self.config = config
        self.text_model = _TextTower(config.text)
        self.vision_model = _VisionTower(config.vision)
        width = config.projection_dim
        self.text_projection = nn.Linear(config.text["hidden_size"], width, bias=False)
        self.visual_projection = nn.Linear(config.vision["hidden_size"], width, bias=False)
        self.logit_scale = nn.Parameter(torch.zeros(()))  # for training; features do not use it

    def image_features(
        self, pixels: Float[Tensor, "batch channels h w"]
    ) -> Float[Tensor, "batch features"]:
        """Return projected features of normalised images."""
        return self.visual_projection(self.vision_model(pixels))

    def text_features(
        self, token_ids: Int[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch features"]:
        """Return projected features of captions that end in the end mark, padded behind it.

        No mask is needed: attention is causal, and the feature is read at the first end mark.
        """
        return self.text_projection(self.text_model(token_ids))


def padded(tokens: list[int], length: int) -> list[int]:
    """Return a caption's tokens with its last one, the end mark, repeated up to `length`."""
    return tokens + tokens[-1:] * (length - len(tokens))


class _TextTower(nn.Module):
    def __init__(self, section: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = section["hidden_size"], section["layer_norm_eps"]
        self.embeddings = nn.ModuleDict(
            {
                "token_embedding": nn.Embedding(section["vocab_size"], width),
                "position_embedding": nn.Embedding(section["max_position_embeddings"], width),
            }
        )
        self.encoder = _encoder(section)
        self.final_layer_norm = nn.LayerNorm(width, eps=eps)
        self._eos = section["eos_token_id"]

    def forward(self, token_ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch features"]:
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        states = self.embeddings["token_embedding"](token_ids)
        states = states + self.embeddings["position_embedding"](positions)
        for layer in self.encoder["layers"]:  # pyright: ignore[reportGeneralTypeIssues]
            states = layer(states, causal=True)
        states = self.final_layer_norm(states)
        # Both find the first of equals. Before 2023 the end mark was the highest token id.
        is_legacy = self._eos == _LEGACY_EOS
        ends = token_ids.int() if is_legacy else (token_ids == self._eos).int()
        return states[torch.arange(len(states)), ends.argmax(dim=-1)]


class _VisionTower(nn.Module):
    def __init__(self, section: Mapping[str, Any]) -> None:
        super().__init__()
        width, patch, eps = section["hidden_size"], section["patch_size"], section["layer_norm_eps"]
        self.embeddings = _PatchEmbeddings(section)
        self.pre_layrnorm = nn.LayerNorm(width, eps=eps)
        self.encoder = _encoder(section)
        self.post_layernorm = nn.LayerNorm(width, eps=eps)
        self.patch_size: int = patch

    def forward(
        self, pixels: Float[Tensor, "batch channels h w"]
    ) -> Float[Tensor, "batch features"]:
        states = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder["layers"]:  # pyright: ignore[reportGeneralTypeIssues]
            states = layer(states, causal=False)
        return self.post_layernorm(states[:, 0])


class _PatchEmbeddings(nn.Module):
    """A class vector, then one vector per patch, all with their positions."""

    def __init__(self, section: Mapping[str, Any]) -> None:
        super().__init__()
        width, patch, channels = (
            section[name] for name in ("hidden_size", "patch_size", "num_channels")
        )
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(channels, width, patch, stride=patch, bias=False)
        count = (section["image_size"] // patch) ** 2 + 1
        self.position_embedding = nn.Embedding(count, width)

    def forward(
        self, pixels: Float[Tensor, "batch channels h w"]
    ) -> Float[Tensor, "batch tokens features"]:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


def _encoder(section: Mapping[str, Any]) -> nn.ModuleDict:
    layers = [_Layer(section) for _ in range(section["num_hidden_layers"])]
    return nn.ModuleDict({"layers": nn.ModuleList(layers)})


class _Layer(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, section: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = section["hidden_size"], section["layer_norm_eps"]
        self.self_attn = _Attention(width, section["num_attention_heads"])
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = _Mlp(width, section["intermediate_size"], section["hidden_act"])
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)

    def forward(
        self, states: Float[Tensor, "batch tokens features"], *, causal: bool
    ) -> Float[Tensor, "batch tokens features"]:
        states = states + self.self_attn(self.layer_norm1(states), causal=causal)
        return states + self.mlp(self.layer_norm2(states))


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self._num_heads = num_heads

    def forward(
        self, states: Float[Tensor, "batch tokens features"], *, causal: bool
    ) -> Float[Tensor, "batch tokens features"]:
        query, key, value = (
            project(states).unflatten(-1, (self._num_heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self._activation = ACTIVATIONS[activation]

    def forward(
        self, states: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch tokens features"]:
        return self.fc2(self._activation(self.fc1(states)))


def _quick_gelu(values: Tensor) -> Tensor:
    return values * torch.sigmoid(1.702 * values)


ACTIVATIONS = {"quick_gelu": _quick_gelu, "gelu": nn.functional.gelu}
