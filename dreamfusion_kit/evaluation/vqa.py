"""VQAScore: how sure a model is that a view shows the prompt (Lin et al. 2024, arXiv 2404.01291).

The model is asked whether the picture shows the caption; the score is the probability of "yes".
As in the authors' code, it is the exponential of the mean log probability of the answer's tokens,
the end mark among them. Their best model, CLIP-FlanT5, is not in transformers; BLIP-2 and
InstructBLIP with a FlanT5, which they measure too, are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from transformers import Blip2ForConditionalGeneration, InstructBlipForConditionalGeneration

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.evaluation.clip import Preprocessing, load_preprocessing
from dreamfusion_kit.image_files import quantized
from dreamfusion_kit.priors.config.question_answerer import read_question_answerer
from dreamfusion_kit.priors.config.shards import check_indices
from dreamfusion_kit.recipe.judge import load_tokenizer

QUESTION = 'Question: Does this figure show "{}"? Please answer yes or no.'
ANSWER = "yes"

_CLASSES = {
    "blip-2": Blip2ForConditionalGeneration,
    "instructblip": InstructBlipForConditionalGeneration,
}


@dataclass(frozen=True)
class QuestionAnswerer:
    """A BLIP-2 or InstructBLIP in evaluation mode.

    `tokenize` is the T5's. `tokenize_query` is the Q-Former's, which only an InstructBLIP asks.
    """

    model: Any
    tokenize: Callable[[str], list[int]]
    tokenize_query: Callable[[str], list[int]] | None
    preprocess: Preprocessing
    image_tokens: list[int]

    @torch.no_grad()
    def yes_probabilities(
        self, images: Float[Tensor, "batch h w 3"], caption: str
    ) -> Float[Tensor, " batch"]:
        """Return the score of each square image in [0, 1], on the CPU.

        Images are rounded to bytes first and seen one at a time, which bounds memory.
        """
        parameter = next(self.model.parameters())
        question = QUESTION.format(caption)
        inputs = {"input_ids": self.image_tokens + self.tokenize(question)}
        if self.tokenize_query is not None:
            inputs["qformer_input_ids"] = self.tokenize_query(question)
        tensors = {
            name: torch.tensor([ids], device=parameter.device) for name, ids in inputs.items()
        }
        tensors |= {
            name.replace("input_ids", "attention_mask"): torch.ones_like(ids)
            for name, ids in tensors.items()
        }
        answer = torch.tensor([self.tokenize(ANSWER)], device=parameter.device)
        pixels = self.preprocess(quantized(images)).to(parameter)
        scores = [
            self._score(pixels[index : index + 1], tensors, answer) for index in range(len(pixels))
        ]
        return torch.stack(scores).cpu()

    def _score(self, pixels: Tensor, tensors: dict[str, Tensor], answer: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=pixels, labels=answer, **tensors).logits
        log_probabilities = logits[0].float().log_softmax(dim=-1)
        return log_probabilities.gather(1, answer[0, :, None]).mean().exp()


def load_question_answerer(
    directory: Path, *, device: torch.device | str = "cpu"
) -> QuestionAnswerer:
    """Return the model of a directory, in float32 on a CPU and bfloat16 on a GPU.

    No code of the directory runs and nothing is unpickled.

    Raises:
        WeightsError: if a file is missing or damaged, or the checkpoint leaves a parameter unset.
    """
    config = read_question_answerer(directory)
    check_indices(directory)
    device = torch.device(device)
    asks_query = config.model_type == "instructblip"
    try:
        tokenize = load_tokenizer(directory)
        query = load_tokenizer(directory / "qformer_tokenizer") if asks_query else None
        loaded: Any = _CLASSES[config.model_type].from_pretrained(
            directory,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
            output_loading_info=True,
        )
    except RecipeError as error:
        raise WeightsError(str(error)) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"{directory}: found a model that does not load ({type(error).__name__}: "
            f"{reason:.300}), expected a {config.model_type} in transformers format; fetch it again"
        ) from error
    model, report = loaded
    unset = sorted([*report["missing_keys"], *map(str, report["mismatched_keys"])])
    if unset:
        raise WeightsError(
            f"{directory}: found {len(unset)} parameters without values (first: {unset[0]}), "
            f"expected a complete {config.model_type} checkpoint; fetch it again"
        )
    return QuestionAnswerer(
        model=model.requires_grad_(False).to(device).eval(),
        tokenize=tokenize,
        tokenize_query=query,
        preprocess=load_preprocessing(directory / "preprocessor_config.json", crops=False),
        image_tokens=[config.image_token_index] * config.num_query_tokens,
    )
