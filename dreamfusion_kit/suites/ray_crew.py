"""Workers on a Ray cluster: one actor per worker, each in a clone on its node."""

import os
import signal
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion_kit.errors import MissingExtraError, SuiteError, printable, shortened
from dreamfusion_kit.suites.crew import Died, Worker
from dreamfusion_kit.suites.remote_crew import RemoteCrew
from dreamfusion_kit.suites.site import Handed, Order, Place, Site, run_stage_with_models
from dreamfusion_kit.suites.snapshot import Snapshot
from dreamfusion_kit.suites.status import log_file
from dreamfusion_kit.suites.worker import Message, RunStage

if TYPE_CHECKING:  # torch takes seconds to import
    from dreamfusion_kit.suites.needs import Needs

LOCAL = "local"
_LISTEN_S = 1.0
_CLOSE_S = 10.0
_OBJECT_STORE_BYTES = 100 << 20  # orders and messages are small, outputs take the remote


class RayCrew(RemoteCrew):
    """As many workers as the cluster has room for, or fewer."""

    def __init__(
        self,
        workspace: Path,
        suite: str,
        *,
        device: str,
        address: str,
        jobs: int | None = None,
        run_stage: RunStage = run_stage_with_models,
    ) -> None:
        """Prepare to use the cluster at `address`, or one that lives as long as the run.

        Args:
            workspace: The workspace.
            suite: The suite.
            device: cpu, or cuda for one GPU per worker.
            address: The head node's HOST:PORT, `auto`, or `LOCAL`.
            jobs: The most workers; None is as many as there is room for.
            run_stage: The default, except in tests.
        """
        super().__init__(workspace, suite, device=device, run_stage=run_stage)
        self._address, self._jobs = address, jobs
        self._output = ExitStack()
        self._actors: dict[int, Any] = {}  # by the worker's place in `workers`
        self._streams: dict[int, Any] = {}

    def _start(self) -> None:
        ray = _ray()
        # Ray prints what happens to its workers: not into the driver's own output.
        log = log_file(self._workspace, self._suite.name, "ray")
        log.parent.mkdir(parents=True, exist_ok=True)
        self._output.enter_context(redirect_stdout(self._output.enter_context(log.open("a"))))
        with _signals_kept():
            _connect(ray, self._address)
        room = _room(ray.nodes(), self._needs)
        count = room if self._jobs is None else min(room, self._jobs)
        self.workers = [Worker(self._setting) for _ in range(count)]
        self._shared = ray.put((self._snapshot, self._place))

    def _send(self, worker: Worker, order: Order) -> None:
        index = self.workers.index(worker)
        if index not in self._actors:
            self._actors[index] = _actor(_ray(), self._needs).remote(self._shared)
        make = self._actors[index].make.options(num_returns="streaming")
        self._streams[index] = make.remote(order)

    def _messages(self) -> Iterator[tuple[Worker, Message | Died | Handed]]:
        ray = _ray()
        indices = {stream: index for index, stream in self._streams.items()}
        ready, _ = ray.wait(list(indices), num_returns=1, timeout=_LISTEN_S)
        for stream in ready:
            index = indices[stream]
            try:
                yield self.workers[index], ray.get(next(stream))
            except StopIteration:
                del self._streams[index]
            except ray.exceptions.RayError as error:
                del self._streams[index]
                ray.kill(self._actors.pop(index))
                yield self.workers[index], Died(_reason(error))

    def _stop(self) -> None:
        ray = _ray()
        with self._output:
            if self._actors:
                idle = [self._actors[i] for i in self._actors if self.workers[i].job is None]
                with suppress(ray.exceptions.RayError):  # the next on that node removes its clone
                    ray.get([actor.close.remote() for actor in idle], timeout=_CLOSE_S)
            for actor in self._actors.values():
                ray.kill(actor)
            ray.shutdown()


class _RemoteSite:
    """The actor."""

    def __init__(self, shared: tuple[Snapshot, Place]) -> None:
        self._site = Site(*shared).__enter__()

    def make(self, order: Order) -> Iterator[Message | Died | Handed]:
        yield from self._site.make(order)

    def close(self) -> None:
        self._site.__exit__(None, None, None)


def _actor(ray: Any, share: "Needs") -> Any:
    return ray.remote(_RemoteSite).options(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        memory=share.memory_bytes,
        max_restarts=0,  # the driver gives the asset to another
    )


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "--ray: Ray is not installed; run `pip install dreamfusion-kit[ray]`"
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        if len(tempfile.gettempdir()) > len("/tmp"):  # its sockets' names are limited in length
            options["_temp_dir"] = "/tmp/ray"
    elif any(_has_token()):  # as `ray start` does, which `ray.init` does not follow
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = shortened(printable((str(error).strip().splitlines() or ["?"])[0]), 200)
        raise SuiteError(
            f"--ray {printable(address)}: no connection ({reason}); expected the address of a "
            "running cluster, such as 10.0.0.1:6379, or local"
        ) from error


def _has_token() -> Iterator[bool]:
    yield "RAY_AUTH_TOKEN" in os.environ
    yield "RAY_AUTH_TOKEN_PATH" in os.environ
    yield (Path.home() / ".ray" / "auth_token").is_file()


def _room(nodes: Sequence[dict[str, Any]], share: "Needs") -> int:
    """Return how many workers the cluster's nodes have room for.

    Raises:
        SuiteError: if there is no room for one.
    """
    wanted = {"CPU": share.cpus, "GPU": share.gpus, "memory": share.memory_bytes}
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    room = sum(
        min(int(found.get(name, 0) // amount) for name, amount in wanted.items() if amount)
        for found in alive
    )
    if room > 0:
        return room
    largest = {name: max((node.get(name, 0) for node in alive), default=0) for name in wanted}
    raise SuiteError(
        f"--ray: no node has room for a worker, which needs {_amounts(wanted)}; the "
        f"largest has {_amounts(largest)}; add a larger node, or lower OMP_NUM_THREADS"
    )


def _amounts(resources: dict[str, Any]) -> str:
    memory = resources["memory"] / 2**30
    return f"{resources['CPU']:g} CPUs, {resources['GPU']:g} GPUs and {memory:.2f} GiB"


def _reason(error: Exception) -> str:
    """Return how an actor ended, in one line."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    text = (lines or ["?"])[-1].removeprefix("The actor is dead because ")
    return f"its Ray worker ended ({shortened(printable(text), 120)})"


@contextmanager
def _signals_kept() -> Generator[None, None, None]:
    """Restore the handlers that `ray.init` replaces."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
