"""How many bytes of tensors a computation holds at once, counted while it runs.

Every torch operation passes through the counter. The memory behind a new tensor counts from
then on until the last tensor on it is freed; memory that existed before does not count.
On the meta device, where tensors have shapes but no numbers, a model of any size is counted
on any machine.

Not seen: what a kernel takes and gives back inside one operation (a convolution's
workspace), and the allocator's rounding and fragmentation.
"""

import weakref
from collections.abc import Iterator
from typing import Any, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@final
class LiveMemory(TorchDispatchMode):
    """Counts inside a `with` block: `alive_bytes` now, `peak_bytes` at the peak."""

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.alive_bytes = 0
        self.peak_bytes = 0
        # By `id`, which is free for another storage once the reference has called back.
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(  # Any: operations take and return anything.
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, and count the new memory behind its results."""
        for storage in _storages((args, kwargs)):
            if id(storage) not in self._known:
                self._remember(storage, 0)  # it came from outside the block
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if id(storage) not in self._known:
                self._remember(storage, storage.nbytes())
        return result

    def _remember(self, storage: torch.UntypedStorage, num_bytes: int) -> None:
        """Count `num_bytes` until the storage is freed."""
        key = id(storage)

        def forget(_: object) -> None:
            del self._known[key]
            self.alive_bytes -= num_bytes

        self._known[key] = weakref.ref(storage, forget)
        self.alive_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.alive_bytes)


def _storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    """Yield the storages behind the tensors of nested arguments; views share them.

    Torch's own walk of such trees knows any container, and takes longer than most operations.
    """
    if isinstance(tree, torch.Tensor):
        yield tree.untyped_storage()
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from _storages(part)
    elif isinstance(tree, dict):
        for part in tree.values():
            yield from _storages(part)
