"""What holds in every test: shapes are checked, the network is closed, one thread."""

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

# Before the first import that could read them.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # its kernels then run on a CPU, slowly

from jaxtyping import install_import_hook
from pytest_socket import disable_socket, enable_socket

# Triton reads a kernel's own globals, which a wrapper does not have.
_FIELD = tuple(
    f"field.{path.stem}"
    for path in (Path(__file__).parents[1] / "dreamfusion_kit" / "field").glob("*.py")
    if path.stem != "hash_kernels"
)
# Not recipe/, whose pydantic models check themselves, nor cli and stages, which hold no
# tensor functions and whose signatures Typer inspects.
_CHECKED = (
    "camera", "evaluation", *_FIELD, "guidance", "image_files", "memory", "mesh", "model",
    "optimize", "priors", "records", "renderer", "report", "seeding", "shape", "toybox",
)  # fmt: skip
# As for the type checker, an int is a float (PEP 484).
_CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook([f"dreamfusion_kit.{name}" for name in _CHECKED], _CHECKER)


def pytest_configure() -> None:
    """Use one thread: workers run side by side, and sums keep their order.

    A shell starts background jobs with interrupts ignored, and what tests start would inherit it.
    """
    torch.set_num_threads(1)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Close the network to every test but the browser's, which talks to its own driver."""
    if item.get_closest_marker("browser") is None:
        disable_socket(allow_unix_socket=True)
    else:
        enable_socket()


def pytest_runtest_teardown() -> None:
    """Open it again for what runs between tests."""
    enable_socket()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need CUDA if there is none, and say so."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def allocator_peak() -> Callable[[Callable[[], object]], int]:
    """Return a function that runs another and gives the bytes that it had allocated at most.

    From the profiler's list of allocations: beside the counting that the kit does, and with
    what a kernel takes inside one operation.
    """

    def peak(run: Callable[[], object]) -> int:
        with torch.profiler.profile(profile_memory=True) as profile:
            run()
        events = profile.profiler.kineto_results.events()
        changes = [(event.start_ns(), event.nbytes()) for event in events
                   if event.name() == "[memory]"]  # fmt: skip
        assert changes
        return max(itertools.accumulate(size for _, size in sorted(changes)))

    return peak


@pytest.fixture
def no_global_draws() -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which NumPy's and torch's global generators must rest.

    Python's is not watched: beartype draws from it, in the tests alone.
    """

    def states() -> list[object]:
        kind, keys, *rest = np.random.get_state()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        numbers = [state.tolist() for state in [torch.get_rng_state(), *cuda]]
        return [kind, np.asarray(keys).tolist(), rest, *numbers]

    @contextmanager
    def guarded() -> Iterator[None]:
        before = states()
        yield
        assert states() == before

    return guarded


@pytest.fixture
def count_calls() -> Callable[..., int]:
    """Return a function that runs another with its arguments and counts the calls in it.

    A measure of work that does not depend on the machine or on what else runs there.
    """

    def count(run: Callable[..., object], *arguments: object) -> int:
        calls = 0

        def note(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event in {"call", "c_call"}

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            run(*arguments)
        finally:
            sys.setprofile(before)
        return calls

    return count


_VALIDATE = """
const validator = require(process.argv[1]);
const content = new Uint8Array(require("fs").readFileSync(process.argv[2]));
validator.validateBytes(content).then((report) => console.log(JSON.stringify(report.issues)));
"""


@pytest.fixture
def validate_gltf() -> Callable[[Path], dict[str, Any]]:
    """Return a function that gives the issues that Khronos' validator finds in a GLB."""
    from playwright._impl._driver import compute_driver_executable

    node, _ = compute_driver_executable()
    validator = Path(__file__).parent / "vendor" / "gltf_validator" / "index.js"

    def validate(path: Path) -> dict[str, Any]:
        command = [node, "-e", _VALIDATE, str(validator), str(path.resolve())]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return validate


@pytest.fixture
def benchmark_program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return what loads a program of benchmarks/ by its name, for one test."""
    return partial(_program, monkeypatch, "benchmarks")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return what loads a program of scripts/ by its name, for one test."""
    return partial(_program, monkeypatch, "scripts")


def _program(monkeypatch: pytest.MonkeyPatch, folder: str, name: str) -> ModuleType:
    path = Path(__file__).parents[1] / folder / f"{name}.py"
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
