"""Text features: rows, files, and files that are not such files."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.text import TextFeatures, load_text, save_text

PROMPTS = {"front": "a mug, front view", "negative": ""}


@pytest.fixture
def features() -> TextFeatures:
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    return TextFeatures({"hidden": hidden, "pooled": torch.tensor([[1.0], [2.0]])})


def test_rows_are_selected_and_joined(features: TextFeatures) -> None:
    picked = features.select([1, 0, 1])
    assert picked.tensors["pooled"].flatten().tolist() == [2, 1, 2]
    joined = picked.cat(features)
    assert len(joined) == 5
    assert joined.tensors["hidden"].shape == (5, 3, 2)


def test_a_file_gives_back_what_was_saved(features: TextFeatures, tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    save_text(path, features, PROMPTS)
    loaded, prompts = load_text(path)
    assert prompts == PROMPTS
    assert list(prompts) == list(PROMPTS)
    assert torch.equal(loaded.tensors["hidden"], features.tensors["hidden"])


def test_equal_features_give_equal_bytes(features: TextFeatures, tmp_path: Path) -> None:
    written = set()
    for attempt in range(8):
        save_text(tmp_path / f"{attempt}", features, PROMPTS)
        written.add((tmp_path / f"{attempt}").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_another_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "text.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"^text.safetensors: not a file of text features"):
        load_text(path)
