"""The configuration of a BLIP-2 or InstructBLIP with a T5, checked before it is loaded."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreamfusion_kit.priors.config.json_file import checked, read_object
from dreamfusion_kit.priors.config.vocabulary import check_vocabulary

_TokenId = Annotated[int, Field(ge=0, le=10_000_000)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class _TextPart(_Config):
    model_type: Literal["t5"]
    vocab_size: Annotated[int, Field(ge=1, le=10_000_000)] = 32_128


class QuestionAnswererConfig(_Config):
    """The keys of its config.json that are read here; transformers reads the others."""

    model_type: Literal["blip-2", "instructblip"]
    num_query_tokens: Annotated[int, Field(ge=1, le=1024)]
    image_token_index: _TokenId
    text_config: _TextPart


def read_question_answerer(directory: Path) -> QuestionAnswererConfig:
    """Return the configuration; raise WeightsError if it is not that of such a model."""
    path = directory / "config.json"
    return checked(QuestionAnswererConfig, read_object(path), f"{directory.name}/{path.name}")


def check_question_answerer(directory: Path) -> None:
    """Raise WeightsError where a configuration or vocabulary does not fit."""
    config = read_question_answerer(directory)
    check_vocabulary(directory, config.text_config.vocab_size)
    if config.model_type == "instructblip":
        check_vocabulary(directory / "qformer_tokenizer", 10_000_000)
