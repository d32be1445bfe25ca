"""The digest of a file is that of its meaning, in any layout and by any Python."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dreamfusion_kit.identity.syntax import source_digest

PACKAGE = Path(__file__).parents[2] / "dreamfusion_kit"
SYNTAX = PACKAGE / "identity" / "syntax.py"
SOURCE = '''\
"""What the module is for."""

import os
from math import pi as PI

LIMIT: int = 3
NAMES = ["", "a"]


@cached
class Thing(Base):
    """A thing."""

    size: float = 1.5
    """Its size."""

    def grow(self, by=2, *, twice=False):
        """Grow."""
        if twice and self.size > 0:
            by *= 2
        return f"{self.size + by:>{LIMIT}} of {self!r}"
'''


@pytest.mark.parametrize(
    "edited",
    [
        SOURCE + "\n# A remark.\n",
        SOURCE.replace("LIMIT: int = 3", "LIMIT: int = 3  # at most"),
        SOURCE.replace("What the module is for.", "Another word."),
        SOURCE.replace('"""What the module is for."""\n', ""),
        SOURCE.replace('        """Grow."""\n', ""),
        SOURCE.replace('    """A thing."""\n\n', ""),
        SOURCE.replace("Its size.", "How large it is."),
        SOURCE.replace("\n\n", "\n\n\n\n"),
        SOURCE.replace("    ", "  "),
        SOURCE.replace('["", "a"]', "[\n    '',\n    u'a',\n]"),
        SOURCE.replace('["", "a"]', '["" "", ("a")]'),
        SOURCE.replace("LIMIT: int = 3", "LIMIT: int = 0x3"),
        SOURCE.replace("self.size + by", "(self.size) + (by)"),
    ],
    ids=range(13),
)
def test_what_means_the_same_has_the_same_digest(edited: str) -> None:
    assert edited != SOURCE
    assert source_digest(edited) == source_digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT: int = 3", "LIMIT: int = 4"),
        ("LIMIT: int = 3", "LIMIT: int = 3.0"),
        ("LIMIT: int = 3", "LIMIT = 3"),
        ("LIMIT", "BOUND"),
        ('["", "a"]', '["a"]'),
        ('["", "a"]', '[b"", "a"]'),
        ('["", "a"]', '("", "a")'),
        ("1.5", "-1.5"),
        ("by=2", "by=3"),
        ("by=2, *,", "by=2,"),
        ("@cached\n", ""),
        ("(Base)", ""),
        ("self.size + by", "self.size - by"),
        ("self.size > 0", "self.size >= 0"),
        ("twice and", "twice or"),
        ("!r", "!s"),
        (":>{LIMIT}", ":<{LIMIT}"),
        (" of ", " or "),
        ("import os", "import os.path"),
        ("pi as PI", "tau as PI"),
        ("            by *= 2", "            by *= 2\n            by *= 2"),
        ("        return", "            return"),
    ],
)
def test_what_means_another_thing_has_another_digest(old: str, new: str) -> None:
    assert SOURCE.count(old)
    assert source_digest(SOURCE.replace(old, new)) != source_digest(SOURCE)


def test_only_statements_that_do_nothing_are_left_out() -> None:
    assert source_digest('f("a")') != source_digest("f()")
    assert source_digest('x = ["a"]') != source_digest("x = []")
    assert source_digest('match x:\n case "":\n  f()') != source_digest("match x:\n case 0:\n  f()")
    assert source_digest('def f():\n "a"\n return 1') == source_digest("def f(): return 1")


def test_no_two_modules_of_the_package_share_a_digest() -> None:
    """Unless they hold nothing but a docstring, or the same code."""
    sources = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    sources = {path: text for path, text in sources.items() if _has_code(text)}
    assert len(sources) > 100
    assert len({source_digest(text) for text in sources.values()}) == len(set(sources.values()))


def test_the_formatter_changes_no_digest() -> None:
    ruff = Path(sys.executable).with_name("ruff")
    options = ["--isolated", "--line-length", "50", "--config", "format.quote-style='single'"]
    for path in (SYNTAX, PACKAGE / "cli" / "stages.py", PACKAGE / "mesh" / "extract.py"):
        text = path.read_text()
        formatted = subprocess.run(
            [ruff, "format", *options, "--stdin-filename", path.name, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert formatted != text
        assert source_digest(formatted) == source_digest(text)


def test_every_python_gives_the_same_digest() -> None:
    """Also of f-strings in f-strings' formats, which Python 3.12 reads in a way of its own."""
    others = _other_pythons()
    if not others:
        pytest.skip("no other Python of 3.11 or later is here")
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if _has_code(path.read_text())]
    program = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('syntax', {str(SYNTAX)!r})\n"
        "syntax = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(syntax)\n"
        "print(syntax.source_digest(sys.stdin.read()))\n"
        "for name in sys.argv[1:]:\n"
        "    print(syntax.source_digest(open(name, encoding='utf-8').read()))\n"
    )
    expected = [source_digest(SOURCE), *(source_digest(path.read_text()) for path in files)]
    for python in others:
        done = subprocess.run(
            [python, "-I", "-c", program, *map(str, files)],
            input=SOURCE,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == expected, python


def _has_code(text: str) -> bool:
    return re.search(r"^(def|class|import|from|[A-Z_]+ =)", text, re.MULTILINE) is not None


def _other_pythons() -> list[str]:
    """Return a program for each other minor version of Python that the kit supports."""
    found: dict[str, str] = {}
    candidates = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    candidates += map(
        str, sorted(Path(os.path.expanduser("~/.pyenv/versions")).glob("*/bin/python"))
    )
    for python in candidates:
        if python is None:
            continue
        version = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        match = re.match(r"Python 3\.(\d+)", version.stdout)
        if match and int(match[1]) >= 11 and int(match[1]) != sys.version_info.minor:
            found[match[1]] = python
    return list(found.values())
