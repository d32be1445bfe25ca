"""Shelves of latents: renders over backgrounds, through the VAE, with the words they may have."""

import torch

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.caption_table import VIEW_WORDS, caption_table
from dreamfusion_kit.toybox.captions import view_words
from dreamfusion_kit.toybox.latent_settings import (
    LatentTrainingSection,
    ShelfSection,
    VaeTrainingSection,
)
from dreamfusion_kit.toybox.latent_shelf import encode_shelf
from dreamfusion_kit.toybox.shapes import OBJECTS
from dreamfusion_kit.toybox.shelf import render_shelf
from dreamfusion_kit.toybox.vae_model import make_vae, scaled_latents

CPU = torch.device("cpu")


def test_latents_are_of_the_renders_over_backgrounds(
    latent_settings: LatentTrainingSection,
    shelf_settings: ShelfSection,
    vae_settings: VaeTrainingSection,
) -> None:
    vae = make_vae(vae_settings, 16)
    shelf_settings = shelf_settings.model_copy(update={"shelf_size": 16})
    shelf = encode_shelf(vae, latent_settings, shelf_settings, 3, device=CPU)
    renders = render_shelf(shelf_settings, 3, device=CPU)
    assert len(shelf.latents) == 2 * len(renders)
    assert torch.equal(shelf.object_index, renders.object_index.repeat(2))
    for index, view in enumerate(shelf.view_index):
        camera = index % len(renders)
        azimuth, elevation = renders.azimuth_deg[camera], renders.elevation_deg[camera]
        assert VIEW_WORDS[int(view)] == view_words(float(azimuth), float(elevation))
    # The whole shelf fits into one chunk, so its backgrounds are one draw.
    draw = make_generator(latent_settings.seed, "shelf-background", 3)
    twice = torch.arange(len(renders)).repeat(2)
    images = renders.images(twice, latent_settings.background, generator=draw)
    with torch.no_grad():
        expected = scaled_latents(vae, images)
    torch.testing.assert_close(shelf.latents, expected)
    assert not torch.equal(shelf.latents[:16], shelf.latents[16:])


def test_batches_have_the_captions_of_their_renders(
    latent_settings: LatentTrainingSection,
    shelf_settings: ShelfSection,
    vae_settings: VaeTrainingSection,
) -> None:
    vae, table = make_vae(vae_settings, 16), caption_table()
    shelf = encode_shelf(vae, latent_settings, shelf_settings, 0, device=CPU)
    draw = torch.Generator().manual_seed(0)
    latents, numbers = shelf.batch(64, table, caption_dropout=0.0, generator=draw)
    for row, number in zip(latents, numbers, strict=True):
        sources = (shelf.latents == row).flatten(1).all(dim=1)
        names = {OBJECTS[index] for index in shelf.object_index[sources]}
        assert any(name in table.captions[number].split(",")[0].split() for name in names)
