"""The schemas of recipes and scenes as JSON Schema, for completion and checks in editors."""

import json

from dreamfusion_kit.recipe.scene import Scene
from dreamfusion_kit.recipe.schema import Recipe, Section


def recipe_json_schema() -> str:
    """Return the text of recipes/recipe.schema.json."""
    return _json_schema(Recipe)


def scene_json_schema() -> str:
    """Return the text of scenes/scene.schema.json."""
    return _json_schema(Scene)


def _json_schema(section: type[Section]) -> str:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **section.model_json_schema(),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
