"""A run on disk: everything that training needs to resume as if it had never been interrupted. Needs no Paddle."""
import io
import json
import os
import secrets
from typing import NamedTuple, Optional

import numpy as np

from utils.errors import UserError, shown
from utils.storage.files import whole_file


class Checkpoint(NamedTuple):
    """State of a run between two batches; shuffle, augmentation and dropout follow from seed, epoch and batch.

    arrays: the program's persistable variables by name (weights, batch-norm statistics, Adam's moments and powers).
    settings: what the run was started with.
    progress: {"run": a name of its own, which its models have too, "epoch", "batch": the next one to train, "history":
    points (of each batch), tests and rows to show, "seconds": spent so far, "finished"}.
    statistics: float64 [workers, n], batch normalization's of each worker inside a pass; None where all have the same.
    """
    arrays: dict
    settings: dict
    progress: dict
    statistics: Optional[np.ndarray] = None


def beginning():
    """The progress of a run that has not begun."""
    return {"run": secrets.token_hex(8), "epoch": 0, "batch": 0, "history": {"points": [], "tests": []},
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
            names = head.get("members", members.files)  # an earlier version named none
            arrays = {name[2:]: members[name] for name in names if whole and name.startswith("v:")}
            statistics = members["statistics"] if "statistics" in names else None
        return Checkpoint(arrays, dict(head["settings"]), head["progress"], statistics)
    except Exception as error:  # zipfile and numpy raise almost anything on damaged files
        raise UserError(f"the checkpoint {path} is damaged ({shown(error)[:200]}); remove it and start over") from error
