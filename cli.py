"""The front door of a clone: `python cli.py --help`."""

from dreamfusion_kit import supervision

supervision.end_with_dvc()  # before the imports, which take a while

from dreamfusion_kit.cli import main  # noqa: E402

main()
