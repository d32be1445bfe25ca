"""The front door of a clone: `python cli.py --help`."""

from dreamfusion_kit.__main__ import main

main()
