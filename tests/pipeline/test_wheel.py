"""The wheel makes an asset in an empty folder, with nothing of the clone in reach."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from dreamfusion_kit.identity.code import code_digests

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
SMALLER = {  # the protocol of a new workspace, cut to what a test needs
    "num_azimuths: 8": "num_azimuths: 2",
    "image_size_px: 128": "image_size_px: 64",
    "num_frames: 36": "num_frames: 2",
    "num_points: 20000": "num_points: 500",
    "surface_resolution: 128": "surface_resolution: 24",
    "iou_resolution: 64": "iou_resolution: 16",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables of a bare environment with the wheel, beside its dependencies."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Python reads no .pth files there: an editable clone among them stays out of reach.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
    }


def test_the_wheel_carries_all_that_a_workspace_is_made_from(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("recipes", "protocols"):
        for path in (ROOT / folder).glob("*.yaml"):
            assert f"dreamfusion_kit/workspace/shipped/{folder}/{path.name}" in names
    assert "dreamfusion_kit/workspace/shipped/dvc.yaml" in names
    for folder in ("toybox/weights", "workspace/templates", "report/templates", "report/vendor"):
        for path in (ROOT / "dreamfusion_kit" / folder).rglob("*"):
            if path.is_file():
                assert path.relative_to(ROOT).as_posix() in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_an_asset_is_made_without_the_clone(environment: dict[str, str], tmp_path: Path) -> None:
    def run(*command: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert str(ROOT) not in done.stdout + done.stderr
        return done.stdout

    found = Path(run("python", "-c", "import dreamfusion_kit as kit; print(kit.__file__)").strip())
    assert not found.is_relative_to(ROOT)
    assert "site-packages" in found.parts
    run("dreamfusion-kit", "init", "assets", "--recipe", "analytic")
    workspace = tmp_path / "assets"
    kit = json.loads((workspace / "kit.json").read_text())
    assert kit["code"] == code_digests()  # the same code, wherever it is

    params = workspace / "params.yaml"
    text = params.read_text()
    for old, new in SMALLER.items():
        assert old in text
        text = text.replace(old, new)
    params.write_text(text)
    run("dreamfusion-kit", "validate", folder=workspace)
    ran = re.findall(
        r"Running stage '([^']+)'", run("python", "-m", "dvc", "repro", folder=workspace)
    )
    assert {"kit", "optimize@red_mug", "mesh@red_mug", "evaluate@red_mug", "report"} <= set(ran)
    assert (workspace / "out/mesh/red_mug/mesh.glb").read_bytes()[:4] == b"glTF"
    assert (workspace / "out/report/index.html").is_file()
    again = run("python", "-m", "dvc", "repro", folder=workspace)
    assert re.findall(r"Running stage '([^']+)'", again) == ["kit"]
    assert run("dreamfusion-kit", "upgrade", folder=workspace) == "everything is up to date\n"
    for name in ("toybox", "analytic"):  # as another version of the wheel would bring them
        shipped = found.parent / "workspace/shipped/recipes" / f"{name}.yaml"
        shipped.write_text(shipped.read_text() + "# Another version.\n")
    own = workspace / "recipes" / "toybox.yaml"
    own.write_text("# Mine.\n" + own.read_text())
    replaced, kept = run("dreamfusion-kit", "upgrade", folder=workspace).splitlines()
    assert replaced.startswith("recipes/analytic.yaml: written")
    assert kept.startswith("recipes/toybox.yaml: edited by hand, kept; `dreamfusion-kit upgrade ")
    patch = run("dreamfusion-kit", "upgrade", "--diff", folder=workspace)
    assert [line for line in patch.splitlines() if line[:1] in "+-"] == [
        "--- a/recipes/toybox.yaml",
        "+++ b/recipes/toybox.yaml",
        "-# Mine.",
        "+# Another version.",
    ]
    run("dreamfusion-kit", "suite", "new", "more", folder=workspace)
    ball = ("ball", "a ball", "--recipe", "analytic", "--suite", "more")
    run("dreamfusion-kit", "suite", "add", *ball, folder=workspace)
    listed = run(
        "python", "-m", "dvc", "stage", "list", "-R", ".", folder=workspace / "suites/more"
    )
    assert "assets/ball/dvc.yaml:optimize" in listed
