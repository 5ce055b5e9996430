"""What earlier trials of CUDA devices found, in a small file, so that a second start does not pay for a trial.

Where there is no folder for it, or the file is damaged, nothing is remembered.
"""
import contextlib
import json
import os
from pathlib import Path

from utils.errors import UserError
from utils.storage.files import whole_file

FILE = "cuda_devices.json"
LARGEST = 2 ** 16  # bytes, far beyond what is written here


def cache_folder():
    """This program's folder for what can be found out again; None where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "image_classification" if os.path.isabs(base) else None


def recall(key):
    """Whether the device that `key` describes works, as an earlier trial found; None where nothing is known."""
    return _read().get(key)


def remember(key, works):
    """Keep what a trial has found."""
    folder = cache_folder()
    if folder is not None:
        with contextlib.suppress(UserError), whole_file(folder / FILE) as temporary:
            temporary.write_text(json.dumps({**_read(), key: works}, indent=1), encoding="utf-8")


def _read():
    """All that is remembered: {key: whether that device works}."""
    folder = cache_folder()
    try:
        if folder is None or not (folder / FILE).is_file() or (folder / FILE).stat().st_size > LARGEST:
            return {}
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: works for key, works in found.items() if isinstance(works, bool)} if isinstance(found, dict) else {}
