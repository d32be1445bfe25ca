"""Text to 3D by score distillation, declared in YAML and reproducible with DVC.

The names in `__all__` are the Python API: see docs/python.md. They are imported on first
use, so that commands that need no torch stay quick.
"""

import importlib
from typing import TYPE_CHECKING

from dreamfusion_kit import instructions

if TYPE_CHECKING:
    from dreamfusion_kit.api import (
        Asset,
        BakedMesh,
        DreamFusionKitError,
        EmbeddedPrompt,
        NerfModel,
        OptimizedModel,
        Recipe,
        embed_prompt,
        load_phi,
        load_prior,
        load_recipe,
        make_asset,
        mesh_from_model,
        optimize_model,
        shipped_recipes,
    )

instructions.fix()  # before NumPy and PyTorch are loaded, which read it then

__all__ = [
    "Asset",
    "BakedMesh",
    "DreamFusionKitError",
    "EmbeddedPrompt",
    "NerfModel",
    "OptimizedModel",
    "Recipe",
    "embed_prompt",
    "load_phi",
    "load_prior",
    "load_recipe",
    "make_asset",
    "mesh_from_model",
    "optimize_model",
    "shipped_recipes",
]

if not TYPE_CHECKING:  # A type checker would take every name to exist.

    def __getattr__(name: str) -> object:
        """Return a name of the API."""
        if name in __all__:
            return getattr(importlib.import_module("dreamfusion_kit.api"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the API and whatever else is loaded."""
    return sorted({*globals(), *__all__})
