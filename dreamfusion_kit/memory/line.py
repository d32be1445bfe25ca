"""Reading a large count off the line through two small ones."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

# A dataclass of counts.
CountsT = TypeVar("CountsT")


def extrapolate(count: Callable[[int], CountsT], size: int, *, most: int) -> CountsT:
    """Return `count(size)`; beyond `most`, extrapolate from the counts at `most` and half of it.

    A count is a constant plus a multiple of the size.
    """
    if size <= most:
        return count(size)
    half = most // 2
    return line(count(half), count(most), (size - half) / (most - half))


def line(near: CountsT, far: CountsT, share: float) -> CountsT:
    """Return `near + share (far - near)`, field by field, rounded."""
    values = {
        field.name: round(getattr(near, field.name) + share * _rise(near, far, field.name))
        for field in dataclasses.fields(near)  # pyright: ignore[reportArgumentType]
    }
    return type(near)(**values)


def _rise(near: object, far: object, name: str) -> int:
    return getattr(far, name) - getattr(near, name)
