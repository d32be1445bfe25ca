"""The page in headless Chromium, opened from a file: what a person would see."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamfusion_kit.report.gallery import write_gallery

pytestmark = pytest.mark.browser

TIMEOUT_MS = 300_000  # a CPU draws, perhaps one that is busy with other tests
RED, BLUE = 0, 2


class Visit:
    """A page that was opened, and all that it did which nobody should notice."""

    def __init__(self, chromium, path: Path, *, width_px: int = 480) -> None:
        context = chromium.new_context(
            viewport={"width": width_px, "height": 900}, reduced_motion="reduce"
        )
        context.set_default_timeout(TIMEOUT_MS)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address = path.as_uri()
        self.page.goto(self.address)

    def _hear(self, message) -> None:
        if message.type == "error":  # warnings tell of a slow machine
            self.complaints.append(message.text)

    def wait_for(self, state: str) -> None:
        stage = self.page.locator(".stage").first
        stage.scroll_into_view_if_needed()
        self.page.wait_for_selector(f".stage[data-state={state}]")
        # Two frames: one that draws the mesh, one that shows what was drawn.
        self.page.evaluate("() => new Promise(go => requestAnimationFrame(() => "
                           "requestAnimationFrame(go)))")  # fmt: skip

    def share(self, channel: int) -> float:
        """Return the share of the stage that has this colour alone: 0 red, 1 green, 2 blue."""
        picture = Image.open(io.BytesIO(self.page.locator(".stage").first.screenshot()))
        colors = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
        others = np.delete(colors, channel, axis=0)
        return float(((colors[channel] > 120) & (others < 80).all(axis=0)).mean())

    def wait_for_color(self, channel: int) -> None:
        """Wait until the mesh is seen in its colour; how soon it is drawn, nobody promises."""
        last = time.monotonic() + TIMEOUT_MS / 1000
        while self.share(channel) <= 0.1:
            assert time.monotonic() < last, "the mesh was not drawn"
            self.page.wait_for_timeout(100)

    def outside_requests(self) -> list[str]:
        own = (self.address, "data:", "blob:")
        return [url for url in self.requests if not url.startswith(own)]


def test_the_canvas_shows_the_mesh(chromium, make_suite, tmp_path):
    visit = Visit(chromium, write_gallery(make_suite(tmp_path / "in"), tmp_path / "out"))
    visit.wait_for("ready")
    assert visit.page.evaluate("document.querySelector('model-viewer').loaded")
    visit.wait_for_color(RED)
    assert visit.complaints == []
    assert visit.outside_requests() == []


def test_the_colour_comes_from_the_mesh(chromium, make_suite, tmp_path):
    suite = make_suite(tmp_path / "in", color=(0, 0, 255))
    visit = Visit(chromium, write_gallery(suite, tmp_path / "out"))
    visit.wait_for("ready")
    visit.wait_for_color(BLUE)
    assert visit.share(RED) == 0


def test_a_broken_mesh_leaves_the_picture_and_says_so(chromium, make_suite, tmp_path):
    broken = tmp_path / "broken.glb"
    broken.write_bytes(b"no mesh")
    suite = make_suite(tmp_path / "in", glb=broken)
    visit = Visit(chromium, write_gallery(suite, tmp_path / "out"))
    visit.wait_for("failed")
    assert visit.page.locator(".failure").first.is_visible()
    assert visit.page.locator(".poster").first.is_visible()
    assert visit.share(RED) == 0


def test_the_keyboard_turns_the_mesh(chromium, make_suite, wait_until, tmp_path):
    visit = Visit(chromium, write_gallery(make_suite(tmp_path / "in"), tmp_path / "out"))
    visit.wait_for("ready")
    visit.page.get_by_role("button", name="Back").focus()
    visit.page.keyboard.press("Enter")
    orbit = "document.querySelector('model-viewer').cameraOrbit"
    wait_until(visit.page, f"{orbit} === '180deg 80deg auto'")


def test_a_wait_outlasts_the_first_answer(chromium, make_suite, wait_until, tmp_path):
    visit = Visit(chromium, write_gallery(make_suite(tmp_path / "in"), tmp_path / "out"))
    visit.page.evaluate("() => { setTimeout(() => { window.late = true; }, 500); }")
    wait_until(visit.page, "window.late === true")
    assert visit.complaints == []


def test_hostile_text_runs_nothing(chromium, make_suite, tmp_path):
    hostile = "</script><img src=x onerror=alert(1)>"
    suite = make_suite(
        tmp_path / "in", name=hostile, prompt=hostile, recipe_yaml=hostile,
        details={hostile: hostile}, provenance={hostile: hostile},
    )  # fmt: skip
    visit = Visit(chromium, write_gallery(suite, tmp_path / "out"))
    visit.wait_for("ready")
    assert visit.page.locator("h1").inner_text() == hostile
    assert visit.complaints == []
    assert visit.outside_requests() == []


def test_the_policy_closes_the_network(chromium, make_suite, tmp_path):
    visit = Visit(chromium, write_gallery(make_suite(tmp_path / "in"), tmp_path / "out"))
    with visit.page.expect_console_message(lambda said: "Content Security Policy" in said.text):
        visit.page.evaluate("fetch('http://127.0.0.1:9/').catch(() => 0)")


@pytest.mark.parametrize("width_px", [390, 768, 1440])
def test_nothing_overflows_sideways(chromium, make_suite, tmp_path, width_px):
    long = "averyveryverylongwordthatnobodywouldtypebutsomebodydoes" * 3
    suite = make_suite(
        tmp_path / "in", name=long[:60], prompt=long, recipe_yaml=long, details={long: long}
    )
    visit = Visit(chromium, write_gallery(suite, tmp_path / "out"), width_px=width_px)
    visit.page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width_px


LIGHT_CHANGED = """() => {
  window.lit = false;
  const model = document.querySelector("model-viewer");
  model.addEventListener("environment-change", () => { window.lit = true; }, { once: true });
}"""


def brightness(visit: Visit) -> np.ndarray:
    """Return the mean colour of the part of the picture that shows the mesh."""
    picture = Image.open(io.BytesIO(visit.page.locator(".stage").first.screenshot()))
    height, width = picture.height, picture.width
    middle = picture.convert("RGB").crop((width // 3, height // 3, 2 * width // 3, 2 * height // 3))
    return np.asarray(middle).reshape(-1, 3).mean(axis=0)


def changed_brightness(visit: Visit, seen: dict[str, np.ndarray]) -> np.ndarray:
    """Wait until the picture has another brightness than those seen, and return it."""
    last = time.monotonic() + TIMEOUT_MS / 1000
    while any(np.abs(brightness(visit) - other).max() <= 2 for other in seen.values()):
        assert time.monotonic() < last, seen
        visit.page.wait_for_timeout(100)
    visit.wait_for("ready")  # and the frame that follows, in case one was half drawn
    return brightness(visit)


def test_the_light_can_be_switched(chromium, make_suite, wait_until, tmp_path):
    suite = make_suite(tmp_path / "in", color=(200, 200, 200))
    visit = Visit(chromium, write_gallery(suite, tmp_path / "out"))
    visit.wait_for("ready")
    seen = {"": brightness(visit)}
    for name in ("studio", "sunset", "overcast"):
        visit.page.evaluate(LIGHT_CHANGED)
        visit.page.locator(f"[data-light=light-{name}]").first.click()
        wait_until(visit.page, "window.lit === true")
        seen[name] = changed_brightness(visit, seen)
        assert visit.page.locator("[data-light][aria-pressed=true]").count() == 1
    warmth = {name: color[0] - color[2] for name, color in seen.items()}
    assert warmth["sunset"] > warmth["overcast"] + 10
    visit.page.locator("[data-light='']").first.click()
    assert visit.page.evaluate("document.querySelector('model-viewer').environmentImage") is None
    assert visit.complaints == []
    assert visit.outside_requests() == []
