"""A suite of one coloured cube with plain pictures, and a browser."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trimesh
from PIL import Image

from dreamfusion_kit.report.content import (
    AssetReport,
    Curve,
    Measure,
    Preview,
    SuiteReport,
    View,
)

GREY = (128, 128, 128)

MEASURES = (
    Measure(
        "r_precision.color", "R-Precision, colour", "R-Prec.", "share", "Own caption first.",
        is_headline=True, is_on_card=True, chance="r_precision.chance", reference="ceiling",
    ),
    Measure("iou", "IoU", "IoU", "score", "Volume in both.", is_headline=True, is_on_card=True),
    Measure("seconds", "Seconds", "Time", "seconds", "From prompt to mesh.", is_on_card=True),
)  # fmt: skip

MakeSuite = Callable[..., SuiteReport]


def write_cube(path: Path, color: tuple[int, int, int]) -> Path:
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[*color, 255], metallicFactor=0.0, roughnessFactor=1.0
    )
    cube = trimesh.creation.box((1.0, 1.0, 1.0))
    cube.visual = trimesh.visual.TextureVisuals(material=material)
    cube.export(path)
    return path


def write_picture(path: Path, size: tuple[int, int] = (16, 16)) -> Path:
    Image.new("RGB", size, GREY).save(path)
    return path


def _views(folder: Path) -> tuple[View, ...]:
    return tuple(
        View(
            azimuth_deg,
            *(
                write_picture(folder / f"{kind}_{azimuth_deg:.0f}.png")
                for kind in ("color", "textureless", "normals")
            ),
        )
        for azimuth_deg in (0.0, 90.0, 180.0, 270.0)
    )


@pytest.fixture
def make_suite() -> MakeSuite:
    """Return a maker of suites whose files lie in a folder; keywords replace the asset's data."""

    def make(
        folder: Path, *, name: str = "default", color: tuple[int, int, int] = (255, 0, 0),
        judged: str = "Judged by CLIP tiny.", summary: dict | None = None, **replacements: object,
    ) -> SuiteReport:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        glb = write_cube(folder / "mesh.glb", color)
        obj, table = folder / "mesh.obj", folder / "opacity.tsv"
        obj.write_text("v 0 0 0\n")
        table.write_text("step\topacity\n0\t0.0\n1\t0.5\n2\t1.0\n")
        asset = {
            "id": "red_cube",
            "prompt": "a red cube",
            "seed": 7,
            "identity": "ab" * 32,
            "recipe_name": "toybox",
            "recipe_yaml": "prior:\n  kind: pixel_unet\n",
            "glb": glb,
            "numbers": {"r_precision.color": 0.75, "iou": 0.5, "seconds": 61.0},
            "details": {"num_views": 4},
            "provenance": {"optimize": {"python": "3.11.0"}},
            "turntable": write_picture(folder / "turntable.webp"),
            "views": _views(folder),
            "previews": (Preview(0, write_picture(folder / "preview.png", (32, 16))),),
            "curves": (Curve("opacity", table),),
            "downloads": (glb, obj),
        }
        means = {"r_precision": {"color": 0.75, "color_low": 0.25, "color_high": 0.875}}
        return SuiteReport(
            name,
            judged,
            means if summary is None else summary,
            MEASURES,
            (AssetReport(**{**asset, **replacements}),),
        )

    return make


@pytest.fixture(scope="session")
def chromium_path() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.fail("no chromium found; on Debian: apt-get install chromium")


@pytest.fixture(scope="session")
def browser_of_all(chromium_path: str) -> Iterator[Any]:
    """Return one headless browser for all tests; WebGL runs on the CPU."""
    from playwright.sync_api import sync_playwright

    arguments = [
        "--no-sandbox",
        "--use-gl=angle",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def chromium(browser_of_all: Any) -> Iterator[Any]:
    """Return the browser, and close its pages after the test: a page that is open keeps drawing."""
    yield browser_of_all
    for context in browser_of_all.contexts:
        context.close()


TIMEOUT_S = 300  # a CPU draws, perhaps one that is busy with other tests

WaitUntil = Callable[["object", str], None]


@pytest.fixture
def wait_until() -> WaitUntil:
    """Return a function that asks the page for an expression until it is true.

    Playwright's own ``wait_for_function`` asks once from outside and after that from within the
    page, by `eval`, which the pages' Content Security Policy forbids: it works only where the
    first answer is yes.
    """

    def wait(page, expression: str) -> None:
        last = time.monotonic() + TIMEOUT_S
        while not page.evaluate(expression):
            assert time.monotonic() < last, f"{expression} did not become true in {TIMEOUT_S} s"
            page.wait_for_timeout(50)

    return wait
