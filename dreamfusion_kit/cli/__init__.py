"""The command line: `python cli.py` in a clone, `dreamfusion-kit` where it is installed.

A command reads its arguments, calls one function and prints where the result is. Modules
that load torch are imported inside the command, so that --help and validate are instant.
Expected failures end with exit status 2 and one line per problem on stderr.
"""

# Importing a module registers its commands. The order is that of --help.
# isort: off
from dreamfusion_kit.cli import recipes as recipes
from dreamfusion_kit.cli import suites as suites
from dreamfusion_kit.cli import workspace as workspace
from dreamfusion_kit.cli import stages as stages
from dreamfusion_kit.cli import again as again
from dreamfusion_kit.cli import export as export
from dreamfusion_kit.cli import toybox as toybox
from dreamfusion_kit.cli import scratch as scratch
from dreamfusion_kit.cli import machine as machine

# isort: on
from dreamfusion_kit.cli.program import app, main

__all__ = ["app", "main"]
