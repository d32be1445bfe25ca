"""The program's first lines: `dreamfusion-kit`, `python -m dreamfusion_kit`, a clone's cli.py."""

import sys
from pathlib import Path

from dreamfusion_kit import supervision, sync_memory


def main() -> None:
    """Run the command line, tied from the start to the DVC that launched it, if any."""
    supervision.end_with_dvc()  # before the imports, which take a while
    if sys.argv[1:] == ["sync"] and sync_memory.is_in_sync(Path()):
        return
    from dreamfusion_kit.cli import main as run

    run()


if __name__ == "__main__":
    main()
