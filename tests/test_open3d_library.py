"""What a user reads if Open3D cannot be loaded."""

import builtins
import importlib
import sys

import pytest

from dreamfusion_kit.errors import MissingExtraError

MODULE = "dreamfusion_kit.open3d_library"


@pytest.fixture
def failing_import(monkeypatch):
    """Return a function that makes `import open3d` raise a given error."""
    real_import = builtins.__import__

    def install(error):
        def fake_import(name, *arguments, **keywords):
            if name == "open3d":
                raise error
            return real_import(name, *arguments, **keywords)

        monkeypatch.setattr(builtins, "__import__", fake_import)
        monkeypatch.delitem(sys.modules, MODULE, raising=False)

    return install


@pytest.mark.parametrize("kind", [ImportError, OSError])
def test_a_missing_system_library_names_the_debian_packages(failing_import, kind):
    failing_import(kind("libusb-1.0.so.0: cannot open shared object file"))
    with pytest.raises(MissingExtraError) as caught:
        importlib.import_module(MODULE)
    assert str(caught.value) == (
        "open3d: cannot be loaded (libusb-1.0.so.0: cannot open shared object file), a "
        "system library is missing; on Debian: apt-get install "
        "libusb-1.0-0 libgl1 libgomp1 libx11-6"
    )


def test_a_missing_package_says_what_to_install(failing_import):
    failing_import(ModuleNotFoundError("No module named 'open3d'", name="open3d"))
    with pytest.raises(MissingExtraError, match="the package open3d was not found"):
        importlib.import_module(MODULE)
