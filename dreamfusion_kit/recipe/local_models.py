"""`models.local.yaml`: folders of pretrained models elsewhere on this machine, by name.

The file is this machine's own and not under version control, so a recipe can name a folder
without its address:

    models:
      store: /srv/models

makes `path: store:sd15` mean `/srv/models/sd15`. What lies there is pinned by the lock as ever.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.schema import NAMED_PATH, Section

FILE = "models.local.yaml"


class LocalModels(Section):
    """The file's content."""

    models: dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")],
        Annotated[str, Field(min_length=1, max_length=4000)],
    ]


def resolve_path(path: str, workspace: Path) -> tuple[Path, Path]:
    """Return where a model's `path` leads, and the folder that it has to stay in.

    Raises RecipeError where it is NAME:PATH and the name is not known on this machine.
    """
    match = NAMED_PATH.fullmatch(path)
    if match is None:
        return workspace / path, workspace
    name, rest = match.groups()
    file = workspace / FILE
    known = validate(load_yaml(file), LocalModels).models if file.is_file() else {}
    if name not in known:
        raise RecipeError(
            f"source path {path!r}: no folder of models is called {name} on this machine; expected "
            f"it in {FILE} (known: {', '.join(sorted(known)) or 'none'}); write `models: "
            f"{{{name}: /its/folder}}` there"
        )
    root = Path(known[name]).expanduser()
    if not root.is_absolute():
        raise RecipeError(
            f"{FILE}: models.{name}: found {known[name]!r}, expected an absolute path; correct it"
        )
    return root / rest, root
