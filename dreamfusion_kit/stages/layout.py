"""Where every stage's files lie, under the root of a suite: the workspace, or suites/NAME.

    out/model/RECIPE.json      what was fetched, hashed per file
    out/text/ASSET.safetensors
    out/field/ASSET/           field.safetensors, previews/, live/
    out/mesh/ASSET/            mesh.json, mesh.glb .obj .mtl and so on, ASSET_albedo.png
    out/refined/ASSET/         the same, previews/, live/; only where the recipe refines
    out/evaluation/ASSET/      metrics.json, features.safetensors, views/, turntable.webp
    out/run/ASSET/             optimize.json, mesh.json, refine.json: code, packages and machine
    out/cost/ASSET/            the same names: seconds and memory, not tracked
    out/assets.csv             one row per asset
    out/report/index.html      the gallery
    out/scene/SCENE/           scene.glb .usdz .json, stills, fly_around.webp
    out/relight/ASSET/LIGHT/   stills, turntable.webp, not tracked
    metrics/SUITE.json         the suite's summary, and a row per asset
    metrics/SUITE.cost.json    its time and memory, not tracked

Nothing that DVC tracks holds a clock, so that the same work gives the same lock. No stage reads
out/run or out/cost as a dependency.
"""

from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit.recipe.resolved import ResolvedAsset
from dreamfusion_kit.recipe.workspace import suite_root

CLIP = "clip"  # its lock file's name; recipes' lock files have their recipes' names
VIEW_KINDS = ("color", "textureless", "normals")


def view_name(kind: str, index: int) -> str:
    """Return the file name of the view `index` of one of `VIEW_KINDS`."""
    return f"{kind}_{index:02d}.png"


@dataclass(frozen=True)
class SuiteLayout:
    """The files of one suite."""

    workspace: Path
    suite: str

    @property
    def root(self) -> Path:
        """Return the suite's folder of outputs."""
        return suite_root(self.workspace, self.suite) / "out"

    @property
    def metrics(self) -> Path:
        """Return the suite's summary."""
        return suite_root(self.workspace, self.suite) / "metrics" / f"{self.suite}.json"

    @property
    def cost(self) -> Path:
        """Return the file of the suite's time and memory, apart from its metrics."""
        return self.metrics.with_suffix(".cost.json")

    @property
    def table(self) -> Path:
        """Return the table of assets."""
        return self.root / "assets.csv"

    @property
    def report(self) -> Path:
        """Return the gallery's folder."""
        return self.root / "report"

    def model(self, name: str) -> Path:
        """Return the lock file of a recipe's prior, or of `CLIP`."""
        return self.root / "model" / f"{name}.json"

    def scene(self, name: str) -> Path:
        """Return the folder of a declared scene's files."""
        return self.root / "scene" / name

    def asset(self, asset: str) -> "AssetLayout":
        """Return the files of one asset."""
        return AssetLayout(self, asset)


@dataclass(frozen=True)
class AssetLayout:
    """The files of one asset."""

    suite: SuiteLayout
    asset: str

    @property
    def text(self) -> Path:
        """Return the features of its prompts."""
        return self.suite.root / "text" / f"{self.asset}.safetensors"

    @property
    def field(self) -> Path:
        """Return the folder of its optimised field."""
        return self.suite.root / "field" / self.asset

    @property
    def mesh(self) -> Path:
        """Return the folder of its mesh, coarse where the recipe refines it."""
        return self.suite.root / "mesh" / self.asset

    @property
    def refined(self) -> Path:
        """Return the folder of its refined mesh."""
        return self.suite.root / "refined" / self.asset

    def final_mesh(self, asset: ResolvedAsset) -> Path:
        """Return the folder of the mesh that is measured and shown."""
        return self.refined if asset.refines else self.mesh

    @property
    def evaluation(self) -> Path:
        """Return the folder of its views and metrics."""
        return self.suite.root / "evaluation" / self.asset

    def relit(self, light: str) -> Path:
        """Return the folder of its pictures under a light; never tracked."""
        return self.suite.root / "relight" / self.asset / light

    def run(self, stage: str) -> Path:
        """Return the record of what a stage ran on: code, packages, machine and inputs."""
        return self.suite.root / "run" / self.asset / f"{stage}.json"

    def cost(self, stage: str) -> Path:
        """Return the file of how long a stage took and how much memory; never tracked."""
        return self.suite.root / "cost" / self.asset / f"{stage}.json"
