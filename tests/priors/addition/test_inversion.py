"""Learned words: their vectors stand where the word stood."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.addition.inversion import Inversion, spelled
from dreamfusion_kit.priors.additions_check import check_additions
from dreamfusion_kit.priors.build import build_prior

from ..test_latent_unet import section  # noqa: TID252

TOKEN = "<my-style>"
SOURCE = {"kind": "file", "path": "word.safetensors", "sha256": "0" * 64}
KEYS = {"textual_inversions": ({"source": SOURCE, "token": TOKEN},)}


def vectors(count: int, width: int = 12) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count))


def prior_with(directory: Path, folder: Path, tensors: dict[str, Tensor]) -> Any:
    file = folder / "word.safetensors"
    save_file(tensors, file)
    paths = {"textual_inversions.0": file}
    check_additions(Adapted(section(**KEYS), directory, paths))
    return build_prior(section(**KEYS), directory, "cpu", paths)


@pytest.mark.parametrize("name", ["emb_params", "clip_l", "<as-it-was-called>"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_word_is_read_as_its_vectors(
    stable_diffusion: Path, tmp_path: Path, name: str, count: int
) -> None:
    prior = prior_with(stable_diffusion, tmp_path, {name: vectors(count)})
    found = prior.encode_text([f"a {TOKEN} mug", "a mug"]).tensors["hidden"]

    encoder = CLIPTextModel.from_pretrained(stable_diffusion / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(stable_diffusion / "tokenizer")
    start, mug = (tokenizer(word, add_special_tokens=False).input_ids for word in ("a", "mug"))
    embed = encoder.get_input_embeddings()
    end = tokenizer.eos_token_id
    before = embed(torch.tensor([tokenizer.bos_token_id, *start]))
    after = embed(torch.tensor([*mug, *[end] * 16]))
    rows = torch.cat([before, vectors(count), after])[:16]

    class Fixed(torch.nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return rows[None]

    ids = torch.full((1, 16), end)
    encoder.set_input_embeddings(Fixed())
    with torch.no_grad():
        expected = encoder(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found[:1], expected, rtol=1e-4, atol=1e-5)
    plain: Any = build_prior(section(), stable_diffusion, "cpu")
    torch.testing.assert_close(found[1:], plain.encode_text(["a mug"]).tensors["hidden"])


def test_sdxl_s_file_has_vectors_for_both_encoders(
    stable_diffusion_xl: Path, tmp_path: Path
) -> None:
    tensors = {"clip_l": vectors(2), "clip_g": vectors(2, 8)}
    prior = prior_with(stable_diffusion_xl, tmp_path, tensors)
    with_word, without = prior.encode_text([f"a {TOKEN}", "a mug"]).tensors["hidden"]
    for part in (slice(0, 12), slice(12, 20)):
        assert not torch.allclose(with_word[:, part], without[:, part])


def test_sdxl_pools_at_the_end_and_not_at_a_learned_piece(
    stable_diffusion_xl: Path, tmp_path: Path
) -> None:
    """Published configurations have an end token of 2: pool at the highest number."""
    directory = shutil.copytree(stable_diffusion_xl, tmp_path / "model")
    place = directory / "text_encoder_2" / "config.json"
    end = json.loads(place.read_text())["eos_token_id"]
    place.write_text(json.dumps(json.loads(place.read_text()) | {"eos_token_id": 2}))
    rows = vectors(2, 8)
    prior = prior_with(directory, tmp_path, {"clip_l": vectors(2), "clip_g": rows})
    found = prior.encode_text([f"a {TOKEN} mug", "a mug"]).tensors["pooled"]

    encoder = CLIPTextModelWithProjection.from_pretrained(stable_diffusion_xl / "text_encoder_2")
    tokenizer = CLIPTokenizer.from_pretrained(stable_diffusion_xl / "tokenizer_2")
    mug = tokenizer("mug", add_special_tokens=False).input_ids
    ids = [*tokenizer("a").input_ids[:-1], 0, 0, *mug, *[end] * 16][:16]
    embedded = encoder.get_input_embeddings()(torch.tensor([ids]))
    embedded[0, 2:4] = rows
    encoder.get_input_embeddings().forward = lambda _: embedded
    with torch.no_grad():
        states = encoder.eval()(torch.tensor([ids])).last_hidden_state
        expected = encoder.text_projection(states[:, ids.index(end)])
    torch.testing.assert_close(found[:1], expected, rtol=1e-4, atol=1e-5)
    plain: Any = build_prior(section(), directory, "cpu")
    torch.testing.assert_close(found[1:], plain.encode_text(["a mug"]).tensors["pooled"])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat and a cat2", "a cat_0 and a cat2_0 cat2_1"),
        ("a cat, cats, tomcat, cat.", "a cat_0, cats, tomcat, cat_0."),
        ("<x><x>y in a party", "<x>_0<x>y_0 in a party"),
        ("cat_0", "cat_0"),
    ],
)
def test_words_are_spelled_in_one_pass(prompt: str, expected: str) -> None:
    counts = {"cat": 1, "cat2": 2, "art": 1, "<x>": 1, "<x>y": 1, "0": 1}
    words = [Inversion(token, vectors(count)) for token, count in counts.items()]
    assert spelled(prompt, words) == expected


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"clip_g": vectors(1)}, "has no vectors for text_encoder "),
        ({"a": vectors(1), "b": vectors(1)}, "has no vectors for text_encoder "),
        ({"emb_params": torch.zeros(1, 2, 3)}, "has a tensor of"),
        ({"emb_params": torch.zeros(300, 12)}, "has a tensor of"),
        ({"emb_params": vectors(1) / 0}, "has vectors with numbers that are not finite"),
    ],
)
def test_another_file_is_refused(
    stable_diffusion: Path, tmp_path: Path, tensors: dict[str, Tensor], said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        prior_with(stable_diffusion, tmp_path, tensors)


def test_an_inversion_of_another_width_is_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    prior = prior_with(stable_diffusion, tmp_path, {"emb_params": vectors(1, 768)})
    with pytest.raises(WeightsError, match="has vectors of 768; expected 12"):
        prior.encode_text([TOKEN])


def test_a_word_of_the_model_s_own_cannot_be_learned_again(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    prior = prior_with(stable_diffusion, tmp_path, {"emb_params": vectors(1)})
    twice = {"textual_inversions": KEYS["textual_inversions"] * 2}
    paths = {f"textual_inversions.{index}": tmp_path / "word.safetensors" for index in range(2)}
    prior = build_prior(section(**twice), stable_diffusion, "cpu", paths)
    with pytest.raises(WeightsError, match="already knows '<my-style>'"):
        prior.encode_text(["a"])
