"""Compare the fields of one asset that take turns: how far apart are a prompt's particles?

python scripts/particles.py SUITE ASSET OUT.png

Prints the distance between each two fields (1 - cosine of CLIP features of their own views, view
by view) and the mean, and draws a row per field: four views in colour and one in plaster.
"""

import shutil
import sys
from itertools import combinations
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch
from contact_sheet import save_sheet, strip
from torch import Tensor

from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.evaluation.appearance import seed_distance
from dreamfusion_kit.evaluation.views import Render, ViewImages, render_views
from dreamfusion_kit.image_files import png_bytes, quantized
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.model.storage import FIELD
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput
from dreamfusion_kit.stages.judging import load_judges
from dreamfusion_kit.stages.layout import SuiteLayout

SHOWN = (0, 1, 2, 4)  # among the protocol's azimuths: front, between, side, back


def main(*arguments: str) -> None:
    """Render, print and draw."""
    if len(arguments) != 3:
        raise SystemExit(__doc__)
    suite_name, asset, target = arguments
    suite, layout = load_suite(Path(), suite_name), SuiteLayout(Path(), suite_name)
    resolved, folder = resolve(Path(), suite_name, asset), layout.asset(asset).field
    own = Path(FIELD)
    names = [own.name, *sorted(path.name for path in folder.glob(f"{own.stem}_*{own.suffix}"))]
    views = [
        render_views(
            _renderer(folder, name, resolved.recipe), suite.evaluation.views, supersampling=1
        )
        for name in names
    ]
    judges = load_judges(suite, layout, resolved.prompt, None, torch.device("cpu"))
    model = next(iter(judges.values())).model
    features = [model.image_features(one.color) for one in views]
    pairs = list(combinations(range(len(names)), 2))
    distances = [seed_distance(features[one], [features[other]]) for one, other in pairs]
    for (one, other), distance in zip(pairs, distances, strict=True):
        print(f"{names[one]} and {names[other]}: {distance:.3f}")
    print(f"mean: {fmean(distances):.3f}")
    _draw(views, Path(target))


def _renderer(folder: Path, name: str, recipe: Recipe) -> Render:
    """Return the renderer of one of the fields, which is loaded as if it were the first."""
    with TemporaryDirectory() as directory:
        for path in folder.glob("*.safetensors"):
            if not path.name.startswith(Path(FIELD).stem):
                shutil.copy(path, directory)
        shutil.copy(folder / name, Path(directory) / FIELD)
        model = NerfModel.load(Path(directory), recipe)

    def render(cameras: Cameras, lighting: Lighting, background: Tensor) -> RenderOutput:
        return model.render(pixel_rays(cameras), lighting, background, with_normals=True)

    return render


def _draw(views: list[ViewImages], target: Path) -> None:
    rows = []
    with TemporaryDirectory() as directory:
        for index, one in enumerate(views):
            images = [*(one.color[view] for view in SHOWN), one.textureless[1]]
            paths = [Path(directory) / f"{column}.png" for column in range(len(images))]
            for path, image in zip(paths, images, strict=True):
                path.write_bytes(png_bytes(quantized(image)))
            rows.append(strip(paths, f"particle {index + 1}"))
    save_sheet(rows, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
