"""Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989), by one of two backends."""

from abc import ABC, abstractmethod
from typing import Any, assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.errors import MissingExtraError
from dreamfusion_kit.field.hash_features import hash_features
from dreamfusion_kit.field.levels import HashSection, build_levels, log2_growth

_INITIAL_BOUND = 1e-4  # entries ~ U(-1e-4, 1e-4), Instant-NGP s. 4


class Encoding(nn.Module, ABC):
    """Features of positions in the unit cube: `num_features` numbers each, level by level."""

    num_features: int

    @abstractmethod
    def forward(
        self, unit_positions: Float[Tensor, "samples 3"], num_levels: int
    ) -> Float[Tensor, "samples features"]:
        """Return features; those of levels beyond the first `num_levels` are 0.

        Positions beyond [0, 1] are read at the cube's nearest point. Differentiable with
        respect to the parameters alone.
        """


class HashEncoding(Encoding):
    """The kit's own encoding, on any device."""

    def __init__(self, section: HashSection, *, generator: torch.Generator) -> None:
        """Draw the tables of all levels, stored one after another in one parameter."""
        super().__init__()
        self.levels = build_levels(section)
        self.num_features = section.num_levels * section.features_per_level
        shape = (sum(level.num_rows for level in self.levels), section.features_per_level)
        unit = torch.rand(shape, generator=generator, device=generator.device)
        self.table = nn.Parameter(_INITIAL_BOUND * (2 * unit - 1))

    def forward(
        self, unit_positions: Float[Tensor, "samples 3"], num_levels: int
    ) -> Float[Tensor, "samples features"]:
        """Return features; levels beyond the first `num_levels` cost nothing."""
        features = hash_features(self.table, unit_positions, self.levels[:num_levels])
        return nn.functional.pad(features, (0, self.num_features - features.shape[1]))


class TinyCudaEncoding(Encoding):
    """The same encoding, computed by tinycudann on a CUDA device in float32."""

    def __init__(self, section: HashSection, *, generator: torch.Generator) -> None:
        """Draw tables of the same layout and the same distribution."""
        super().__init__()
        self.num_features = section.num_levels * section.features_per_level
        self._features_per_level = section.features_per_level
        configuration = {
            "otype": "HashGrid",
            "n_levels": section.num_levels,
            "n_features_per_level": section.features_per_level,
            "log2_hashmap_size": section.log2_table_size,
            "base_resolution": section.min_resolution,
            "per_level_scale": 2 ** log2_growth(section),
        }
        tinycudann = _import_tinycudann()
        self.encoding = tinycudann.Encoding(3, configuration, dtype=torch.float32)
        table = self.encoding.params
        unit = torch.rand(table.shape, generator=generator, device=generator.device)
        table.data.copy_(_INITIAL_BOUND * (2 * unit - 1))

    def forward(
        self, unit_positions: Float[Tensor, "samples 3"], num_levels: int
    ) -> Float[Tensor, "samples features"]:
        """Return features; all levels are computed, disabled ones set to 0."""
        features = self.encoding(unit_positions.clamp(0, 1))
        kept = num_levels * self._features_per_level
        return nn.functional.pad(features[:, :kept], (0, self.num_features - kept))


def build_encoding(section: HashSection, *, generator: torch.Generator) -> Encoding:
    """Return the encoding by the backend that the recipe names, never by another."""
    match section.backend:
        case "torch":
            return HashEncoding(section, generator=generator)
        case "tinycudann":
            return TinyCudaEncoding(section, generator=generator)
        case _:
            assert_never(section.backend)


def _import_tinycudann() -> Any:  # Any: the package has no type stubs.
    try:
        import tinycudann  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            "field.backend: tinycudann is not installed; set `backend: torch`, or on a machine "
            "with CUDA run `pip install git+https://github.com/NVlabs/tiny-cuda-nn"
            "#subdirectory=bindings/torch`"
        ) from error
    return tinycudann
