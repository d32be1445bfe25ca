"""The Python API: from a prompt to a mesh in one call, or step by step. See docs/python.md.

Users import these names from `dreamfusion_kit` itself. Each step calls the function that the
pipeline's stage of that name calls. Files are written only to folders that the caller names,
to temporary ones and to the hub's cache.
"""

from dreamfusion_kit.api.asset import Asset, make_asset
from dreamfusion_kit.api.recipe import load_recipe, shipped_recipes
from dreamfusion_kit.api.steps import load_phi, load_prior, optimize_model
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.guidance.embed import EmbeddedPrompt, embed_prompt
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.mesh.from_model import mesh_from_model
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize.loop import OptimizedModel
from dreamfusion_kit.recipe.schema import Recipe

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
