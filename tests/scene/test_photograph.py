"""Pictures: what is seen where, how bright it is by closed forms, and what is refused."""

import importlib.util
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dreamfusion_kit.environment import environment, hdr_bytes
from dreamfusion_kit.errors import DreamFusionKitError, MissingExtraError
from dreamfusion_kit.mesh.srgb import to_linear
from dreamfusion_kit.recipe.scene import GroundSection
from dreamfusion_kit.scene import photograph
from dreamfusion_kit.scene.photograph import Light, Shot, Studio, read_environment
from dreamfusion_kit.scene.placement import Instance, Model, table_top

GREY = np.full((8, 16, 3), 1.0, np.float32)
ONE = Instance("one", "sign", np.eye(4))

BIG_HDR = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 100000 +X 200000\n\x02\x02\x0d\x40"
BIG_EXR = (
    b"\x76\x2f\x31\x01\x02\x00\x00\x00"
    + b"compression\0compression\0" + struct.pack("<IB", 1, 3)
    + b"dataWindow\0box2i\0" + struct.pack("<I4i", 16, 0, 0, 199_999, 99_999) + b"\0"
)  # fmt: skip


def shot(**changes: object) -> Shot:
    usual = {
        "target": (0.0, 0.0, 1.0), "distance": 5.0, "azimuth_deg": 0.0, "elevation_deg": 0.0,
        "fov_y_deg": 30.0, "image_size_px": (32, 32), "samples_per_pixel": 16,
    }  # fmt: skip
    return Shot(**{**usual, **changes})


def test_the_texture_is_seen_upright_and_not_mirrored(sign: Model) -> None:
    studio = Studio({"sign": sign}, [ONE], Light(GREY))
    picture = studio.picture(shot(), background=(0, 0, 0), seed=0)
    quarters = [picture[y, x].argmax() for y, x in ((11, 11), (11, 21), (21, 11))]
    assert quarters == [0, 1, 2]
    assert picture[21, 21].min() > 0.9
    assert picture[1, 1].max() == 0


def test_a_white_surface_in_even_light_has_its_brightness(sign: Model) -> None:
    """In a furnace of radiance 0.5 a lambertian surface of albedo 1 shows radiance 0.5."""
    studio = Studio({"sign": sign}, [ONE], Light(0.5 * GREY))
    picture = studio.picture(shot(samples_per_pixel=256), background=(0, 0, 0), seed=0)
    assert to_linear(picture[19:23, 19:23]).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("metallic", [0.0, 0.5, 1.0])
def test_a_material_in_even_light_has_its_brightness(sign: Model, metallic: float) -> None:
    """A smooth metal reflects its colour, a dielectric its colour below a clear coat of 4 %."""
    colour = np.array([200, 100, 50], np.uint8)
    shiny = replace(sign, texture=np.tile(colour, (2, 2, 1)), roughness=0.2, metallic=metallic)
    studio = Studio({"sign": shiny}, [ONE], Light(0.5 * GREY))
    picture = studio.picture(shot(samples_per_pixel=256), background=(0, 0, 0), seed=0)
    base = to_linear(colour / 255)
    expected = 0.5 * (metallic * base + (1 - metallic) * (0.96 * base + 0.04))
    np.testing.assert_allclose(
        to_linear(picture[12:20, 12:20]).mean(axis=(0, 1)), expected, rtol=0.05
    )


def test_a_material_image_says_where_it_is_metal_and_how_smooth(sign: Model) -> None:
    """Green is roughness, blue metallic, and a quarter of the sign shows its own quarter.

    White, and lit from straight ahead: a smooth metal is a mirror, and shows the light; a
    rough one spreads it, plastic has a weak mirror and its white.
    """
    material = np.zeros((32, 32, 3), np.uint8)
    material[:16, :16] = [255, 0, 255]  # upper left: a mirror
    material[:16, 16:] = [255, 255, 255]  # upper right: a rough metal
    material[16:, :16] = [255, 0, 0]  # lower left: glossy plastic
    material[16:, 16:] = [255, 255, 0]  # lower right: plaster, all but
    white = np.full((32, 32, 3), 255, np.uint8)
    shiny = replace(sign, texture=white, material=material, roughness=1.0, metallic=1.0)
    ahead = np.zeros((64, 128, 3), np.float32)
    ahead[28:36, 60:68] = 1.0
    picture = to_linear(
        Studio({"sign": shiny}, [ONE], Light(ahead)).picture(
            shot(samples_per_pixel=64), background=(0, 0, 0), seed=0
        )
    )[..., 0]
    near = {"mirror": (13, 13), "rough": (13, 18), "plastic": (18, 13), "plaster": (18, 18)}
    seen = {name: picture[y - 1 : y + 2, x - 1 : x + 2].mean() for name, (y, x) in near.items()}
    assert seen["mirror"] == pytest.approx(1.0, abs=0.05)
    assert seen["rough"] < 0.1
    assert seen["plaster"] < 0.1
    assert seen["plastic"] == pytest.approx(seen["plaster"] + 0.04, abs=0.02)


def test_the_background_is_the_colour_asked_for_or_the_environment(sign: Model) -> None:
    studio = Studio({"sign": sign}, [ONE], Light(0.25 * GREY))
    plain = studio.picture(shot(), background=(0.2, 0.4, 0.6), seed=0)
    np.testing.assert_allclose(plain[0, 0], [0.2, 0.4, 0.6], atol=1e-6)
    shown = studio.picture(shot(), background=None, seed=0)
    np.testing.assert_allclose(to_linear(shown[0, 0]), 0.25, atol=1e-3)


def test_light_comes_from_where_the_environment_says(sign: Model) -> None:
    """A wall that looks along +x is lit by the middle column; turned by 180, from behind."""
    ahead = np.full((16, 32, 3), 0.0, np.float32)
    ahead[6:10, 14:18] = 10
    bright, dark = (
        Studio({"sign": sign}, [ONE], Light(ahead, rotation_deg=turn)).picture(
            shot(), background=(0, 0, 0), seed=0
        )[20:24, 20:24].mean()
        for turn in (0.0, 180.0)
    )  # fmt: skip
    assert bright > 0.3
    assert dark == 0
    left = np.roll(ahead, -8, axis=1)  # azimuth 90: the light stands at +y
    turned = [
        Studio({"sign": sign}, [ONE], Light(left, rotation_deg=turn)).picture(
            shot(), background=(0, 0, 0), seed=0
        )[20:24, 20:24].mean()
        for turn in (-90.0, 90.0)
    ]  # fmt: skip
    assert turned[0] == pytest.approx(bright, abs=0.05)
    assert turned[1] == 0


def test_objects_throw_shadows_on_the_ground(sign: Model) -> None:
    sun = np.full((32, 64, 3), 0.02, np.float32)
    sun[8:10, 31:33] = 500  # from +x, 45 degrees up
    ground = table_top(GroundSection(radius=6.0, thickness=0.1, color=(0.8, 0.8, 0.8)), "ground")
    models = {"sign": sign, "ground": ground}
    floor = Instance("floor", "ground", np.eye(4))
    above = shot(target=(0.0, 0.0, 0.0), distance=20.0, elevation_deg=89.0, samples_per_pixel=32)
    with_sign, without = (
        Studio(models, instances, Light(sun)).picture(above, background=(0, 0, 0), seed=0)
        for instances in ([ONE, floor], [floor])
    )
    behind = np.s_[12:15, 15:17]  # at -x: up in a picture from above
    assert with_sign[behind].mean() < 0.5 * without[behind].mean()


def test_the_same_seed_gives_the_same_picture(sign: Model) -> None:
    studio = Studio({"sign": sign}, [ONE], Light(environment("studio")))
    first, second, other = (
        studio.picture(shot(), background=(0, 0, 0), seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_environments_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "light.hdr"
    path.write_bytes(hdr_bytes(environment("sunset")))
    np.testing.assert_allclose(read_environment(path), environment("sunset"), rtol=0.3, atol=0.05)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("light.hdr", b"", "cannot be read"),
        ("light.exr", b"\x76\x2f\x31\x01 damaged", "cannot be read"),
        ("light.hdr", hdr_bytes(np.ones((8, 8, 3), np.float32)), "twice as wide as high"),
        ("light.hdr", hdr_bytes(np.zeros((8, 16, 3), np.float32)), "not light"),
        ("light.png", b"", "expected an .hdr or .exr"),
    ],
)
def test_what_is_no_environment_is_said(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DreamFusionKitError, match=said) as caught:
        read_environment(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "content"), [("big.hdr", BIG_HDR), ("big.exr", BIG_EXR)])
def test_a_size_beyond_the_limit_is_refused_before_anything_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    def decodes() -> None:
        raise AssertionError("reached the decoder")

    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(photograph, "_mitsuba", decodes)
    with pytest.raises(DreamFusionKitError, match="found 200000 x 100000 pixels"):
        read_environment(tmp_path / name)


def test_without_mitsuba_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        photograph.importlib.util,
        "find_spec",
        lambda name: None if name == "mitsuba" else find(name),
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'dreamfusion-kit\[render\]'"):
        photograph.check_mitsuba()
