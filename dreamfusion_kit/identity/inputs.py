"""What each stage reads from a recipe, an asset and the protocol, as digests.

An edit reruns only the stages whose digest it changes: a texture size does not affect the
optimisation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

from dreamfusion_kit import files
from dreamfusion_kit.identity.stage_name import AssetStage, asset_stages
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.captions import declared_captions
from dreamfusion_kit.recipe.document import file_error
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.resolved import ResolvedAsset
from dreamfusion_kit.recipe.scene import Scene
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import Suite

# Sections of a recipe that determine a field. The rest are `summary`, `mesh` and `refine`.
FIELD_SECTIONS = (
    "prior",
    "guidance",
    "camera",
    "light",
    "shading",
    "background",
    "field",
    "renderer",
    "optimize",
)
# Those that determine a refined mesh.
REFINE_SECTIONS = (*FIELD_SECTIONS, "mesh", "refine")


def asset_digests(asset: ResolvedAsset, protocol: EvaluationSection) -> dict[AssetStage, str]:
    """Return what each stage of an asset reads beside the outputs of earlier stages."""
    stages = asset_stages(imported=asset.imported is not None, refined=asset.refines)
    return {stage: identity(_reads(stage, asset, protocol)) for stage in stages}


def _reads(
    stage: AssetStage, asset: ResolvedAsset, protocol: EvaluationSection
) -> Mapping[str, object]:
    match stage:
        case "embed":
            return {"prompt": asset.prompt, **sections(asset.recipe, "prior", "guidance")}
        case "optimize":
            return {"seed": asset.seed, **sections(asset.recipe, *FIELD_SECTIONS)}
        case "mesh":  # The GLB names everything it was made from.
            return {"recipe": asset.recipe_name, "identity": asset.identity}
        case "refine":
            return {"seed": asset.seed, **sections(asset.recipe, *REFINE_SECTIONS)}
        case "evaluate" if asset.imported is not None:
            return {"prompt": asset.prompt, "evaluation": protocol}
        case "evaluate":
            return {
                "prompt": asset.prompt,
                "evaluation": protocol,
                **sections(asset.recipe, "field", "renderer", "background"),
                "num_steps": asset.recipe.optimize.num_steps,
                **({"refined": True} if asset.refines else {}),
            }
        case _:
            assert_never(stage)


def recipe_digest(recipe: Recipe) -> str:
    """Return the digest of what the fetch stage reads from a recipe."""
    return identity(sections(recipe, "prior"))


def clip_digest(protocol: EvaluationSection) -> str:
    """Return the digest of what the fetch stage reads from the protocol."""
    return identity({"clip": protocol.clip, "vqa": protocol.vqa})


def pool_digest(protocol: EvaluationSection, prompts: Mapping[str, str], workspace: Path) -> str:
    """Return the digest of the captions that a suite's protocol declares.

    `prompts` are the suite's prompts by asset; only a pool made of them reads them.

    Raises:
        RecipeError: if the captions are in a file that cannot be read.
    """
    return identity(declared_captions(protocol.caption_pool, prompts, workspace))


def suite_digests(
    suite: Suite, assets: Mapping[str, ResolvedAsset], workspace: Path
) -> dict[str, str]:
    """Return the digests of what the suite-wide stages read."""
    return {
        "clip": clip_digest(suite.evaluation),
        "pool": pool_digest(suite.evaluation, suite.prompts, workspace),
        "score": identity({"assets": list(assets), "evaluation": suite.evaluation}),
        "report": identity({name: asset.summary() for name, asset in assets.items()}),
    }


def scene_digest(scene: Scene, workspace: Path) -> str:
    """Return the digest of what the scene stage reads beside meshes: the scene, and its light.

    Raises:
        RecipeError: if the light's file is not there.
    """
    file = scene.light.file
    if file is None:
        return identity({"scene": scene})
    path = workspace / file
    if not path.is_file():
        raise file_error(path, f"not there; expected the light of the scene {scene.scene}")
    return identity({"scene": scene, "light": files.sha256(path)})


def sections(recipe: Recipe, *names: str) -> dict[str, object]:
    """Return the sections of a recipe by name."""
    return {name: getattr(recipe, name) for name in names}
