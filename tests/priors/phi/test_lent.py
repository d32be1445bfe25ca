"""Phi from another network than the prior's: it starts as that network, and both have to fit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import build_prior, unchecked_prior
from dreamfusion_kit.priors.phi.lent import check_lent, check_timesteps
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.load import load_recipe

from ..conftest import build_unet  # noqa: TID252
from ..sections import UNET  # noqa: TID252

PLACE = "guidance.phi.source"
RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.fixture
def other(stable_diffusion: Path, tmp_path: Path) -> Path:
    """Return the U-Net and the scheduler of another model, which predicts v: no encoder, no VAE."""
    folder = tmp_path / "other"
    torch.manual_seed(5)
    build_unet(4, 4, 8).save_pretrained(folder / "unet")
    shutil.copytree(stable_diffusion / "scheduler", folder / "scheduler")
    shutil.copy(stable_diffusion / "model_index.json", folder)
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    return folder


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def load(directory: Path, maker: Callable[..., Any] = build_prior) -> Prior:
    adapter: TypeAdapter[Any] = TypeAdapter(schema.PriorSection)
    section = adapter.validate_python({"source": {"kind": "local", "path": "some"}, **UNET})
    found = maker(section, directory, "cpu")
    assert isinstance(found, Prior)
    return found


def vsd(**phi: Any) -> schema.VsdSection:
    data = load_recipe(RECIPES / "toybox-vsd.yaml").guidance.model_dump(mode="python")
    local = {"kind": "local", "path": "another"}
    data["view_prompts"] |= {"enabled": False}  # the tiny encoder reads few letters
    return schema.VsdSection.model_validate(data | {"phi": data["phi"] | {"source": local} | phi})


def test_phi_starts_as_the_other_network_read_by_what_that_one_predicts(
    stable_diffusion: Path, other: Path
) -> None:
    prior, lender = load(stable_diffusion), load(other, unchecked_prior)
    phi = lender.adapter(2, generator=torch.Generator())
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    timestep = torch.tensor([3, 700])
    text = prior.encode_text(["a red mug", ""])
    with torch.no_grad():
        found = phi(noisy, timestep, text, torch.zeros(2, 16))
        unet: Any = lender._denoiser  # pyright: ignore[reportAttributeAccessIssue]
        v = unet(noisy, timestep, text.tensors["hidden"]).sample
    levels = [
        level[:, None, None, None] for level in (lender.alpha_t(timestep), lender.sigma_t(timestep))
    ]
    torch.testing.assert_close(found, levels[0] * v + levels[1] * noisy)
    assert not torch.allclose(found, prior.predict(noisy, timestep, text), atol=1e-3)


def test_a_recipe_s_phi_is_built_of_the_other_model_and_only_of_that(
    stable_diffusion: Path, other: Path
) -> None:
    prior, lender = load(stable_diffusion), load(other, unchecked_prior)
    section = vsd()
    texts = guidance_prompts("a", section)
    prompts = PromptFeatures.of(prior.encode_text(list(texts.values())), texts)
    with pytest.raises(RecipeError, match=r"guidance\.phi\.source: found another network"):
        build_guidance(section, prior, prompts, generator=torch.Generator())
    built = build_guidance(section, prior, prompts, generator=torch.Generator(), phi=lender)
    own = lender._denoiser.state_dict()  # pyright: ignore[reportAttributeAccessIssue]
    phi = built._phi.denoiser.state_dict()  # pyright: ignore[reportAttributeAccessIssue]
    name = "conv_in.weight"
    assert phi[name].data_ptr() == own[name].data_ptr()


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet", {"in_channels": 9}, "found channels of latents: 9, expected 4"),
        ("unet", {"out_channels": 8}, "found channels that it predicts: 8, expected 4"),
        ("unet", {"cross_attention_dim": 16}, "found features of a text's token: 16, expected 12"),
        ("unet", {"addition_embed_type": "text_time"}, "found addition_embed_type: text_time"),
    ],
)
def test_a_network_of_another_family_is_refused(
    stable_diffusion: Path, other: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    check_lent(stable_diffusion, other, PLACE)
    edit(other / file / "config.json", **changes)
    with pytest.raises(RecipeError, match=message) as caught:
        check_lent(stable_diffusion, other, PLACE)
    assert str(caught.value).startswith(f"{PLACE}: ")
    assert "null for the prior's own weights" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_timesteps": 500}, "found 500 timesteps, expected 1000"),
        ({"beta_end": 0.02}, r"found alpha_bar 0\.9\d+ at timestep \d+, expected 0\.9\d+"),
    ],
)
def test_other_timesteps_are_refused(
    stable_diffusion: Path, other: Path, changes: dict[str, Any], message: str
) -> None:
    prior = load(stable_diffusion)
    check_timesteps(prior.schedule, load(other, unchecked_prior).schedule)
    edit(other / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(RecipeError, match=message):
        check_timesteps(prior.schedule, load(other, unchecked_prior).schedule, PLACE)


def test_what_is_no_latent_unet_is_refused(stable_diffusion: Path, other: Path) -> None:
    (other / "model_index.json").unlink()
    with pytest.raises(WeightsError):
        check_lent(stable_diffusion, other, PLACE)
