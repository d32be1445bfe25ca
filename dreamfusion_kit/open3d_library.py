"""Open3D, imported in one place: quiet, and with a message that says what is missing.

Open3D links system libraries that a bare Debian lacks; its own error names a single
`.so` file. Nothing here opens a window or an OpenGL context.
"""

from dreamfusion_kit.errors import MissingExtraError

_DEBIAN_PACKAGES = "libusb-1.0-0 libgl1 libgomp1 libx11-6"

try:
    import open3d
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"open3d: the package {error.name} was not found, meshes are processed by Open3D; "
        "install the kit with its dependencies (pip install dreamfusion-kit)"
    ) from error
except (ImportError, OSError) as error:
    raise MissingExtraError(
        f"open3d: cannot be loaded ({error}), a system library is missing; "
        f"on Debian: apt-get install {_DEBIAN_PACKAGES}"
    ) from error

# Open3D writes progress to stdout, which belongs to the command's result.
open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)

__all__ = ["open3d"]
