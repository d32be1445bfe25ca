"""Every guidance with every prior: refused by the schema with a reason, or it takes its steps."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.load import load_recipe

# Absolute names are those of installed packages, and the tests are not one.
from ..priors.conftest import (  # noqa: TID252
    aura_flow,
    clip_directory,
    make_if,
    make_pipeline,
    mvdream,
    pipeline,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
    tokenizer,
)
from ..priors.families.conftest import COMPONENTS, saved  # noqa: TID252
from ..priors.sections import FLOW, MULTI_VIEW, OPEN, PIXELS, UNET  # noqa: TID252

__all__ = [
    "aura_flow",
    "clip_directory",
    "make_if",
    "make_pipeline",
    "mvdream",
    "pipeline",
    "saved",
    "stable_diffusion",
    "stable_diffusion_3",
    "stable_diffusion_xl",
    "tokenizer",
]

ROOT = Path(__file__).parents[2]
COLORS = [{"weight": 1.0, "mean_color": [0.8, 0.2, 0.1], "std": 0.2}]
# By kind of prior, tiny models of every family that it reads, with the keys that they need.
MODELS: dict[str, dict[str | None, dict[str, Any]]] = {
    "pixel_unet": {"pipeline": PIXELS, "make_if": PIXELS},
    "latent_unet": {"stable_diffusion": UNET, "stable_diffusion_xl": UNET},
    "multi_view_unet": {"mvdream": MULTI_VIEW},
    "flow_transformer": {"stable_diffusion_3": FLOW, "aura_flow": FLOW},
    # The other families in test_adapter.py, by VSD, which asks most of a prior.
    "latent_transformer": {"sana": OPEN},
    "analytic": {None: {"components": COLORS, "image_size_px": 8}},
    "clip": {"clip_directory": {}},
}
# Perp-Neg needs a text encoder: every family that has one, the newer ones included.
MIXED = [
    *(
        (prior, model)
        for prior in ("pixel_unet", "latent_unet", "multi_view_unet", "flow_transformer")
        for model in MODELS[prior]
    ),
    *(("latent_transformer", model) for model in COMPONENTS),
]
TEXT_TOKENS = {"pixart_sigma": 16, "qwen_image": 150}  # what the tiny models read
PERP_NEG = {
    "front_at_side": (4.0, 0.5, -2.426),
    "side_at_front": (4.0, 0.5, -2.426),
    "side_at_back": (1.0, 0.5, -0.606),
    "front_at_back": (1.0, 0.5, 0.967),
}
RECIPES = {"sds": "toybox"}  # by kind of guidance; the others' recipes are named after it
# Kinds without a recipe, as sds with these keys.
UNSHIPPED: dict[str, dict[str, Any]] = {
    "sdi": {"inversion_scale": -7.5, "inversion_stride": 0.2, "inversion_noise": 0.3},
    "rfds_rev": {"timestep_weight": "flow"},
    "x0_reconstruction": {"timestep_weight": "uniform", "guidance_rescale": 0.5},
}


def kinds(union: Any) -> list[str]:
    """Return the kinds of a discriminated union of sections."""
    sections = get_args(get_args(union)[0])
    return [get_args(section.model_fields["kind"].annotation)[0] for section in sections]


GUIDANCES = kinds(schema.GuidanceSection)
REFUSED = {
    *((kind, "clip") for kind in GUIDANCES if kind != "clip"),
    *(("clip", prior) for prior in MODELS if prior != "clip"),
    ("csd", "analytic"),
}


PAIRS = [(guidance, prior) for guidance in GUIDANCES for prior in kinds(schema.PriorSection)]
STEPS = [
    (guidance, prior, model)
    for guidance, prior in PAIRS
    if (guidance, prior) not in REFUSED
    for model in MODELS.get(prior, {})
]


def paired(guidance: str, prior: str, model: str | None) -> dict[str, Any]:
    """Return the guidance's shipped recipe with another prior."""
    name = "toybox" if guidance in UNSHIPPED else RECIPES.get(guidance, f"toybox-{guidance}")
    data = load_recipe(ROOT / "recipes" / f"{name}.yaml").model_dump(mode="json")
    if guidance in UNSHIPPED:
        data["guidance"] |= {"kind": guidance, **UNSHIPPED[guidance]}
    source = {} if model is None else {"source": {"kind": "local", "path": "somewhere"}}
    data["prior"] = {"kind": prior, **source, **MODELS[prior].get(model, OPEN)}
    if prior == "multi_view_unet":
        data["camera"]["object_views"] = {"count": 4, "radius_follows_focal": False}
        data["optimize"]["batch_size"] = 4
    # 16 letters fit into what the tiny text encoders read.
    data["guidance"]["view_prompts"] |= {"left": "left", "right": "right", "overhead": "top"}
    return data


def test_every_kind_of_prior_has_a_tiny_model() -> None:
    assert set(MODELS) == set(kinds(schema.PriorSection))


@pytest.mark.parametrize(("guidance", "prior"), sorted(REFUSED))
def test_what_cannot_work_is_refused_by_the_recipe_itself(guidance: str, prior: str) -> None:
    data = paired(guidance, prior, next(iter(MODELS[prior])))
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(schema.Recipe).validate_python(data, strict=False)
    (problem,) = caught.value.errors()
    assert f"found guidance.kind {guidance} with prior.kind {prior}" in problem["msg"]
    assert "expected" in problem["msg"]


@pytest.mark.parametrize(("guidance", "prior", "model"), STEPS)
def test_what_the_recipe_accepts_moves_the_views(
    guidance: str, prior: str, model: str | None, request: pytest.FixtureRequest, views: Any
) -> None:
    data = paired(guidance, prior, model)
    check_steps(data, model, request, views)


@pytest.mark.parametrize(("prior", "model"), MIXED)
def test_perp_neg_mixes_the_texts_of_every_family(
    prior: str, model: str, request: pytest.FixtureRequest, views: Any
) -> None:
    data = paired("sds", prior, model)
    data["guidance"]["perp_neg"] = PERP_NEG
    if prior == "latent_transformer":
        data["prior"]["text_tokens"] = TEXT_TOKENS.get(model, OPEN["text_tokens"])
    check_steps(data, model, request, views)


def check_steps(
    data: dict[str, Any], model: str | None, request: pytest.FixtureRequest, views: Any
) -> None:
    recipe = TypeAdapter(schema.Recipe).validate_python(data, strict=False)
    if model in COMPONENTS:
        directory = request.getfixturevalue("saved")(model)
    else:
        directory = None if model is None else request.getfixturevalue(model)
    teacher = build_prior(recipe.prior, directory, "cpu")
    texts = guidance_prompts("a", recipe.guidance)
    prompts = PromptFeatures.of(teacher.encode_text(list(texts.values())), texts)
    built = build_guidance(recipe.guidance, teacher, prompts, generator=torch.Generator())
    together = recipe.prior.num_views
    azimuths = [30.0, 180.0] if together == 1 else [30.0, 120.0, 210.0, 300.0]
    images = torch.rand(len(azimuths), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in range(2):
        draw: Callable[[str], Any] = lambda _stream: torch.Generator().manual_seed(5)  # noqa: E731
        seen: Views = views(images, azimuth_deg=azimuths, together=together)
        output = built.guide(seen, step, draw)
        assert output.gradient.shape == images.shape
        assert output.gradient.isfinite().all()
        assert output.gradient.abs().amax(dim=(1, 2, 3)).min() > 0


def test_the_page_s_table_says_the_same() -> None:
    page = (ROOT / "docs" / "guidance.md").read_text()
    table = page.partition("## Which priors\n")[2].partition("\n## ")[0]
    header, _, *rows = re.findall(r"^\|(.*)\|$", table, re.MULTILINE)
    priors = re.findall(r"`(\w+)`", header)
    assert priors == kinds(schema.PriorSection)
    found: set[tuple[str, str]] = set()
    for row in rows:
        name, *cells = [cell.strip() for cell in row.split("|")]
        for guidance in re.findall(r"`(\w+)`", name):
            found |= {(guidance, p) for p, c in zip(priors, cells, strict=True) if c == "yes"}
            assert all(cell in ("yes", "no") for cell in cells)
    assert found == set(PAIRS) - REFUSED
