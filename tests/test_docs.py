"""The documentation: its links hold, its pages are in the site, and its reference is complete."""

import csv
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import stdev
from types import ModuleType
from typing import Any

import pytest
import typer

from dreamfusion_kit import cli
from dreamfusion_kit.recipe.gate import load_gate

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROSE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "recipes/README.md")

FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def _script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of docs/ with the generated pages in it, as `make docs` builds from."""
    folder = tmp_path_factory.mktemp("site") / "docs"
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("reference"))
    _script("generate_reference").main(folder / "reference")
    return folder


def _pages(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))


def _written_pages() -> list[str]:
    """Return the pages of docs/ that are not generated."""
    return [page for page in _pages(DOCS) if not page.startswith("reference/")]


def _links(text: str) -> Iterator[str]:
    yield from LINK.findall(CODE.sub("", FENCE.sub("", text)))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site and Git hosts name them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    names: list[str] = []
    for title in HEADING.findall(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", words).strip().lower())
        names.append(f"{slug}_{names.count(slug)}" if slug in names else slug)
    return set(names)


def broken_links(page: Path, root: Path) -> list[str]:
    """Return the links of a page that lead outside of `root`, or to no file or heading in it."""
    broken: list[str] = []
    for link in _links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_relative_to(root.resolve()) or not _has(target, anchor):
            broken.append(link)
    return broken


def _has(target: Path, anchor: str) -> bool:
    if not anchor:
        return target.exists()
    return target.suffix == ".md" and target.exists() and anchor in _anchors(target)


@pytest.mark.parametrize("page", [*_written_pages(), "reference/cli.md", "reference/recipe.md"])
def test_links_of_the_site_lead_to_its_pages_and_headings(site: Path, page: str) -> None:
    assert broken_links(site / page, site) == []


@pytest.mark.parametrize("page", PROSE)
def test_links_of_other_prose_lead_to_files_and_headings(page: str) -> None:
    assert broken_links(ROOT / page, ROOT) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# One thing\n\n## `key`: a name\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[good](b.md) [good](b.md#one-thing) [good](b.md#key-a-name) [good](https://example.org)\n"
        "[page](c.md) ![picture](c.png) [heading](b.md#two) [own](#three) [outside](../x.md)\n"
        "```sh\n[code](d.md)\n```\nand `[code](d.md)`\n"
    )
    assert broken_links(page, tmp_path) == ["c.md", "c.png", "b.md#two", "#three", "../x.md"]


def test_every_page_is_in_the_navigation(site: Path) -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    listed = sorted(_named(project["nav"]))
    decisions = {page for page in _pages(site) if page.startswith("adr/0")}
    assert listed == sorted(set(_pages(site)) - decisions)
    index = set(_links((site / "adr" / "index.md").read_text(encoding="utf-8")))
    assert {f"adr/{link}" for link in index} == decisions


def _named(entry: Any) -> Iterator[str]:
    match entry:
        case str():
            yield entry
        case list():
            for inner in entry:
                yield from _named(inner)
        case dict():
            for inner in entry.values():
                yield from _named(inner)


def test_every_command_has_its_help_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "cli.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## dreamfusion-kit (.+)$", page, re.MULTILINE)
    assert sorted(titles) == sorted(_commands(cli.app))
    for title in titles:
        assert f"\nUsage: dreamfusion-kit {title} " in page


def _commands(group: typer.Typer, before: str = "") -> Iterator[str]:
    for info in group.registered_commands:
        yield f"{before}{info.name}"
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield f"{before}{inner.name}"
        yield from _commands(inner.typer_instance, f"{before}{inner.name} ")


def test_every_recipe_key_has_its_meaning_in_the_reference(site: Path) -> None:
    """The oracle is the schema's file: each section's keys, with their descriptions."""
    schema = json.loads((ROOT / "recipes" / "recipe.schema.json").read_text(encoding="utf-8"))
    page = (site / "reference" / "recipe.md").read_text(encoding="utf-8")
    titles = [title.partition(".")[0] for title in re.findall(r"^## (.+)$", page, re.MULTILINE)]
    assert titles == list(schema["properties"])
    for name, section in schema["$defs"].items():
        if name.endswith("Schedule"):
            continue
        for key, entry in section["properties"].items():
            meaning = " ".join(entry.get("description", "").split()).replace("|", "\\|")
            row = rf"^\| `{key}` \| [^|]+ \| {re.escape(meaning)}"
            assert re.search(row, page, re.MULTILINE), f"{name}.{key}"


def test_the_reference_shows_values_of_the_default_recipe(site: Path) -> None:
    page = (site / "reference" / "recipe.md").read_text(encoding="utf-8")
    assert re.search(r"^\| `resolution` \| integer 2 to \d+ \| .* \| `64` \|$", page, re.MULTILINE)
    assert re.search(r"^\| `guidance_scale` \| .* \| `8.0` \|$", page, re.MULTILINE)


def test_the_site_builds_without_a_warning(site: Path) -> None:
    shutil.copy(ROOT / "zensical.toml", site.parent)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=site.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    home = (site.parent / "build" / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?:", home)


def test_the_gate_s_page_has_the_settings_of_params_yaml() -> None:
    """Spreads and tolerances stand in both: where they are used, and where they are explained."""
    gate = load_gate(ROOT / "params.yaml")
    page = (DOCS / "gate.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+)` \| ([0-9.]+) \| ([0-9.]+) \| ", page, re.MULTILINE)
    assert {key: (float(spread), float(tolerance)) for key, spread, tolerance in rows} == {
        key: (section.spread, section.tolerance) for key, section in gate.metrics.items()
    }
    assert f"| a view's cosine | {gate.view_cosine_spread} |" in page


def test_the_gate_s_spreads_are_those_of_two_seeds_of_toybox_16() -> None:
    gate = load_gate(ROOT / "params.yaml")
    first, second = (
        json.loads((ROOT / "suites" / name / "metrics" / f"{name}.json").read_text())["assets"]
        for name in ("toybox-16", "toybox-16-seed-1")
    )
    assert set(first) == set(second)
    assert len(first) == 16
    for key, section in gate.metrics.items():
        moves = [first[one]["metrics"][key] - second[one]["metrics"][key] for one in first]
        assert section.spread == pytest.approx(stdev(moves), rel=0.05), key
        assert 1 <= section.tolerance / (section.spread / 4) <= 1.3, f"{key}: rounded up"
    cosines = [
        before - after
        for one in first
        for before, after in zip(
            first[one]["views"]["cosine"], second[one]["views"]["cosine"], strict=True
        )
    ]
    assert gate.view_cosine_spread == pytest.approx(stdev(cosines), rel=0.05)
    with (DOCS / "gate" / "toybox-16-seeds.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows = (first, second)[int(row["seed"])]
            for key in ("r_precision.color", "object_precision.geometry", "iou"):
                assert float(row[key]) == rows[row["asset"]]["metrics"][key]
