"""The program's first lines: `dreamfusion-kit`, `python -m dreamfusion_kit`, a clone's cli.py."""

from dreamfusion_kit import supervision


def main() -> None:
    """Run the command line, tied from the start to the DVC that launched it, if any."""
    supervision.end_with_dvc()  # before the imports, which take a while
    from dreamfusion_kit.cli import main as run

    run()


if __name__ == "__main__":
    main()
