"""The browser of the gallery's tests."""

from ..conftest import chromium, chromium_path  # noqa: F401
