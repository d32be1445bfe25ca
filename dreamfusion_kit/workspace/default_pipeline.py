"""The stages of refined assets in the default suite's dvc.yaml.

DVC's `foreach` has no condition. As long as no asset of params.yaml refines its mesh, the pipeline
is the one that the kit ships. Otherwise it names, as literal text, those that do: a stage `refine`
for each, and for every asset the folder of the mesh that `evaluate` reads.
"""

import re
from collections.abc import Mapping, Set

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.recipe.workspace import DEFAULT
from dreamfusion_kit.recipe.yaml_text import scalar

_REFINE = """  refine:
    foreach:
{recipes}    do:
      cmd: exec dreamfusion-kit refine "$DVC_STAGE"
      deps:
        - out/model/${{item.recipe}}.json
        - out/text/${{key}}.safetensors
        - out/field/${{key}}
        - out/mesh/${{key}}
      params:
        - kit.json:
            - code.refine
            - assets.${{key}}.refine
      outs:
        - out/refined/${{key}}
        - out/run/${{key}}/refine.json

"""
_PLAIN = "  evaluate:\n    foreach: ${assets}\n"
_CHOSEN = "  evaluate:\n    foreach:\n"
_DEPENDENCY = "        - out/model/clip.json\n        - out/field/${key}\n        - out/%s/${key}\n"
_REPORT = "      - out/evaluation\n      - out/field\n      - out/mesh\n"
_REFINED = "      - out/refined\n"
# The kit's stage up to the next line that is indented less, whatever its version put into it. A
# stage of another form is the user's.
_STAGE = re.compile(
    r"^  refine:\n    foreach:\n(?:      \"?[a-z0-9_]+\"?: \{recipe: [^\n]+\}\n)+    do:\n"
    r"(?:(?:      [^\n]*)?\n)+",
    re.MULTILINE,
)
_FOLDERS = re.compile(re.escape(_CHOSEN) + r"(?:      \"?[a-z0-9_]+\"?: \{mesh: [a-z]+\}\n)+")
_OWN_STAGE = re.compile(r"^  refine:", re.MULTILINE)


def with_refinement(text: str, suite: Suite, refined: Set[str]) -> str:
    """Return the pipeline `text` of the default suite with the stages that its assets have."""
    assert suite.name == DEFAULT
    plain = without_refinement(text)
    if not refined:
        return plain
    as_written = all(part in plain for part in (_PLAIN, _DEPENDENCY % "mesh", _REPORT))
    if not as_written or _OWN_STAGE.search(plain):
        raise RecipeError(
            f"dvc.yaml: found stages edited by hand where {', '.join(sorted(refined))} need the "
            "stage refine, expected evaluate and report as the kit writes them, and no other stage "
            "refine; make these assets in a suite of their own, or remove dvc.yaml and run "
            f"`{command_name()} upgrade`, which writes it"
        )
    recipes = {name: suite.assets[name].recipe for name in suite.assets if name in refined}
    return _with(plain, recipes, suite.assets.keys())


def without_refinement(text: str) -> str:
    """Return the same pipeline with no asset refined."""
    text = _STAGE.sub("", text)
    text = _FOLDERS.sub(lambda _: _PLAIN, text)
    text = text.replace(_DEPENDENCY % "${item.mesh}", _DEPENDENCY % "mesh")
    return text.replace(_REPORT + _REFINED, _REPORT)


def _with(text: str, recipes: Mapping[str, str], assets: Set[str]) -> str:
    # In quotes where YAML would read another name, such as 1e3 or null.
    named = "".join(
        f"      {scalar(name)}: {{recipe: {scalar(recipe)}}}\n" for name, recipe in recipes.items()
    )
    folders = "".join(
        f"      {scalar(name)}: {{mesh: {'refined' if name in recipes else 'mesh'}}}\n"
        for name in assets
    )
    text = text.replace(_PLAIN, _REFINE.format(recipes=named) + _CHOSEN + folders, 1)
    text = text.replace(_DEPENDENCY % "mesh", _DEPENDENCY % "${item.mesh}", 1)
    return text.replace(_REPORT, _REPORT + _REFINED, 1)
