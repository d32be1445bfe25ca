"""The pixel_unet prior against the same folders opened by hand, and against damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerFast

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.pixel_unet import PixelUnetPrior
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import LocalSourceSection
from dreamfusion_kit.recipe.schema import PixelUnetSection as Section

PROMPTS = ["a red mug", ""]


def section(dtype: str = "float32") -> Section:
    source = LocalSourceSection(kind="local", path="somewhere")
    return Section.model_validate(
        {"kind": "pixel_unet", "source": source, "dtype": dtype, "image_size_px": 8}
    )


def by_hand(directory: Path, noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Return the raw U-Net output for PROMPTS through the libraries' own calls."""
    tokenizer = CLIPTokenizer.from_pretrained(directory / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(directory / "text_encoder").eval()
    unet = UNet2DConditionModel.from_pretrained(directory / "unet").eval()
    tokens = tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = encoder(input_ids=tokens).last_hidden_state
        return unet(noisy, timestep, encoder_hidden_states=hidden).sample


@pytest.fixture
def noisy() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_epsilon_equals_the_librarys_own_conversion(
    make_pipeline: Callable[..., Path], noisy: torch.Tensor, prediction_type: str
) -> None:
    directory = make_pipeline(prediction_type)
    timestep = torch.tensor([300, 800])
    prior = build_prior(section(), directory, "cpu")
    found = prior.predict(noisy, timestep, prior.encode_text(PROMPTS))

    # The scheduler knows how an output gives the clean image; epsilon follows from that.
    output = by_hand(directory, noisy, timestep)
    scheduler = DDPMScheduler.from_pretrained(directory / "scheduler", clip_sample=False)
    for row, time in enumerate(timestep.tolist()):
        generator = torch.Generator().manual_seed(0)
        step = scheduler.step(output[row], time, noisy[row], generator=generator)
        alpha_bar = scheduler.alphas_cumprod[time]
        clean = step.pred_original_sample
        expected = (noisy[row] - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)


def test_a_learned_variance_is_cut_off(
    make_pipeline: Callable[..., Path], noisy: torch.Tensor
) -> None:
    directory = make_pipeline("epsilon", out_channels=6)
    timestep = torch.tensor([300, 800])
    prior = build_prior(section(), directory, "cpu")
    found = prior.predict(noisy, timestep, prior.encode_text(PROMPTS))
    expected = by_hand(directory, noisy, timestep)[:, :3]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_deepfloyd_if_reads_t5_and_learns_its_variance(make_if: Path) -> None:
    prior = build_prior(section(), make_if, "cpu")
    text = prior.encode_text(PROMPTS)
    assert text.tensors["hidden"].shape == (2, 77, 12)
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(2, 3, 8, 8, generator=generator)
    clean = prior.to_model_space(images)
    timestep = torch.tensor([300, 800])
    found = prior.predict(clean, timestep, text)
    assert found.shape == clean.shape
    unet = UNet2DConditionModel.from_pretrained(make_if / "unet").eval()
    with torch.no_grad():
        raw = unet(clean, timestep, encoder_hidden_states=text.tensors["hidden"]).sample
    assert raw.shape[1] == 6
    torch.testing.assert_close(found, raw[:, :3], rtol=1e-4, atol=1e-5)


def test_deepfloyd_if_reads_lower_case(make_if: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(make_if, tmp_path / "if"))
    words = ["<pad>", "a", "A", "red", "Red", "mug", "MUG"]
    cased = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "<pad>"))
    cased.pre_tokenizer = pre_tokenizers.Whitespace()
    shutil.rmtree(directory / "tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=cased, pad_token="<pad>").save_pretrained(
        directory / "tokenizer"
    )
    prior = build_prior(section(), directory, "cpu")
    small, capital = (
        prior.encode_text([text]).tensors["hidden"] for text in ("a red mug", "A Red MUG")
    )
    assert torch.equal(small, capital)


def test_patches_are_read_as_channels(make_pipeline: Callable[..., Path]) -> None:
    directory = make_pipeline("epsilon", in_channels=12, out_channels=12, sample_size=4)
    prior = build_prior(section(), directory, "cpu")
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    folded = prior.to_model_space(images)
    # Channel 4c + 2i + j holds pixel (i, j) of each 2x2 patch of colour c.
    for channel in range(12):
        color, row, column = channel // 4, channel % 4 // 2, channel % 2
        expected = 2 * images[:, color, row::2, column::2] - 1
        torch.testing.assert_close(folded[:, channel], expected)
    assert prior.num_pixels(folded) == 8 * 8
    timestep = torch.tensor([300, 800])
    found = prior.predict(folded, timestep, prior.encode_text(PROMPTS))
    expected = by_hand(directory, folded, timestep)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_channels_that_are_no_pixels_are_refused(make_pipeline: Callable[..., Path]) -> None:
    directory = make_pipeline("epsilon", in_channels=4, out_channels=4)
    with pytest.raises(WeightsError, match=r"unet: reads 4 channels; .*another prior.kind"):
        build_prior(section(), directory, "cpu")


def test_another_size_than_the_recipes_is_refused(make_pipeline: Callable[..., Path]) -> None:
    directory = make_pipeline("epsilon", in_channels=12, out_channels=12, sample_size=8)
    with pytest.raises(RecipeError, match=r"image_size_px: found 8, expected 16"):
        build_prior(section(), directory, "cpu")


def test_signal_and_noise_levels_are_the_schedulers(pipeline: Path) -> None:
    prior = build_prior(section(), pipeline, "cpu")
    alpha_bar = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod
    timestep = torch.tensor([0, 500, 999])
    assert prior.num_train_timesteps == 1000
    torch.testing.assert_close(prior.alpha_t(timestep) ** 2, alpha_bar[timestep])
    torch.testing.assert_close(prior.sigma_t(timestep) ** 2, 1 - alpha_bar[timestep])


def test_text_features_do_not_depend_on_the_other_prompts(pipeline: Path) -> None:
    prior = build_prior(section(), pipeline, "cpu")
    together = prior.encode_text(PROMPTS)
    alone = [prior.encode_text([prompt]).tensors["hidden"] for prompt in PROMPTS]
    torch.testing.assert_close(together.tensors["hidden"], torch.cat(alone))


def test_a_prompt_that_would_be_cut_is_refused(pipeline: Path) -> None:
    prior = build_prior(section(), pipeline, "cpu")
    with pytest.raises(RecipeError, match=r"tokens .* reads at most 16; shorten"):
        prior.encode_text(["a very long story of a mug"])


def test_images_are_mapped_and_resized(pipeline: Path) -> None:
    prior = build_prior(section(), pipeline, "cpu")
    checks = torch.tensor([0.25, 0.75]).repeat(8)  # 16 columns
    images = checks.expand(1, 3, 16, 16)
    torch.testing.assert_close(
        prior.to_model_space(images[..., :8, :8]), 2 * images[..., :8, :8] - 1
    )
    smaller = prior.to_model_space(images)
    assert smaller.shape == (1, 3, 8, 8)
    # Antialiased halving averages the stripes; only the border sees an uneven number of them.
    torch.testing.assert_close(smaller[..., 1:-1], torch.zeros(1, 3, 8, 6), atol=1e-6, rtol=0)


def test_half_precision_stays_inside(pipeline: Path, noisy: torch.Tensor) -> None:
    timestep = torch.tensor([300, 800])
    full, half = (build_prior(section(d), pipeline, "cpu") for d in ("float32", "bfloat16"))
    text = full.encode_text(PROMPTS)
    expected, found = (prior.predict(noisy, timestep, text) for prior in (full, half))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)
    assert not torch.equal(found, expected)


def test_the_denoiser_is_never_differentiated(pipeline: Path, noisy: torch.Tensor) -> None:
    prior = build_prior(section(), pipeline, "cpu")
    text = TextFeatures({"hidden": torch.zeros(2, 16, 12, requires_grad=True)})
    epsilon = prior.predict(noisy.requires_grad_(), torch.tensor([300, 800]), text)
    assert not epsilon.requires_grad


# ---- damage


@pytest.fixture
def copy(pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pipeline, tmp_path / "prior"))


def use(directory: Path) -> None:
    prior = build_prior(section(), directory, "cpu")
    text = prior.encode_text(PROMPTS)
    prior.predict(torch.zeros(2, 3, 8, 8), torch.tensor([300, 800]), text)


@pytest.mark.parametrize("folder", ["unet", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_folder_is_named(copy: Path, folder: str) -> None:
    shutil.rmtree(copy / folder)
    with pytest.raises(
        WeightsError, match=rf"^prior/{folder}\S*: cannot be read .*fetch the (prior|model)"
    ):
        use(copy)


@pytest.mark.parametrize("content", [None, "{", "{}", "[]", '{"unet": 3}'])
def test_an_index_that_names_nothing_is_refused(copy: Path, content: str | None) -> None:
    (copy / "model_index.json").unlink()
    if content is not None:
        (copy / "model_index.json").write_text(content)
    with pytest.raises(WeightsError, match=r"^prior/model_index.json: cannot be read"):
        use(copy)


def test_an_index_of_another_kind_of_model_is_refused(copy: Path) -> None:
    index = json.loads((copy / "model_index.json").read_text())
    index["text_encoder"] = ["transformers", "CLIPVisionModel"]
    (copy / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"text_encoder is a CLIPVisionModel.*needs a CLIPText"):
        use(copy)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("unet", "diffusion_pytorch_model"), ("text_encoder", "model")],
)
def test_a_truncated_file_is_refused(copy: Path, folder: str, name: str) -> None:
    file = copy / folder / f"{name}.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=rf"^prior/{folder}: cannot be read"):
        use(copy)


@pytest.mark.parametrize(
    ("folder", "pickle"),
    [("unet", "diffusion_pytorch_model.bin"), ("text_encoder", "pytorch_model.bin")],
)
def test_a_pickle_is_never_opened(copy: Path, folder: str, pickle: str) -> None:
    (file,) = (copy / folder).glob("*.safetensors")
    torch.save({}, copy / folder / pickle)
    file.unlink()
    with pytest.raises(WeightsError, match=rf"^prior/{folder}: cannot be read"):
        use(copy)


@pytest.mark.parametrize("folder", ["unet", "text_encoder"])
def test_missing_weights_are_not_made_up(copy: Path, folder: str) -> None:
    from safetensors.torch import load_file, save_file

    (file,) = (copy / folder).glob("*.safetensors")
    tensors = load_file(file)
    del tensors[next(name for name in tensors if name.endswith("bias"))]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=rf"^prior/{folder}: .*(missing|cannot be read)"):
        use(copy)


def test_an_unknown_prediction_type_is_refused(copy: Path) -> None:
    config = json.loads((copy / "scheduler/scheduler_config.json").read_text())
    config["prediction_type"] = "flow"
    (copy / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"^prior/scheduler/\S+: prediction_type is 'flow'"):
        PixelUnetPrior(section(), copy, "cpu")
