"""From an optimised model to a textured mesh."""

from dreamfusion_kit.mesh.extract import BakedMesh, extract_mesh
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.recipe.schema import Recipe


def mesh_from_model(model: NerfModel, recipe: Recipe) -> BakedMesh:
    """Return the textured surface of `model` as the recipe's mesh section specifies it.

    Computed on the model's device, without gradients.

    Raises:
        MeshError: where the field has no surface.
    """
    return extract_mesh(
        model.densities,
        model.albedo,
        recipe.mesh,
        bounding_radius=model.bounding_radius,
        device=model.device,
    )
