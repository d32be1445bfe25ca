"""Several views at once, in latents and in pixels: against a plain network, and in groups."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.config.model_files import check_model
from dreamfusion_kit.priors.multi_view_unet import check_view_weights
from dreamfusion_kit.priors.network.multi_view import camera_rows, make_multi_view, seen_from
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import MultiViewUnetSection
from dreamfusion_kit.records import Cameras

from .mvdream_network import MvdreamNetwork
from .sections import MULTI_VIEW

TIMESTEP = torch.tensor([300] * 4 + [800] * 4)
PROMPTS = ["a red mug"] * 4 + [""] * 4
LOCAL = {"kind": "local", "path": "somewhere"}


def section(**changes: Any) -> MultiViewUnetSection:
    keys = MULTI_VIEW | {"source": LOCAL} | changes
    return TypeAdapter(MultiViewUnetSection).validate_python(keys)


PIXELS: dict[str, Any] = {"vae_dtype": None, "image_size_px": 8, "view_weights": LOCAL}


@pytest.fixture
def cameras() -> Cameras:
    azimuths = torch.tensor([10.0, 100.0, 190.0, 280.0, 50.0, 140.0, 230.0, 320.0])
    orbit = orbit_cameras(azimuths, elevation_deg=20, radius=2, fov_y_deg=40, image_size_px=8)
    return replace(orbit, views_per_object=4)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def prior_of(directory: Path, additions: dict[str, Path] | None = None, **changes: Any) -> Prior:
    built = build_prior(section(**changes), directory, "cpu", additions or {})
    assert isinstance(built, Prior)
    return built


def texts(prior: Prior, cameras: Cameras) -> TextFeatures:
    return prior.encode_text(PROMPTS).beside(prior.camera_features(cameras))


def test_mvdream_is_what_its_folders_say(
    mvdream: Path, images: torch.Tensor, cameras: Cameras
) -> None:
    prior = prior_of(mvdream)
    latents = prior.to_model_space(images)
    text = texts(prior, cameras)
    found = prior.predict(latents, TIMESTEP, text)

    vae = AutoencoderKL.from_pretrained(mvdream / "vae").eval()
    larger = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    network = MvdreamNetwork().eval()
    network.load_state_dict(load_file(mvdream / "unet" / "diffusion_pytorch_model.safetensors"))
    with torch.no_grad():
        expected = vae.encode(2 * larger - 1).latent_dist.mean * 0.18215
        hidden = text.tensors["hidden"]
        epsilon = network(expected, TIMESTEP, hidden, camera_rows(cameras), 4)
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(found, epsilon, rtol=1e-3, atol=1e-4)
    assert prior.num_pixels(latents) == 8 * 8


def test_a_pixel_unet_takes_its_views_from_a_file(
    pipeline: Path, view_weights: Path, images: torch.Tensor, cameras: Cameras
) -> None:
    prior = prior_of(pipeline, {"view_weights": view_weights}, **PIXELS)
    signed = prior.to_model_space(images)
    text = texts(prior, cameras)
    found = prior.predict(signed, TIMESTEP, text)

    unet = UNet2DConditionModel.from_pretrained(pipeline / "unet").eval()
    make_multi_view(unet, 4)
    unet.load_state_dict(load_file(view_weights), strict=False)
    with torch.no_grad(), seen_from(unet, camera_rows(cameras)):
        velocity = unet(signed, TIMESTEP, text.tensors["hidden"]).sample
    alpha, sigma = (f(TIMESTEP)[:, None, None, None] for f in (prior.alpha_t, prior.sigma_t))
    torch.testing.assert_close(found, alpha * velocity + sigma * signed, rtol=1e-4, atol=1e-5)
    assert prior.num_pixels(signed) == 64


def test_each_object_is_denoised_alone(
    mvdream: Path, images: torch.Tensor, cameras: Cameras
) -> None:
    prior = prior_of(mvdream)
    latents, text = prior.to_model_space(images), texts(prior, cameras)
    together = prior.predict(latents, TIMESTEP, text)
    second = prior.predict(latents[4:], TIMESTEP[4:], text.select([4, 5, 6, 7]))
    torch.testing.assert_close(together[4:], second)


def test_a_camera_changes_what_is_seen(
    mvdream: Path, images: torch.Tensor, cameras: Cameras
) -> None:
    prior = prior_of(mvdream)
    latents = prior.to_model_space(images)
    turned = replace(cameras, camera_to_world=cameras.camera_to_world.roll(1, 0))
    found = [prior.predict(latents, TIMESTEP, texts(prior, seen)) for seen in (cameras, turned)]
    assert not torch.allclose(*found)


@pytest.mark.parametrize("together", [1, 2])
def test_views_that_do_not_belong_together_are_refused(
    mvdream: Path, cameras: Cameras, together: int
) -> None:
    with pytest.raises(RecipeError, match=rf"groups of {together}, expected groups of 4"):
        prior_of(mvdream).camera_features(replace(cameras, views_per_object=together))


@pytest.mark.parametrize(
    ("changes", "atol"),
    [
        ({"cpu_offload": True}, 0.0),
        ({"cpu_offload": "group"}, 0.0),
        ({"storage_dtype": "float8_e4m3fn"}, 1.0),
    ],
)
def test_switches_for_memory_serve_it_too(
    mvdream: Path, images: torch.Tensor, cameras: Cameras, changes: dict[str, Any], atol: float
) -> None:
    plain, switched = prior_of(mvdream), prior_of(mvdream, **changes)
    latents, text = plain.to_model_space(images), texts(plain, cameras)
    found = switched.predict(latents, TIMESTEP, text)
    expected = plain.predict(latents, TIMESTEP, text)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_phi_starts_as_the_prior_and_sees_all_views(
    mvdream: Path, images: torch.Tensor, cameras: Cameras
) -> None:
    prior = prior_of(mvdream)
    latents, text = prior.to_model_space(images).detach(), texts(prior, cameras)
    phi = prior.adapter(2, generator=torch.Generator().manual_seed(0))
    poses = cameras.camera_to_world.flatten(1)
    found = phi(latents, TIMESTEP, text, poses)
    torch.testing.assert_close(found, prior.predict(latents, TIMESTEP, text))
    found[0].sum().backward()
    gradients = [value.grad for value in phi.trainable().values()]
    assert any(gradient is not None and gradient.any() for gradient in gradients)


# ---- what is refused


def test_a_single_view_unet_needs_weights_of_its_views(pipeline: Path, mvdream: Path) -> None:
    with pytest.raises(RecipeError, match=r"prior.view_weights: found none with a UNet2D"):
        check_model(section(**(PIXELS | {"view_weights": None})), pipeline)
    with pytest.raises(RecipeError, match=r"prior.view_weights: found some with a MultiView"):
        check_model(section(view_weights=LOCAL), mvdream)
    check_model(section(**PIXELS), pipeline)
    check_model(section(), mvdream)


@pytest.mark.parametrize("fault", ["of another network", "missing", "damaged"])
def test_weights_of_another_unet_are_refused_before_it_is_read(
    pipeline: Path, view_weights: Path, tmp_path: Path, fault: str
) -> None:
    path, tensors = tmp_path / "views.safetensors", load_file(view_weights)
    name = "camera_embedding.0.weight"
    if fault == "missing":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(3, 16)
    save_file(tensors, path)
    if fault == "damaged":
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(WeightsError, match=r"views.safetensors: .*expected"):
        check_view_weights(pipeline, path)
    check_view_weights(pipeline, view_weights)


def test_a_model_of_latents_is_not_read_as_pixels(mvdream: Path, pipeline: Path) -> None:
    with pytest.raises(WeightsError, match="unet is a MultiViewUNetModel"):
        prior_of(mvdream, **PIXELS)
    with pytest.raises(WeightsError, match="vae is None"):
        prior_of(pipeline, view_weights=LOCAL)
