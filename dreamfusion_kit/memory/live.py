"""How many bytes of tensors a computation holds at once, counted while it runs.

Every torch operation passes through the counter. The memory behind a new tensor counts from
then on until the last tensor on it is freed; memory that existed before does not count.
On the meta device, where tensors have shapes but no numbers, a model of any size is counted
on any machine.

Not seen: what a kernel takes and gives back inside one operation (a convolution's
workspace), and the allocator's rounding and fragmentation.
"""

import weakref
from typing import Any, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


@final
class LiveMemory(TorchDispatchMode):
    """Counts inside a `with` block: `alive_bytes` now, `peak_bytes` at the peak."""

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.alive_bytes = 0
        self.peak_bytes = 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(  # Any: operations take and return anything.
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, and count the new memory behind its results."""
        for storage in _storages((args, kwargs)):
            self._known.setdefault(storage, True)  # it came from outside the block
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage not in self._known:
                self._known[storage] = True
                self._grow(storage.nbytes())
                weakref.finalize(storage, self._grow, -storage.nbytes()).atexit = False
        return result

    def _grow(self, num_bytes: int) -> None:
        self.alive_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.alive_bytes)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    """Return the storages behind the tensors of nested arguments; views share them."""
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [tensor.untyped_storage() for tensor in tensors]
