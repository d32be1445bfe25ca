"""Makes the assets of a suite from a list of prompts."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dreamfusion_kit import files
from dreamfusion_kit.errors import RecipeError, shortened
from dreamfusion_kit.recipe.check import check_suite
from dreamfusion_kit.recipe.document import Document, Place, Value, dotted
from dreamfusion_kit.recipe.problems import problems_of
from dreamfusion_kit.recipe.suite import Suite, load_suite
from dreamfusion_kit.recipe.suite_schema import ASSET_FILE, ASSET_ID, Asset
from dreamfusion_kit.recipe.workspace import DEFAULT, recipe_file, suite_file, suite_root
from dreamfusion_kit.recipe.yaml_text import scalar
from dreamfusion_kit.workspace import prompt_list
from dreamfusion_kit.workspace.folder import check_seed, new_suite, refresh
from dreamfusion_kit.workspace.prompt_list import Entry
from dreamfusion_kit.workspace.slug import slugs


@dataclass(frozen=True)
class Imported:
    """The created folders by their assets' ids, and a line per skipped duplicate."""

    added: tuple[str, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _New:
    """An asset to create: its position in the list, and the content of its asset.yaml."""

    place: str
    id: str | None
    prompt: str
    recipe: str
    seed: int | None

    @property
    def content(self) -> tuple[str, str, int | None]:
        return self.prompt, self.recipe, self.seed


def import_prompts(
    workspace: Path, suite: str, source: Path, *, recipe: str | None, seed: int | None
) -> Imported:
    """Add an asset per prompt of the file `source` to a suite, which is created if missing.

    A prompt that already exists with the same recipe and seed is skipped. So importing a
    longer version of a list adds only what is new.

    Args:
        workspace: The workspace.
        suite: A suite other than the default one.
        source: A file that `prompt_list` can read.
        recipe: For prompts without one of their own.
        seed: For prompts without one of their own, if the suite has no seeds; None means 0.

    Raises:
        RecipeError: with every problem of the list; nothing is changed then.
    """
    if suite == DEFAULT:
        raise RecipeError("suite default: expected another suite to import to; name a new one")
    entries = prompt_list.read(source)
    is_new = not suite_root(workspace, suite).exists()
    before = None if is_new else load_suite(workspace, suite)
    wanted = _wanted(workspace, source, entries, before, recipe, seed)
    there = _contents(before)
    kept, skipped = _without_duplicates(source, wanted, there)
    folders = _with_ids(source, kept, before)
    if folders:
        _write(workspace, suite, folders, is_new=is_new, recipe=recipe)
    return Imported(tuple(folders), tuple(skipped))


def _wanted(
    workspace: Path,
    source: Path,
    entries: list[Entry],
    before: Suite | None,
    recipe: str | None,
    seed: int | None,
) -> list[_New]:
    """Return the assets that the entries ask for, or raise all their problems."""
    if before is not None:
        check_seed(before, seed)
    has_seeds = before is not None and before.seeds is not None
    wanted: list[_New] = []
    problems: list[str] = []
    recipes: dict[str, str] = {}
    for entry in entries:
        name = entry.recipe or recipe
        own_seed = (seed or 0) if entry.seed is None else entry.seed
        if name is None:
            problems.append(f"{entry.place}: found no recipe, expected one; give --recipe")
            continue
        if name not in recipes:
            recipes[name] = _problem_of_recipe(workspace, name)
        if recipes[name]:
            problems.append(f"{entry.place}: {recipes[name]}")
            continue
        if has_seeds and entry.seed is not None:
            problems.append(
                f"{entry.place}: seed: found {entry.seed}, expected none: the suite's seeds hold "
                "for every asset"
            )
        problems += _problems_of_asset(entry, name, own_seed)
        seed_or_none = None if has_seeds else own_seed
        wanted.append(_New(entry.place, entry.id, entry.prompt, name, seed_or_none))
    if problems:
        raise prompt_list.report(source, problems)
    return wanted


def _problem_of_recipe(workspace: Path, name: str) -> str:
    try:
        path = recipe_file(workspace, name)
    except RecipeError as error:
        return str(error)
    return "" if path.is_file() else f"recipe: found no {path}, expected a recipe's name"


def _problems_of_asset(entry: Entry, recipe: str, seed: int) -> list[str]:
    data: dict[str, Value] = {"prompt": entry.prompt, "recipe": recipe, "seed": seed}
    document = Document({**data, "overrides": {}}, {(): Place("", 1)})
    problems: list[str] = []
    try:
        Asset.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        problems = [
            f"{entry.place}: {dotted(found.path)}: {found.text}"
            for found in problems_of(error, document)
        ]
    if entry.id is not None and not re.fullmatch(ASSET_ID, entry.id):
        shown = ascii(shortened(entry.id, 60))
        problems.append(
            f"{entry.place}: id: found {shown}, expected 1 to 64 of a-z, 0-9 and _, or none"
        )
    return problems


def _contents(suite: Suite | None) -> dict[tuple[str, str, int | None], str]:
    """Return the folders of a suite by their content."""
    if suite is None:
        return {}
    return {
        (asset.prompt, asset.recipe, None if suite.seeds is not None else asset.seed): folder
        for name, asset in suite.assets.items()
        if (folder := suite.declared[name].folder) is not None and not asset.overrides
    }


def _without_duplicates(
    source: Path, wanted: list[_New], there: Mapping[tuple[str, str, int | None], str]
) -> tuple[list[_New], list[str]]:
    seen: dict[tuple[str, str, int | None], str] = {}
    kept: list[_New] = []
    skipped: list[str] = []
    for new in wanted:
        if new.content in there:
            skipped.append(f"{source}: {new.place}: is there already as {there[new.content]}")
        elif new.content in seen:
            skipped.append(f"{source}: {new.place}: the same as {seen[new.content]}")
        else:
            seen[new.content] = new.place
            kept.append(new)
    return kept, skipped


def _with_ids(source: Path, wanted: list[_New], before: Suite | None) -> dict[str, _New]:
    """Return the new assets by their folders' names."""
    taken = set() if before is None else {*before.folders, *before.assets}
    given = {new.id for new in wanted if new.id is not None}
    unnamed = [new for new in wanted if new.id is None]
    keys = [(new.prompt, f"{new.recipe}\n{new.seed}") for new in unnamed]
    found = dict(zip(map(id, unnamed), slugs(keys, taken | given), strict=True))
    folders: dict[str, _New] = {}
    problems: list[str] = []
    for new in wanted:
        name = new.id if new.id is not None else found[id(new)]
        if name in taken:
            problems.append(f"{new.place}: id {name}: is taken in the suite, expected another")
        elif name in folders:
            problems.append(
                f"{new.place}: id {name}: is that of {folders[name].place} too, expected another"
            )
        folders[name] = new
    if problems:
        raise prompt_list.report(source, problems)
    return folders


def _write(
    workspace: Path,
    suite: str,
    folders: Mapping[str, _New],
    *,
    is_new: bool,
    recipe: str | None,
) -> None:
    root = suite_root(workspace, suite)
    created = root if is_new else None
    try:
        if is_new:
            new_suite(workspace, suite, recipe=recipe)
        for name, new in folders.items():
            files.write_text(root / "assets" / name / ASSET_FILE, _asset_text(new))
        check_suite(workspace, suite)
        refresh(workspace, suite)
    except BaseException:  # Ctrl-C too: half an import would be harder to undo by hand
        for path in [created] if created else [root / "assets" / name for name in folders]:
            shutil.rmtree(path, ignore_errors=True)
        if not is_new and suite_file(workspace, suite).is_file():
            refresh(workspace, suite)
        raise


def _asset_text(new: _New) -> str:
    """Return the text of an asset.yaml."""
    seed = "null" if new.seed is None else new.seed
    return (
        f"prompt: {scalar(new.prompt)}\nrecipe: {scalar(new.recipe)}\nseed: {seed}\n"
        "overrides: {}\n"
    )
