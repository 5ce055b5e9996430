"""A run on disk: everything that training needs to go on as if it had never been cut."""
import json
import time
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle

from utils.errors import UserError
from utils.storage.files import whole_file

VERSION = 1


class Checkpoint(NamedTuple):
    """State of a run between two batches.

    arrays: the program's persistable variables by name (weights, batch-norm statistics, Adam's moments and powers).
    settings: what the run was started with; progress: epoch, next batch, curves so far, seconds spent.
    The state of shuffle, augmentation and dropout needs no place of its own: it follows from seed, epoch and batch.
    """
    arrays: dict
    settings: dict
    progress: dict


def state_names(program):
    """Names of the variables that a step reads and writes anew: all persistable ones that hold numbers."""
    return sorted(v.name for v in program.list_vars() if v.persistable and v.name not in ("feed", "fetch"))


def take_state(program):
    """Copy a program's state out of Paddle's current scope: {name: array}."""
    scope, state = paddle.static.global_scope(), {}
    for name in state_names(program):
        variable = scope.find_var(name)
        if variable is not None and variable.get_tensor()._is_initialized():
            state[name] = np.array(variable.get_tensor())
    return state


def put_state(program, place, arrays):
    """Copy {name: array} into Paddle's current scope; the program has been initialised before.

    Errors: UserError when names or shapes are not this program's.
    """
    now = take_state(program)
    for name in sorted(set(now) | set(arrays)):
        if name not in arrays or name not in now or now[name].shape != arrays[name].shape:
            raise UserError(f"the checkpoint does not fit this network: variable {name} is missing or differs")
    for name, array in arrays.items():
        paddle.static.global_scope().find_var(name).get_tensor().set(array, place)


def write(path, checkpoint):
    """Write a checkpoint whole or not at all; the one before stays until then."""
    head = {"version": VERSION, "settings": checkpoint.settings, "progress": checkpoint.progress,
            "written": time.strftime("%Y-%m-%d %H:%M:%S")}
    members = {f"v:{name}": array for name, array in checkpoint.arrays.items()}
    with whole_file(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **members)


def read(path):
    """Read a checkpoint; UserError where there is none or it is damaged (no code of a stranger's file runs)."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"no checkpoint at {path}: nothing to resume; start without --resume")
    try:
        with np.load(path, allow_pickle=False) as members:
            head = json.loads(members["head"].tobytes())
            arrays = {name[2:]: members[name] for name in members.files if name.startswith("v:")}
        if head["version"] != VERSION:
            raise UserError(f"{path} has format {head['version']}, this program reads {VERSION}")
        return Checkpoint(arrays, head["settings"], head["progress"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"the checkpoint {path} is damaged ({error}); remove it and start anew") from error


def differences(saved, asked):
    """Say how the settings asked for differ from a checkpoint's, as 'name saved -> asked' texts."""
    return [f"{name} {saved.get(name)} -> {value}" for name, value in asked.items() if saved.get(name) != value]


def fingerprint(*arrays):
    """A number that differs when the data does (CRC-32; 0.1 s for 150 MB)."""
    code = 0
    for array in arrays:
        code = zlib.crc32(np.ascontiguousarray(array), code)
    return code
