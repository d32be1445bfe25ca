"""VSD through the loop on every pretrained family: particles, checkpoints, a prior at rest."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from dreamfusion_kit.guidance.base import Views
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import optimize
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.records import Cameras

from ..families.conftest import COMPONENTS, saved  # noqa: TID252
from ..sections import FAMILIES, OPEN  # noqa: TID252

__all__ = ["saved"]

ROOT = Path(__file__).parents[3]
LOCAL = {"kind": "local", "path": "somewhere"}
SECTIONS = {name: keys for name, keys in FAMILIES.items() if name != "pipeline"}
TOKENS = {"pixart_sigma": 16, "qwen_image": 150}  # what the tiny models read
SECTIONS |= {
    family: OPEN | {"text_tokens": TOKENS.get(family, OPEN["text_tokens"])} for family in COMPONENTS
}
LOSSES = {"stable_diffusion_xl": "v", "stable_diffusion_3": "flow", "aura_flow": "v"}


class Silent:
    """A monitor; `stop_at` raises after that many steps."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at

    def start(self, history: Sequence[Any], num_steps: int) -> None: ...

    def step(self, step: int, metrics: Any) -> None:
        if step + 1 == self.stop_at:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        raise AssertionError(message)

    def finish(self) -> None: ...


@pytest.fixture(params=SECTIONS)
def family(request: pytest.FixtureRequest) -> tuple[str, Callable[[], Any]]:
    """Return a family's name, and a function that loads it again."""
    name = request.param
    adapter: TypeAdapter[Any] = TypeAdapter(schema.PriorSection)
    section = adapter.validate_python({"source": LOCAL, **SECTIONS[name]})
    tiny = request.getfixturevalue("saved" if name in COMPONENTS else name)
    directory = tiny(name) if name in COMPONENTS else tiny
    return name, lambda: build_prior(section, directory, "cpu")


def recipe(name: str, **guidance: Any) -> schema.Recipe:
    """Return two small fields under one phi, by the family of that name."""
    data: dict[str, Any] = load_recipe(ROOT / "recipes/toybox-vsd-particles.yaml").model_dump(
        mode="python"
    )
    data["prior"] = {"source": LOCAL, **SECTIONS[name]}
    data["guidance"] |= guidance
    data["guidance"]["phi"] |= {"loss": LOSSES.get(name, "epsilon"), "text": "plain"}
    data["guidance"]["view_prompts"] |= {"left": "left", "right": "right", "overhead": "top"}
    data["camera"] |= {"image_size_px": 8}
    data["field"] |= {"count": 2}
    data["field"]["particle"] |= {"resolution": 8}
    data["renderer"] |= {"num_samples": 8}
    data["optimize"] |= {"num_steps": 6, "checkpoint_every_steps": 2, "preview_every_steps": 100}
    data["optimize"]["learning_rate_decay"] |= {"warmup_steps": 1}
    return schema.Recipe.model_validate(data)


def run(
    section: schema.Recipe, prior: Any, work: Path, stop_at: int | None = None
) -> Mapping[str, torch.Tensor]:
    """Run the loop on one core, and return the newest checkpoint."""
    texts = guidance_prompts("a", section.guidance)
    with open_scratch(work, "0" * 64) as scratch:
        optimize(
            section,
            seed=3,
            prior=prior,
            text=prior.encode_text(list(texts.values())),
            prompts=texts,
            scratch=scratch,
            device=torch.device("cpu"),
            monitor=Silent(stop_at),
        )
        return load_file(sorted(scratch.checkpoints.iterdir())[-1])


def denoiser(prior: Any) -> torch.nn.Module:
    return prior._denoiser


def test_several_particles_resume_to_the_bit_and_the_prior_stays(
    family: tuple[str, Callable[[], Any]], tmp_path: Path
) -> None:
    name, make = family
    section, prior = recipe(name), make()
    before = {key: value.clone() for key, value in denoiser(prior).state_dict().items()}
    whole = run(section, prior, tmp_path / "whole")
    after = denoiser(prior).state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)

    torch.manual_seed(1234)  # no number of the run comes from the global state
    with pytest.raises(KeyboardInterrupt):
        run(section, make(), tmp_path / "stopped", stop_at=5)
    resumed = run(section, make(), tmp_path / "stopped")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)

    assert {f"field/fields.{index}.density" for index in (0, 1)} <= whole.keys()
    phi = {key for key in whole if key.startswith("guidance/phi/")}
    assert {"guidance/phi/camera.0.weight", "guidance/phi/camera.2.bias"} <= phi
    assert all(whole[key].any() for key in phi if key.endswith(".down"))
    assert any(whole[key].any() for key in phi if key.endswith(".up"))  # it has learnt
    # Nothing of the prior is written, only the adaptation.
    assert all(".down" in key or ".up" in key or "phi/camera." in key for key in phi)


def views(images: torch.Tensor) -> Views:
    batch = len(images)
    zeros, pose = torch.zeros(batch), torch.eye(4).repeat(batch, 1, 1)
    cameras = Cameras(pose, zeros + 40.0, zeros, zeros, zeros + 2.0, 8, 8)
    return Views(images, torch.ones_like(images[:, 0]), cameras)


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_at_first_without_cfg_the_gradient_is_zero(
    family: tuple[str, Callable[[], Any]], rescale: float
) -> None:
    """Phi starts as the prior, and at scale 1 the prior's own prediction of the same text is left.

    With view prompts off, both read the plain prompt.
    """
    name, make = family
    prior = make()
    plain = recipe(name).guidance.view_prompts.model_copy(update={"enabled": False})
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    norms: list[float] = []
    for scale in (1.0, 7.5):
        section: Any = recipe(name, guidance_scale=scale, guidance_rescale=rescale).guidance
        section = section.model_copy(update={"view_prompts": plain})
        texts = guidance_prompts("a", section)
        prompts = PromptFeatures.of(prior.encode_text(list(texts.values())), texts)
        built = build_guidance(section, prior, prompts, generator=torch.Generator())
        draw: Any = lambda _stream: torch.Generator().manual_seed(7)  # noqa: E731
        norms.append(float(built.guide(views(images), 0, draw).gradient.norm()))
    assert norms[0] < min(1e-5, 0.1 * norms[1]), norms
