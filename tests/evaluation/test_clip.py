"""CLIP features with a tiny random model that is saved and loaded like a real one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
)

from dreamfusion_kit import seeding
from dreamfusion_kit.errors import EvaluationError, WeightsError
from dreamfusion_kit.evaluation.clip import Clip, load_clip

_WORDS = ("<pad>", "<start>", "<end>", "<unknown>", "a", "red", "blue", "mug", "robot")
_LENGTH = 8


def _save_tokenizer(directory: Path) -> None:
    vocabulary = {word: index for index, word in enumerate(_WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        unk_token="<unknown>",
        model_max_length=_LENGTH,
    ).save_pretrained(directory)


def _save_model(directory: Path) -> None:
    shared = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    }
    text = shared | {
        "vocab_size": len(_WORDS),
        "max_position_embeddings": _LENGTH,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = shared | {"image_size": 32, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)  # transformers draws initial weights from the global state
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    model.save_pretrained(directory)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("clip")
    _save_model(directory)
    _save_tokenizer(directory)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def clip(directory: Path) -> Clip:
    return load_clip(directory)


def _images(count: int) -> torch.Tensor:
    return torch.rand(count, 48, 48, 3, generator=seeding.generator(0, "test"))


def test_features_are_unit_vectors_without_gradient(clip: Clip) -> None:
    images = clip.image_features(_images(3).requires_grad_())
    texts = clip.text_features(["a red mug", "a blue robot"])
    assert images.shape == (3, 12)
    assert texts.shape == (2, 12)
    for features in (images, texts):
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(len(features)))
        assert not features.requires_grad


def test_image_features_follow_the_written_definition(clip: Clip, directory: Path) -> None:
    # Resize and normalise by PIL and numpy, then project the vision tower's pooled output.
    image = _images(1)
    pixels = Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8))
    small = np.asarray(pixels.resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    mean, std = np.array(clip.preprocess.mean), np.array(clip.preprocess.std)
    tensor = torch.from_numpy((small - mean) / std).float().permute(2, 0, 1)[None]
    reference = CLIPModel.from_pretrained(directory)
    with torch.no_grad():
        pooled = reference.vision_model(pixel_values=tensor).pooler_output
        expected = reference.visual_projection(pooled)
    expected = expected / expected.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(clip.image_features(image), expected, atol=1e-5, rtol=0)


def test_features_do_not_depend_on_the_batch(clip: Clip) -> None:
    images = _images(40)
    features = clip.image_features(images)
    torch.testing.assert_close(clip.image_features(images[35:]), features[35:])
    captions = ["a red mug"] * 40 + ["robot"]
    together = clip.text_features(captions)
    torch.testing.assert_close(clip.text_features(["robot"]), together[-1:])
    torch.testing.assert_close(together[:1], together[39:40])


def test_features_repeat_and_tell_inputs_apart(clip: Clip) -> None:
    images = _images(2)
    assert torch.equal(clip.image_features(images), clip.image_features(images))
    red, blue = clip.text_features(["a red mug", "a blue mug"])
    assert not torch.allclose(red, blue)


def test_a_caption_too_long_is_refused(clip: Clip) -> None:
    with pytest.raises(EvaluationError, match="found 9 tokens, expected at most 8"):
        clip.text_features(["a red mug", "a red mug a blue robot a"])


def test_no_code_of_a_directory_is_run(directory: Path, tmp_path: Path) -> None:
    evil = Path(shutil.copytree(directory, tmp_path / "clip"))
    _ask_for_code(evil)
    with pytest.raises(WeightsError):
        load_clip(evil)
    assert not (evil / "ran").exists()


def _ask_for_code(directory: Path) -> None:
    """Name a custom tokenizer in the directory, which leaves a file if it runs."""
    for name, changes in (
        ("config.json", {"model_type": "unknown"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}),
    ):
        settings = json.loads((directory / name).read_text())
        settings.pop("tokenizer_class", None)
        (directory / name).write_text(json.dumps(settings | changes))
    code = f"from pathlib import Path\nPath({str(directory / 'ran')!r}).touch()\nclass Evil: ...\n"
    (directory / "evil.py").write_text(code)


@pytest.fixture
def damaged(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "clip"))


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="absent: found no config"):
        load_clip(tmp_path / "absent")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_truncated_file_is_refused(damaged: Path, name: str) -> None:
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="fetch it again"):
        load_clip(damaged)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "preprocessor_config.json", "tokenizer.json"]
)
def test_a_missing_file_is_refused(damaged: Path, name: str) -> None:
    (damaged / name).unlink()
    with pytest.raises(WeightsError, match="fetch it again"):
        load_clip(damaged)


def test_missing_parameters_are_never_filled_at_random(damaged: Path) -> None:
    path = damaged / "model.safetensors"
    tensors = load_file(path)
    del tensors["visual_projection.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="visual_projection"):
        load_clip(damaged)


def test_parameters_of_another_size_are_refused(damaged: Path) -> None:
    config = json.loads((damaged / "config.json").read_text())
    config["projection_dim"] = 20
    (damaged / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError):
        load_clip(damaged)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop_size", {"height": 64, "width": 32}),
        ("crop_size", 64),
        ("do_normalize", False),
        ("image_std", [0.0, 0.0, 0.0]),
        ("resample", 99),
        ("size", "big"),
    ],
)
def test_preprocessing_that_is_not_clip_s_is_refused(
    damaged: Path, key: str, value: object
) -> None:
    path = damaged / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(WeightsError, match="preprocessor_config"):
        load_clip(damaged)
