"""Roots that are equal on every processor, for `DREAMFUSION_INSTRUCTIONS=avx2`.

PyTorch hands `sqrt` and `acos` of CPU tensors to MKL, which begins with the processor's
approximate reciprocal root. That instruction differs between makers, and no variable turns it
off: a fifth of the roots are off by one bit, and not the same ones everywhere. NumPy's root is
the processor's exact one, as IEEE 754 defines it.
"""

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from dreamfusion_kit import instructions
from dreamfusion_kit.errors import DreamFusionKitError

_library: list[torch.library.Library] = []  # alive as long as its kernels are in use


@cache
def install() -> None:
    """Replace PyTorch's roots in this process, if the user asked for one set of instructions.

    Raises:
        DreamFusionKitError: if the processor has no AVX2, or PyTorch was loaded too early.
    """
    if not instructions.are_fixed():
        return
    found = torch.backends.cpu.get_cpu_capability()
    if found != "AVX2":
        raise DreamFusionKitError(
            f"{instructions.VARIABLE}={instructions.AVX2}: PyTorch runs with {found}, expected "
            "AVX2; use an x86 processor that has it, and set the variable before Python starts"
        )
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns that a kernel is replaced: it is meant
        _replace(library, "sqrt", np.sqrt)
        _replace(library, "acos", _acos)
    _library.append(library)


def _acos(values: np.ndarray) -> np.ndarray:
    """Return NumPy's arc cosine, through float64: rounding leaves no trace of how it is made."""
    return np.arccos(values.astype(np.float64)).astype(values.dtype)


def _replace(
    library: torch.library.Library, name: str, function: Callable[[np.ndarray], np.ndarray]
) -> None:
    def of(x: Tensor) -> Tensor:
        if not x.is_floating_point():  # as PyTorch does
            x = x.to(torch.get_default_dtype())
        wide = x.detach().float() if x.dtype in (torch.bfloat16, torch.float16) else x.detach()
        return torch.from_numpy(np.asarray(function(wide.contiguous().numpy()))).to(x.dtype)

    def in_place(x: Tensor) -> Tensor:
        return x.copy_(of(x))

    def into(x: Tensor, *, out: Tensor) -> Tensor:
        return out.resize_(x.shape).copy_(of(x))

    library.impl(name, of, "CPU")
    library.impl(f"{name}_", in_place, "CPU")
    library.impl(f"{name}.out", into, "CPU")
