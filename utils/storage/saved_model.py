"""The model that training leaves for inference: two files named after their content, and description.json.

description.json is the pointer: it is written last and whole, and names the two files with sizes and hashes.
So a process that is killed while saving leaves the model that was there before, and one that loads meanwhile
finds the old model or the new one, never half of each.
"""
import errno
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.errors import UserError
from utils.storage.files import whole_file

FORMAT = 1
INPUT = {"name": "pixel", "dtype": "float32", "shape": [None, 3, 32, 32], "range": [0, 1], "channels": "RGB"}
FACTS = {"model": str, "dataset": str, "classes": list, "depth": (int, type(None)),
         "epochs": (int, type(None)), "test_accuracy": (int, float, type(None))}
LOCAL = ("op_callstack", "use_mkldnn", "mkldnn_data_type", "use_onednn", "onednn_data_type")
PARTS = {"program": ".pdmodel", "parameters": ".pdiparams"}
OURS = re.compile(r"\.?\w+-[0-9a-f]{8}\.(pdmodel|pdiparams)(\..*\.partial\.\w+)?")
TRIES, PAUSE = 10, 0.1  # a reader that finds a file replaced looks again, up to a second


class SavedModel(NamedTuple):
    """A loaded model: what description.json says, and what an executor needs to run it."""

    description: dict
    executor: Any
    program: Any
    feed_names: list
    fetch_targets: list
    scope: Any


def save(model_dir, executor, program, image, probabilities, description):
    """Write the part of `program` from `image` to `probabilities`, with its parameters, to `model_dir`.

    description: at least model, dataset and classes; it is kept in description.json beside what this adds.
    Errors: UserError where the folder cannot be written or the disk is full; what was there before is kept.
    """
    import paddle

    model_dir = Path(model_dir)
    try:
        contents = dict(zip(PARTS, _export(model_dir, executor, program, image, probabilities)))
    except OSError as error:
        raise UserError(f"cannot write a model to {model_dir}: {error.strerror or error}; "
                        "what was there before is kept") from error
    hashes = {part: hashlib.sha256(content).hexdigest() for part, content in contents.items()}
    stem = f"{description['model']}-{hashlib.sha256(''.join(hashes.values()).encode()).hexdigest()[:8]}"
    files = {}
    for part, content in contents.items():
        files[part] = {"name": stem + PARTS[part], "bytes": len(content), "sha256": hashes[part]}
        with whole_file(model_dir / files[part]["name"]) as temporary:
            temporary.write_bytes(content)
    facts = {key: None if _is_endless(value) else value for key, value in description.items()}
    whole = {"format": FORMAT, **facts, "input": INPUT, "paddle": paddle.__version__, "files": files}
    text = json.dumps(whole, indent=2, allow_nan=False, default=float) + "\n"
    with whole_file(model_dir / "description.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
    _remove_others(model_dir, {entry["name"] for entry in files.values()})


def _export(model_dir, executor, program, image, probabilities):
    """What save_inference_model writes, as bytes: the pruned program and its parameters.

    It writes into a folder of its own and is checked, since it does not notice when the disk takes only part of the
    parameters; and it is given a clone, since it appends operators to the program. Source paths of the machine
    that trained, and oneDNN's marks, which are that machine's choice, are left out.
    """
    import paddle

    clone = program.clone(for_test=True)
    block = clone.global_block()
    feeds, fetches = [block.var(image.name)], [block.var(probabilities.name)]
    model_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export.partial.", dir=model_dir) as folder:
        with paddle.utils.unique_name.guard():  # the same names, so the same bytes, however often a run saves
            expected = len(paddle.static.serialize_persistables(feeds, fetches, executor, program=clone.clone()))
            paddle.static.save_inference_model(f"{folder}/model", feeds, fetches, executor, program=clone)
        written = (Path(folder) / "model.pdmodel").read_bytes()
        parameters = (Path(folder) / "model.pdiparams").read_bytes()
    if len(parameters) != expected:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    pruned = paddle.static.deserialize_program(written)
    for operator in pruned.global_block().ops:
        for name in LOCAL:  # attr_names does not list all of them
            if operator.desc.has_attr(name):
                operator.desc.remove_attr(name)
    return pruned.desc.serialize_to_string(), parameters


def _is_endless(value):
    """True for the numbers that JSON has no word for: not a number, and infinite."""
    return isinstance(value, (float, np.floating)) and not np.isfinite(value)


def _remove_others(model_dir, keep):
    """Remove the models of earlier saves, and what killed ones left half-written."""
    for path in model_dir.iterdir():
        half = path.name.startswith(".description.json.")
        if half or (OURS.fullmatch(path.name) and path.name not in keep):
            path.unlink()


def load(model_dir, place):
    """Load the model in `model_dir` for `place` -> SavedModel, in a scope of its own.

    Errors: UserError where the folder holds no model, a damaged one, or one of another format.
    """
    import paddle

    paddle.enable_static()
    executor, scope = paddle.static.Executor(place), paddle.static.Scope()
    failed = []
    for _ in range(TRIES):
        description, prefix = check(model_dir)
        try:
            with paddle.static.scope_guard(scope):
                loaded = paddle.static.load_inference_model(str(prefix), executor)
                model = SavedModel(description, executor, *loaded, scope)
                _try_out(model)
            return model
        except Exception as error:  # Paddle has no one type for a file it cannot take
            failed.append(prefix)
            if failed.count(prefix) == 3:  # the first times the file may have been replaced between check and load
                problem = f"Paddle {paddle.__version__} cannot run it ({_reason(error)})"
                raise damaged(model_dir, problem) from error
    raise damaged(model_dir, "its files change while they are read")


def _try_out(model):
    """Run a loaded model on one grey picture: parameters of another network only show when they are used."""
    grey = np.full((1, 3, 32, 32), 0.5, np.float32)
    answer = model.executor.run(model.program, feed={INPUT["name"]: grey}, fetch_list=model.fetch_targets)[0]
    if model.feed_names != [INPUT["name"]] or answer.shape != (1, len(model.description["classes"])):
        raise ValueError(f"shape {answer.shape} for {len(model.description['classes'])} classes")
    if not np.isclose(answer.sum(), 1, atol=1e-3):
        raise ValueError("its probabilities do not add up to 1")


def check(model_dir):
    """Read description.json and compare both files with it -> (description, path of both without ending).

    Needs no Paddle. Errors: as `load`.
    """
    problem = None
    for _ in range(TRIES):
        description = read_description(model_dir)
        problem = _compare(Path(model_dir), description["files"])
        if problem is None:
            return description, Path(model_dir) / Path(description["files"]["program"]["name"]).stem
        if description == read_description(model_dir):  # nobody saves meanwhile: it is as it is
            break
        time.sleep(PAUSE)
    raise damaged(model_dir, problem)


def read_description(model_dir):
    """What description.json in `model_dir` says, its form checked. Errors: as `load`."""
    path = Path(model_dir) / "description.json"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise damaged(model_dir, "description.json is no file")
        description = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no model in {model_dir} (no description.json there): train with python train.py, "
                        "or name another folder with --model-dir") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        raise damaged(model_dir, "description.json is not JSON") from None
    problem = _misshapen(description)
    if problem:
        raise damaged(model_dir, f"description.json {problem}")
    return description


def _misshapen(description):
    """Say what about a description is not as `save` writes it, or None."""
    if not isinstance(description, dict):
        return "holds no description"
    version = description.get("format")
    if version != FORMAT:
        return f"has format {version!r}, this program reads {FORMAT}"
    if description.get("input") != INPUT:
        return "asks for another input than [N, 3, 32, 32] in [0, 1]"
    for key, kinds in FACTS.items():
        if not isinstance(description.get(key), kinds):
            return f"says {description.get(key)!r} for {key}"
    classes = description["classes"]
    if not classes or not all(isinstance(name, str) for name in classes):
        return "names no classes"
    files = description.get("files")
    entries = [files.get(part) for part in PARTS] if isinstance(files, dict) else [None]
    if not all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries):
        return "names no files"
    stems = {entry["name"][:-len(suffix)] for entry, suffix in zip(entries, PARTS.values())
             if OURS.fullmatch(entry["name"]) and entry["name"].endswith(suffix)}
    return None if len(stems) == 1 else "names files that training does not write"


def _compare(model_dir, files):
    """Say what about the files is not as described, or None."""
    for entry in files.values():
        path = model_dir / entry["name"]
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode) or state.st_size != entry.get("bytes"):
                return f"{path.name} has {state.st_size} bytes, not {entry.get('bytes')}"
            if hashlib.sha256(path.read_bytes()).hexdigest() != entry.get("sha256"):
                return f"the content of {path.name} is not what was saved"
        except OSError as error:
            return f"{path.name}: {error.strerror or error}"
    return None


def _reason(error):
    """The line of Paddle's error text that says what went wrong, without its list of C++ calls."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines.sort(key=lambda line: "Error: " not in line)
    return lines[0][:200] if lines else type(error).__name__


def damaged(model_dir, problem):
    """The one line about a model folder that cannot be used."""
    return UserError(f"the model in {model_dir} cannot be used: {problem}; train again, or name another "
                     "folder with --model-dir")
