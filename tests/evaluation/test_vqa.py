"""VQAScore by tiny random models of transformers' own classes, against its own loss."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
)

from dreamfusion_kit import seeding
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.evaluation.judge import Questioner
from dreamfusion_kit.evaluation.vqa import ANSWER, QUESTION, load_question_answerer
from dreamfusion_kit.priors.config.question_answerer import check_question_answerer

WORDS = ["<pad>", "</s>", "<unk>", "<image>", "yes", "no", "Question", "mug", "Does", "show"]
KINDS = {
    "blip-2": (Blip2Config, Blip2ForConditionalGeneration),
    "instructblip": (InstructBlipConfig, InstructBlipForConditionalGeneration),
}
_LAYERS = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip


def write_tokenizer(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))


@pytest.fixture(scope="module", params=sorted(KINDS))
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_config, make_model = KINDS[request.param]
    path = tmp_path_factory.mktemp("vqa") / request.param
    config: Any = make_config(
        vision_config=_LAYERS | {"image_size": 16, "patch_size": 8},
        qformer_config=_LAYERS
        | {"vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 32},
        text_config={
            "model_type": "t5", "vocab_size": len(WORDS), "d_model": 16, "d_kv": 8, "d_ff": 24,
            "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2, "pad_token_id": 0,
            "eos_token_id": 1, "decoder_start_token_id": 0,
        },
        num_query_tokens=3,
        image_token_index=WORDS.index("<image>"),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = make_model(config)
        for parameter in model.parameters():
            parameter.data.normal_(std=0.2)
    model.save_pretrained(path)
    write_tokenizer(path)
    write_tokenizer(path / "qformer_tokenizer")
    (path / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"height": 16, "width": 16}, "resample": 3,
                "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
            }
        )
    )  # fmt: skip
    return path


def pictures() -> torch.Tensor:
    return torch.rand(2, 16, 16, 3, generator=seeding.generator(0, "test"))


def test_the_score_is_transformers_own_loss(directory: Path) -> None:
    """exp(-loss) of one picture, whose loss the library averages over the answer's tokens."""
    answerer = load_question_answerer(directory)
    assert isinstance(answerer, Questioner)
    scores = answerer.yes_probabilities(pictures(), "mug")
    _, make_model = KINDS[directory.name]
    model: Any = make_model.from_pretrained(directory).eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    question = tokenizer.encode(QUESTION.format("mug")).ids
    assert question[-1] == 1
    bytes_of = (pictures() * 255).round() / 255
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    pixels = ((bytes_of - mean) / std).permute(0, 3, 1, 2)
    inputs: dict[str, Any] = {"input_ids": torch.tensor([[3, 3, 3, *question]])}
    if directory.name == "instructblip":
        inputs["qformer_input_ids"] = torch.tensor([question])
    labels = torch.tensor([tokenizer.encode(ANSWER).ids])
    with torch.no_grad():
        losses = [model(pixel_values=pixel[None], labels=labels, **inputs).loss for pixel in pixels]
    torch.testing.assert_close(scores, torch.stack(losses).neg().exp(), rtol=1e-4, atol=1e-6)
    assert scores[0] != scores[1]


def test_another_caption_scores_otherwise_and_neighbours_do_not_count(directory: Path) -> None:
    answerer = load_question_answerer(directory)
    both = answerer.yes_probabilities(pictures(), "mug")
    torch.testing.assert_close(answerer.yes_probabilities(pictures()[1:], "mug"), both[1:])
    assert not torch.equal(answerer.yes_probabilities(pictures(), "no"), both)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "clip"}, "model_type"),
        ({"image_token_index": None}, "image_token_index"),
        ({"text_config": {"model_type": "opt"}}, "text_config.model_type"),
        ({"num_query_tokens": 10**9}, "num_query_tokens"),
    ],
)
def test_what_is_no_question_answerer_is_refused_when_it_is_fetched(
    directory: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    check_question_answerer(directory)
    config = json.loads((directory / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=named):
        check_question_answerer(tmp_path)


def test_missing_weights_are_named(directory: Path, tmp_path: Path) -> None:
    for file in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (tmp_path / file).write_bytes((directory / file).read_bytes())
    write_tokenizer(tmp_path / "qformer_tokenizer")
    with pytest.raises(WeightsError, match="found a model that does not load"):
        load_question_answerer(tmp_path)
