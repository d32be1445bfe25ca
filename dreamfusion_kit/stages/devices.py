"""The requested device, or an error: never another one."""

import os

import torch
from torch.utils import deterministic

from dreamfusion_kit import exact_root
from dreamfusion_kit.errors import DreamFusionKitError


def pick(name: str, *, given_as: str = "--device") -> torch.device:
    """Return the device `name` ("cpu", "cuda", "cuda:1") after checking that it exists.

    It turns on PyTorch's deterministic algorithms for the whole process, and the CPU roots that
    are equal everywhere, if the user asked for one set of instructions.

    Args:
        given_as: The option's name in messages.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DreamFusionKitError(f"{given_as} {name}: expected cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise DreamFusionKitError(f"{given_as} {name}: expected cpu, cuda or cuda:N")
    exact_root.install()
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DreamFusionKitError(
                f"{given_as} {name}: this PyTorch ({torch.__version__}) sees no CUDA device; "
                f"use {given_as} cpu, or install a CUDA build of torch"
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise DreamFusionKitError(
                f"{given_as} {name}: this machine has {torch.cuda.device_count()} CUDA devices, "
                "counted from cuda:0; choose one of them"
            )
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product
    # Sums of scattered terms are otherwise free in their order: on a GPU, and among the threads of
    # a CPU in the gradient of an indexed tensor (13 of 300 gradients of a mesh's corners differed).
    # PyTorch warns about operations that it does not guarantee, such as the sums along a ray,
    # although their order is fixed.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # That mode also fills all fresh memory, about 800 launches per step; nothing reads it.
    deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    return device
