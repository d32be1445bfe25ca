"""The schema of recipes as JSON Schema, for completion and checks in editors."""

import json

from dreamfusion_kit.recipe.schema import Recipe


def recipe_json_schema() -> str:
    """Return the text of recipes/recipe.schema.json."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
