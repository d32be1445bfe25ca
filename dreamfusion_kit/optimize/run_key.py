"""What decides the bytes of an optimisation, as the name of its scratch."""

from collections.abc import Mapping

import torch

from dreamfusion_kit import provenance
from dreamfusion_kit.recipe.canonical import identity


def run_key(inputs: Mapping[str, str], device: torch.device) -> str:
    """Return the key of a run with `inputs` (digests by name) on this machine's `device`.

    Runs of equal keys write equal bytes, so that one may resume from the other's checkpoint.
    """
    return identity({**inputs, "machine": _machine(device)})


def _machine(device: torch.device) -> list[str]:
    """Return what else decides the bytes: a GPU's name or a CPU's instructions, threads, torch."""
    here = provenance.machine(device)
    flags = here["cpu_flags"] if device.type == "cpu" else []
    return [here["device"], *flags, str(here["threads"]), str(torch.__version__)]
