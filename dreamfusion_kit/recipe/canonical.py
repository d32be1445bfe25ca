"""One text, and one hash, for equal data.

Keys are sorted and equal numbers are written alike, so that 1 and 1.0, or the same keys
in another order, give the same identity.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from pydantic import BaseModel


def canonical_json(value: object) -> str:
    """Return `value`, made of JSON types, tuples and pydantic models, as canonical JSON.

    Raises:
        TypeError: for anything that JSON cannot represent, including non-string keys.
        ValueError: for infinity and not-a-number.
    """
    return json.dumps(_normal(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def identity(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _normal(value: object) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            # An integral float becomes an int, which is exact at any size; -0.0 becomes 0.
            return int(value) if math.isfinite(value) and value.is_integer() else value
        case BaseModel():
            return _normal(value.model_dump(mode="json"))
        case Mapping():
            return {_text_key(key): _normal(entry) for key, entry in value.items()}
        case Sequence() if not isinstance(value, bytes | bytearray):
            return [_normal(entry) for entry in value]
        case _:
            raise TypeError(f"found {type(value).__name__}, expected data that JSON has a form for")


def _text_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"found the key {key!r}, expected text")
    return key
