"""Compare the methods of a made suite: one row per recipe and overrides.

Numbers are means over the first seed of each prompt; diversity is over all seeds.

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
from contact_sheet import save_sheet, strip
from PIL import Image
from torch import Tensor

from dreamfusion_kit.evaluation.clip import load_clip
from dreamfusion_kit.evaluation.r_precision import CaptionPool, cosine_similarity, r_precision
from dreamfusion_kit.evaluation.surface import load_mesh
from dreamfusion_kit.evaluation.views import RenderImage, mesh_renderer, render_images
from dreamfusion_kit.provenance import Cost
from dreamfusion_kit.recipe.suite import Asset, Suite, load_suite
from dreamfusion_kit.stages import models
from dreamfusion_kit.stages.layout import CLIP, AssetLayout, SuiteLayout, view_name
from dreamfusion_kit.stages.results import asset_entry, cost_of
from dreamfusion_kit.toybox.captions import caption_pool, parse
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.shapes import scene

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
    """Return the Markdown lines: one row per method in the suite's order, then the truth."""
    made = Made(load_suite(Path(), name), SuiteLayout(Path(), name))
    columns: dict[str, Callable[[list[str]], float | None]] = {
        "R-Precision, lit": lambda assets: made.mean(assets, "r_precision", "color"),
        "unlit": lambda assets: fmean(made.unlit_r_precision(one) for one in assets),
        "right object, plaster": lambda assets: made.mean(assets, "object_precision", "geometry"),
        "IoU": lambda assets: made.mean(assets, "geometry", "iou"),
        "Chamfer": lambda assets: made.mean(assets, "geometry", "chamfer"),
        "saturation": lambda assets: fmean(saturation(made.unlit(one)) for one in assets),
        "s / asset": lambda assets: fmean(made.cost(one).seconds for one in assets),
        "MiB": lambda assets: max(made.cost(one).peak_memory_bytes for one in assets) / 2**20,
    }
    lines = [
        f"| method | {' | '.join(columns)} | diversity |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    for method, assets in methods(made.suite).items():
        firsts = list({made.suite.assets[one].prompt: one for one in reversed(assets)}.values())
        cells = [_cell(column, measure(firsts)) for column, measure in columns.items()]
        cells.append(_cell("diversity", made.diversity(assets)))
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return [*lines, made.truth([*columns, "diversity"])]


class Made:
    """A suite whose assets are made and evaluated."""

    def __init__(self, suite: Suite, layout: SuiteLayout) -> None:
        """Load the suite's judge."""
        protocol = suite.evaluation
        self.suite, self.layout, self.views = suite, layout, protocol.views
        lock = layout.model(CLIP)
        self.clip = load_clip(models.locked_directory(protocol.clip, lock, Path()))
        self.pool = CaptionPool(caption_pool())
        self.captions = self.clip.text_features(list(self.pool.captions))

    def mean(self, assets: Sequence[str], *path: str) -> float | None:
        """Return the mean of one entry of the assets' metrics.json, of those that have it."""
        values: list[Any] = []
        for name in assets:
            value: Any = asset_entry(self.layout.asset(name))
            for part in path:
                value = None if value is None else value[part]
            values.append(value)
        known = [value for value in values if value is not None]
        return fmean(known) if known else None

    def cost(self, name: str) -> Cost:
        """Return the asset's time and memory."""
        return cost_of(self.layout.asset(name))

    def unlit(self, name: str) -> Tensor:
        """Return the protocol's views of the mesh in its albedo alone, `views h w 3`."""
        mesh = load_mesh(self.layout.asset(name).mesh / "mesh.obj")
        render = mesh_renderer(mesh, normals=self.views.normals)
        return self._unlit(lambda *inputs: render(*inputs).image)

    def unlit_r_precision(self, name: str) -> float:
        """Return R-Precision of the views in albedo alone."""
        similarity = cosine_similarity(self.clip.image_features(self.unlit(name)), self.captions)
        return r_precision(similarity, self.pool.index(self.suite.assets[name].prompt))

    def diversity(self, assets: Sequence[str]) -> float | None:
        """Return how far seeds of one prompt differ: 1 - cosine of CLIP features, view by view.

        The mean over all pairs of assets with the same prompt; None where there is no pair.
        """
        prompts = {name: self.suite.assets[name].prompt for name in assets}
        distances: list[float] = []
        for one, other in combinations(assets, 2):
            if prompts[one] == prompts[other]:
                features = [self.clip.image_features(self._lit(name)) for name in (one, other)]
                distances.append(1 - float((features[0] * features[1]).sum(dim=1).mean()))
        return fmean(distances) if distances else None

    def truth(self, columns: Sequence[str]) -> str:
        """Return the last row: what true renders of the suite's objects give."""
        by_prompt = {asset.prompt: name for name, asset in self.suite.assets.items()}
        one_each = list(by_prompt.values())
        pairs = [pair for pair in map(parse, sorted(by_prompt)) if pair is not None]
        solids = [scene(name, color) for color, name in pairs]
        unlit = [self._unlit(lambda *inputs, it=it: render_scene(it, *inputs)[0]) for it in solids]
        known = {
            "R-Precision, lit": self.mean(one_each, "r_precision", "ceiling"),
            "right object, plaster": self.mean(one_each, "object_precision", "ceiling_geometry"),
            "saturation": fmean(saturation(views) for views in unlit),
        }
        cells = [_cell(column, known.get(column)) for column in columns]
        return f"| true shapes | {' | '.join(cells)} |"

    def _unlit(self, render: RenderImage) -> Tensor:
        section = self.views.model_copy(update={"ambient": 1.0, "diffuse": 0.0})
        supersampling = self.views.supersampling
        return render_images(render, section, textureless=False, supersampling=supersampling)

    def _lit(self, name: str) -> Tensor:
        folder = self.layout.asset(name).evaluation / "views"
        views = [np.asarray(Image.open(path)) for path in sorted(folder.glob("color_*.png"))]
        return torch.from_numpy(np.stack(views)).float() / 255


def methods(suite: Suite) -> dict[str, list[str]]:
    """Return the suite's assets by method: a recipe, and what is overridden in it."""
    variants: dict[str, set[str]] = {}
    for asset in suite.assets.values():
        variants.setdefault(asset.recipe, set()).add(_method(asset))
    grouped: dict[str, list[str]] = {}
    for name, asset in suite.assets.items():
        # What all assets of a recipe override is in the suite's file and in no comparison.
        is_alone = len(variants[asset.recipe]) == 1
        grouped.setdefault(asset.recipe if is_alone else _method(asset), []).append(name)
    return grouped


def saturation(views: Tensor) -> float:
    """Return the mean HSV saturation of the object's pixels, 0 to 1."""
    pixels = views.reshape(-1, 3)
    background = pixels[0]  # a corner
    drawn = pixels[(pixels - background).abs().amax(dim=1) > 0.02]
    high, low = drawn.amax(dim=1), drawn.amin(dim=1)
    return float(((high - low) / high.clamp(min=1e-6)).mean())


def picture(name: str, target: Path) -> None:
    """Draw each method's meshes from two sides, in colour and in plaster, with its name."""
    suite, layout = load_suite(Path(), name), SuiteLayout(Path(), name)
    rows = [
        strip([view for one in assets for view in _pictures(layout.asset(one))], method)
        for method, assets in methods(suite).items()
    ]
    save_sheet(rows, target)


def _pictures(own: AssetLayout) -> list[Path]:
    folder = own.evaluation / "views"
    return [folder / view_name(kind, view) for kind in ("color", "textureless") for view in VIEWS]


def _method(asset: Asset) -> str:
    changes = [f"{key}: {json.dumps(value)}" for key, value in asset.overrides.items()]
    return ", ".join([asset.recipe, *changes])


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if column in ("s / asset", "MiB") else f"{value:.3f}"


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["guidance", "help"]))
