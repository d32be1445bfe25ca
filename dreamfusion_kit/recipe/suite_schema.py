"""What the files of a suite say: params.yaml, suite.yaml and asset.yaml.

The schema alone, which knows one file at a time; `suite` joins the files of a suite.
"""

from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, model_validator

from dreamfusion_kit.recipe.captions import one_clean_line
from dreamfusion_kit.recipe.gate import GateSection
from dreamfusion_kit.recipe.imported import ImportSection
from dreamfusion_kit.recipe.protocol import ProtocolSection
from dreamfusion_kit.recipe.schema import Section, Seed
from dreamfusion_kit.recipe.workspace import NAME

ASSET_ID = r"^[a-z0-9_]{1,64}$"
ASSET_FILE = "asset.yaml"
FETCHED_CLIP = "clip"  # the name by which `fetch` knows the protocol's CLIP


def _is_not_the_clip(recipe: str) -> str:
    if recipe == FETCHED_CLIP:
        raise ValueError(
            "found clip, the protocol's CLIP for `fetch`; expected another name; rename the recipe"
        )
    return recipe


AssetId = Annotated[str, Field(pattern=ASSET_ID)]
Name = Annotated[str, Field(pattern=NAME)]
Prompt = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(one_clean_line)]
RecipeName = Annotated[Name, AfterValidator(_is_not_the_clip)]

_IMPORT = "The files that its mesh comes from; written by `dreamfusion-kit import`."
_OVERRIDES = "Dotted recipe keys that are set differently, such as optimize.num_steps; {} for none."


class Asset(Section):
    """One thing to make. Its id names its files.

    `imported` says that its mesh comes from a file; its recipe then gives the mesh's formats and
    texture alone.
    """

    prompt: Prompt = Field(description="What to make, one line of 1 to 500 characters.")
    recipe: RecipeName = Field(description="File name in recipes/, without .yaml.")
    seed: Seed = Field(description="Seed of every random stream of this asset.")
    overrides: dict[str, JsonValue] = Field(description=_OVERRIDES)
    imported: ImportSection | None = Field(default=None, alias="import", description=_IMPORT)


class AssetFile(Section):
    """What the asset.yaml of a suite's folder says."""

    prompt: Prompt = Field(description="What to make, one line of 1 to 500 characters.")
    recipe: RecipeName = Field(description="File name in recipes/, without .yaml.")
    seed: Seed | None = Field(
        description="Seed of every random stream of this asset; null where the suite has seeds."
    )
    overrides: dict[str, JsonValue] = Field(description=_OVERRIDES)
    imported: ImportSection | None = Field(default=None, alias="import", description=_IMPORT)


class ParamsFile(Section):
    """What the workspace's params.yaml says: the default suite, and the protocol of all."""

    suite: Name = Field(description="Name of the suite: default.")
    recipes: tuple[Name, ...] = Field(
        description="The recipes that the assets use, each once: DVC fetches per recipe."
    )
    assets: dict[AssetId, Asset] = Field(min_length=1, description="The assets by their id.")
    evaluation: ProtocolSection = Field(
        description="The protocol, or the name of one in protocols/, for every suite without one "
        "of its own."
    )
    gate: GateSection | None = Field(
        default=None, description="When a fall of quality is refused; see docs/gate.md."
    )

    @model_validator(mode="after")
    def _nothing_is_imported(self) -> "ParamsFile":
        for asset_id, asset in self.assets.items():
            if asset.imported is not None:
                raise ValueError(
                    f"assets.{asset_id}.import: found an imported mesh in the default suite, "
                    "expected it in a suite of its own folder; remove it here and use "
                    "`dreamfusion-kit import`"
                )
        return self

    @model_validator(mode="after")
    def _recipes_are_those_used(self) -> "ParamsFile":
        used = list(dict.fromkeys(asset.recipe for asset in self.assets.values()))
        if sorted(self.recipes) != sorted(used):
            raise ValueError(
                f"recipes: found [{', '.join(self.recipes)}], expected exactly what the "
                f"assets use: [{', '.join(used)}]"
            )
        return self


class SuiteFile(Section):
    """What a folder's suite.yaml says: all that its assets share."""

    suite: Name = Field(description="Name of the suite: that of its folder.")
    seeds: tuple[Seed, ...] | None = Field(
        min_length=1,
        max_length=1000,
        description="Each asset is made once per seed, as ID_sSEED; null where each has its own.",
    )
    overrides: dict[str, JsonValue] = Field(description=_OVERRIDES + " An asset's own come later.")
    evaluation: ProtocolSection | None = Field(
        description="The suite's own protocol, or the name of one in protocols/; null for the one "
        "in params.yaml."
    )

    @model_validator(mode="after")
    def _seeds_differ(self) -> "SuiteFile":
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: found {list(self.seeds)}, expected each seed once")
        return self
