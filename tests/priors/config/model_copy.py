"""Models whose files a test may change, and what is said about them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.priors.config.model_files import check_model
from dreamfusion_kit.recipe import schema

from ..sections import FAMILIES  # noqa: TID252

SECTIONS: dict[str, dict[str, Any]] = FAMILIES | {"clip_directory": {"kind": "clip"}}
LOCAL = {"kind": "local", "path": "model"}
Copy = Callable[[str], Path]


def section(family: str) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(schema.PriorSection)
    return adapter.validate_python({"source": LOCAL, **SECTIONS[family]})


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None in a change's place is JSON's null, ... removes."""
    values = json.loads(file.read_text()) | changes
    kept = {key: value for key, value in values.items() if value is not ...}
    file.write_text(json.dumps(kept))


def refusal(family: str, directory: Path) -> str:
    """Return what `check_model` says, in lines for a terminal."""
    with pytest.raises(DreamFusionKitError) as caught:
        check_model(section(family), directory)
    lines = str(caught.value).splitlines()
    assert all(line.isprintable() and len(line) < 500 for line in lines)
    return "\n".join(lines)
