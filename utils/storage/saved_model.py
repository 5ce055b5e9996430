"""The model that training leaves for inference: two files named after their content, and description.json.

description.json is written last, and names the two files with their hashes; the files of the model before stay until
the next save. So at any moment a reader finds the old model or the new one, whole. Python reads and writes them:
Paddle's C++ code opens no path that is not UTF-8, nor on Windows one that is not ASCII.
"""
import contextlib
import hashlib
import json
import logging
import math
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

import numpy as np

from utils.errors import UserError, shown
from utils.storage import program_state
from utils.storage.files import whole_file

FORMAT = 1
INPUT = {"name": "pixel", "dtype": "float32", "shape": [None, 3, 32, 32], "range": [0, 1], "channels": "RGB"}
PARTS = {"program": ".pdmodel", "parameters": ".pdiparams"}
KEYWORDS = {"program": "model_filename", "parameters": "params_filename"}  # of paddle.static.load_inference_model
FILE_NAME = re.compile(r"(\w+-[0-9a-f]{8})\.(pdmodel|pdiparams)")
# Attributes of ops: where the source is on the machine that trained, and that machine's choice of oneDNN.
MACHINE_SPECIFIC = ("op_callstack", "use_mkldnn", "mkldnn_data_type", "use_onednn", "onednn_data_type")
# Paddle says each time that loading from memory is deprecated.
logging.getLogger("paddle.static.io").addFilter(lambda record: "from memory" not in str(record.msg))


@contextlib.contextmanager
def new_model(folder, description):
    """Yield a prefix for paddle.static.save_inference_model; at the end, check what it wrote and move it into `folder`.

    description: at least model, dataset and classes, for description.json.
    Errors: UserError where the folder cannot be written or the disk is full; the model that was there is kept.
    """
    import paddle

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder if os.path.abspath(folder).isascii() else None  # None: the system's place for temporary files
        with tempfile.TemporaryDirectory(prefix=".export.partial.", dir=place) as temporary:
            with paddle.utils.unique_name.guard():  # the same names, so the same bytes, however often a run saves
                yield f"{temporary}/model"
            contents = _read_export(f"{temporary}/model")
    except OSError as error:
        raise UserError(f"cannot write a model to {shown(folder)}: {error.strerror or error}; "
                        "what was there before is kept") from error
    pointer, files = folder / "description.json", {}
    before = pointer.read_bytes() if pointer.is_file() else b""
    hashes = {part: hashlib.sha256(content).hexdigest() for part, content in contents.items()}
    stem = f"{description['model']}-{hashlib.sha256(''.join(hashes.values()).encode()).hexdigest()[:8]}"
    for part, content in contents.items():
        files[part] = {"name": stem + PARTS[part], "bytes": len(content), "sha256": hashes[part]}
        with whole_file(folder / files[part]["name"]) as temporary:
            temporary.write_bytes(content)
    facts = {"format": FORMAT, **description, "input": INPUT, "paddle": paddle.__version__, "files": files}
    with whole_file(pointer) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, default=float) + "\n", encoding="utf-8")
    for path in folder.iterdir():  # remove older models, but keep the last save's
        if FILE_NAME.fullmatch(path.name) and path.stem != stem and path.name.encode() not in before:
            path.unlink()


def _read_export(prefix):
    """What Paddle wrote, without what is specific to this machine: {part: bytes}."""
    import paddle
    from paddle.base import core

    contents = {part: Path(prefix + ending).read_bytes() for part, ending in PARTS.items()}
    program = paddle.static.deserialize_program(contents["program"])
    size = 0  # of each variable its numbers, its shape as protobuf writes it, and 22 bytes more
    for variable in program_state.variables(program):
        size += 22 + sum(1 + max(1, -(-count.bit_length() // 7)) for count in variable.shape)
        size += math.prod(variable.shape) * core.size_of_dtype(variable.dtype)
    if len(contents["parameters"]) < size:
        raise OSError("the disk is full")  # which Paddle does not notice
    for op in program.global_block().ops:
        for name in filter(op.desc.has_attr, MACHINE_SPECIFIC):  # attr_names does not list all of them
            op.desc.remove_attr(name)
    return {**contents, "program": program.desc.serialize_to_string()}


def check(folder):
    """Read description.json and both files, and compare them -> (description, files). Errors: UserError.

    files: their bytes, as keywords of paddle.static.load_inference_model
    """
    description, files = read_description(folder), {}
    with one_line(folder):
        for part, keyword in KEYWORDS.items():
            entry = description["files"][part]
            path = Path(folder, Path(entry["name"]).name)
            files[keyword] = path.read_bytes()
            if hashlib.sha256(files[keyword]).hexdigest() != entry["sha256"]:
                raise ValueError(f"the content of {path.name} is not what was saved")
    return description, files


def read_description(folder):
    """What is in a model's description.json, with names for one line of a terminal. Errors: as `check`."""
    with one_line(folder):
        try:
            facts = json.loads((Path(folder) / "description.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            command = f"python train.py --model-dir {shlex.quote(str(folder))}"
            advice = f"train one with {shown(command)}, or name another folder"
            if (Path(folder).parent / "description.json").exists():
                advice = f"there is one in {shown(Path(folder).parent)}"
            raise UserError(f"no model in {shown(folder)} (no description.json there): {advice}") from None
        except (ValueError, RecursionError):
            raise ValueError("description.json is not JSON") from None
        with contextlib.suppress(KeyError, TypeError):
            names = [facts["model"], facts["dataset"], *facts["classes"]]
            numbers = [facts.get(key) for key in ("depth", "epochs", "test_accuracy")]
            if (facts["format"] == FORMAT and facts["input"] == INPUT and 0 < len(facts["classes"]) <= 1000
                    and all(isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100 for name in names)
                    and all(each is None or type(each) in (int, float) and 0 <= each < 1_000_000 for each in numbers)
                    and all({"name", "bytes", "sha256"} <= set(facts["files"][part]) for part in PARTS)):
                return facts
        raise ValueError("description.json is of another program or version")


@contextlib.contextmanager
def one_line(folder):
    """Turn an error while a model is read, or loaded by Paddle, into a UserError, unless it is about memory."""
    try:
        yield
    except Exception as error:  # Paddle has no one type for a file it cannot take
        if isinstance(error, (UserError, MemoryError)) or "ResourceExhausted" in str(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = next((line for line in lines if "Error: " in line), lines[0])[:200]  # without the list of C++ calls
        raise UserError(f"the model in {shown(folder)} cannot be used: {shown(reason)}; train again, or name another "
                        "folder") from error


def try_out(infer, classes):
    """Have a loaded model answer for a gray picture: parameters of another network only show when they are used."""
    answer = infer(np.full((1, 3, 32, 32), 0.5, np.float32))
    if answer.shape != (1, len(classes)) or not abs(answer.sum() - 1) < 1e-3:
        raise ValueError(f"its answer has shape {answer.shape} and sum {answer.sum()}, for {len(classes)} classes")


def keep_aside(folder, run):
    """Before a run begins, copy the finished model that it would replace -> the copy's path, or None for no copy.

    The copy is in FOLDER.earlier or, where that is taken, FOLDER.earlier-2 and so on: nothing is replaced.
    run: name of the unfinished run that is resumed, whose own model needs no copy; None where a run begins.
    Errors: UserError where it cannot be written.
    """
    folder, number = Path(folder).resolve(), 1
    model = {"finished": os.path.exists(folder / "description.json")}  # also one that is damaged, or of an old version
    with contextlib.suppress(OSError, ValueError, TypeError):
        model.update(json.loads((folder / "description.json").read_bytes()))
    if not model["finished"] or run is not None and model.get("run", run) == run:
        return None
    target = Path(f"{folder}.earlier")
    while os.path.lexists(target):
        with contextlib.suppress(UserError):  # what is there is no whole model
            if {"finished": True, **check(target)[0]} == model:
                return None
        number += 1
        target = Path(f"{folder}.earlier-{number}")
    copy = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in folder.iterdir():
            if path.is_file() and path.name[0] != ".":
                shutil.copy2(path, copy)
        return copy.rename(target)
    except OSError as error:
        shutil.rmtree(copy, ignore_errors=True)
        raise UserError(f"cannot write {target}, where the finished model in {folder} is to be kept: "
                        f"{error.strerror or error}; or choose another --model-dir") from error
