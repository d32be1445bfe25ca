"""The diffusion model: its pixel layout, its sampler, its directory."""

import json
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.priors.pixel_unet import PixelUnetPrior
from dreamfusion_kit.recipe.schema import LocalSourceSection, PixelUnetSection
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.settings import PriorTrainingSection

SIZE_PX = 16


@pytest.fixture
def prior(prior_settings: PriorTrainingSection) -> ToyboxPrior:
    return ToyboxPrior(prior_settings, SIZE_PX).eval()


def test_a_seed_gives_the_same_model(
    prior: ToyboxPrior, prior_settings: PriorTrainingSection
) -> None:
    state = torch.get_rng_state()
    again = ToyboxPrior(prior_settings, SIZE_PX)
    other = ToyboxPrior(prior_settings.model_copy(update={"seed": 1}), SIZE_PX)
    same = [map(torch.equal, prior.parameters(), model.parameters()) for model in (again, other)]
    assert all(same[0])
    assert not all(same[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_model_space_folds_patches_and_back(prior: ToyboxPrior) -> None:
    images = torch.rand(2, SIZE_PX, SIZE_PX, 3, generator=torch.Generator().manual_seed(0))
    folded = prior.to_model_space(images)
    assert folded.shape == (2, 12, SIZE_PX // 2, SIZE_PX // 2)
    torch.testing.assert_close(prior.to_images(folded), images)
    # Pixel (2r + i, 2c + j) of colour k is channel 4k + 2i + j at (r, c), in [-1, 1].
    assert folded[1, 4 * 2 + 2 * 1 + 0, 3, 5] == images[1, 7, 10, 2] * 2 - 1


def test_images_are_clipped(prior: ToyboxPrior) -> None:
    images = prior.to_images(torch.full((1, 12, 8, 8), 3.0))
    assert torch.equal(images, torch.ones(1, SIZE_PX, SIZE_PX, 3))


def test_samples_are_images_that_depend_on_the_seed(prior: ToyboxPrior) -> None:
    def draw(seed: int) -> torch.Tensor:
        return prior.sample(["a red mug", "a blue car"], guidance_scale=2, num_steps=3, seed=seed)

    first = draw(0)
    assert first.shape == (2, SIZE_PX, SIZE_PX, 3)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(draw(0), first)
    assert not torch.equal(draw(1), first)


def test_samples_at_scale_one_are_the_conditional_ones(prior: ToyboxPrior) -> None:
    """The shortcut agrees with the formula, which is continuous in the scale."""

    def draw(guidance_scale: float) -> torch.Tensor:
        return prior.sample(["a red mug"], guidance_scale=guidance_scale, num_steps=3, seed=0)

    torch.testing.assert_close(draw(1.0), draw(1.0 + 1e-6), rtol=0, atol=1e-4)
    assert not torch.allclose(draw(1.0), draw(3.0), atol=1e-4)


class _KnownImage(torch.nn.Module):
    """A perfect model of one image: v = (alpha_t x_t - x) / sigma_t."""

    def __init__(self, config: dict, image: torch.Tensor, alpha_bar: torch.Tensor) -> None:
        super().__init__()
        self.config, self.image, self.alpha_bar = config, image, alpha_bar

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> object:
        alpha_bar = self.alpha_bar[timestep]
        velocity = (alpha_bar.sqrt() * noisy - self.image) / (1 - alpha_bar).sqrt()
        return type("Output", (), {"sample": velocity})


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_the_sampler_finds_the_image_of_a_perfect_model(
    prior: ToyboxPrior, guidance_scale: float
) -> None:
    image = torch.rand(1, SIZE_PX, SIZE_PX, 3, generator=torch.Generator().manual_seed(0))
    folded, alpha_bar = prior.to_model_space(image), prior.scheduler.alphas_cumprod
    prior.unet = _KnownImage(dict(prior.unet.config), folded, alpha_bar)  # type: ignore[assignment]
    found = prior.sample(["a red mug"], guidance_scale=guidance_scale, num_steps=10, seed=0)
    torch.testing.assert_close(found, image, rtol=0, atol=0.01)


def test_half_precision_files_give_the_weights_back(
    prior: ToyboxPrior, prior_settings: PriorTrainingSection, tmp_path: Path
) -> None:
    before = {name: p.detach().clone() for name, p in prior.named_parameters()}
    prior.save_pretrained(tmp_path / "prior")
    assert all(torch.equal(p, before[name]) for name, p in prior.named_parameters())  # unharmed

    other = ToyboxPrior(prior_settings.model_copy(update={"seed": 1}), SIZE_PX)
    other.load_pretrained(tmp_path / "prior")
    for name, parameter in other.named_parameters():
        if not name.startswith("attribute_head"):  # serves the training alone
            assert torch.equal(parameter, before[name].half().float()), name


def test_the_tokenizer_comes_with_the_weights(prior: ToyboxPrior, tmp_path: Path) -> None:
    """Weights of an older numbering of the words keep being read by that numbering."""
    prior.save_pretrained(tmp_path / "prior")
    path = tmp_path / "prior" / "tokenizer" / "tokenizer.json"
    written = json.loads(path.read_text())
    vocab = written["model"]["vocab"]
    vocab["a</w>"], vocab["b</w>"] = vocab["b</w>"], vocab["a</w>"]
    path.write_text(json.dumps(written))
    prior.load_pretrained(tmp_path / "prior")
    assert prior.tokenizer.get_vocab()["a</w>"] == vocab["a</w>"]


def test_the_kit_reads_the_directory_and_predicts_the_same(
    prior: ToyboxPrior, tmp_path: Path
) -> None:
    """Through `priors.pixel_unet`, with v turned into epsilon by hand."""
    prior.save_pretrained(tmp_path / "prior")
    prior.load_pretrained(tmp_path / "prior")  # so that both hold the rounded weights
    section = PixelUnetSection(
        kind="pixel_unet",
        source=LocalSourceSection(kind="local", path="unused"),
        image_size_px=SIZE_PX,
        dtype="float32",
    )
    loaded = PixelUnetPrior(section, tmp_path / "prior", "cpu")

    captions = ["a red mug, front view", "a blue car"]
    images = torch.rand(2, SIZE_PX, SIZE_PX, 3, generator=torch.Generator().manual_seed(0))
    noisy = prior.to_model_space(images)
    torch.testing.assert_close(loaded.to_model_space(images.permute(0, 3, 1, 2)), noisy)

    timestep = torch.tensor([100, 800])
    with torch.no_grad():
        velocity = prior.unet(noisy, timestep, prior.encode(captions)).sample
    alpha_bar = prior.scheduler.alphas_cumprod[timestep].view(2, 1, 1, 1)
    expected = alpha_bar.sqrt() * velocity + (1 - alpha_bar).sqrt() * noisy
    found = loaded.predict(noisy, timestep, loaded.encode_text(captions))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_files_do_not_depend_on_what_was_encoded(prior: ToyboxPrior, tmp_path: Path) -> None:
    """A tokenizer keeps how it was last called; its file must not."""
    prior.save_pretrained(tmp_path / "fresh")
    prior.encode(["a red mug"])
    prior.save_pretrained(tmp_path / "used")
    first, second = (tmp_path / name / "tokenizer/tokenizer.json" for name in ("fresh", "used"))
    assert first.read_bytes() == second.read_bytes()


def test_files_do_not_depend_on_where_weights_came_from(prior: ToyboxPrior, tmp_path: Path) -> None:
    """Another training run writes what a single one would have written."""
    prior.save_pretrained(tmp_path / "first")
    prior.load_pretrained(tmp_path / "first")
    prior.save_pretrained(tmp_path / "second")
    written = sorted(path for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(written) >= 6
    for path in written:
        again = tmp_path / "second" / path.relative_to(tmp_path / "first")
        assert again.read_bytes() == path.read_bytes(), path.name
