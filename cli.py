"""The front door of a clone: `python cli.py --help`."""

from dreamfusion_kit.cli import main

main()
