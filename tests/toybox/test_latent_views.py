"""Shelves of objects' views: each render over its own background, with its camera and its words."""

from pathlib import Path

import torch

from dreamfusion_kit import packaged
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.latent_model import make_latent
from dreamfusion_kit.toybox.latent_settings import LatentTrainingSection, VaeTrainingSection
from dreamfusion_kit.toybox.latent_views import encode_object_views
from dreamfusion_kit.toybox.multi_view_settings import MultiViewTrainingSection
from dreamfusion_kit.toybox.object_views import render_object_views
from dreamfusion_kit.toybox.vae_model import make_vae, scaled_latents

CPU = torch.device("cpu")
TEXT: Path = packaged.MODELS / "prior"


def test_rows_are_of_the_objects_renders_cameras_and_words(
    latent_settings: LatentTrainingSection,
    vae_settings: VaeTrainingSection,
    multi_view_settings: MultiViewTrainingSection,
) -> None:
    latent = make_latent(latent_settings, make_vae(vae_settings, 16), TEXT)
    shelf = encode_object_views(latent, multi_view_settings, 3, device=CPU)
    renders = render_object_views(multi_view_settings, 3, device=CPU)
    count = len(renders.captions)
    assert shelf.latents.shape[:2] == (2 * count, 4)
    assert torch.equal(shelf.cameras, renders.cameras)
    rows = torch.arange(2 * count)
    assert shelf.objects(rows).tolist() == [*range(count), *range(count)]
    # The whole shelf fits into one chunk, so its backgrounds are one draw.
    draw = make_generator(multi_view_settings.seed, "multi-view-background", 3)
    images = renders.images(rows % count, multi_view_settings.background, generator=draw)
    with torch.no_grad():
        expected = scaled_latents(latent.vae, images)
    torch.testing.assert_close(shelf.latents.flatten(0, 1), expected)
    for index, caption in enumerate(renders.captions):
        (plain,) = latent.encode([caption]).hidden
        torch.testing.assert_close(shelf.plain[index], plain, atol=1e-5, rtol=1e-5)
        for view, word in enumerate(renders.words[index]):
            (named,) = latent.encode([f"{caption}, {word} view"]).hidden
            torch.testing.assert_close(shelf.named[index, view], named, atol=1e-5, rtol=1e-5)
