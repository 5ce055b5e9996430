"""train.py from the command line's side: what it prints, leaves, refuses, and goes on with."""
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import train
from conftest import ROOT
from small_runs import (
    assert_same_run,
    before_each_step,
    contents,
    have_costs_of,
    have_curves_fail,
    loss_and_accuracy,
    state,
)
from utils import checkpoints
from utils.settings import Settings, with_defaults


def test_the_log_and_the_files(quick_run):
    folder, out = quick_run
    assert re.search(r"^ResNet-8, 78,154 trainable parameters$", out, re.M), out  # by hand, see below
    assert re.search(r"^Data: CIFAR-10 \(not the official archive: images [0-9a-f]{16}", out, re.M)
    assert re.findall(r"^Pass (\d), Batch (\d), Cost \d+\.\d\d, Acc [01]\.\d\d$", out, re.M) == [("0", "0"), ("1", "0")]
    assert re.findall(r"^Test with Pass (\d), Loss \d+\.\d\d, Acc [01]\.\d\d$", out, re.M) == ["0", "1"]
    description = json.loads((folder / "description.json").read_text())
    assert (description["model"], description["depth"], description["epochs"]) == ("resnet", 8, 2)
    assert description["dataset"] == "CIFAR-10" and 0 <= description["test_accuracy"] <= 1
    assert description["classes"] == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                                      "truck"]
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    # ResNet-8, n = 1: convolutions 432 + 2*2304 + (4608 + 9216 + 512) + (18432 + 36864 + 2048) = 76720, scales and
    # shifts 2 * (16 + 2*16 + 3*32 + 3*64) = 672, biases of the second convolutions 112, classifier 650


def test_the_books_lines_have_the_numbers_in_their_places(full, tmp_path, monkeypatch):
    """Of every second batch, and of the test; the checkpoint has both."""
    monkeypatch.setattr(train, "LOG_EVERY", 2)
    status, out, _ = full("--seed", "1", "--epochs", "2")
    progress = state(tmp_path / "model").progress
    batches, tests = ([numbers for _, *numbers in progress["history"][part]] for part in ("points", "tests"))
    expected = []
    for epoch, (loss, right) in enumerate(tests):
        for batch in (0, 2):
            cost, accuracy = batches[3 * epoch + batch]
            expected.append(f"Pass {epoch}, Batch {batch}, Cost {cost:.2f}, Acc {accuracy:.2f}")
        expected.append(f"Test with Pass {epoch}, Loss {loss:.2f}, Acc {right:.2f}")
    assert status == 0 and len(batches) == 6 and len(set(expected)) == 6
    assert re.findall(r"^(?:Pass|Test with).*", out, re.M) == expected


def rows_of(folder):
    """What a program reads in history.csv: (part, pass, batch) of each row, and its numbers."""
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["part"], row["pass"], row["batch"]) for row in rows], \
           [(float(row["cost"]), float(row["accuracy"])) for row in rows]


def test_history_and_curves_are_there_while_the_run_goes_on(full, tmp_path, monkeypatch):
    """Three batches a pass, of which every second has a row; after a stop the rows go on where the checkpoint is."""
    monkeypatch.setattr(checkpoints, "ROW", 2)
    monkeypatch.setattr(checkpoints, "DRAWING_SECONDS", 0)
    have_curves_fail(monkeypatch, lambda path, *_: path.touch())  # quickly
    folder, seen = tmp_path / "model", []

    def look():
        seen.append(len(rows_of(folder)[0]) if (folder / "curves.png").exists() else 0)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        before_each_step(patch, look)
        assert full("--seed", "1", "--epochs", "2")[0] == 130
    assert seen == [0, 1, 1, 3, 4] and len(rows_of(folder)[0]) == 4
    (folder / "history.csv").write_text("rows from after the checkpoint")
    assert full("--resume", "--seed", "1", "--epochs", "2")[0] == 0
    names, numbers = rows_of(folder)
    assert names == [("training", "0", "0"), ("training", "0", "2"), ("test", "0", ""),
                     ("training", "1", "0"), ("training", "1", "2"), ("test", "1", "")]
    progress = state(folder).progress
    batches, tests = ([numbers for _, *numbers in progress["history"][part]] for part in ("points", "tests"))
    assert numbers == [tuple(each) for each in (batches[0], batches[2], tests[0], batches[3], batches[5], tests[1])]


def test_another_runs_history_stays_until_this_one_saves(run, looked, monkeypatch):
    monkeypatch.setattr(checkpoints, "DRAWING_SECONDS", 0)
    monkeypatch.setattr(train, "test", lambda run: (float("nan"), 0.1, None))
    first = contents(looked)
    assert "history.csv" in first and run("--seed", "2")[0] == 2 and contents(looked) == first


def test_every_test_picture_weighs_the_same(full, tiny_archive, tmp_path, monkeypatch):
    """Batches of 3, 3 and 2; loss and accuracy by NumPy, from the saved model's answers on the test images."""
    monkeypatch.setattr(train, "TEST_BATCH", 3)
    assert full("--seed", "1")[0] == 0
    loss, accuracy = loss_and_accuracy(tmp_path / "model", tiny_archive)
    description = json.loads((tmp_path / "model" / "description.json").read_text())
    assert description["test_loss"] == pytest.approx(loss, rel=1e-4)
    assert description["test_accuracy"] == pytest.approx(accuracy)


def test_a_seed_fixes_the_numbers(run, quick_run, tmp_path):
    for folder, seed in (("same", "1"), ("other", "2")):
        assert run("--seed", seed, folder=folder)[0] == 0
    first = state(quick_run[0])
    assert_same_run(first, state(tmp_path / "same"))
    assert first.progress["history"] != state(tmp_path / "other").progress["history"]


@pytest.mark.parametrize("model", [
    "resnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vgg", "airbench"))])
def test_a_run_that_was_cut_goes_on_to_the_same_end(run, tiny_archive, tmp_path, monkeypatch, model):
    """SIGINT after some batches, --resume, twice; dropout's masks (VGG) and means of weights (Airbench) included."""
    extra = ["--model", model, "--recipe", "strong", "--epochs", "1" if model == "vgg" else "2", "--batch-size", "8",
             "--max-batches", "3", "--workers", "1", "--device", "cpu", "--data-file", str(tiny_archive)]
    extra += ["--depth", "8"] * (model == "resnet")
    assert run("--seed", "1", *extra, folder="whole", quick=False)[0] == 0

    cuts = [2, 1]

    def ctrl_c():
        if cuts:
            cuts[0] -= 1
            if cuts[0] == 0:
                cuts.pop(0)
                os.kill(os.getpid(), signal.SIGINT)

    before_each_step(monkeypatch, ctrl_c)
    status, _, err = run("--seed", "1", *extra, folder="cut", quick=False)
    assert status == 130 and "--resume" in err
    status, out, _ = run("--resume", *extra, folder="cut", quick=False)
    assert status == 130 and "Resumed at pass 0, batch 2" in out
    assert run("--resume", *extra, folder="cut", quick=False)[0] == 0
    assert_same_run(state(tmp_path / "whole"), state(tmp_path / "cut"))


def test_an_unfinished_run_is_not_started_over(run, tmp_path, monkeypatch):
    before_each_step(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run("--seed", "1")[0] == 143
    before = (tmp_path / "model" / "checkpoint.npz").read_bytes()
    status, _, err = run("--seed", "1")
    assert status == 2 and "unfinished run (pass 0, batch 1)" in err and "--resume" in err
    status, _, err = run("--seed", "2", "--learning-rate", "0.1", "--resume")
    assert status == 2 and "seed 1 -> 2" in err and "learning_rate 0.012 -> 0.1" in err
    assert (tmp_path / "model" / "checkpoint.npz").read_bytes() == before


def test_a_cost_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(run, looked, monkeypatch):
    good = contents(looked)
    have_costs_of(monkeypatch, float("nan"))
    status, _, err = run("--seed", "1", "--recipe", "book")
    assert status == 2 and len(err.splitlines()) == 1
    assert "nan in pass 0, batch 0, at learning rate 0.001" in err
    assert "nothing was saved yet" in err and "checkpoint.npz" not in err  # that one is of the run before
    assert contents(looked) == good


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes")
def test_a_full_disk_ends_the_run_and_keeps_what_was_there(run, looked):
    import resource

    good, limits = contents(looked), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # ResNet-8's weights alone take 300 kB
    try:
        status, _, err = run("--seed", "2", "--epochs", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2 and len(err.splitlines()) == 1 and "cannot write" in err and "kept" in err, err
    assert contents(looked) == good


def test_a_folder_that_becomes_something_else_ends_the_run_in_one_line(run, tmp_path, monkeypatch):
    folder = tmp_path / "model"

    def replace_folder():
        if folder.is_dir():
            shutil.rmtree(folder)
            folder.touch()

    before_each_step(monkeypatch, replace_folder)
    status, _, err = run("--seed", "1")
    assert status == 2 and len(err.splitlines()) == 1 and "cannot write" in err, err


def test_a_folder_that_vanishes_is_made_again(run, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    before_each_step(monkeypatch, lambda: shutil.rmtree(folder, ignore_errors=True))
    assert run("--seed", "1", "--epochs", "1")[0] == 0
    assert state(folder).progress["finished"] and (folder / "description.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_memory_that_runs_out_is_one_line(small_archive, tmp_path):
    """A step of ResNet-32 on 500 pictures needs about 3 GB; Paddle alone maps 3."""
    import resource

    done = subprocess.run(
        [sys.executable, "train.py", "--depth", "32", "--batch-size", "500", "--workers", "1", "--device", "cpu",
         "--data-file", str(small_archive), "--model-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("train.py: error: not enough memory"), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments, said", [
    (["--depth", "21"], "20"),
    (["--device", "gpu"], "--device gpu"),
    (["--data-file", "nowhere.tar.gz"], "nowhere.tar.gz"),
    (["--resume"], "nothing to resume"),
    (["--model", "vgg", "--depth", "20"], "depth"),
])
def test_a_mistake_is_one_line_and_status_2(run, arguments, said):
    status, _, err = run(*arguments)
    assert status == 2 and len(err.splitlines()) == 1
    assert err.startswith("train.py: error: ") and said in err


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--batch-size", "-1"], ["--learning-rate", "nan"],
                                       ["--model", "lenet"], ["--dataset", "mnist"], ["--learning-rate", "1e300"]])
def test_values_that_cannot_be_are_refused_by_name_in_one_line(run, arguments):
    status, out, err = run(*arguments)
    assert status == 2 and out == "" and err.startswith(f"train.py: error: argument {arguments[0]}: ")
    assert err.count("\n") == 1


def test_the_strong_recipe_by_hand():
    """Three steps of Nesterov's momentum on a mean of [1, 2] w + b, whose gradient is always [1, 2] and 1.

    The rates of one cycle of 10 steps: from a 25th of 0.2 along half a cosine to 0.2 in step 2.
    """
    import paddle

    paddle.enable_static()
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        x = paddle.static.data("x", [1, 2], "float32")
        loss = paddle.mean(paddle.static.nn.fc(x, 1))
        settings = with_defaults(Settings(recipe="strong"))
        optimizer, schedule = train.optimizer_program(settings, 10, program.all_parameters())
        optimizer.minimize(loss)
    with paddle.static.scope_guard(scope):
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        start = np.float32([[30], [-40]])
        scope.find_var("fc_0.w_0").get_tensor().set(start, paddle.CPUPlace())
        for step in range(3):
            schedule.step(step)
            executor.run(program, feed={"x": np.float32([[1, 2]])}, fetch_list=[loss])
        weights, bias = (np.array(scope.find_var(name).get_tensor()) for name in ("fc_0.w_0", "fc_0.b_0"))
    expected, velocity = {"w": start.astype(float), "b": np.zeros(1)}, {"w": 0, "b": 0}
    for rate in (0.008, 0.104, 0.2):
        for name, gradient in (("w", np.array([[1], [2]]) + 0.0005 * expected["w"]), ("b", 1)):
            velocity[name] = 0.9 * velocity[name] + gradient
            expected[name] = expected[name] - rate * (gradient + 0.9 * velocity[name])
    np.testing.assert_allclose(start - weights, start - expected["w"], rtol=1e-4)
    np.testing.assert_allclose(bias, expected["b"], rtol=1e-5)


def test_one_cycle_by_hand():
    """Ten steps: up to the peak by a quarter of it in each of the first four, then down by sixths; never 0."""
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert [train.one_cycle(step, 10, 0.4) for step in range(10)] == pytest.approx(expected)
    assert [train.one_cycle(step, 1, 0.4) for step in range(1)] == [1]  # a look of one batch
    assert [train.one_cycle(step, 10, 0) for step in (0, 5, 9)] == [1, 1, 1]  # the book's


def test_the_quick_recipe_is_adam_at_that_rate():
    """Adam's first steps move a weight by the rate itself, whatever its gradient: 1/4, 2/4 and 3/4 of the peak."""
    import paddle

    paddle.enable_static()
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        loss = paddle.mean(paddle.static.nn.fc(paddle.static.data("x", [1, 2], "float32"), 1))
        settings = with_defaults(Settings(learning_rate=0.1))
        optimizer, schedule = train.optimizer_program(settings, 10, program.all_parameters())
        optimizer.minimize(loss)
    executor, moved = paddle.static.Executor(paddle.CPUPlace()), []
    executor.run(startup, scope=scope)
    for step in range(3):
        before = np.array(scope.find_var("fc_0.w_0").get_tensor())
        schedule.step(step)
        executor.run(program, feed={"x": np.float32([[1, 20]])}, scope=scope)
        moved.append(before - np.array(scope.find_var("fc_0.w_0").get_tensor()))
    np.testing.assert_allclose(np.array(moved)[:, :, 0], [[0.025] * 2, [0.05] * 2, [0.075] * 2], rtol=1e-4)


@pytest.mark.slow
def test_real_pictures_are_learnt_from_the_command_line_to_a_name(cifar10_archive, tmp_path, capsys):
    """One end-to-end run on real CIFAR-10: the cost falls well below its start, and the model reads back."""
    import infer

    folder = tmp_path / "model"
    status = train.main(["--data-file", str(cifar10_archive), "--model-dir", str(folder), "--depth", "8",
                         "--max-batches", "30", "--epochs", "2", "--seed", "1", "--workers", "1", "--device", "cpu"])
    assert status == 0
    points = state(folder).progress["history"]["points"]
    assert np.mean(points[-10:], axis=0)[1] < 0.9 * np.mean(points[:10], axis=0)[1]
    description = json.loads((folder / "description.json").read_text())
    assert description["test_accuracy"] > 0.2  # chance is 0.1
    capsys.readouterr()
    assert infer.main(["--model-dir", str(folder), "--device", "cpu", "dog.png"]) == 0
    named = re.search(r"^infer results: (\w+)$", capsys.readouterr().out, re.M)
    assert named.group(1) in description["classes"]
