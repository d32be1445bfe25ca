"""A digest of every kind of tensor at every step, so that two runs can be compared by step.

The first step and kind that differ say where two runs of the same inputs parted. A digest is

    sum_i  x_i (i g | 1)   mod 2^64

over the 64-bit words x_i of the tensors' bytes. Integer sums are exact in any order, so a GPU
takes them as fast as it can, and equal bits have equal digests on every device. The factors are
odd, so one flipped bit always changes the sum. It is a checksum, not a defence against anyone.

Digests stay on the device until a checkpoint: a step gains no transfer. They are computed from
the run's tensors and never change them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from dreamfusion_kit.records import Cameras, GuidanceOutput, Lighting, RenderOutput

KINDS = ("cameras", "render", "noise", "prediction", "gradient", "field")
"""The kinds in the order in which a step computes them: the first that differs is the cause."""

Digests = Int64[Tensor, "steps kinds"]

_WORD_BYTES = 8
_BLOCK_WORDS = 1 << 17  # 1 MiB: temporary memory stays small, and in a CPU's cache
_FACTOR = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 over the golden ratio, as a signed number


@dataclass(frozen=True)
class DrawnViews:
    """What a step drew before it rendered."""

    cameras: Cameras
    lighting: Lighting


class Trace:
    """The digests of the steps that are done."""

    def __init__(self, num_steps: int, device: torch.device) -> None:
        """Make room for `num_steps` steps that run on `device`."""
        self._table = torch.zeros((num_steps, len(KINDS)), dtype=torch.int64, device=device)
        positions = torch.arange(_BLOCK_WORDS, dtype=torch.int64, device=device)
        self._factors = positions * _FACTOR | 1

    @torch.no_grad()
    def record(
        self,
        step: int,
        drawn: DrawnViews,
        output: RenderOutput,
        guidance: GuidanceOutput,
        gradients: Iterable[Tensor | None],
        state: Iterable[Tensor],
    ) -> None:
        """Take the digests of a step.

        Args:
            step: The step.
            drawn: Its cameras and lights.
            output: Its render.
            guidance: Its noise, prediction and gradient on the images.
            gradients: Those of the parameters, None where the step has none.
            state: What the step leaves behind: parameters and buffers of the model.
        """
        cameras, lights = drawn.cameras, drawn.lighting
        kinds: tuple[Iterable[Tensor | None], ...] = (
            (
                *(cameras.camera_to_world, cameras.fov_y_deg, lights.positions),
                *(lights.ambient, lights.diffuse, lights.textureless),
            ),
            (output.image, output.opacity),
            (guidance.timesteps, guidance.noise),
            (guidance.prediction,),
            (guidance.gradient, guidance.opacity_gradient, *gradients),
            state,
        )
        self._table[step] = torch.stack([self._digest(tensors) for tensors in kinds])

    def digests(self, num_steps: int) -> Digests:
        """Return the digests of the first `num_steps` steps, one column for each of `KINDS`."""
        return self._table[:num_steps].cpu()

    def load(self, digests: Digests) -> None:
        """Replace the digests of the first steps by a checkpoint's; RuntimeError if it has more."""
        self._table[: len(digests)] = digests

    def _digest(self, tensors: Iterable[Tensor | None]) -> Int64[Tensor, ""]:
        device = self._table.device
        words = _words([tensor.to(device) for tensor in tensors if tensor is not None])
        sums = [self._sum(block) for part in words for block in part.split(_BLOCK_WORDS)]
        return self._sum(torch.stack(sums)) if sums else self._table.new_zeros(())

    def _sum(self, words: Int64[Tensor, " words"]) -> Int64[Tensor, ""]:
        """Return the weighted sum of up to a block of words, modulo 2^64."""
        factors = self._factors[: len(words)]
        if words.device.type == "cpu":
            return torch.dot(words, factors)  # five times as fast as the next line; CPU only
        return (words * factors).sum()


def _words(tensors: Sequence[Tensor]) -> list[Int64[Tensor, " words"]]:
    """Return the tensors' bytes as words: large tensors in place, the small ones joined."""
    words: list[Tensor] = []
    small: list[Tensor] = []
    for tensor in tensors:
        # `reshape` would keep the stride of a single number, of which no bytes can be viewed.
        flat = tensor.detach().contiguous().as_strided((tensor.numel(),), (1,))
        raw = flat.view(torch.uint8)
        whole = len(raw) // _WORD_BYTES * _WORD_BYTES
        if whole >= _BLOCK_WORDS and raw.storage_offset() % _WORD_BYTES == 0:
            words.append(raw[:whole].view(torch.int64))
            small.append(raw[whole:])
        else:
            small.append(raw)
    joined = torch.cat(small) if small else torch.empty(0, dtype=torch.uint8)
    padding = joined.new_zeros(-len(joined) % _WORD_BYTES)
    words.append(torch.cat([joined, padding]).view(torch.int64))
    return [part for part in words if len(part)]
