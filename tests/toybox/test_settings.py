"""The shipped `toybox/params.yaml` against its schema."""

from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.toybox.settings import ToyboxSettings
from dreamfusion_kit.toybox.training_settings import TrainingSection

PARAMS = Path(__file__).parents[2] / "toybox" / "params.yaml"


def test_the_shipped_settings_are_valid() -> None:
    settings = validate(load_yaml(PARAMS), ToyboxSettings)
    for section in (settings.dataset, settings.clip_dataset, settings.prior_shelf):
        assert section.camera.image_size_px == 64
    for training in (getattr(settings, name) for name in type(settings).model_fields):
        if isinstance(training, TrainingSection):
            assert training.warmup_steps + training.decay_steps <= training.num_steps


def test_the_prior_sees_what_the_evaluation_compares_it_with() -> None:
    settings = validate(load_yaml(PARAMS), ToyboxSettings)
    for name in ("camera", "light", "shading"):
        assert getattr(settings.prior_shelf, name) == getattr(settings.dataset, name)


def test_the_judge_sees_other_renders_than_the_prior() -> None:
    settings = validate(load_yaml(PARAMS), ToyboxSettings)
    seeds = {settings.clip_dataset.seed, settings.dataset.seed, settings.prior_shelf.seed}
    assert len(seeds) == 3


def test_no_default_hides_outside_the_file() -> None:
    document = load_yaml(PARAMS)
    settings = validate(document, ToyboxSettings)
    assert settings.model_dump(mode="json") == document.data


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    text = PARAMS.read_text().replace("ema_decay:", "ema_decoy:")
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"ema_decoy.*did you mean ema_decay"):
        validate(load_yaml(path), ToyboxSettings)


@pytest.mark.parametrize(
    ("found", "replacement", "message"),
    [
        ("{ball:", "{bell:", "found bell, .*expected ball, "),
        ("initial: dreamfusion_kit", "initial: ../elsewhere", "stays inside the workspace"),
        ("attention_levels: [2, 3]", "attention_levels: [2, 4]", "found 4 .*expected 0 to 3"),
        ("attention_levels: [1, 2]", "attention_levels: [1, 3]", "found 3 .*expected 0 to 2"),
        ("image_size_px: 64", "image_size_px: {sizes: [[0, 32], [9, 64]]}", "expected one image_"),
        (
            "image_size_px: 64",
            "image_size_px: 64\n    object_views: {count: 4, radius_follows_focal: false}",
            "found object_views",
        ),
        ("channels: [32, 64", "channels: [32, 60", "channels.*multiple of 8"),
    ],
    ids=[
        "an unknown object",
        "a path outside",
        "a level beyond the prior's",
        "a level beyond the latent prior's",
        "two image sizes",
        "groups of views",
        "channels in no whole groups",
    ],
)
def test_a_wrong_start_is_refused(
    tmp_path: Path, found: str, replacement: str, message: str
) -> None:
    text = PARAMS.read_text()
    assert found in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(found, replacement))
    with pytest.raises(RecipeError, match=message):
        validate(load_yaml(path), ToyboxSettings)
