"""One set of instructions on every x86 processor: `DREAMFUSION_INSTRUCTIONS=avx2`.

NumPy, PyTorch and the libraries under it choose kernels by the processor's instructions, and
their sums and roundings differ. With the variable set they are held to AVX2, or to what MKL
computes alike everywhere. Each library reads its own variable once, when it is loaded, so this
is done before any of them is imported. `exact_root` is the rest, which no variable reaches.
"""

import os
from collections.abc import MutableMapping

from dreamfusion_kit.errors import DreamFusionKitError

VARIABLE = "DREAMFUSION_INSTRUCTIONS"
AVX2 = "avx2"

LIBRARIES = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions
    "MKL_CBWR": "COMPATIBLE",  # products; MKL has no AVX2 branch that other makers' CPUs take
    # NumPy's exp, log and others; a feature that a processor lacks is passed over.
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
    "OPENBLAS_CORETYPE": "Haswell",  # NumPy's and SciPy's products
}


def are_fixed(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Return whether the user asked for one set of instructions.

    Raises:
        DreamFusionKitError: if the variable has another value than avx2.
    """
    value = environment.get(VARIABLE, "")
    if value not in ("", AVX2):
        raise DreamFusionKitError(
            f"{VARIABLE}={value!r}: expected {AVX2}, the only set of instructions that is offered, "
            "or nothing; unset it, or set it to avx2"
        )
    return bool(value)


def fix(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the libraries' variables, if the user asked for it, before they are loaded.

    Another value is left to `are_fixed`, which a command calls where its error can be shown.
    """
    if environment.get(VARIABLE) == AVX2:
        environment.update(LIBRARIES)
