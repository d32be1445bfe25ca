"""The command that the user typed, for pasteable messages and help."""

import sys
from pathlib import Path

INSTALLED = "dreamfusion-kit"
CLONE = "python cli.py"


def command_name() -> str:
    """Return `python cli.py` if a clone's cli.py is running, otherwise `dreamfusion-kit`."""
    return CLONE if Path(sys.argv[0]).name == "cli.py" else INSTALLED
