"""The model that training leaves for inference: two files named after their content, and description.json.

description.json is the pointer: it is written last and whole, and names the two files with sizes and hashes.
So a process that is killed while saving leaves the model that was there before, and one that loads meanwhile
finds the old model or the new one, never half of each. And since a model may come from anywhere, whatever its files
hold, reading them ends with a model or an error, and takes at most some 500 MB more than Paddle itself.
"""
import errno
import hashlib
import json
import math
import os
import re
import reprlib
import shlex
import stat
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.errors import UserError, shown
from utils.storage.files import whole_file

FORMAT = 1
INPUT = {"name": "pixel", "dtype": "float32", "shape": [None, 3, 32, 32], "range": [0, 1], "channels": "RGB"}
LOCAL = ("op_callstack", "use_mkldnn", "mkldnn_data_type", "use_onednn", "onednn_data_type")
PARTS = {"program": ".pdmodel", "parameters": ".pdiparams"}
OURS = re.compile(r"\.?\w+-[0-9a-f]{8}\.(pdmodel|pdiparams)(\..*\.partial\.\w+)?")
TRIES, PAUSE = 10, 0.1  # a reader that finds a file replaced looks again, up to a second
# A ResNet-32's program has 63 kB with 1,700 entries, which work out 1.2 million numbers for a picture; a ResNet-1202's
# has 38 times as much. Paddle takes up to 150 bytes of memory for each byte of a program.
MOST_BYTES = {"description": 1_000_000, "program": 2_500_000, "parameters": 400_000_000}
MOST_ENTRIES, MOST_NUMBERS = 200_000, 100_000_000  # entries: ops, their attributes and arguments
ENDS = ("feed", "fetch")


def _is_name(value):
    """Whether this is text for one line of a terminal."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= 100


def _is_count(value):
    """Whether this is a whole number of everyday size, or None."""
    return value is None or (type(value) is int and 0 <= value < 1_000_000)


def _is_share(value):
    """Whether this is a number from 0 to 1, or None."""
    return value is None or (type(value) in (int, float) and 0 <= value <= 1)


def _are_classes(value):
    """Whether this is a list of names, with at least one."""
    return isinstance(value, list) and 0 < len(value) <= 1000 and all(map(_is_name, value))


FACTS = {"model": _is_name, "dataset": _is_name, "classes": _are_classes, "depth": _is_count, "epochs": _is_count,
         "test_accuracy": _is_share}  # what is read of a description beside its files


class Checked(NamedTuple):
    """A model on the disk that is as its description says."""

    description: dict
    prefix: Path  # of both files, without their endings


class SavedModel(NamedTuple):
    """A loaded model: what description.json says, and what an executor needs to run it."""

    description: dict
    executor: Any
    program: Any
    feed_names: list
    fetch_targets: list
    scope: Any


def save(model_dir, executor, program, image, probabilities, description, scope=None):
    """Write the part of `program` from `image` to `probabilities`, with its parameters, to `model_dir`.

    description: at least model, dataset and classes; it is kept in description.json beside what this adds.
    scope: where the parameters are; Paddle's global one where None is given.
    Errors: UserError where the folder cannot be written or the disk is full; what was there before is kept.
    """
    import paddle

    model_dir = Path(model_dir)
    try:
        with paddle.static.scope_guard(scope or paddle.static.global_scope()):
            contents = dict(zip(PARTS, _export(model_dir, executor, program, image, probabilities)))
    except OSError as error:
        raise UserError(f"cannot write a model to {shown(model_dir)}: {error.strerror or error}; "
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
    parameters; and it is given a clone, since it appends ops to the program. Source paths of the machine that trained,
    and oneDNN's marks, which are that machine's choice, are omitted.
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
    for op in pruned.global_block().ops:
        for name in LOCAL:  # attr_names does not list all of them
            if op.desc.has_attr(name):
                op.desc.remove_attr(name)
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


def load(model_dir, place, checked=None):
    """Load the model in `model_dir` for `place` -> SavedModel, in a scope of its own.

    checked: what `check` has just returned; without it the files are checked here.
    Errors: UserError where the folder holds no model, a damaged one, or one of another format; what Paddle raises
    where the memory does not suffice, since that says nothing about the model.
    """
    import paddle

    paddle.enable_static()
    executor = paddle.static.Executor(place)
    failed = []
    for _ in range(TRIES):
        checked = checked or check(model_dir)
        try:
            return _read(checked, executor)
        except Exception as error:  # Paddle has no one type for a file it cannot take
            if isinstance(error, MemoryError) or "ResourceExhausted" in str(error):
                raise
            failed.append(checked.prefix)
            if failed.count(checked.prefix) == 3:  # the first times a file may have been replaced since the check
                problem = f"Paddle {paddle.__version__} cannot run it ({_reason(error)})"
                raise damaged(model_dir, problem) from error
            checked = None
    raise damaged(model_dir, "its files change while they are read")


def _read(checked, executor):
    """Read both files with Paddle and try the model out. Errors: many."""
    import paddle

    _check_program(Path(f"{checked.prefix}{PARTS['program']}").read_bytes())
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        program, feed_names, fetch_targets = paddle.static.load_inference_model(str(checked.prefix), executor)
    model = SavedModel(checked.description, executor, program, feed_names, fetch_targets, scope)
    _try_out(model)
    return model


def _check_program(content):
    """Refuse a serialized program that Paddle crashes at, or that would take all memory or write files.

    It is not run for that: the sizes of the results are worked out from those of the inputs.
    """
    from paddle.base import core

    program = core.ProgramDesc(content)
    block = program.block(0) if program.num_blocks() == 1 else None
    ops = [block.op(number) for number in range(block.op_size())] if block else []
    if not ops:
        raise ValueError("its program is not one block of ops")
    if sum(1 + len(op.attr_names() + op.input_arg_names() + op.output_arg_names()) for op in ops) > MOST_ENTRIES:
        raise ValueError("its program is larger than that of any network here")
    if sorted((op.type(), op.attr("col")) for op in ops if op.type() in ENDS) != [(kind, 0) for kind in ENDS]:
        raise ValueError("its program does not have one input and one output")
    numbers = 0
    for op in ops:
        if not op.output_arg_names():  # an op that crashes Paddle, or writes a file
            raise ValueError(f"its program has an op without a result: {op.type()}")
        if op.type() not in ENDS:
            op.infer_shape(block)
            numbers += sum(abs(math.prod(block.find_var(name.encode()).shape())) for name in op.output_arg_names())
    if numbers > MOST_NUMBERS:
        raise ValueError(f"its program works out {numbers:,} numbers for one picture")


def _try_out(model):
    """Run a loaded model on one gray picture: parameters of another network only show when they are used."""
    gray = np.full((1, 3, 32, 32), 0.5, np.float32)
    answer = model.executor.run(model.program, feed={INPUT["name"]: gray}, fetch_list=model.fetch_targets,
                                scope=model.scope)[0]
    if model.feed_names != [INPUT["name"]] or answer.shape != (1, len(model.description["classes"])):
        raise ValueError(f"shape {answer.shape} for {len(model.description['classes'])} classes")
    if not np.isclose(answer.sum(), 1, atol=1e-3):
        raise ValueError("its probabilities do not add up to 1")


def check(model_dir):
    """Read description.json and compare both files with it -> Checked.

    Needs no Paddle. Errors: as `load`.
    """
    problem = None
    for _ in range(TRIES):
        description = read_description(model_dir)
        problem = _compare(Path(model_dir), description["files"])
        if problem is None:
            return Checked(description, Path(model_dir) / Path(description["files"]["program"]["name"]).stem)
        if description == read_description(model_dir):  # nobody saves meanwhile: it is as it is
            break
        time.sleep(PAUSE)
    raise damaged(model_dir, problem)


def read_description(model_dir):
    """What description.json in `model_dir` says, its form checked. Errors: as `load`."""
    path = Path(model_dir) / "description.json"
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise damaged(model_dir, "description.json is not a file")
        if state.st_size > MOST_BYTES["description"]:
            raise damaged(model_dir, f"description.json has {state.st_size} bytes, more than any that training writes")
        description = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        command = f"python train.py --model-dir {shlex.quote(str(model_dir))}"
        raise UserError(f"no model in {shown(model_dir)} (no description.json there): train one with {shown(command)}, "
                        "or name another folder with --model-dir") from None
    except OSError as error:
        raise UserError(f"cannot read {shown(path)}: {error.strerror or error}") from error
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
    if description.get("format") != FORMAT:
        return f"has format {reprlib.repr(description.get('format'))}, this program reads {FORMAT}"
    if description.get("input") != INPUT:
        return "asks for another input than [N, 3, 32, 32] in [0, 1]"
    for key, is_right in FACTS.items():
        if not is_right(description.get(key)):
            return f"says {reprlib.repr(description.get(key))} for {key}"
    files = description.get("files")
    entries = [files.get(part) for part in PARTS] if isinstance(files, dict) else [None]
    if not all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries):
        return "names no files"
    stems = {entry["name"][:-len(suffix)] for entry, suffix in zip(entries, PARTS.values())
             if OURS.fullmatch(entry["name"]) and entry["name"].endswith(suffix)}
    return None if len(stems) == 1 else "names files that training does not write"


def _compare(model_dir, files):
    """Say what about the files is not as described, or None."""
    for part in PARTS:
        path, described = model_dir / files[part]["name"], files[part]
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode) or state.st_size != described.get("bytes"):
                return f"{path.name} has {state.st_size} bytes, not {reprlib.repr(described.get('bytes'))}"
            if state.st_size > MOST_BYTES[part]:
                return f"{path.name} has {state.st_size} bytes, more than the {MOST_BYTES[part]} read here"
            if _sha256(path) != described.get("sha256"):
                return f"the content of {path.name} is not what was saved"
        except OSError as error:
            return f"{path.name}: {error.strerror or error}"
    return None


def _sha256(path):
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def _reason(error):
    """The line of Paddle's error text that says what went wrong, without its list of C++ calls."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines.sort(key=lambda line: "Error: " not in line)
    return lines[0][:200] if lines else type(error).__name__


def damaged(model_dir, problem):
    """The one line about a model folder that cannot be used."""
    return UserError(f"the model in {shown(model_dir)} cannot be used: {shown(problem)}; train again, or name another "
                     "folder with --model-dir")
