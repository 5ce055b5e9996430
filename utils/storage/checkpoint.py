"""A run on disk: everything that training needs to resume as if it had never been interrupted. Needs no Paddle."""
import contextlib
import io
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from utils.errors import UserError, shown
from utils.storage.files import folder_lock, md5_of, whole_file

MARK = ".kept-aside"  # the file in FOLDER.earlier that says what this program put there


class Checkpoint(NamedTuple):
    """State of a run between two batches; shuffle, augmentation and dropout follow from seed, epoch and batch.

    arrays: the program's persistable variables by name (weights, batch-norm statistics, Adam's moments and powers).
    settings: what the run was started with.
    progress: {"run": a name of its own, which its models have too, "epoch", "batch": the next one to train, "history":
    points, tests and rows to show, "window": what the next point is the mean of, "seconds": spent so far, "finished"}.
    statistics: float64 [workers, n], batch normalization's of each worker inside a pass; None where all have the same.
    """
    arrays: dict
    settings: dict
    progress: dict
    statistics: Optional[np.ndarray] = None


def beginning():
    """The progress of a run that has not begun."""
    return {"run": secrets.token_hex(8), "epoch": 0, "batch": 0, "history": {"points": [], "tests": []}, "window": [],
            "seconds": 0.0, "finished": False}


def write(path, checkpoint):
    """Write a checkpoint whole or not at all; the one before stays until then."""
    members = {f"v:{name}": array for name, array in checkpoint.arrays.items()}
    if checkpoint.statistics is not None:
        members["statistics"] = checkpoint.statistics
    head = {"settings": checkpoint.settings, "progress": checkpoint.progress, "members": list(members)}
    content = io.BytesIO()  # not the file itself: a full disk would leave a half-made archive behind that complains
    np.savez(content, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **members)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read(path, whole=True):
    """Read a checkpoint, without its arrays where not `whole`; no code of a stranger's file runs.

    Errors: UserError where there is none, or it is damaged.
    """
    if not os.path.exists(path):
        raise UserError(f"no checkpoint at {path}: nothing to resume; start without --resume")
    try:
        with np.load(path, allow_pickle=False) as members:
            head = json.loads(members["head"].tobytes())
            if not set(head.get("members", [])) <= set(members.files):
                raise ValueError("a part is missing")
            arrays = {name[2:]: members[name] for name in members.files if whole and name.startswith("v:")}
            statistics = members["statistics"] if "statistics" in members.files else None
        return Checkpoint(arrays, dict(head["settings"]), head["progress"], statistics)
    except Exception as error:  # zipfile and numpy raise almost anything on damaged files
        raise UserError(f"the checkpoint {path} is damaged ({shown(error)[:200]}); remove it and start over") from error


# -- A finished model in the folder of another run


def described(folder):
    """What a folder's description.json says; one that is damaged, or of an earlier version, is of a finished run."""
    try:
        return {"finished": True, **json.loads((Path(folder) / "description.json").read_bytes())}
    except (ValueError, TypeError):
        return {"finished": True}
    except OSError:
        return {"finished": False}


def copy_aside(folder, run):
    """Before a run begins, copy the finished model that it would replace, for `put_aside` -> the copy's path or None.

    run: name of the unfinished run that is resumed, whose own model needs no copy; None where a run begins.
    Errors: UserError where FOLDER.earlier cannot be written, or is not this program's to replace.
    """
    model, target = described(folder), Path(f"{Path(folder).resolve()}.earlier")
    is_own = run is not None and model.get("run", run) == run
    if not model["finished"] or is_own or model == described(target) and _is_made_here(target):
        return None
    with _replaceable(folder) as (_, copy):
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in Path(folder).iterdir():
            if path.is_file() and path.name[0] != ".":
                shutil.copy2(path, copy)
        (copy / MARK).write_bytes(_contents(copy))
    return copy


def put_aside(folder):
    """Move what `copy_aside` copied to FOLDER.earlier, in the place of what was there; returns that path."""
    with _replaceable(folder) as (target, copy):
        shutil.rmtree(target, ignore_errors=True)  # what is left of it refuses the next line
        copy.rename(target)
    return target


def _contents(folder):
    """Names in a folder, with each file's MD5, as JSON; hidden ones are the system's, the lock and the mark."""
    return json.dumps({path.name: md5_of(path) if path.is_file() else None
                       for path in sorted(folder.iterdir()) if path.name[0] != "."}).encode()


def _is_made_here(target):
    """Whether this program put all that is in FOLDER.earlier there, and nobody has changed it."""
    mark = target / MARK
    return not target.is_symlink() and mark.is_file() and mark.read_bytes() == _contents(target)


@contextlib.contextmanager
def _replaceable(folder):
    """Yield FOLDER.earlier and the copy's path. Errors: UserError, also where the block cannot write there."""
    target = Path(f"{Path(folder).resolve()}.earlier")
    copy = target.with_name(f".{target.name}.partial")
    try:
        if os.path.lexists(target):
            if not _is_made_here(target):
                raise OSError("something else is there: rename or remove that")
            with folder_lock(target):  # nobody uses it
                pass
        yield target, copy
    except OSError as error:
        shutil.rmtree(copy, ignore_errors=True)
        raise UserError(f"cannot write {target}, where the finished model in {folder} is to be kept: "
                        f"{error.strerror or error}; or choose another --model-dir") from error
