"""The digest of a Python file's meaning: no comment, docstring or layout changes it.

The tree is written out by class and field, without what is absent or empty, so that every
supported Python gives the same digest: `ast.dump` and `ast.unparse` differ between versions.
"""

import ast
import hashlib
from collections.abc import Iterator

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


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
        case ast.AST():
            yield f"{type(value).__name__}("
            for name in value._fields:
                field = _body(value) if name == "body" else getattr(value, name, None)
                if field is not None and field != []:
                    yield name
                    yield from _tokens(field)
            yield ")"
        case list():
            yield "["
            for entry in value:
                yield from _tokens(entry)
            yield "]"
        case _:
            yield f"{type(value).__name__} {value!r}"


def _body(node: ast.AST) -> object:
    """Return the body of a module, class or function without its docstring."""
    body = getattr(node, "body", None)
    if not isinstance(node, _DOCUMENTED) or not node.body:
        return body
    match node.body[0]:
        case ast.Expr(value=ast.Constant(value=str())):
            return node.body[1:]
        case _:
            return body
