"""What holds in every test: shapes are checked, the network is closed, one thread."""

import os

import pytest
import torch
from jaxtyping import install_import_hook

# Pydantic's own machinery, and commands that Typer inspects, do not survive beartype.
_CHECKED = [
    f"dreamfusion_kit.{name}"
    for name in (
        "camera", "evaluation", "field", "guidance", "mesh", "optimize", "priors", "records",
        "renderer", "report", "seeding", "toybox",
    )
]  # fmt: skip
_hook = install_import_hook(_CHECKED, "beartype.beartype")

os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_configure() -> None:
    torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Close the network to every test but the browser's, which talks to its own driver."""
    from pytest_socket import disable_socket, enable_socket

    if item.get_closest_marker("browser") is None:
        disable_socket(allow_unix_socket=True)
    else:
        enable_socket()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs CUDA where there is none, and say so."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
