"""What the user typed to get here, for messages and help that are to be pasted."""

import sys
from pathlib import Path

INSTALLED = "dreamfusion-kit"
CLONE = "python cli.py"


def command_name() -> str:
    """Return `python cli.py` where a clone's cli.py runs, otherwise `dreamfusion-kit`."""
    return CLONE if Path(sys.argv[0]).name == "cli.py" else INSTALLED
