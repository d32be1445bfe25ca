"""Converts an imported model once, in a process of its own that its parent may end.

`python -m ... FOLDER SHOWN_AS`, with the section as JSON on stdin. Prints a `Trial` as JSON, or the
text of the error as a JSON string.
"""

import json
import sys
from pathlib import Path
from typing import TypedDict

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported.convert import ImportRecord, convert
from dreamfusion_kit.recipe.imported import ImportSection
from dreamfusion_kit.supervision import end_with_parent


class Trial(TypedDict):
    """What came of a conversion: the record, and whether the surface is closed."""

    record: ImportRecord
    is_closed: bool


def main() -> None:
    """Convert, and print what came of it."""
    end_with_parent()
    folder, shown_as = (Path(argument) for argument in sys.argv[1:])
    asked = json.load(sys.stdin)
    section = ImportSection.model_validate_json(json.dumps(asked["section"]))
    try:
        found = convert(
            folder, section, texture_size_px=asked["texture_size_px"], shown_as=shown_as
        )
    except MeshError as error:
        print(json.dumps(str(error)))
        return
    print(json.dumps(Trial(record=found.record, is_closed=bool(found.mesh.facts["watertight"]))))


if __name__ == "__main__":
    main()
