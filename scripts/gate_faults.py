"""Verify the gate on real renders: two draws of equal quality, and faults planted on purpose.

python scripts/gate_faults.py true DIRECTORY          the toybox's true shapes, no optimisation
python scripts/gate_faults.py made DIRECTORY A B ...  made suites of this workspace, by name

Writes one metrics file per side into DIRECTORY, in the gate's format, and prints a Markdown
table: the gate's decision on each. `true` renders the sixteen objects of toybox-16 with the
camera's elevation and distance jittered by seed, as two seeds of an optimisation differ.
`made` compares the first suite with each other one, and with faults planted into its own
meshes and its judge. Needs gate: in params.yaml.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.evaluation.clip import Clip, load_clip
from dreamfusion_kit.evaluation.r_precision import cosine_similarity, object_hits
from dreamfusion_kit.evaluation.surface import TexturedMesh, load_mesh
from dreamfusion_kit.evaluation.views import mesh_renderer, render_images, render_views
from dreamfusion_kit.gate.metrics import Metrics, read_file
from dreamfusion_kit.gate.verdict import judge
from dreamfusion_kit.recipe.evaluation import ViewsSection
from dreamfusion_kit.recipe.gate import GateSection, load_gate
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.stages.results import asset_entry
from dreamfusion_kit.toybox.captions import caption, caption_pool, parse, plaster_caption
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.shapes import OBJECTS, scene

Views = tuple[Tensor, Tensor]  # colour and textureless, `views h w 3`
Draw = Callable[[str, str], Views]  # by colour and object

WEIGHTS = Path(__file__).parents[1] / "dreamfusion_kit" / "toybox" / "weights"
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # a common mistake: another model's preprocessing


def main(mode: str = "", directory: str = "", *suites: str) -> None:
    """Write the metrics files and print the table."""
    if mode not in ("true", "made") or not directory or (mode == "made") != bool(suites):
        raise SystemExit(__doc__)
    gate = load_gate(Path("params.yaml"))
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    sides = true_sides() if mode == "true" else made_sides(suites)
    gate = gate.model_copy(update={"metrics": _measured(gate, sides)})
    read: dict[str, Metrics] = {}
    for name, content in sides.items():
        path = target / f"{name}.json"
        path.write_text(compact(content))
        read[name] = read_file(path)
    print(table(read, gate))
    if mode == "true":  # the faults are in the second draw: compared with it, only they differ
        print("\n" + table({name: one for name, one in read.items() if name != "true"}, gate))


def _measured(gate: GateSection, sides: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(next(iter(sides.values()))["assets"].values()))
    return {key: section for key, section in gate.metrics.items() if key in first["metrics"]}


def table(sides: dict[str, Metrics], gate: GateSection) -> str:
    """Return one row per side against the first one: change and p of each metric."""
    (base, before), *others = sides.items()
    lines = [f"| against {base} | decision | " + " | ".join(gate.metrics) + " |"]
    lines += ["|---|---|" + "---:|" * len(gate.metrics)]
    for name, after in others:
        found = judge(before, after, gate)
        cells = [
            f"{(1 if r.section.better == 'higher' else -1) * r.change.mean:+.3f} ({r.change.p:.3f})"
            for r in found.results
        ]
        decision = "**refused**" if found.refused else "passed"
        if found.pairs.remeasured:
            fell = any(result.refuses for result in found.results)
            decision += " (also a fall)" if fell else " (measurement moved)"
        lines.append(f"| {name} | {decision} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compact(content: dict[str, Any]) -> str:
    """Return JSON with one line per asset."""
    head = {key: value for key, value in content.items() if key != "assets"}
    rows = ",\n".join(
        f"{json.dumps(asset)}: {json.dumps(row)}" for asset, row in content["assets"].items()
    )
    return json.dumps(head)[:-1] + ', "assets": {\n' + rows + "\n}}\n"


# ---- rows


@dataclasses.dataclass(frozen=True)
class Judge:
    """The toybox's CLIP with the features of all captions in question."""

    clip: Clip
    captions: Tensor
    plaster: Tensor

    @classmethod
    def load(cls) -> "Judge":
        """Return the judge as shipped."""
        clip = load_clip(WEIGHTS / "clip")
        plaster = [plaster_caption(name) for name in OBJECTS]
        return cls(clip, clip.text_features(list(caption_pool())), clip.text_features(plaster))

    def row(
        self, color: str, name: str, views: Views, metrics: dict[str, Any], identity: str
    ) -> dict[str, Any]:
        """Return an asset's row in the gate's format."""
        own = caption_pool().index(caption(color, name))
        similarity = cosine_similarity(self.clip.image_features(views[0]), self.captions)
        plaster = cosine_similarity(self.clip.image_features(views[1]), self.plaster)
        same = torch.tensor([(parse(text) or ("", ""))[1] == name for text in caption_pool()])
        rank = 1 + (similarity > similarity[:, own : own + 1]).sum(dim=1)
        shape = plaster.argmax(dim=1) == OBJECTS.index(name)
        return {
            "prompt": caption(color, name),
            "recipe": "",
            "identity": identity,
            "seed": 0,
            "metrics": {
                "r_precision.color": float((rank == 1).double().mean()),
                "object_precision.color": float(object_hits(similarity, same).double().mean()),
                "object_precision.geometry": float(shape.double().mean()),
                "clip_score": round(float(similarity[:, own].mean()), 4),
                **metrics,
            },
            "views": {
                "hit": "".join("1" if value == 1 else "0" for value in rank.tolist()),
                "rank": rank.tolist(),
                "cosine": [round(value, 4) for value in similarity[:, own].tolist()],
            },
        }


def side(suite: str, rows: dict[str, Any], **code: str) -> dict[str, Any]:
    """Return a whole metrics file; `code` names the stages whose code differs."""
    return {
        "format_version": 2,
        "suite": suite,
        "judge": {"name": "dreamfusion_kit/toybox/weights/clip"},
        "caption_pool": {"kind": "toybox", "size": len(caption_pool()), "sha256": ""},
        "code": {"optimize": "shipped", "mesh": "shipped", "evaluate": "shipped"} | code,
        "machine": {"device": "cpu"},
        "summary": {},
        "assets": rows,
    }


def wrong_mean(judge: Judge, mean: float | None = None) -> Judge:
    """Return the judge with another mean in its preprocessing, ImageNet's by default."""
    wrong = IMAGENET_MEAN if mean is None else (mean,) * 3
    preprocess = dataclasses.replace(judge.clip.preprocess, mean=wrong)
    return dataclasses.replace(judge, clip=dataclasses.replace(judge.clip, preprocess=preprocess))


# ---- the toybox's true shapes


def true_sides() -> dict[str, Any]:
    """Return two draws of true renders, and faults planted into the second."""
    shipped = Judge.load()
    protocol = load_suite(Path(), "default").evaluation.views
    pairs = [
        pair for asset in load_suite(Path(), "toybox-16").assets.values()
        if (pair := parse(asset.prompt)) is not None
    ]  # fmt: skip
    first, second = (
        {
            pair: _true_views(pair, _jittered(protocol, seed, index))
            for index, pair in enumerate(pairs)
        }
        for seed in (0, 1)
    )
    duck = len(pairs) - 1  # the last one, whose left and right differ
    faults: dict[str, tuple[Judge, Callable[[int, Views], Views]]] = {
        "another-draw": (shipped, lambda _, views: views),
        "wrong-clip-mean": (wrong_mean(shipped), lambda _, views: views),
        "a-clip-mean-of-1": (wrong_mean(shipped, 1.0), lambda _, views: views),
        "red-and-blue-swapped": (shipped, lambda _, views: (views[0].flip(-1), views[1])),
        "one-picture-mirrored": (
            shipped,
            lambda i, v: (v[0].flip(-2), v[1]) if i == duck else v,
        ),
        "all-pictures-mirrored": (shipped, lambda _, v: (v[0].flip(-2), v[1].flip(-2))),
        "upside-down": (shipped, lambda _, v: (v[0].flip(-3), v[1].flip(-3))),
    }
    sides = {"true": side("true", _rows(shipped, first, "draw 0"))}
    for name, (its_judge, spoil) in faults.items():
        spoilt = {pair: spoil(i, views) for i, (pair, views) in enumerate(second.items())}
        sides[name] = side("true", _rows(its_judge, spoilt, "draw 1"))
    unlit = {
        pair: _true_views(pair, _jittered(protocol, 1, i), lit=False)
        for i, pair in enumerate(pairs)
    }
    sides["normals-flipped"] = side("true", _rows(shipped, unlit, "draw 1"))
    return sides


def _rows(judge: Judge, views: dict[tuple[str, str], Views], identity: str) -> dict[str, Any]:
    return {f"{c}_{n}": judge.row(c, n, images, {}, identity) for (c, n), images in views.items()}


def _jittered(protocol: ViewsSection, seed: int, index: int) -> ViewsSection:
    """Return the views from a little higher or lower, nearer or farther: another draw."""
    draw = torch.randn(2, generator=seeding.generator(seed, "gate.views", index)).tolist()
    return protocol.model_copy(
        update={
            "elevation_deg": protocol.elevation_deg + 5 * draw[0],
            "radius": protocol.radius + 0.1 * draw[1],
        }
    )


def _true_views(pair: tuple[str, str], section: ViewsSection, *, lit: bool = True) -> Views:
    """Return true renders; without `lit`, as if every normal pointed inwards."""
    color, name = pair
    solid = scene(name, color)
    if not lit:
        section = section.model_copy(update={"diffuse": 0.0})

    def images(*, textureless: bool) -> Tensor:
        return render_images(
            lambda *inputs: render_scene(solid, *inputs)[0],
            section,
            textureless=textureless,
            supersampling=1,
        )

    return images(textureless=False), images(textureless=True)


# ---- made suites


def made_sides(suites: tuple[str, ...]) -> dict[str, Any]:
    """Return the suites' metrics over the assets that all have, and faults of the first."""
    shipped = Judge.load()
    folders = [SuiteLayout(Path(), suite) for suite in suites]
    assets = [
        asset
        for asset in load_suite(Path(), suites[0]).assets
        if all((one.asset(asset).evaluation / "metrics.json").is_file() for one in folders)
    ]
    print(f"{len(assets)} assets: {', '.join(assets)}", file=sys.stderr)
    sides = {
        suite: side(suite, {a: _made_row(shipped, suite, a, _saved_views) for a in assets})
        for suite in suites
    }
    base = suites[0]
    spoilt = {
        "wrong-clip-mean": (wrong_mean(shipped), _saved_views),
        "normals-flipped": (shipped, lambda s, a: _rendered(s, a, _inside_out)),
        "textures-mirrored": (shipped, lambda s, a: _rendered(s, a, _mirrored)),
        "a-clip-mean-of-1": (wrong_mean(shipped, 1.0), _saved_views),
        "one-texture-mirrored": (
            shipped,
            lambda s, a: _rendered(s, a, _mirrored) if a == assets[0] else _saved_views(s, a),
        ),
    }
    for name, (its_judge, views) in spoilt.items():
        stage = "mesh" if "texture" in name else "evaluate"
        rows = {a: _made_row(its_judge, base, a, views) for a in assets}
        sides[name] = side(base, rows, **{stage: name})
    return sides


def _made_row(judge: Judge, suite: str, asset: str, views: Callable[[str, str], Views]) -> Any:
    own = SuiteLayout(Path(), suite).asset(asset)
    resolved = resolve(Path(), suite, asset)
    measured = asset_entry(own, resolved.prompt).metrics
    pair = parse(resolved.prompt)
    assert pair is not None
    shape = {
        key: round(value, 4)
        for key in ("iou", "chamfer", "f_score")
        if (value := measured[key]) is not None
    }
    row = judge.row(*pair, views(suite, asset), shape, resolved.identity)
    return row | {"seed": resolved.seed}


def _saved_views(suite: str, asset: str) -> Views:
    folder = SuiteLayout(Path(), suite).asset(asset).evaluation / "views"

    def read(kind: str) -> Tensor:
        files = sorted(folder.glob(f"{kind}_*.png"))
        pixels = np.stack([np.asarray(Image.open(file), dtype=np.float32) / 255 for file in files])
        return torch.from_numpy(pixels)

    return read("color"), read("textureless")


def _rendered(suite: str, asset: str, spoil: Callable[[TexturedMesh], TexturedMesh]) -> Views:
    protocol = load_suite(Path(), suite).evaluation.views
    own = SuiteLayout(Path(), suite).asset(asset)
    mesh = spoil(load_mesh(own.final_mesh(resolve(Path(), suite, asset)) / "mesh.obj"))
    render = mesh_renderer(mesh, normals=protocol.normals)
    views = render_views(render, protocol, supersampling=protocol.supersampling)
    return views.color, views.textureless


def _inside_out(mesh: TexturedMesh) -> TexturedMesh:
    surface = dataclasses.replace(mesh.surface, faces=mesh.surface.faces.flip(1))
    return dataclasses.replace(mesh, surface=surface)


def _mirrored(mesh: TexturedMesh) -> TexturedMesh:
    return dataclasses.replace(mesh, texture=mesh.texture.flip(1))


if __name__ == "__main__":
    main(*sys.argv[1:])
