"""The saved model: the same numbers after loading, whole at every moment, and one line about each damage."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import infer
import small_models
from small_models import redescribe, save_colors
from utils.errors import UserError
from utils.storage import saved_model

TESTS = Path(__file__).resolve().parent


def load(folder):
    """Load on the CPU."""
    return infer.load_model(folder, "cpu")[0]


def chance_of_red(folder):
    """What the model in a folder gives the class red for a red picture."""
    red = np.zeros((1, 3, 32, 32), np.float32)
    red[:, 0] = 1
    return infer.infer(load(folder), red)[0, 0]


def by_hand(sharpness):
    """What the color model of this sharpness gives the class red for a red picture."""
    return pytest.approx(np.exp(sharpness) / (np.exp(sharpness) + 2), rel=1e-5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a color model; tests that change it take `copy`."""
    folder = tmp_path_factory.mktemp("saved") / "colors"
    save_colors(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the saved color model, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_a_loaded_model_gives_the_numbers_worked_out_by_hand(saved):
    model = load(saved)
    pixels = np.random.RandomState(0).rand(3, 3, 32, 32).astype(np.float32)
    scores = np.exp(small_models.SHARPNESS * pixels.mean(axis=(2, 3)))
    np.testing.assert_allclose(infer.infer(model, pixels), scores / scores.sum(axis=1, keepdims=True), rtol=1e-5)
    assert model.feed_names == ["pixel"]


def test_a_loaded_resnet_gives_the_test_programs_numbers(static_scope, tmp_path):
    import paddle

    executor, test, image, probabilities = small_models.resnet(8)
    for operator in test.global_block().ops:
        if operator.type in ("conv2d", "relu", "elementwise_add"):
            operator._set_attr("use_mkldnn", True)
    small_models.save(tmp_path, executor, test, image, probabilities,
                      small_models.describe(model="resnet", depth=8, classes=list("abcdefghij")))
    written = next(tmp_path.glob("*.pdmodel")).read_bytes()
    for path in (TESTS.parent, sys.prefix):
        assert str(path).encode() not in written
    operators = paddle.static.deserialize_program(written).global_block().ops
    marks = [op.desc.attr(name) for op in operators for name in ("use_mkldnn", "use_onednn")
             if op.desc.has_attr(name)]
    assert marks and not any(marks)
    pixels = np.random.RandomState(0).rand(4, 3, 32, 32).astype(np.float32)
    expected = executor.run(test, feed={"pixel": pixels}, fetch_list=[probabilities.name])[0]
    assert expected.std() > 0.01  # answers that differ, so that equal ones mean something
    np.testing.assert_allclose(infer.infer(load(tmp_path), pixels), expected, atol=1e-6)


def test_the_current_scope_is_saved_and_no_other(tmp_path, static_scope):
    import paddle

    scope = paddle.static.Scope()
    small_models.color_model(sharpness=2.0)  # the same names in Paddle's global scope
    model = small_models.color_model(sharpness=8.0, scope=scope)
    small_models.save(tmp_path / "own", *model, small_models.describe(), scope)
    small_models.save(tmp_path / "global", *model, small_models.describe())
    for name, sharpness in (("own", 8.0), ("global", 2.0)):
        assert chance_of_red(tmp_path / name) == by_hand(sharpness)


def test_two_loaded_models_of_the_same_names_do_not_mix(tmp_path):
    for name, sharpness in (("dull", 2.0), ("sharp", 8.0)):
        save_colors(tmp_path / name, sharpness=sharpness)
    models = [load(tmp_path / name) for name in ("dull", "sharp")]
    red = np.zeros((1, 3, 32, 32), np.float32)
    red[:, 0] = 1
    assert [infer.infer(model, red)[0, 0] for model in models] == [by_hand(2.0), by_hand(8.0)]


def test_a_run_of_infer_hashes_each_file_once(saved, monkeypatch):
    hashed = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda *content: hashed.append(content) or sha256(*content))
    assert infer.main(["dog.png", "--model-dir", str(saved), "--device", "cpu"]) == 0
    assert len(hashed) == 2


def test_a_model_that_is_replaced_after_the_check_is_still_whole(copy):
    import paddle

    _, files = saved_model.check(copy)
    save_colors(copy, sharpness=2.0)
    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    red = np.zeros((1, 3, 32, 32), np.float32)
    red[:, 0] = 1
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, names, targets = paddle.static.load_inference_model(None, executor, **files)
        probabilities, = executor.run(program, feed={names[0]: red}, fetch_list=targets)
    assert probabilities[0, 0] == by_hand(4.0) and chance_of_red(copy) == by_hand(2.0)


@pytest.mark.parametrize("name", [b"caf\xe9 \xe7\x8c\xab", "模型 é".encode()], ids=["no UTF-8", "Chinese"])
def test_a_model_is_saved_and_read_in_a_folder_of_any_name(name, tmp_path, monkeypatch):
    """The current folder has that name, and the model's own."""
    folder = tmp_path / os.fsdecode(name)
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this system knows no such names")
    monkeypatch.chdir(folder)
    for path in ("model", folder / os.fsdecode(name)):
        save_colors(path)
        assert chance_of_red(path) == by_hand(4.0) and not list(Path(path).glob(".*"))
    done = subprocess.run([sys.executable, TESTS.parent / "infer.py", "dog.png", "--model-dir", os.fsdecode(name)],
                          capture_output=True, text=True, env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0",
                                                               "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize("name", ["plain", "模型", os.fsdecode(b"caf\xe9")])
def test_paddle_saves_to_a_path_that_it_can_open_on_every_system(name, tmp_path):
    with pytest.raises(ZeroDivisionError), saved_model.new_model(tmp_path / name, small_models.describe()) as prefix:
        assert prefix.isascii() and (name != "plain" or prefix.startswith(str(tmp_path / name)))
        raise ZeroDivisionError
    assert list((tmp_path / name).iterdir()) == []


def test_the_description_names_the_files_and_what_the_model_is(saved):
    import paddle

    description = json.loads((saved / "description.json").read_text())
    assert description["input"]["shape"] == [None, 3, 32, 32] and description["input"]["name"] == "pixel"
    assert description["paddle"] == paddle.__version__
    assert description["classes"] == small_models.COLORS and description["dataset"] == "three colors"
    for entry in description["files"].values():
        content = (saved / entry["name"]).read_bytes()
        assert entry["bytes"] == len(content) and entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(list(saved.iterdir())) == 3


def test_saving_again_keeps_the_model_before_and_nothing_of_earlier_ones(static_scope, tmp_path):
    save_colors(tmp_path)
    first = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "mine.pdmodel").write_text("mine too")
    save_colors(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == first | {"notes.txt", "mine.pdmodel"}
    save_colors(tmp_path, sharpness=2.0)
    both = {path.name for path in tmp_path.iterdir()}
    assert len(both) == 7 and first < both
    save_colors(tmp_path, sharpness=8.0)
    last = {path.name for path in tmp_path.iterdir()}
    assert len(last) == 7 and last & first == {"description.json"} and both - first < last


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_save_that_ends_before_a_rename_leaves_a_whole_model(copy, static_scope, monkeypatch, moment):
    class Killed(BaseException):
        """Stands for a process that ends."""

    renames = []
    replace = os.replace

    def end_at_the_moment(source, target):
        renames.append(target)
        if len(renames) == moment:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", end_at_the_moment)
    with pytest.raises(Killed):
        save_colors(copy, sharpness=2.0)
    monkeypatch.undo()
    assert chance_of_red(copy) == by_hand(4.0)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes")
def test_a_full_disk_is_one_line_and_keeps_the_model_before(copy, static_scope):
    import resource

    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    size = next(copy.glob("*.pdiparams")).stat().st_size
    executor, program, image, probabilities = small_models.color_model(sharpness=2.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 8, limits[1]))  # takes no file whole
    try:
        with pytest.raises(UserError, match="cannot write"):
            small_models.save(copy, executor, program, image, probabilities, small_models.describe())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


SAVE_FOR_EVER = """
import itertools, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
from utils import flags
flags.set_flags()
import small_models
for sharpness in itertools.cycle((2.0, 5.0, 8.0)):
    small_models.save_colors(sys.argv[2], sharpness=sharpness)
    print("saved", flush=True)
    time.sleep(0.2)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is being read")
def test_a_reader_next_to_a_writer_and_after_its_kill_finds_whole_models(tmp_path):
    writer = subprocess.Popen([sys.executable, "-W", "ignore", "-c", SAVE_FOR_EVER, TESTS.parent, tmp_path],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert writer.stdout.readline() == b"saved\n"
        right = [np.exp(s) / (np.exp(s) + 2) for s in (2.0, 5.0, 8.0)]
        seen, end = set(), time.monotonic() + 3
        while time.monotonic() < end:
            answer = chance_of_red(tmp_path)
            seen.add(int(np.argmin(np.abs(np.array(right) - answer))))
            assert min(abs(answer - r) for r in right) < 1e-5
        assert seen == {0, 1, 2}, "the writer did not write meanwhile"
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    assert min(abs(chance_of_red(tmp_path) - r) for r in right) < 1e-5


def cut_parameters(folder):
    path = next(folder.glob("*.pdiparams"))
    path.write_bytes(path.read_bytes()[:-5])


def flip_a_bit(folder):
    path = next(folder.glob("*.pdiparams"))
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def another_networks_parameters(folder, other):
    """Parameters of another shape under names, sizes and hashes that all agree."""
    small_models.replace(folder, parameters=next(other.glob("*.pdiparams")).read_bytes())


def a_folder_for_a_file(folder):
    path = next(folder.glob("*.pdmodel"))
    path.unlink()
    path.mkdir()


def cut_program(folder):
    small_models.replace(folder, program=next(folder.glob("*.pdmodel")).read_bytes()[:-9])


def a_program_without_an_end(folder):
    def cut(program):
        count = len(program.global_block().ops)
        program.global_block().desc._remove_op(count - 1, count)

    small_models.change_program(folder, cut)


ANOTHER = "description.json is of another program or version"
DAMAGES = {
    "parameters cut short": (cut_parameters, "content"),
    "a bit flipped": (flip_a_bit, "content"),
    "no parameters": (lambda f: next(f.glob("*.pdiparams")).unlink(), "No such file"),
    "no program": (lambda f: next(f.glob("*.pdmodel")).unlink(), "No such file"),
    "a folder in place of a file": (a_folder_for_a_file, "irectory"),
    "JSON broken": (lambda f: (f / "description.json").write_text('{"format": 1,'), "not JSON"),
    "JSON empty": (lambda f: (f / "description.json").write_text(""), "not JSON"),
    "JSON deep": (lambda f: (f / "description.json").write_text("[" * 100_000), "not JSON"),
    "JSON binary": (lambda f: (f / "description.json").write_bytes(b"\xff\xfe\x00"), "not JSON"),
    "JSON of another kind": (lambda f: (f / "description.json").write_text("[1]"), ANOTHER),
    "newer format": (lambda f: redescribe(f, format=2), ANOTHER),
    "another input": (lambda f: redescribe(f, input={"shape": [None, 3, 224, 224]}), ANOTHER),
    "no classes": (lambda f: redescribe(f, classes=[]), ANOTHER),
    "odd accuracy": (lambda f: redescribe(f, test_accuracy="high"), ANOTHER),
    "no files": (lambda f: redescribe(f, files={}), ANOTHER),
    "a file without its hash": (lambda f: redescribe(f, files={"program": {"name": "a"}, "parameters": {}}), ANOTHER),
    "accuracy beyond all numbers": (lambda f: redescribe(f, test_accuracy=10 ** 400), ANOTHER),
    "accuracy that is no number": (lambda f: redescribe(f, test_accuracy=float("nan")), ANOTHER),
    "accuracy that is a truth value": (lambda f: redescribe(f, test_accuracy=True), ANOTHER),
    "accuracy below zero": (lambda f: redescribe(f, test_accuracy=-0.5), ANOTHER),
    "depth beyond all numbers": (lambda f: redescribe(f, depth=10 ** 400), ANOTHER),
    "a class that colors the terminal": (lambda f: redescribe(f, classes=["\x1b[31mred", "b", "c"]), ANOTHER),
    "a dataset of two lines": (lambda f: redescribe(f, dataset="CIFAR\nPlace: GPU"), ANOTHER),
    "a model that turns the writing": (lambda f: redescribe(f, model="\u202enet"), ANOTHER),
    "a class of a million letters": (lambda f: redescribe(f, classes=["a" * 900_000, "b", "c"]), ANOTHER),
    "program of noise": (lambda f: small_models.replace(f, program=bytes(range(256))), "cannot be used"),
    "program cut short": (cut_program, "cannot be used"),
    "program too long": (lambda f: small_models.replace(f, program=bytes(3_000_000)), "cannot be used"),
    "program without an end": (a_program_without_an_end, "cannot be used"),
    "parameters empty": (lambda f: small_models.replace(f, parameters=b""), "cannot be used"),
    "more classes than answers": (lambda f: redescribe(f, classes=list("abcd")), "4 classes"),
    "no description": (lambda f: (f / "description.json").unlink(), "no description.json"),
    "no folder": (shutil.rmtree, "train.py"),
}


def test_who_names_a_models_file_without_its_ending_is_told_of_its_folder(copy, capsys):
    """As Paddle's own functions take it."""
    assert infer.main(["dog.png", "--model-dir", str(copy / "colors-01234567"), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.endswith(f"(no description.json there): there is one in {copy}\n")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_one_line_on_the_command_line(copy, capsys, damage):
    hurt, word = DAMAGES[damage]
    hurt(copy)
    assert infer.main(["dog.png", "--model-dir", str(copy), "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and len(printed.err) < 1000
    assert printed.err[:-1].isprintable()
    assert printed.err.startswith("infer.py: error: ") and word in printed.err and str(copy) in printed.err


def test_another_networks_parameters_are_one_line_on_the_command_line(copy, static_scope, tmp_path, capsys):
    save_colors(tmp_path / "other", classes=5)
    another_networks_parameters(copy, tmp_path / "other")
    assert infer.main(["dog.png", "--model-dir", str(copy), "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "cannot be used" in printed.err


def test_a_model_of_another_paddle_gives_that_paddles_numbers():
    folder = os.environ.get("OTHER_VERSION_MODEL")
    if not folder:
        pytest.skip("OTHER_VERSION_MODEL is not set: write a folder with python tests/small_models.py FOLDER "
                    "under another Paddle and give its path")
    import paddle

    with np.load(Path(folder) / "expected.npz") as expected:
        pixels, answers, version = expected["pixels"], expected["answers"], str(expected["paddle"])
    assert version != paddle.__version__, "the folder was written by this very Paddle"
    model = load(folder)
    assert model.description["paddle"] == version
    assert answers.std() > 0.01
    np.testing.assert_allclose(infer.infer(model, pixels), answers, atol=1e-5)
