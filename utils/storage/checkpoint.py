"""A run on disk: everything that training needs to resume as if it had never been interrupted. Needs no Paddle."""
import io
import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from utils.errors import UserError
from utils.storage.files import whole_file

VERSION = 2


class Head(NamedTuple):
    """What a checkpoint says about its run; see Checkpoint."""
    settings: dict
    progress: dict


class Checkpoint(NamedTuple):
    """State of a run between two batches.

    arrays: the program's persistable variables by name (weights, batch-norm statistics, Adam's moments and powers).
    settings: what the run was started with.
    progress: {"epoch", "batch": the next one to train, "history": points and tests for the curves, "window": costs
    and accuracies since the last point, "seconds": spent so far, "finished"}.
    statistics: float64 [workers, n], batch normalization's running statistics of each worker inside a pass; None
    where all workers have the same.
    The state of shuffle, augmentation and dropout needs no place of its own: it follows from seed, epoch and batch.
    """
    arrays: dict
    settings: dict
    progress: dict
    statistics: Optional[np.ndarray] = None


def beginning():
    """The progress of a run that has not begun."""
    return {"epoch": 0, "batch": 0, "history": {"points": [], "tests": []}, "window": [], "seconds": 0.0,
            "finished": False}


def write(path, checkpoint):
    """Write a checkpoint whole or not at all; the one before stays until then."""
    head = {"version": VERSION, "settings": checkpoint.settings, "progress": checkpoint.progress,
            "written": time.strftime("%Y-%m-%d %H:%M:%S")}
    members = {f"v:{name}": array for name, array in checkpoint.arrays.items()}
    if checkpoint.statistics is not None:
        members["statistics"] = checkpoint.statistics
    content = io.BytesIO()  # not the file itself: a full disk would leave a half-made archive behind that complains
    np.savez(content, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **members)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read(path):
    """Read a checkpoint; UserError where there is none or it is damaged (no code of a stranger's file runs)."""
    return _read(path, whole=True)


def read_head(path, missing_is_error=True):
    """What a checkpoint says about its run, without the arrays -> Head, or None where none need be there."""
    try:
        if not missing_is_error and not Path(path).exists():
            return None
    except OSError as error:
        raise UserError(f"cannot use the folder {Path(path).parent}: {error.strerror}") from error
    saved = _read(path, whole=False)
    return Head(saved.settings, saved.progress)


def _read(path, whole):
    """Read a checkpoint, without its arrays where not `whole`."""
    path = Path(path)
    try:
        if not path.exists():
            raise UserError(f"no checkpoint at {path}: nothing to resume; start without --resume")
        with np.load(path, allow_pickle=False) as members:
            if any(entry.file_size > entry.compress_size for entry in members.zip.infolist()):
                raise ValueError("it is compressed")  # training never does; a small file could fill the memory
            head = json.loads(members["head"].tobytes())
            if head["version"] != VERSION:
                raise UserError(f"{path} has format {head['version']}, this program reads {VERSION}: start over in "
                                "another --model-dir")
            arrays = {name[2:]: members[name] for name in members.files if name.startswith("v:")} if whole else {}
            statistics = members["statistics"] if whole and "statistics" in members.files else None
        return Checkpoint(arrays, dict(head["settings"]), head["progress"], statistics)
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, RuntimeError, MemoryError,
            zipfile.BadZipFile) as error:
        raise UserError(f"the checkpoint {path} is damaged ({error}); remove it and start over") from error


def holds_finished_model(folder, head):
    """Whether a folder has a model that a whole run ended with; `head` is its checkpoint's, or None."""
    return (Path(folder) / "description.json").exists() and not (head and head.settings.get("max_batches"))


def keep_aside(folder):
    """Copy a folder's files to FOLDER.earlier, in the place of what was there; returns that path.

    Errors: UserError where that cannot be written; both folders are then as they were.
    """
    folder = Path(folder).resolve()
    target, partial = (folder.with_name(f"{folder.name}{ending}") for ending in (".earlier", ".earlier.partial"))
    try:
        if partial.exists():
            shutil.rmtree(partial)
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns(".*"))
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"cannot write {target}, where the finished model in {folder} would be kept aside: "
                        f"{getattr(error, 'strerror', None) or error}; it is kept where it is") from error
    return target
