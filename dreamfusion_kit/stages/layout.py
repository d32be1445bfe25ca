"""Where every stage's files lie in a workspace.

    out/<suite>/model/<recipe>.json   what was fetched, hashed per file
    out/<suite>/text/<asset>.safetensors
    out/<suite>/field/<asset>/        field.safetensors, previews/, live/
    out/<suite>/mesh/<asset>/         mesh.glb .obj .mtl .ply .json, albedo.png
    out/<suite>/evaluation/<asset>/   metrics.json, features.safetensors, views/, turntable.webp
    out/<suite>/run/<asset>/          optimize.json, mesh.json: from what, by which machine
    out/<suite>/cost/<asset>/         optimize.json, mesh.json: how long, how much memory
    out/<suite>/assets.csv            one row per asset
    out/<suite>/report/index.html     the gallery
    metrics/<suite>.json              the suite's summary and a row per asset
    metrics/<suite>.cost.json         what it took

Clocks and machines appear under run/ alone, so that everything else is the same bytes
wherever and whenever it is made again.
"""

from dataclasses import dataclass
from pathlib import Path

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
        return self.workspace / "out" / self.suite

    @property
    def metrics(self) -> Path:
        """Return the suite's summary."""
        return self.workspace / "metrics" / f"{self.suite}.json"

    @property
    def cost(self) -> Path:
        """Return what the suite took, apart from its metrics."""
        return self.workspace / "metrics" / f"{self.suite}.cost.json"

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
        """Return the folder of its mesh."""
        return self.suite.root / "mesh" / self.asset

    @property
    def evaluation(self) -> Path:
        """Return the folder of its views and metrics."""
        return self.suite.root / "evaluation" / self.asset

    def run(self, stage: str) -> Path:
        """Return the record of when, where and how long a stage ran."""
        return self.suite.root / "run" / self.asset / f"{stage}.json"

    def cost(self, stage: str) -> Path:
        """Return how long a stage ran and how much memory it held; often absent."""
        return self.suite.root / "cost" / self.asset / f"{stage}.json"
