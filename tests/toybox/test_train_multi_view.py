"""The multi-view fine-tuning: it starts as the latent prior, and a kill changes no byte."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit import packaged
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.multi_view_unet import MultiViewUnetPrior
from dreamfusion_kit.priors.network.multi_view import is_changed
from dreamfusion_kit.recipe.schema import MultiViewUnetSection
from dreamfusion_kit.toybox.latent_model import load_latent, make_latent
from dreamfusion_kit.toybox.latent_settings import LatentTrainingSection, VaeTrainingSection
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.multi_view_settings import MultiViewTrainingSection
from dreamfusion_kit.toybox.object_views import render_object_views
from dreamfusion_kit.toybox.train_multi_view import train_multi_view
from dreamfusion_kit.toybox.vae_model import make_vae

CPU = torch.device("cpu")
TEXT = packaged.MODELS / "prior"
SIZE_PX = 16


class KilledError(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture
def latent_prior(
    latent_settings: LatentTrainingSection, vae_settings: VaeTrainingSection, tmp_path: Path
) -> Path:
    directory = tmp_path / "latent"
    make_latent(latent_settings, make_vae(vae_settings, SIZE_PX), TEXT).save_pretrained(directory)
    return directory


@pytest.fixture
def model(latent_prior: Path) -> ToyboxMultiView:
    return ToyboxMultiView(load_latent(latent_prior), 4)


def train(
    model: ToyboxMultiView,
    settings: MultiViewTrainingSection,
    scratch: Path,
    *,
    kill_at: int | None = None,
) -> dict[str, torch.Tensor]:
    """Return the trained parameters; raise `KilledError` as step `kill_at` is reported."""

    def report(step: int, loss: float) -> None:
        assert loss > 0
        if step == kill_at:
            raise KilledError

    train_multi_view(model, settings, scratch, device=CPU, report=report)
    return {name: value.detach().clone() for name, value in model.own.named_parameters()}


def test_a_killed_training_ends_with_the_same_bytes(
    multi_view_settings: MultiViewTrainingSection, latent_prior: Path, tmp_path: Path
) -> None:
    def fresh() -> ToyboxMultiView:
        return ToyboxMultiView(load_latent(latent_prior), 4)

    whole = train(fresh(), multi_view_settings, tmp_path / "whole")
    with pytest.raises(KilledError):  # one step past the checkpoint at step 2
        train(fresh(), multi_view_settings, tmp_path / "killed", kill_at=2)
    resumed = train(fresh(), multi_view_settings, tmp_path / "killed")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_only_its_own_parts_learn(
    model: ToyboxMultiView, multi_view_settings: MultiViewTrainingSection, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in model.latent.unet.state_dict().items()}
    teacher = {name: value.clone() for name, value in model.teacher.state_dict().items()}
    train(model, multi_view_settings, tmp_path)
    after = model.latent.unet.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert moved == {name for name in before if is_changed(name)}
    assert all(torch.equal(teacher[name], v) for name, v in model.teacher.state_dict().items())


@pytest.mark.parametrize(("teacher_lambda", "learns"), [(0.0, False), (1.0, True)])
def test_without_captions_the_teacher_is_the_only_target(
    model: ToyboxMultiView,
    multi_view_settings: MultiViewTrainingSection,
    tmp_path: Path,
    teacher_lambda: float,
    learns: bool,
) -> None:
    changes = {"caption_dropout": 1.0, "teacher_lambda": teacher_lambda}
    settings = multi_view_settings.model_copy(update=changes)
    losses: list[float] = []
    train_multi_view(
        model, settings, tmp_path, device=CPU, report=lambda _step, loss: losses.append(loss)
    )
    assert [loss > 0 for loss in losses] == [learns] * settings.num_steps


def test_with_captions_the_renders_are_a_target_too(
    model: ToyboxMultiView, multi_view_settings: MultiViewTrainingSection, tmp_path: Path
) -> None:
    changes = {"caption_dropout": 0.0, "teacher_lambda": 0.0}
    train(model, multi_view_settings.model_copy(update=changes), tmp_path)  # each loss is above 0


def test_a_saved_model_loads_in_half_precision(
    latent_prior: Path, model: ToyboxMultiView, tmp_path: Path
) -> None:
    with torch.no_grad():
        for value in model.own.parameters():
            value.add_(0.01)
    model.save(tmp_path / "views")
    again = ToyboxMultiView(load_latent(latent_prior), 4)
    again.load(tmp_path / "views")
    pairs = zip(again.own.parameters(), model.own.parameters(), strict=True)
    assert all(torch.equal(found, value.half().float()) for found, value in pairs)


def test_the_prior_of_a_recipe_predicts_what_the_trained_model_does(
    latent_prior: Path, model: ToyboxMultiView, tmp_path: Path
) -> None:
    with torch.no_grad():
        for value in model.own.parameters():
            value.add_(0.01 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    model.save(tmp_path / "views")
    model.load(tmp_path / "views")  # in the precision of the file
    source = {"kind": "local", "path": "somewhere"}
    section = MultiViewUnetSection.model_validate(
        {
            "kind": "multi_view_unet",
            "source": source,
            "view_weights": source,
            "num_views": 4,
            "dtype": "float32",
            "vae_dtype": "float32",
            "image_size_px": SIZE_PX,
            "cpu_offload": False,
            "storage_dtype": None,
        }
    )
    prior = build_prior(section, latent_prior, "cpu", {"view_weights": tmp_path / "views"})
    assert isinstance(prior, MultiViewUnetPrior)
    draw = torch.Generator().manual_seed(1)
    noisy = torch.randn(4, 4, SIZE_PX // 2, SIZE_PX // 2, generator=draw)
    rows, timestep = torch.randn(4, 16, generator=draw), torch.full((4,), 500)
    text = prior.encode_text(["a red mug"] * 4).beside({"camera": rows})
    found = prior.predict(noisy, timestep, text)
    with torch.no_grad():
        velocity = model.predict(
            noisy, timestep, model.latent.encode(["a red mug"] * 4).hidden, rows
        )
    alpha, sigma = (f(timestep)[:, None, None, None] for f in (prior.alpha_t, prior.sigma_t))
    # The directory's own networks are kept in half precision.
    torch.testing.assert_close(found, alpha * velocity + sigma * noisy, rtol=1e-3, atol=1e-4)


def test_a_shelf_holds_consistent_views_of_objects_that_may_be_trained(
    multi_view_settings: MultiViewTrainingSection,
) -> None:
    shelf = render_object_views(multi_view_settings, 0, device=CPU)
    count = multi_view_settings.objects_per_shelf
    assert shelf.rgba.shape == (count, 4, SIZE_PX, SIZE_PX, 4)
    assert shelf.cameras.shape == (count, 4, 16)
    again, other = (render_object_views(multi_view_settings, n, device=CPU) for n in (0, 1))
    assert torch.equal(again.rgba, shelf.rgba)
    assert not torch.equal(other.rgba, shelf.rgba)
    # Four places around the object, so that every group has a front, a back and two sides, or
    # stands between them.
    places = shelf.cameras.reshape(count, 4, 4, 4)[..., :3, 3]
    torch.testing.assert_close(places[..., :2].sum(dim=1), torch.zeros(count, 2), atol=1e-5, rtol=0)
    for words in shelf.words:
        assert sorted(words) == ["back", "front", "left side", "right side"]


def test_images_are_the_chosen_objects_one_after_the_other(
    multi_view_settings: MultiViewTrainingSection,
) -> None:
    shelf = render_object_views(multi_view_settings, 0, device=CPU)
    background = multi_view_settings.background
    draw = torch.Generator().manual_seed(0)
    images = shelf.images(torch.tensor([2, 0]), background, generator=draw)
    rgba = shelf.rgba[[2, 0]].flatten(0, 1).float() / 255
    covered = rgba[..., 3] == 1
    assert covered.any()
    torch.testing.assert_close(images[covered], rgba[covered][:, :3])


def test_a_sample_is_one_row_of_views_per_caption(
    model: ToyboxMultiView, multi_view_settings: MultiViewTrainingSection
) -> None:
    cameras = sample_cameras(
        multi_view_settings.camera, 4, generator=torch.Generator().manual_seed(0)
    )
    found = [
        model.sample(["a red mug", "a blue car"], cameras, guidance_scale=3.0, num_steps=2, seed=s)
        for s in (0, 0, 1)
    ]
    assert found[0].shape == (2, 4, SIZE_PX, SIZE_PX, 3)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("change", [{"batch_size": 6}, {"camera": None}])
def test_settings_without_whole_groups_are_refused(
    multi_view_settings: MultiViewTrainingSection, change: dict[str, object]
) -> None:
    data = multi_view_settings.model_dump()
    if "camera" in change:
        del data["camera"]["object_views"]
    else:
        data |= change
    with pytest.raises(ValueError, match=r"expected camera\.object_views, and a multiple"):
        MultiViewTrainingSection.model_validate(data, strict=False)
