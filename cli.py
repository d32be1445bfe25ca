"""The front door of a clone: `python cli.py --help`."""

from dreamfusion_kit.__main__ import main

if __name__ == "__main__":  # the workers of `suite run` import this file
    main()
