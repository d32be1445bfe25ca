"""The page as a parser of another hand reads it: `html.parser`."""

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dreamfusion_kit.report import gallery
from dreamfusion_kit.report.content import Curve, Measure, SuiteReport
from dreamfusion_kit.report.gallery import render_page, write_gallery
from dreamfusion_kit.report.page import data_uri

HOSTILE = "</script></style></title>\"'><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}"


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._open = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._open != "style":
            self.text += data + " "

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for other, attrs in self.tags if other == tag and name in attrs]


def visible(page: Page) -> str:
    return re.sub(r"\s+", " ", page.text)


def test_the_page_shows_the_suite_and_the_asset(make_suite, tmp_path):
    text = visible(Page(render_page(make_suite(tmp_path))))
    for part in (
        "default", "a red cube", "red_cube", "recipe toybox", "seed 7", "61 s",
        "75 % (25\N{EN DASH}88)", "ab" * 32, "kind: pixel_unet", "optimize.python", "3.11.0",
        "step 0", "270°",
    ):  # fmt: skip
        assert part in text


def test_a_card_names_its_asset(make_suite, tmp_path):
    """Several assets of one prompt look alike in the overview."""
    html = render_page(make_suite(tmp_path))
    card = html[
        html.index('<li class="card">') : html.index("</li>", html.index('<li class="card">'))
    ]
    assert "red_cube" in Page(card).text


def test_what_must_be_known_of_the_scores_stands_beside_them(make_suite, tmp_path):
    text = visible(Page(render_page(make_suite(tmp_path, caveat="judged by <itself>"))))
    assert "Read with care: judged by <itself>." in text
    assert "Read with care" not in visible(Page(render_page(make_suite(tmp_path))))


def test_what_the_optimisation_warned_of_stands_above_its_curves(make_suite, tmp_path):
    warned = make_suite(tmp_path, warnings=("step 8: opacity is <weak>", "step 9: entropy"))
    text = visible(Page(render_page(warned)))
    at = [text.index(part) for part in ("Curves", "Warning at step 8: opacity is <weak>.")]
    assert at == sorted(at)
    assert "Warning at step 9: entropy." in text
    assert "Warning at" not in visible(Page(render_page(make_suite(tmp_path))))


def test_the_mesh_stands_in_the_page_whole(make_suite, tmp_path):
    suite = make_suite(tmp_path)
    scripts = Page(render_page(suite)).scripts
    (data,) = [text for attributes, text in scripts if attributes.get("id") == "mesh-red_cube"]
    assert base64.b64decode(data, validate=True) == suite.assets[0].glb.read_bytes()


def hostile_suite(make_suite, folder: Path) -> SuiteReport:
    table = folder / "curve.tsv"
    folder.mkdir()
    table.write_text("step\tx\n0\t1\n")
    download = folder / 'a"><img src=x onerror=alert(1)>.obj'
    download.write_text("v 0 0 0\n")
    return make_suite(
        folder,
        name=HOSTILE,
        judged=HOSTILE,
        prompt=HOSTILE,
        identity=HOSTILE,
        recipe_name=HOSTILE,
        recipe_yaml=HOSTILE,
        details={HOSTILE: HOSTILE, "list": [HOSTILE]},
        provenance={HOSTILE: {HOSTILE: [HOSTILE]}},
        curves=(Curve(HOSTILE, table),),
        downloads=(download,),
    )


def test_hostile_text_stays_text(make_suite, tmp_path):
    page = Page(render_page(hostile_suite(make_suite, tmp_path / "hostile")))
    calm = Page(render_page(make_suite(tmp_path / "calm")))
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert len(page.attributes("img", "src")) == len(calm.attributes("img", "src"))
    assert len(page.scripts) == len(calm.scripts)
    assert page.text.count(HOSTILE) >= 10
    assert any(HOSTILE in label for label in page.attributes("div", "data-alt"))


def test_everything_is_embedded_or_beside(make_suite, tmp_path):
    page = Page(render_page(make_suite(tmp_path)))
    for tag, attrs in page.tags:
        assert tag not in {"iframe", "object", "embed", "audio", "video"}
        assert (attrs.get("src") or "data:").startswith("data:"), tag
        assert (attrs.get("srcset") or "data:").startswith("data:"), tag
        href = attrs.get("href")
        assert href is None or re.match(r"#|data:,$|red_cube/[\w.%]+$", href), href


def test_the_policy_admits_the_two_scripts_and_no_other(make_suite, tmp_path):
    page = Page(render_page(make_suite(tmp_path)))
    (policy,) = [attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs]
    run = [text for attributes, text in page.scripts if "type" not in attributes]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert len(digests) == 2
    directives = [part.split() for part in policy.split(";")]
    allowed = {directive[0]: directive[1:] for directive in directives}
    assert allowed["default-src"] == ["'none'"]
    assert "'unsafe-inline'" not in allowed["script-src"]
    assert not re.search(r"https?:|\*|'self'", policy)


def test_equal_input_gives_equal_bytes_wherever_it_lies(make_suite, tmp_path):
    first = write_gallery(make_suite(tmp_path / "a"), tmp_path / "one" / "report")
    second = write_gallery(make_suite(tmp_path / "b" / "c"), tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path) not in first.read_text()


def test_downloads_lie_beside_the_page(make_suite, tmp_path):
    suite = make_suite(tmp_path / "in")
    page = write_gallery(suite, tmp_path / "out")
    write_gallery(suite, tmp_path / "out")  # over an older one
    links = [href for href in Page(page.read_text()).attributes("a", "href") if "/" in href]
    assert links == ["red_cube/mesh.glb", "red_cube/mesh.obj"]
    for link, source in zip(links, suite.assets[0].downloads, strict=True):
        assert (page.parent / link).read_bytes() == source.read_bytes()


def test_what_was_not_measured_is_a_dash(make_suite, tmp_path):
    suite = make_suite(
        tmp_path,
        summary={"iou": None, "r_precision": {"color": 0.5}, "trained": {"iou": 0.5}},
        numbers={"iou": None},
        provenance={},
        turntable=None,
        views=(),
        previews=(),
        curves=(),
        downloads=(),
    )
    page = Page(render_page(suite))
    text = visible(page)
    assert not re.search(r"\b(None|nan|NaN|null|undefined)\b", text)
    assert "R-Precision, colour Own caption first. 50 % \N{EM DASH}" in text
    for heading in ("Around the mesh", "How it came to be", "Curves", "Download"):
        assert heading not in text
    assert page.attributes("img", "src") == []


def test_what_was_measured_of_no_asset_is_left_out_and_said_to_be(make_suite, tmp_path):
    judged = "No judge is set: R-Precision is left out."
    suite = make_suite(tmp_path, judged=judged, summary={"iou": 0.5}, numbers={"iou": 0.5})
    text = visible(Page(render_page(suite)))
    assert judged in text
    assert "R-Prec." not in text
    assert "R-Precision, colour" not in text
    assert "IoU" in text


def test_held_out_prompts_are_told_apart(make_suite, tmp_path):
    held_out = render_page(make_suite(tmp_path, held_out=True))
    trained = render_page(make_suite(tmp_path, held_out=False))
    assert "held out of the prior" in held_out
    assert "held out of the prior" not in trained


def test_pictures_have_texts_and_headings_descend_by_one(make_suite, tmp_path):
    page = Page(render_page(make_suite(tmp_path)))
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert images
    assert all(attrs.get("alt") for attrs in images)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("asset_id", ["red_cube", "assets", "summary", "mesh"])
def test_ids_are_unique_and_links_reach_them(make_suite, tmp_path, asset_id):
    page = Page(render_page(make_suite(tmp_path, id=asset_id)))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [href[1:] for href in page.attributes("a", "href") if href.startswith("#")]
    assert targets
    assert set(targets) <= set(ids)


def test_a_picture_of_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"found a '\.svg' file, expected one of \.gif"):
        data_uri(tmp_path / "picture.svg")


def test_the_vendored_viewer_is_the_published_one():
    viewer = Path(gallery.__file__).parent / "vendor" / "model-viewer-umd.min.js"
    digest = hashlib.sha256(viewer.read_bytes()).hexdigest()
    assert digest in (viewer.parent / "README.md").read_text()
    assert "Apache License" in (viewer.parent / "LICENSE").read_text()


def test_no_script_of_ours_could_end_its_element_early():
    folder = Path(gallery.__file__).parent
    for path in (folder / "vendor/model-viewer-umd.min.js", folder / "templates/viewer.js"):
        text = path.read_text()
        assert not re.search(r"</?script", text, re.IGNORECASE), path
        assert "\r" not in text, path  # a parser would turn it into \n, and the hash would fail


def test_an_imported_mesh_is_not_said_to_be_made(make_suite, tmp_path):
    page = render_page(make_suite(tmp_path, imported="model.glb"))
    assert "imported from model.glb" in page
    assert "1 imported from a file." in " ".join(page.split())
    assert "made from a prompt" not in page
    assert "made from a prompt" in render_page(make_suite(tmp_path / "made"))


def test_the_lights_are_in_the_page_once(make_suite, tmp_path):
    page = render_page(make_suite(tmp_path))
    for name in ("studio", "sunset", "overcast"):
        assert page.count(f'id="light-{name}"') == 1
        assert page.count(f'data-light="light-{name}"') == 1


def test_the_truth_stands_beside_its_measure_and_not_in_a_row_of_its_own(make_suite, tmp_path):
    measures = (
        Measure("iou", "IoU", "IoU", "score", "Volume in both."),
        Measure(
            "fronts", "Front views", "fronts", "count", "Views of the front.",
            reference="true_fronts",
        ),
        Measure("true_fronts", "Front views, true", "true", "count", "Of true renders."),
    )  # fmt: skip
    numbers = {"iou": 0.5, "fronts": 3.0, "true_fronts": 2.0}
    made = replace(make_suite(tmp_path, numbers=numbers), measures=measures)
    text = visible(Page(render_page(made)))
    own = text[text.index("each name leads to its meaning") : text.index("Download")]
    assert "Measure Asset True shape IoU 0.500 Front views 3 2" in own
    assert "Front views, true" not in own


def test_curves_have_titles_and_a_known_order(make_suite, tmp_path):
    tables = {}
    for name in ("share_opacity", "guidance_norm", "refine_opacity", "opacity", "other_loss"):
        tables[name] = tmp_path / f"{name}.tsv"
        tables[name].write_text(f"step\t{name}\n0\t1\n")
    curves = tuple(Curve(name, path) for name, path in tables.items())
    text = visible(Page(render_page(make_suite(tmp_path / "in", curves=curves))))
    titles = ("Opacity mean", "Guidance norm", "other loss", "Share of opacity", "Opacity, refine")
    at = [text.index(title, text.index("Curves")) for title in titles]
    assert at == sorted(at)
