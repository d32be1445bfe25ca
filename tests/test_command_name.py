"""Messages and help name the command as it was called."""

import subprocess
import sys
from pathlib import Path

import pytest

from dreamfusion_kit.command_name import command_name

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("cli.py", "python cli.py"),
        ("/somewhere/clone/cli.py", "python cli.py"),
        ("/venv/bin/dreamfusion-kit", "dreamfusion-kit"),
        ("", "dreamfusion-kit"),
        ("-c", "dreamfusion-kit"),
    ],
)
def test_the_name_is_that_of_the_call(
    called: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called, "show"])
    assert command_name() == name


@pytest.mark.parametrize("command", [(), ("suite",), ("suite", "list"), ("embed",)], ids=" ".join)
def test_help_of_the_installed_command_names_it(command: tuple[str, ...], tmp_path: Path) -> None:
    script = tmp_path / "dreamfusion-kit"  # what pip writes into bin/
    script.write_text("import sys\nfrom dreamfusion_kit.cli import main\nsys.exit(main())\n")
    done = subprocess.run(
        [sys.executable, script, *command, "--help"],
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    usage, example, _ = done.stdout.split("\n\n", 2)
    assert usage.startswith(f"Usage: {' '.join(['dreamfusion-kit', *command])} [")
    assert example.strip().startswith(" ".join(["dreamfusion-kit", *command]))
    assert "cli.py" not in done.stdout
