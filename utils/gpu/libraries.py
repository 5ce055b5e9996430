"""NVIDIA's driver, and its libraries as pip installs them, made findable for Paddle 2 on Linux.

Paddle 2.6 opens libcudnn.so, but pip's package holds libcudnn.so.8: links are made in a cache folder. The loader reads
LD_LIBRARY_PATH when a process begins, so the script is started again.
"""
import contextlib
import ctypes
import hashlib
import os
import sys
from pathlib import Path

# What Paddle 2.6 opens, and the file that it was built with.
NAMES = {"libcudnn.so": "libcudnn.so.8", "libcublas.so": "libcublas.so.11", "libcublasLt.so": "libcublasLt.so.11",
         "libnccl.so": "libnccl.so.2"}
RESTARTED = "IMAGE_CLASSIFICATION_RESTARTED"  # in the environment of a script that was started again
CPU_ONLY, NO_DEVICE = "this Paddle is a CPU-only build", "no CUDA device or no driver found"


def has_driver():
    """Whether NVIDIA's driver is installed here; needs no Paddle."""
    return is_found("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")


def is_found(library):
    """Whether the loader finds a library; a cuDNN only in a version that Paddle 2 works with."""
    try:
        version = getattr(ctypes.CDLL(library), "cudnnGetVersion", lambda: 0)
    except OSError:
        return False
    return version() < 9000


def restart_where_needed():
    """Start this script again, as the same process, where that lets Paddle find libraries that pip installed."""
    environment = environment_with_libraries()
    if environment:
        arguments = sys.orig_argv[1:] if hasattr(sys, "orig_argv") else sys.argv  # Python 3.9 keeps no options
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *arguments], environment)


def environment_with_libraries():
    """The environment in which Paddle finds pip's libraries; None where a restart would not help."""
    if sys.platform != "linux" or RESTARTED in os.environ or not has_driver() or not paddle_version().startswith("2."):
        return None
    installed = {name: path for folder in filter(None, reversed(sys.path)) for name, file in NAMES.items()
                 for path in Path(folder).glob(f"nvidia/*/lib/{file}")}  # "" is the current folder, where none are
    libraries = {name: path for name, path in installed.items() if not is_found(name)}
    if not libraries:
        return None
    files = hashlib.sha256(os.fsencode(repr(sorted(libraries.items())))).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    links = Path(cache, "image_classification", f"libraries-{files}")
    try:
        links.mkdir(parents=True, exist_ok=True)
        for name, path in libraries.items():
            with contextlib.suppress(FileExistsError):  # from an earlier start, to the same file
                (links / name).symlink_to(path)
    except OSError:
        return None
    folders = [links, *sorted({path.parent for path in libraries.values()}), os.environ.get("LD_LIBRARY_PATH")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(str(each) for each in folders if each), RESTARTED: "1"}


def paddle_version():
    """The version of Paddle's GPU build that is installed, which is not imported; "" where none is."""
    import importlib.metadata  # slow, and seldom needed

    return next((each.version for each in importlib.metadata.distributions(name="paddlepaddle-gpu")), "")
