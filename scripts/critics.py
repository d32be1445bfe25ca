"""Compare guidances by what critics say of SDS: saturation, detail, diversity, views in front.

python scripts/critics.py table SUITE [SUITE ...]             print the Markdown table
python scripts/critics.py picture OUT.png SUITE [SUITE ...]   each method's first seed

A row is a recipe with what is overridden in it, over all suites, and every cell is a mean. Where
it has fewer objects or seeds than SDS, the recipe `toybox`, those of SDS stand in brackets.
Saturation and detail are ratios to those of true renders, of the mesh's views or of the field's:
the prior has seen the field alone. It reads the assets' evaluations, so the suites have to be made.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from contact_sheet import save_sheet, strip
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from dreamfusion_kit.evaluation.appearance import seed_distance
from dreamfusion_kit.evaluation.pictures import detail, saturation_inside
from dreamfusion_kit.evaluation.views import render_images
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.suite_schema import Asset
from dreamfusion_kit.stages.judging import known_truth
from dreamfusion_kit.stages.layout import VIEW_KINDS, AssetLayout, SuiteLayout, view_name
from dreamfusion_kit.stages.results import asset_entry

BASELINE = "toybox"
SIZE_PX = 64  # the prior's images
COMMON = {"renderer.occupancy.density_threshold"}  # set for all methods alike, so not in a name
VISIBLE = 0.02  # the least difference from the background that counts as drawn
VIEW = 1  # among the protocol's azimuths: both front and side are seen

Key = tuple[str, int]  # prompt and seed


@dataclass(frozen=True)
class Made:
    """What an asset's evaluation says, with its detail beside its metrics."""

    layout: AssetLayout
    numbers: Mapping[str, float | None]
    features: Tensor


def main(*arguments: str) -> None:
    """Run one of the two commands."""
    match arguments:
        case ("table", *suites) if suites:
            print("\n".join(table(suites)))
        case ("picture", target, *suites) if suites:
            picture(suites, Path(target))
        case _:
            raise SystemExit(__doc__)


# ---- reading


def methods(suites: Sequence[str], read: Callable[[AssetLayout, Asset], Any]) -> dict[str, Any]:
    """Return what is read of each asset, by method, prompt and seed.

    SDS stands first, with the prompts and seeds that any other method has.
    """
    found: dict[str, dict[Key, Any]] = {BASELINE: {}}
    for name in suites:
        suite, layout = load_suite(Path(), name), SuiteLayout(Path(), name)
        for one, asset in suite.assets.items():
            own = layout.asset(one)
            if (own.evaluation / "metrics.json").is_file():
                row = found.setdefault(_method(asset), {})
                row[asset.prompt, asset.seed] = read(own, asset)
    compared = {key for name, row in found.items() if name != BASELINE for key in row}
    if compared:
        found[BASELINE] = {key: one for key, one in found[BASELINE].items() if key in compared}
    return found


def _method(asset: Asset) -> str:
    changes = [
        f"{key.removeprefix('guidance.')}: {json.dumps(value)}"
        for key, value in asset.overrides.items()
        if key not in COMMON
    ]
    return ", ".join([asset.recipe, *changes])


class Reader:
    """Reads evaluations; renders each true object once."""

    def __init__(self) -> None:
        """Start without any."""
        self._truths: dict[str, dict[str, float | None]] = {}

    def __call__(self, own: AssetLayout, asset: Asset) -> Made:
        """Return an asset's metrics, saturation and what is added as ratios to the truth's."""
        entry = asset_entry(own, asset.prompt)
        if asset.prompt not in self._truths:
            self._truths[asset.prompt] = _true_measures(own, asset.prompt)
        true = self._truths[asset.prompt]
        numbers = dict(entry.metrics)
        mesh, field = _pictures(own.evaluation / "views"), _pictures(own.evaluation / "field_views")
        # The mesh's outline for both: a field has none of its own.
        covered = _covered(mesh["normals"])
        found = _measures(mesh, covered) | {
            f"field.{key}": value for key, value in _measures(field, covered).items()
        }
        for key, value in found.items():
            reference = true[key.removeprefix("field.")]
            numbers[key] = None if value is None or reference is None else value / reference
        features = load_file(own.evaluation / "features.safetensors")["color"]
        return Made(own, numbers, features)


def _measures(views: Mapping[str, Tensor], covered: Tensor) -> dict[str, float | None]:
    return {
        "saturation": saturation_inside(views["color"], covered),
        "detail": detail(views["color"], size_px=SIZE_PX),
        "detail.plaster": detail(views["textureless"], size_px=SIZE_PX),
    }


def _true_measures(own: AssetLayout, prompt: str) -> dict[str, float | None]:
    truth = known_truth(prompt, torch.device("cpu"))
    if truth is None:
        raise SystemExit(
            f"{own.asset}: found no true shape of {prompt!r}, expected a toybox object"
        )
    section = load_suite(Path(), own.suite.suite).evaluation.views
    views = {
        kind: _quantized(render_images(truth.render, section, textureless=plaster, supersampling=1))
        for kind, plaster in (("color", False), ("textureless", True))
    }
    return _measures(views, _covered(views["textureless"]))


def _quantized(views: Tensor) -> Tensor:
    """Return views as the files have them, in steps of 1/255."""
    return views.mul(255).round().div(255)


def _covered(views: Tensor) -> Tensor:
    """Return which pixels differ from the first one, a corner."""
    return (views - views[0, 0, 0]).abs().amax(dim=-1) > VISIBLE


def _pictures(folder: Path) -> dict[str, Tensor]:
    return {kind: _stacked(sorted(folder.glob(f"{kind}_*.png"))) for kind in VIEW_KINDS}


def _stacked(paths: Sequence[Path]) -> Tensor:
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    return torch.from_numpy(np.stack(images)).float() / 255


# ---- the table


@dataclass(frozen=True)
class Column:
    """A mean over assets: of a key, written with some digits."""

    heading: str
    key: str
    digits: int = 2


COLUMNS = (
    Column("R-Precision", "r_precision.color"),
    Column("right object, plaster", "object_precision.geometry"),
    Column("IoU", "iou"),
    Column("front views", "front_views"),
    Column("saturation", "saturation"),
    Column("of the field", "field.saturation"),
    Column("detail", "detail"),
    Column("in plaster", "detail.plaster"),
    Column("of the field", "field.detail"),
    Column("roughness", "roughness", 1),
)


def table(suites: Sequence[str]) -> list[str]:
    """Return the Markdown lines."""
    rows: dict[str, dict[Key, Made]] = methods(suites, Reader())
    headings = ["method", "assets", *(column.heading for column in COLUMNS), "diversity"]
    lines = [f"| {' | '.join(headings)} |", "|---|" + "---:|" * (len(headings) - 1)]
    for method, made in rows.items():
        shared = {key: one for key, one in rows[BASELINE].items() if key in made}
        is_fewer = len(shared) == len(made) < len(rows[BASELINE])
        cells = [_cell(column, made.values()) for column in COLUMNS]
        cells.append(_written(_diversity(made), 3))
        if is_fewer:
            beside = [_cell(column, shared.values()) for column in COLUMNS]
            beside.append(_written(_diversity(shared), 3))
            cells = [f"{cell} ({other})" for cell, other in zip(cells, beside, strict=True)]
        lines.append(f"| {method} | {len(made)} | {' | '.join(cells)} |")
    return lines


def _cell(column: Column, assets: Any) -> str:
    known = [one.numbers[column.key] for one in assets if one.numbers[column.key] is not None]
    return _written(fmean(known) if known else None, column.digits)


def _written(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _diversity(made: Mapping[Key, Made]) -> float | None:
    """Return the distance between the seeds of a prompt, over the prompts with several."""
    by_prompt: dict[str, list[Tensor]] = {}
    for (prompt, _), one in made.items():
        by_prompt.setdefault(prompt, []).append(one.features)
    distances = [
        seed_distance(own, [*seeds[:index], *seeds[index + 1 :]])
        for seeds in by_prompt.values()
        if len(seeds) > 1
        for index, own in enumerate(seeds)
    ]
    return fmean(distances) if distances else None


# ---- the picture


def picture(suites: Sequence[str], target: Path) -> None:
    """Draw a row per method: each prompt's first seed in colour and in plaster."""
    rows = methods(suites, lambda own, _: own)
    prompts = list(dict.fromkeys(prompt for made in rows.values() for prompt, _ in made))
    grey = target.with_suffix(".blank.png")
    strips = []
    for method, made in rows.items():
        first = {prompt: made[prompt, seed] for prompt, seed in sorted(made, reverse=True)}
        pictures: list[Path] = []
        for prompt in prompts:
            own = first.get(prompt)
            pictures += [grey] * 2 if own is None else _shown(own)
        _blank(next(path for path in pictures if path != grey), grey)
        strips.append(strip(pictures, method))
    save_sheet(strips, target)
    grey.unlink()


def _shown(own: AssetLayout) -> list[Path]:
    return [own.evaluation / "views" / view_name(kind, VIEW) for kind in ("color", "textureless")]


def _blank(like: Path, target: Path) -> None:
    Image.new("RGB", Image.open(like).size, "#808080").save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
