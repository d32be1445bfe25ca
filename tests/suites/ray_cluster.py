"""A Ray cluster of real nodes on loopback, as `ray start` makes one on several machines."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .conftest import HANG_S, environment

_RAY = Path(sys.executable).parent / "ray"


class RayCluster:
    """A head and a second node, each with some of the resources. Use it as a context manager."""

    def __init__(self, *, num_cpus: int = 1) -> None:
        """Prepare two nodes with `num_cpus` each."""
        # Not pytest's folder: the paths of sockets are limited to some 100 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self._num_cpus = num_cpus
        # Its own, so that no token of this machine's user is read or made.
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_TEST_CLUSTER": str(self._folder),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        self._nodes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "RayCluster":
        self._start("--head", "--port=0", "--include-dashboard=false")
        self.address = self._wait_for_address()
        self._start(f"--address={self.address}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self._nodes:
            node.terminate()  # ends what it started
        for node in self._nodes:
            with suppress(subprocess.TimeoutExpired):
                node.wait(60)
        deadline = time.monotonic() + HANG_S
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)  # a killed process is listed until it is gone
        for node in self._nodes:
            node.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def processes(self) -> list[int]:
        """Return the cluster's processes: the daemons and their workers."""
        return [
            pid
            for pid, environ in _environments()
            if f"RAY_TEST_CLUSTER={self._folder}".encode() in environ
        ]

    def workers(self) -> list[int]:
        """Return the processes of actors that hold a clone."""
        return [pid for pid in self.processes() if b"ray::_RemoteSite" in _command_line(pid)]

    def _start(self, *options: str) -> None:
        command = [
            _RAY, "start", *options, "--block", f"--num-cpus={self._num_cpus}",
            "--num-gpus=0", "--memory=4000000000", "--object-store-memory=80000000",
            "--node-ip-address=127.0.0.1", "--disable-usage-stats",
        ]  # fmt: skip
        if "--head" in options:
            command.append(f"--temp-dir={self._folder}")
        index = len(self._nodes)
        log = (self._folder / f"node-{index}.log").open("wb")
        self._nodes.append(
            subprocess.Popen(
                [str(part) for part in command],
                env=environment() | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        )
        log.close()

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + HANG_S
        path = self._folder / "ray_current_cluster"
        while not (path.is_file() and path.read_text()):
            assert self._nodes[0].poll() is None, (self._folder / "node-0.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return path.read_text().strip()


def _environments() -> list[tuple[int, list[bytes]]]:
    found: list[tuple[int, list[bytes]]] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append((int(process.name), (process / "environ").read_bytes().split(b"\0")))
    return found


def _command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
