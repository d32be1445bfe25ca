"""The page with two sides: what it says, what it embeds, and that its viewers turn together."""

from dataclasses import replace
from pathlib import Path

import pytest

from dreamfusion_kit.report.comparison.content import Column, Comparison, Pair, Row
from dreamfusion_kit.report.comparison.page import render_comparison

TIMEOUT_MS = 300_000  # a CPU draws, perhaps one that is busy with other tests
ROW = Row("IoU", "Volume in both.", "0.500", "0.600", "+0.100", "+0.050 to +0.150", "better")


def column(folder: Path, name: str, color: tuple[int, int, int], size: float = 1.0) -> Column:
    import trimesh
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    glb, view = folder / f"{name}.glb", folder / f"{name}.png"
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[*color, 255], metallicFactor=0)
    cube = trimesh.creation.box((size, size, size))
    cube.visual = trimesh.visual.TextureVisuals(material=material)
    cube.export(glb)
    Image.new("RGB", (16, 16), color).save(view)
    return Column(name, f"a {name}", "toybox", 0, "ab" * 32, glb, (view,))


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    left = column(tmp_path, "mug", (255, 0, 0))
    right = column(tmp_path, "car", (0, 0, 255), size=0.5)
    pair = Pair("mug", left, right, (ROW,), ("@@ -1 +1 @@", "-seed: 0", "+seed: 1", " same"))
    return Comparison("default", "default at HEAD", ("A note.",), 1, (ROW,), (pair,))


def test_both_sides_are_on_the_page(comparison: Comparison) -> None:
    page = render_comparison(comparison)
    assert page.count('type="application/octet-stream"') == 2
    for text in ("default at HEAD", "A note.", "a mug", "a car", "+0.050 to +0.150", "better"):
        assert text in page
    assert '<span class="removed">-seed: 0</span><span class="added">+seed: 1</span>' in page
    assert page == render_comparison(comparison)


def test_a_side_without_outputs_says_why(comparison: Comparison) -> None:
    (pair,) = comparison.pairs
    bare = replace(pair, left=replace(pair.left, glb=None, views=(), note="not made yet"), diff=())
    page = render_comparison(replace(comparison, pairs=(bare,), left_out=("duck",), summary=()))
    assert "No outputs here: not made yet" in page
    assert page.count('type="application/octet-stream"') == 1
    assert "Prompt, seed and recipe are the same." in page
    assert "Pairs that differ less: duck." in page


def test_text_is_escaped(comparison: Comparison) -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    (pair,) = comparison.pairs
    pair = replace(pair, left=replace(pair.left, prompt=hostile), diff=(f"+{hostile}",))
    page = render_comparison(replace(comparison, left=hostile, notes=(hostile,), pairs=(pair,)))
    assert "<img src=x" not in page


@pytest.mark.browser
def test_the_viewers_turn_together(
    chromium, comparison: Comparison, wait_until, tmp_path: Path
) -> None:
    path = tmp_path / "comparison.html"
    path.write_text(render_comparison(comparison))
    context = chromium.new_context(viewport={"width": 900, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    page, complaints = context.new_page(), []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.locator(".sides").scroll_into_view_if_needed()
    wait_until(page, "document.querySelectorAll('.stage[data-state=ready]').length === 2")
    orbits = """() => [...document.querySelectorAll('model-viewer')].map(
        model => Object.values(model.getCameraOrbit()).slice(0, 3).map(v => v.toFixed(3)).join())"""
    both = f"({orbits})().every((orbit, _, all) => orbit === all[0])"
    wait_until(page, both)  # one scale, although one cube is smaller
    before = page.evaluate(orbits)
    box = page.locator("model-viewer").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 80, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    moved = f"{both} && ({orbits})()[0] !== '{before[0]}'"
    wait_until(page, moved)
    page.get_by_role("button", name="Back").click()
    turned = f"({orbits})().every(orbit => orbit.startsWith('3.142'))"
    wait_until(page, turned)
    assert page.evaluate("document.documentElement.scrollWidth") <= 900
    assert complaints == []
