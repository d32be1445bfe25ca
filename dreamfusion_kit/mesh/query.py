"""Query a field at many positions: in chunks, without gradients, out as NumPy."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

DensityFunction = Callable[[Float[Tensor, "samples 3"]], Float[Tensor, " samples"]]
AlbedoFunction = Callable[[Float[Tensor, "samples 3"]], Float[Tensor, "samples 3"]]

_CHUNK = 1 << 17  # bounds the memory of a field's intermediate activations


def query_field(
    function: Callable[..., Tensor],
    *inputs: Float[np.ndarray, "samples 3"],
    device: torch.device,
) -> Float[np.ndarray, "samples *channels"]:
    """Return `function(*inputs)` as float64; inputs are world positions and other per-point data.

    The function sees float32 tensors on `device`, at least one position at a time.
    """
    chunks = [torch.from_numpy(rows.astype(np.float32)).split(_CHUNK) for rows in inputs]
    with torch.no_grad():
        answers = [
            function(*(rows.to(device) for rows in chunk)).cpu()
            for chunk in zip(*chunks, strict=True)
        ]
    return torch.cat(answers).double().numpy()
