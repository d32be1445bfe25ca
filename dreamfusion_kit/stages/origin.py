"""What an output says of itself, compared with what it is asked for.

DVC knows which files a stage wrote, but not when somebody puts another asset's files in their
place. Each folder that a later stage reads therefore holds an `origin.json`: the asset, what
decided its content, and the hash of each file beside it. Text features carry their prompts.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic reads that of `typing` from 3.12 on

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError

NAME = "origin.json"
_MAX_SHOWN_CHARACTERS = 60


@with_config(ConfigDict(extra="forbid"))
class Origin(TypedDict):
    """Of what a folder was made.

    `sections` is the identity of the recipe's sections that decided it; `files` has the
    SHA-256 of every file that lies directly in the folder.
    """

    asset: str
    prompt: str
    seed: int
    sections: str
    files: dict[str, str]


def write(directory: Path, *, asset: str, prompt: str, seed: int, sections: str) -> None:
    """Write the origin of a folder whose files are all there."""
    hashes = {path.name: files.sha256(path) for path in _files(directory)}
    origin = Origin(asset=asset, prompt=prompt, seed=seed, sections=sections, files=hashes)
    files.write_json(directory / NAME, origin)


def check(
    directory: Path, *, asset: str, prompt: str, seed: int, sections: str, made_by: str
) -> None:
    """Refuse a folder of another asset, prompt, seed or recipe, or with other files.

    Raises:
        DreamFusionKitError: naming the first difference.
    """
    path = directory / NAME
    found = files.read_json(path, Origin, made_by=made_by)
    expected = {"asset": asset, "prompt": prompt, "seed": seed, "sections": sections}
    for key, value in expected.items():
        if found[key] != value:
            what = "recipe" if key == "sections" else key
            raise _other(path, f"the {what} {_short(found[key])}", _short(value), made_by)
    here = {path.name for path in _files(directory)}
    for name in sorted(here ^ found["files"].keys()):
        raise _other(directory / name, "missing" if name not in here else "one more", None, made_by)
    for name, sha256 in found["files"].items():
        if files.sha256(directory / name) != sha256:
            raise _other(directory / name, "other content", None, made_by)


def check_prompts(
    path: Path, found: Mapping[str, str], expected: Mapping[str, str], *, made_by: str
) -> None:
    """Refuse text features that were made of other prompts, or in another order."""
    if list(found.items()) == list(expected.items()):
        return
    for key, prompt in expected.items():
        if found.get(key) != prompt:
            raise _other(path, f"{key}: {_short(found.get(key))}", _short(prompt), made_by)
    raise _other(path, f"prompts for {', '.join(found)}", ", ".join(expected), made_by)


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.is_file() and path.name != NAME]


def _short(value: object) -> str:
    text = ascii(value)
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return text
    return text[: _MAX_SHOWN_CHARACTERS - 3] + "..."


def _other(path: Path, found: str, expected: str | None, made_by: str) -> DreamFusionKitError:
    wanted = f"expected {expected}" if expected else "expected what the stage wrote"
    return DreamFusionKitError(
        f"{path}: found {found}, {wanted}; written by the {made_by} stage; run `dvc repro`"
    )
