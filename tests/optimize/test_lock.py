"""The lock ends with its process, however that ends; a child can end with its parent."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.optimize.lock import hold

HOLDER = """
import sys, time
from pathlib import Path
from dreamfusion_kit.optimize.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

PARENT = """
import subprocess, sys, time
child = "import time; from dreamfusion_kit.optimize.lock import die_with_parent;" \\
        "die_with_parent(); print('watching', flush=True); time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
assert process.stdout.readline() == 'watching\\n'
print(process.pid, flush=True)
time.sleep(60)
"""


def start(program: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a Python program and return it with the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        return process, lines.readline().strip()


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process, _ = start(HOLDER, str(path))
    try:
        with pytest.raises(CheckpointError, match=f"process {process.pid} is running"), hold(path):
            pass
    finally:
        process.kill()
        process.wait()
    with hold(path):
        assert path.read_text() == str(os.getpid())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the call exists on Linux only")
def test_a_child_dies_with_its_killed_parent() -> None:
    process, child = start(PARENT)
    # A pidfd waits for a process that is not ours to reap, without polling.
    descriptor = os.pidfd_open(int(child))
    try:
        process.send_signal(signal.SIGKILL)
        process.wait()
        readable, _, _ = select.select([descriptor], [], [], 30)
        assert readable == [descriptor]
    finally:
        os.close(descriptor)
