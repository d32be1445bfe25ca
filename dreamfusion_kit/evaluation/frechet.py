"""The Fréchet distance between two sets of features (Heusel et al. 2017, "FID", eq. 6).

FID proper uses an Inception network trained on photographs. Here the features come from the
kit's own CLIP. So values can be compared with each other and with their floor, the distance
between two sets of true images, but not with any published FID.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError


def frechet_distance(
    first: Float[Tensor, "images features"], second: Float[Tensor, "views features"]
) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the sets' means and covariances.

    Small sets are farther apart than large ones of the same distribution: compare only
    distances between sets of the same two sizes.
    """
    if min(len(first), len(second)) < 2:
        raise EvaluationError(
            f"Fréchet distance: found sets of {len(first)} and {len(second)} images, "
            "expected two or more in each; a covariance needs them"
        )
    first, second = first.double(), second.double()
    gap = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    covariance, other = torch.cov(first.T), torch.cov(second.T)
    root = _square_root(covariance)
    # S1 S2 and S1^(1/2) S2 S1^(1/2) have the same eigenvalues; the second is symmetric.
    shared = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    return float(gap + covariance.trace() + other.trace() - 2 * shared)


def _square_root(
    covariance: Float[Tensor, "features features"],
) -> Float[Tensor, "features features"]:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
