"""Addressed randomness: one seed, a named stream and a step give one generator.

Nothing in the kit consumes a global random state. A run that resumes at step n
therefore draws exactly what an uninterrupted run would have drawn.
"""

import hashlib

import torch


def derived_seed(seed: int, stream: str, step: int = 0) -> int:
    """Return the 63-bit seed of `stream` at `step`, independent of every other address."""
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(
    seed: int, stream: str, step: int = 0, *, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a fresh generator for the address `(seed, stream, step)`.

    `stream` names what is drawn ("camera", "noise", ...), so that adding a draw to one
    stream never shifts another. Equal addresses give equal numbers on one kind of device.
    """
    return torch.Generator(device=device).manual_seed(derived_seed(seed, stream, step))
