"""The digest of a Python file's meaning: comments, docstrings and layout do not change it.

The tree is written out by class and field, without absent or empty parts, so that every
supported Python gives the same digest: `ast.dump` and `ast.unparse` differ between versions.
"""

import ast
import hashlib
from collections.abc import Iterator


def source_digest(source: str) -> str:
    """Return the SHA-256 of the syntax tree of `source`, as 64 hex digits.

    Raises:
        SyntaxError: where `source` is not Python.
    """
    digest = hashlib.sha256()
    for token in _tokens(ast.parse(source)):
        digest.update(token.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def _tokens(value: object) -> Iterator[str]:
    match value:
        case ast.Constant():  # not its `kind`: formatters remove the u of u"text"
            yield f"{type(value.value).__name__} {value.value!r}"
        case ast.JoinedStr():  # Python 3.12 has empty texts in an f-string, others do not
            yield "JoinedStr"
            yield from _tokens([part for part in value.values if not _is_empty_text(part)])
        case ast.AST():
            yield f"{type(value).__name__}("
            for name in value._fields:
                field = getattr(value, name, None)
                if field is not None and field != []:
                    yield name
                    yield from _tokens(field)
            yield ")"
        case list():
            yield "["
            for entry in value:
                if not _is_docstring(entry):
                    yield from _tokens(entry)
            yield "]"
        case _:
            yield f"{type(value).__name__} {value!r}"


def _is_docstring(entry: object) -> bool:
    """Return whether an entry of a block is a string that nothing uses, such as a docstring."""
    match entry:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case _:
            return False


def _is_empty_text(part: ast.expr) -> bool:
    match part:
        case ast.Constant(value=""):
            return True
        case _:
            return False
