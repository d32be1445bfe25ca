"""Ask a field about many positions: in chunks, without gradients, out as NumPy."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

DensityFunction = Callable[[Float[Tensor, "samples 3"]], Float[Tensor, " samples"]]
AlbedoFunction = Callable[[Float[Tensor, "samples 3"]], Float[Tensor, "samples 3"]]

_CHUNK = 1 << 17  # bounds the memory of a field's intermediate activations


def query_field(
    function: Callable[[Tensor], Tensor],
    positions: Float[np.ndarray, "samples 3"],
    *,
    device: torch.device,
) -> Float[np.ndarray, "samples *channels"]:
    """Return `function(positions)` as float64; positions are world coordinates.

    The function sees float32 tensors on `device`, at least one position at a time.
    """
    tensor = torch.from_numpy(positions.astype(np.float32))
    with torch.no_grad():
        answers = [function(chunk.to(device)).cpu() for chunk in tensor.split(_CHUNK)]
    return torch.cat(answers).double().numpy()
