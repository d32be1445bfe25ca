"""Saturation and detail of the prior's own samples by guidance scale, against true renders.

python scripts/prior_colours.py SUITE     print a Markdown table for the suite's objects

What score distillation inherits: one sample, and one render, of each object from four sides,
with the toybox's random backgrounds. Those have a saturation of at most 0.15, so pixels above 0.2
are the object's; grey and white parts are left out of both alike.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from dreamfusion_kit.evaluation.pictures import detail
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages.toybox_layout import WEIGHTS, settings
from dreamfusion_kit.toybox.captions import caption, parse
from dreamfusion_kit.toybox.fresh_renders import fresh_renders
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.samples import SAMPLED_VIEWS

SCALES = (1.0, 3.0, 7.5)
SAMPLER_STEPS = 8  # as the toybox's own measures
SIZE_PX = 64
COLOURFUL = 0.2


def main(*arguments: str) -> None:
    """Print the table."""
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    sections = settings(Path())
    prior = ToyboxPrior(sections.prior, sections.dataset.camera.largest_image_size_px)
    prior.load_pretrained(WEIGHTS / "prior")
    prior.eval()
    prompts = dict.fromkeys(a.prompt for a in load_suite(Path(), arguments[0]).assets.values())
    pairs = [pair for pair in map(parse, prompts) if pair is not None]
    if not pairs:
        raise SystemExit(f"{arguments[0]}: found no toybox caption among its prompts")
    texts = [f"{caption(*pair)}, {view} view" for pair in pairs for view in SAMPLED_VIEWS]
    true = torch.cat(
        [
            fresh_renders(
                sections.dataset,
                sections.prior.background,
                color=pair[0],
                object_name=pair[1],
                view=view,
                count=1,
            )
            for pair in pairs
            for view in SAMPLED_VIEWS
        ]
    )
    print("| images | saturation | detail |\n|---|---:|---:|")
    print(f"| true renders | {_saturation(true):.3f} | {detail(true, size_px=SIZE_PX):.5f} |")
    for scale in SCALES:
        drawn = prior.sample(texts, guidance_scale=scale, num_steps=SAMPLER_STEPS, seed=0)
        numbers = f"{_saturation(drawn):.3f} | {detail(drawn, size_px=SIZE_PX):.5f}"
        print(f"| samples at scale {scale:g} | {numbers} |", flush=True)


def _saturation(images: Tensor) -> float:
    """Return the mean over images of the saturation of colourful pixels."""
    high, low = images.amax(dim=-1), images.amin(dim=-1)
    saturation = (high - low) / high.clamp(min=1e-6)
    means = [one[one > COLOURFUL].mean() for one in saturation]
    return float(torch.stack([mean for mean in means if mean.isfinite()]).mean())


if __name__ == "__main__":
    main(*sys.argv[1:])
