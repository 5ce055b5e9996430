"""book/minimal.py, the chapter in one file: it computes what train.py --plain computes, bit for bit."""
import ast
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import small_archives

ROOT = Path(__file__).resolve().parent.parent
MINIMAL = ROOT / "book" / "minimal.py"
DOG = ROOT / "image" / "dog.png"
SEED = 7

# Trains as `python minimal.py ARCHIVE` does, then saves all variables and the results of all tests.
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import minimal
import numpy as np
from paddle import static

tests, test = [], minimal.test

def remember(*arguments):
    tests.append(test(*arguments))
    return tests[-1]

minimal.test = remember
minimal.train(sys.argv[2], batch_size=int(sys.argv[3]), seed=int(sys.argv[4]))
scope, variables = static.global_scope(), static.default_main_program().list_vars()
names = [v.name for v in variables if v.persistable and "learning_rate" not in v.name]  # the loop sets the rate
arrays = {name: np.array(scope.find_var(name).get_tensor()) for name in names}
np.savez("minimal.npz", tests=tests, **{"v:" + name: array for name, array in arrays.items()})
"""


def clean_environment():
    """The environment without the variables that the tests' own process has set for Paddle, and without GPUs."""
    prefixes = ("FLAGS_", "GLOG_", "MKL_", "OMP_", "ONEDNN_", "PADDLE_")
    rest = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**rest, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def start(folder, *arguments):
    """Start Python in a folder, its output piped."""
    return subprocess.Popen([sys.executable, *map(str, arguments)], cwd=folder, env=clean_environment(),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


def output_of(process):
    """The standard output of a process, once it has ended without an error."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return output


def train_both(folder, archive, batch_size):
    """Train with minimal.py and with train.py at the same time -> the output of both; their files are in `folder`."""
    processes = [
        start(folder, "-c", CHILD, MINIMAL.parent, archive, batch_size, SEED),
        start(ROOT, "train.py", "--plain", "--workers", 1, "--recipe", "book", "--seed", SEED, "--device", "cpu",
              "--data-file", archive, "--batch-size", batch_size, "--model-dir", folder / "train")]
    return [output_of(process) for process in processes]


def assert_same(folder, outputs):
    """Every variable of both runs bit for bit, the result of the last test, and the lines of both logs."""
    minimal, train = np.load(folder / "minimal.npz"), np.load(folder / "train" / "checkpoint.npz")
    names = [name for name in train.files if name.startswith("v:")]
    assert len(names) > 400 and set(names) == set(minimal.files) - {"tests"}
    for name in names:
        np.testing.assert_array_equal(minimal[name], train[name], err_msg=name)
    description = json.loads((folder / "train" / "description.json").read_text(encoding="utf-8"))
    loss, accuracy = minimal["tests"][-1]
    assert accuracy == description["test_accuracy"] and loss == pytest.approx(description["test_loss"], rel=1e-6)
    logs = [re.findall(r"^(?:Pass|Test with Pass) \d+, .*", output, re.M) for output in outputs]
    assert len(logs[0]) == 4 and logs[0] == logs[1]


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """Both train on 9 + 9 batches of 4 pictures and are tested on 51 -> the folder, and the output of both."""
    folder = tmp_path_factory.mktemp("minimal")
    members = small_archives.contents(rows=7)  # 5 x 7 to train: the last batch has 3
    members["test_batch"] = small_archives.batch(9, rows=51)  # the last batch has 1
    archive = small_archives.write(folder / "small.tar.gz", members)
    return folder, train_both(folder, archive, batch_size=4)


def test_it_computes_what_train_computes(small_run):
    assert_same(*small_run)


def test_it_classifies_as_infer_does(small_run):
    folder, _ = small_run
    processes = [start(folder, MINIMAL, "classify", DOG),
                 start(ROOT, "infer.py", DOG, "--model-dir", folder / "train", "--json", "--device", "cpu")]
    minimal, infer = map(output_of, processes)
    best = json.loads(infer)["results"][0]["best"][0]
    name, probability = minimal.split()
    assert name == best["class"] and float(probability) == pytest.approx(best["probability"], abs=2e-6)


@pytest.mark.slow
def test_it_computes_what_train_computes_on_cifar10(cifar10_archive, tmp_path):
    """9 + 9 batches of 128 real pictures."""
    members = {}
    with tarfile.open(cifar10_archive) as archive:
        for name in small_archives.BATCHES:
            whole = pickle.load(archive.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes")
            members[name] = {key: whole[key][:230] for key in (b"data", b"labels")}
    archive = small_archives.write(tmp_path / "cut.tar.gz", members)
    assert_same(tmp_path, train_both(tmp_path, archive, batch_size=128))


def test_it_needs_nothing_of_the_project():
    nodes = list(ast.walk(ast.parse(MINIMAL.read_text(encoding="utf-8"))))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} == {"os", "sys", "zlib", "numpy", "paddle", "PIL"}


def test_it_is_short():
    text = MINIMAL.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert len(functions) > 10 and all(map(ast.get_docstring, functions))
    assert len(text.splitlines()) <= 130 and max(map(len, text.splitlines())) <= 100
    assert max(node.end_lineno - node.lineno + 1 for node in functions) <= 25
