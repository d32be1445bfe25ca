"""MVDream's U-Net in plain torch, under the names of its published tensors: an oracle.

Written from the paper (arXiv 2308.16512, s. 3.1), Stable Diffusion's architecture and the names
of the tensors. It shares no code with diffusers or with the kit: attention is softmax by hand.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


def timestep_features(timestep: Tensor, width: int) -> Tensor:
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2))
    angles = timestep[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def mlp(size: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width))


class Residual(nn.Module):
    def __init__(self, size: int, width: int, embedding: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, size), nn.SiLU(), nn.Conv2d(size, width, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, width))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Identity(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if size == width else nn.Conv2d(size, width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.in_layers(x) + self.emb_layers(embedding)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(hidden)


class Attention(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Identity())

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        query = self.to_q(x).unflatten(2, (self.heads, -1))
        key, value = (
            layer(context).unflatten(2, (self.heads, -1)) for layer in (self.to_k, self.to_v)
        )
        scores = torch.einsum("bqhc,bkhc->bhqk", query, key) / math.sqrt(query.shape[-1])
        shares = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
        return self.to_out(torch.einsum("bhqk,bkhc->bqhc", shares, value).flatten(2))


class Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: Tensor) -> Tensor:
        hidden, gate = self.proj(x).chunk(2, dim=-1)
        return hidden * nn.functional.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gate(width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, context, heads)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor, views: int) -> Tensor:
        images, tokens, width = x.shape
        normal = self.norm1(x).view(images // views, views * tokens, width)
        x = x + self.attn1(normal, normal).view(images, tokens, width)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Spatial(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([Block(width, context, heads)])

    def forward(self, x: Tensor, context: Tensor, views: int) -> Tensor:
        hidden = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            hidden = block(hidden, context, views)
        return x + self.proj_out(hidden).transpose(1, 2).view(x.shape)


class Down(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.interpolate(x, scale_factor=2, mode="nearest"))


class MvdreamNetwork(nn.Module):
    """One residual layer a level, with attention on the second of two levels and in the middle."""

    CONFIG: ClassVar[dict[str, Any]] = {
        "_class_name": "MultiViewUNetModel",
        "_diffusers_version": "0.25.0",
        "attention_resolutions": [2],
        "camera_dim": 16,
        "channel_mult": [1, 2],
        "context_dim": 12,
        "image_size": 8,
        "in_channels": 4,
        "model_channels": 32,
        "num_head_channels": 16,
        "num_res_blocks": 1,
        "out_channels": 4,
        "transformer_depth": 1,
    }

    def __init__(self) -> None:
        super().__init__()
        narrow, wide, embedding, context = 32, 64, 128, 12
        self.time_embed, self.camera_embed = mlp(narrow, embedding), mlp(16, embedding)
        self.input_blocks = nn.ModuleList(
            [
                nn.ModuleList([nn.Conv2d(4, narrow, 3, padding=1)]),
                nn.ModuleList([Residual(narrow, narrow, embedding)]),
                nn.ModuleList([Down(narrow)]),
                nn.ModuleList([Residual(narrow, wide, embedding), Spatial(wide, context, 4)]),
            ]
        )
        self.middle_block = nn.ModuleList(
            [
                Residual(wide, wide, embedding),
                Spatial(wide, context, 4),
                Residual(wide, wide, embedding),
            ]
        )
        self.output_blocks = nn.ModuleList(
            [
                nn.ModuleList([Residual(2 * wide, wide, embedding), Spatial(wide, context, 4)]),
                nn.ModuleList(
                    [Residual(wide + narrow, wide, embedding), Spatial(wide, context, 4), Up(wide)]
                ),
                nn.ModuleList([Residual(wide + narrow, narrow, embedding)]),
                nn.ModuleList([Residual(2 * narrow, narrow, embedding)]),
            ]
        )
        self.out = nn.Sequential(
            nn.GroupNorm(32, narrow), nn.SiLU(), nn.Conv2d(narrow, 4, 3, padding=1)
        )

    def forward(
        self, x: Tensor, timestep: Tensor, context: Tensor, cameras: Tensor, views: int
    ) -> Tensor:
        embedding = self.time_embed(timestep_features(timestep, 32)) + self.camera_embed(cameras)

        def through(layers: nn.Module, x: Tensor) -> Tensor:
            for layer in layers.children():
                match layer:
                    case Residual():
                        x = layer(x, embedding)
                    case Spatial():
                        x = layer(x, context, views)
                    case _:
                        x = layer(x)
            return x

        kept: list[Tensor] = []
        for layers in self.input_blocks:
            x = through(layers, x)
            kept.append(x)
        x = through(self.middle_block, x)
        for layers in self.output_blocks:
            x = through(layers, torch.cat([x, kept.pop()], dim=1))
        return self.out(x)
