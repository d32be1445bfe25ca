"""The contrastive model and its directory, read by the evaluation."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.evaluation.clip import load_clip
from dreamfusion_kit.toybox.clip_model import ToyboxClip
from dreamfusion_kit.toybox.settings import ClipTrainingSection

SIZE_PX = 16
CAPTIONS = ["a red mug", "a blue car", "a white plaster house, back view"]


@pytest.fixture
def clip(clip_settings: ClipTrainingSection) -> ToyboxClip:
    return ToyboxClip(clip_settings, SIZE_PX).eval()


def test_a_seed_gives_the_same_model(clip: ToyboxClip, clip_settings: ClipTrainingSection) -> None:
    again = ToyboxClip(clip_settings, SIZE_PX)
    other = ToyboxClip(clip_settings.model_copy(update={"seed": 1}), SIZE_PX)
    assert all(map(torch.equal, clip.parameters(), again.parameters()))
    assert not all(map(torch.equal, clip.parameters(), other.parameters()))


def test_features_are_unit_and_distinct(clip: ToyboxClip) -> None:
    features = clip.text_features(CAPTIONS)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))
    assert torch.unique(features, dim=0).shape == (3, 16)


def test_the_evaluation_reads_the_directory_and_sees_the_same(
    clip: ToyboxClip, tmp_path: Path
) -> None:
    clip.save_pretrained(tmp_path / "clip")
    loaded = load_clip(tmp_path / "clip")
    # Bytes, since the evaluation rounds to them; half precision bounds the agreement.
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (3, SIZE_PX, SIZE_PX, 3), generator=draw) / 255
    with torch.no_grad():
        seen, read = clip.image_features(images), clip.text_features(CAPTIONS)
    torch.testing.assert_close(loaded.image_features(images), seen, rtol=0, atol=5e-3)
    torch.testing.assert_close(loaded.text_features(CAPTIONS), read, rtol=0, atol=5e-3)


def test_saving_leaves_the_model_in_full_precision(clip: ToyboxClip, tmp_path: Path) -> None:
    clip.save_pretrained(tmp_path / "clip")
    assert {parameter.dtype for parameter in clip.parameters()} == {torch.float32}
