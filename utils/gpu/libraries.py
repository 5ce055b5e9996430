"""NVIDIA's libraries as pip brings them, made findable for Paddle 2.

Paddle 2.6 opens libcudnn.so and the like, pip's packages hold libcudnn.so.8: links are made in this program's cache
folder. The loader reads LD_LIBRARY_PATH once, when a process begins, so the script is started again with it.
Linux alone; Paddle 3 finds its libraries itself.
"""
import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import sys
from pathlib import Path

from utils.gpu.remembered import cache_folder
from utils.place import has_driver

# What Paddle 2.6 opens, and the file of the version that it was built with.
NAMES = {"libcudnn.so": "libcudnn.so.8", "libcublas.so": "libcublas.so.11", "libcublasLt.so": "libcublasLt.so.11",
         "libnccl.so": "libnccl.so.2"}
RESTARTED = "IMAGE_CLASSIFICATION_RESTARTED"  # in the environment of a script that was started again


def restart_where_needed():
    """Start this script again, as the same process, where that lets Paddle find libraries that pip has brought."""
    environment = environment_with_libraries()
    if environment:
        arguments = sys.orig_argv[1:] if hasattr(sys, "orig_argv") else sys.argv  # Python 3.9 keeps no options
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *arguments], environment)


def environment_with_libraries():
    """The environment in which Paddle finds pip's libraries; None where this one is as good."""
    if sys.platform != "linux" or RESTARTED in os.environ:
        return None
    brought = brought_by_pip()
    if not brought or not has_driver() or not paddle_is_2():
        return None
    unknown = {name: path for name, path in brought.items() if not is_found(name)}
    folder = links_to(unknown) if unknown else None
    if folder is None:
        return None
    folders = [folder, *sorted({path.parent for path in unknown.values()}), os.environ.get("LD_LIBRARY_PATH")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(str(each) for each in folders if each), RESTARTED: "1"}


def brought_by_pip():
    """The libraries in site-packages/nvidia/*/lib: {name that Paddle opens: file}."""
    found = {}
    for folder in filter(None, sys.path):  # the current folder, "", is none that pip writes to
        for name, file in NAMES.items():
            for path in sorted(Path(folder).glob(f"nvidia/*/lib/{file}")):
                found.setdefault(name, path)
    return found


def paddle_is_2():
    """Whether the Paddle that is installed is a GPU build of version 2; it is not imported."""
    try:
        return importlib.metadata.version("paddlepaddle-gpu").startswith("2.")
    except importlib.metadata.PackageNotFoundError:
        return False


def is_found(name):
    """Whether the loader finds a library, in a version that Paddle 2 works with."""
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return False
    version = getattr(library, "cudnnGetVersion", None)
    return version is None or version() < 9000


def links_to(libraries):
    """A folder with a link to each file under the name that Paddle opens; None where none can be written."""
    cache = cache_folder()
    if cache is None:
        return None
    text = "\n".join(f"{name} {path}" for name, path in sorted(libraries.items()))
    folder = cache / f"libraries-{hashlib.sha256(os.fsencode(text)).hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in libraries.items():
            with contextlib.suppress(FileExistsError):  # from an earlier start: the folder's name stands for the files
                (folder / name).symlink_to(path)
    except OSError:
        return None
    return folder
