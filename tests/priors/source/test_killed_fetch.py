"""A fetch that is killed in the middle of a file."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from dreamfusion_kit.recipe import yaml_text

from .hub_server import HubServer, Repository, sha256
from .test_fetch import REVISION, UNET, hub, lock_of

ROOT = Path(__file__).parents[3]


def test_a_killed_fetch_resumes_where_it_stopped(
    hub_server: HubServer, pipeline: Path, tmp_path: Path
) -> None:
    """With pieces of 10 MiB, from the command line."""
    mebibyte = 1 << 20
    files = {
        path.relative_to(pipeline).as_posix(): path.read_bytes()
        for path in pipeline.rglob("*.json")
    }
    files[UNET] = random.Random(0).randbytes(24 * mebibyte)
    served = Repository(REVISION, files, stalls={UNET: 22 * mebibyte})
    hub_server.repositories["someone/model"] = served
    workspace = shutil.copytree(ROOT / "tests/recipe/data/workspace", tmp_path / "workspace")
    recipe = workspace / "recipes" / "toybox.yaml"
    data = yaml_text.parse(recipe.read_text(), "toybox.yaml").data
    source = hub().model_dump(mode="json") | {"files": ["*.json", UNET]}
    data["prior"] |= {"source": source, "image_size_px": 8}
    recipe.write_text(yaml_text.dump(data))
    command = [sys.executable, str(ROOT / "cli.py"), "fetch", "toybox"]
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub_server.hub_url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
    }
    environment.pop("HF_HUB_CACHE", None)
    part = tmp_path / "home/hub/models--someone--model/blobs" / f"{sha256(files[UNET])}.incomplete"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], cwd=workspace, env=environment, capture_output=True, text=True
        )

    killed = subprocess.Popen(command, cwd=workspace, env=environment)
    try:
        deadline = time.monotonic() + 300
        while not (part.exists() and part.stat().st_size >= 20 * mebibyte):
            assert killed.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    hub_server.released.set()

    offline = run("--offline")
    assert offline.returncode == 2
    assert f"the cache lacks {UNET};" in offline.stderr
    sent = hub_server.bytes_of(UNET)
    served.stalls.clear()
    assert run().returncode == 0
    assert hub_server.bytes_of(UNET) - sent == 4 * mebibyte
    snapshot = tmp_path / f"home/hub/models--someone--model/snapshots/{REVISION}"
    assert lock_of({name: (snapshot / name).read_bytes() for name in files}) == lock_of(files)
    assert run("--offline").stdout == "out/model/toybox.json\n"
