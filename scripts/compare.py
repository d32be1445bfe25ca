"""Compare the methods of a made suite: one row per recipe and overrides, means over its assets.

python scripts/compare.py guidance table             print the Markdown table
python scripts/compare.py guidance picture OUT.png   one row per method, assets from two sides
"""

import json
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from dreamfusion_kit.evaluation.clip import Clip, load_clip
from dreamfusion_kit.evaluation.r_precision import cosine_similarity
from dreamfusion_kit.recipe.suite import Asset, Suite, load_suite
from dreamfusion_kit.stages import models
from dreamfusion_kit.stages.layout import CLIP, AssetLayout, SuiteLayout, view_name
from dreamfusion_kit.stages.results import asset_entry, seconds_of

VIEWS = (0, 2)  # the front and a side, among the protocol's azimuths


def main(suite: str, command: str = "table", *arguments: str) -> None:
    """Run one of the two commands."""
    match command:
        case "table":
            print("\n".join(table(suite)))
        case "picture":
            picture(suite, Path(arguments[0]))
        case _:
            raise SystemExit(__doc__)


def table(name: str) -> list[str]:
    """Return the Markdown lines, one row per method in the suite's order."""
    suite, layout = load_suite(Path(), name), SuiteLayout(Path(), name)
    clip = load_clip(models.locked_directory(suite.evaluation.clip, layout.model(CLIP), Path()))
    columns: dict[str, Callable[[list[str]], float | None]] = {
        "R-Precision": lambda assets: _mean(layout, assets, "r_precision", "color"),
        "ceiling": lambda assets: _mean(layout, assets, "r_precision", "ceiling"),
        "object, colour": lambda assets: _mean(layout, assets, "object_precision", "color"),
        "object, plaster": lambda assets: _mean(layout, assets, "object_precision", "geometry"),
        "IoU": lambda assets: _mean(layout, assets, "geometry", "iou"),
        "Chamfer": lambda assets: _mean(layout, assets, "geometry", "chamfer"),
        "saturation": lambda assets: fmean(saturation(layout.asset(one)) for one in assets),
        "diversity": lambda assets: diversity(suite, layout, assets, clip),
    }
    lines = [
        f"| method | {' | '.join(columns)} | s / asset |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    for method, assets in methods(suite).items():
        numbers = [_three_decimals(measure(assets)) for measure in columns.values()]
        seconds = fmean(seconds_of(layout.asset(one)) for one in assets)
        lines.append(f"| {method} | {' | '.join(numbers)} | {seconds:.0f} |")
    return lines


def methods(suite: Suite) -> dict[str, list[str]]:
    """Return the suite's assets by method: a recipe, and what is overridden in it."""
    grouped: dict[str, list[str]] = {}
    for name, asset in suite.assets.items():
        grouped.setdefault(_method(asset), []).append(name)
    return grouped


def saturation(own: AssetLayout) -> float:
    """Return the mean HSV saturation of the object's pixels in the colour views, 0 to 1."""
    pixels = np.concatenate([np.asarray(view).reshape(-1, 3) for view in _views(own)]) / 255
    grey = pixels[0]  # a corner: the protocol's background
    drawn = pixels[np.abs(pixels - grey).max(axis=1) > 0.02]
    high, low = drawn.max(axis=1), drawn.min(axis=1)
    return float(np.mean((high - low) / np.maximum(high, 1e-6)))


def diversity(
    suite: Suite, layout: SuiteLayout, assets: Sequence[str], clip: Clip
) -> float | None:
    """Return how far seeds of one prompt differ: 1 - cosine of CLIP features, view by view.

    Means over all pairs of assets with the same prompt; None where no prompt has two seeds.
    """
    distances: list[float] = []
    for one, other in combinations(assets, 2):
        if suite.assets[one].prompt == suite.assets[other].prompt:
            features = [clip.image_features(_tensor(layout.asset(name))) for name in (one, other)]
            similarity = cosine_similarity(features[0], features[1])
            distances.append(float(1 - similarity.diagonal().mean()))
    return fmean(distances) if distances else None


def picture(name: str, target: Path) -> None:
    """Draw each method's meshes from two sides, in colour and in plaster, with its name."""
    suite, layout = load_suite(Path(), name), SuiteLayout(Path(), name)
    rows = [
        _row(method, [layout.asset(one) for one in assets])
        for method, assets in methods(suite).items()
    ]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)))
    for index, row in enumerate(rows):
        sheet.paste(row, (0, index * row.height))
    sheet.save(target, optimize=True)


def _row(method: str, assets: Sequence[AssetLayout]) -> Image.Image:
    pictures = [
        Image.open(own.evaluation / "views" / view_name(kind, view))
        for own in assets
        for kind in ("color", "textureless")
        for view in VIEWS
    ]
    width, height = pictures[0].size
    row = Image.new("RGB", (width * len(pictures), height))
    for index, one in enumerate(pictures):
        row.paste(one, (index * width, 0))
    ImageDraw.Draw(row).text((2, 1), method, fill="black")
    return row


def _method(asset: Asset) -> str:
    changes = [f"{key}: {json.dumps(value)}" for key, value in asset.overrides.items()]
    return ", ".join([asset.recipe, *changes])


def _mean(layout: SuiteLayout, assets: Sequence[str], *path: str) -> float | None:
    values: list[Any] = []
    for name in assets:
        value: Any = asset_entry(layout.asset(name))
        for part in path:
            value = None if value is None else value[part]
        values.append(value)
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _views(own: AssetLayout) -> list[Image.Image]:
    return [Image.open(path) for path in sorted((own.evaluation / "views").glob("color_*.png"))]


def _tensor(own: AssetLayout) -> torch.Tensor:
    views = np.stack([np.asarray(view) for view in _views(own)])
    return torch.from_numpy(views).float() / 255


def _three_decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["guidance", "help"]))
