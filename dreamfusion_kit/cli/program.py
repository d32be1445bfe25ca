"""What every command is made with: the groups, the decorator, the common arguments, and main."""

import inspect
import os
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Annotated, TypeVar

import typer

from dreamfusion_kit import command_name, front_door

_EXAMPLE = re.compile(rf"(\A\x08\n *)(?:{command_name.CLONE}|{command_name.INSTALLED})")

CommandT = TypeVar("CommandT", bound=Callable[..., None])


def group(summary: str, example: str) -> typer.Typer:
    """Return a group of commands; its help opens with an example to paste."""
    return typer.Typer(
        help=f"\b\n    {example}\n\n{summary}",
        short_help=summary,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain text can be saved and compared
        pretty_exceptions_enable=False,
    )


def command(app: typer.Typer, name: str, example: str) -> Callable[[CommandT], CommandT]:
    """Register a command whose help opens with an example to paste, then its docstring."""

    def register(function: CommandT) -> CommandT:
        text = inspect.getdoc(function) or ""
        return app.command(
            name, help=f"\b\n    {example}\n\n{text}", short_help=text.partition("\n")[0]
        )(function)

    return register


app = group(
    "Text to 3D by score distillation: prompts in, measured meshes out.", "python cli.py validate"
)
suite_app = group("List and edit the assets of a suite.", "python cli.py suite list")
toybox_app = group(
    "Make and measure the embedded world's prior and its judges.", "python cli.py toybox evaluate"
)
app.add_typer(suite_app, name="suite")
app.add_typer(toybox_app, name="toybox")
scratch_app = group(
    "Show and clear checkpoints of runs that did not finish.", "python cli.py scratch list"
)
app.add_typer(scratch_app, name="scratch")

export_app = group(
    "Write finished assets as other projects' evaluations read them.",
    "python cli.py export t3bench animals ../T3Bench --group single",
)
app.add_typer(export_app, name="export")

AssetArgument = Annotated[str, typer.Argument(metavar="ASSET", help="Id of the asset.")]
SuiteArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="A suite: NAME is suites/NAME, default is params.yaml. Without it, the suite whose "
        "folder this is.",
    ),
]
SuiteOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A suite: NAME is suites/NAME, default is params.yaml. Without it, the suite whose "
        "folder this is.",
    ),
]

DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        envvar="DREAMFUSION_DEVICE",
        help="cpu, cuda or cuda:N; no other device is tried.",
    ),
]


def main() -> None:
    """Run the command line; an expected failure becomes its message and exit status 2."""
    name = command_name.command_name()
    _name_examples(app, name)
    front_door.run(lambda: app(prog_name=name))


def _name_examples(group: typer.Typer, name: str) -> None:
    """Make the help's examples start with the command as it was called."""
    for info in (group.info, *group.registered_commands):
        info.help = _EXAMPLE.sub(rf"\g<1>{name}", info.help or "")
    for subgroup in group.registered_groups:
        if subgroup.typer_instance is not None:
            _name_examples(subgroup.typer_instance, name)


def _print_version(asked: bool) -> bool:
    if asked:
        try:
            print(f"dreamfusion-kit {installed_version('dreamfusion-kit')}")
        except PackageNotFoundError:
            print("dreamfusion-kit, not installed: run from a clone")
        raise typer.Exit
    return asked


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    # Options of the program itself. Its help text is the group's.
    if context.invoked_subcommand != "fetch":
        # transformers draws a bar for every file it opens; only downloads are worth a bar.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
