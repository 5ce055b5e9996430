"""kill -9 at any moment: what was saved loads, the run goes on, and ends where it would have ended."""
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

import infer
import small_runs
import train
from conftest import ROOT
from utils.storage import checkpoint

# With a checkpoint after nearly every batch, kills fall into the writing too.
OFTEN = {**os.environ, "CHECKPOINT_SECONDS": "0.02"}
TRAINING = ["--depth", "8", "--batch-size", "32", "--epochs", "2", "--seed", "4", "--workers", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def whole(small_archive, tmp_path_factory):
    """A run that nobody cut: (final checkpoint, when its first checkpoint was there, seconds until its end)."""
    folder = tmp_path_factory.mktemp("whole")
    begin, first = time.monotonic(), None
    run = subprocess.Popen(small_runs.command(*TRAINING, "--data-file", small_archive, "--model-dir", folder),
                           stdout=subprocess.DEVNULL, env=OFTEN)
    while run.poll() is None:
        if first is None and (folder / "checkpoint.npz").exists():
            first = time.monotonic() - begin
        time.sleep(0.02)
    assert run.returncode == 0
    return checkpoint.read(folder / "checkpoint.npz"), first, time.monotonic() - begin


def kill_and_go_on(folder, archive, after, whole, capsys):
    """Kill a training run `after` seconds; then read what it left, resume, and compare the end with `whole`."""
    arguments = [*TRAINING, "--data-file", str(archive), "--model-dir", str(folder)]
    run = subprocess.Popen(small_runs.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=OFTEN)
    time.sleep(after)
    run.send_signal(signal.SIGKILL)
    run.wait()
    path = folder / "checkpoint.npz"
    left = checkpoint.read(path).progress if path.exists() else None
    goes_on = left is None or not left["finished"]  # else it was killed while it drew its last curves
    if (folder / "description.json").exists():
        assert infer.main(["--model-dir", str(folder), "--device", "cpu", "dog.png"]) == 0
    if goes_on:
        resume = [] if left is None else ["--resume"]
        begin = time.monotonic()
        assert train.main([*arguments, *resume]) == 0, capsys.readouterr().err
        print(f"killed after {after:.1f} s, went on in {time.monotonic() - begin:.1f} s")
    end = checkpoint.read(path)
    for name, array in whole.arrays.items():
        assert np.array_equal(array, end.arrays[name]), name
    assert end.progress["history"] == whole.progress["history"]
    assert infer.main(["--model-dir", str(folder), "--device", "cpu", "dog.png"]) == 0
    leftovers = [name for name in os.listdir(folder) if name.endswith(".partial") or ".partial." in name]
    assert not (goes_on and leftovers), "the run that went on clears what the killed one left behind"
    assert json.loads((folder / "description.json").read_text())["epochs"] == 2


@pytest.mark.parametrize("number", [1, *[pytest.param(number, marks=pytest.mark.slow) for number in (0, 2, 3, 4)]])
def test_a_killed_run_goes_on_to_the_same_end(number, whole, small_archive, tmp_path, capsys):
    saved, first, seconds = whole
    moment = random.Random(number).uniform(number / 5, (number + 1) / 5)  # spread over its whole saving life
    kill_and_go_on(tmp_path, small_archive, first + moment * (seconds - first), saved, capsys)


@pytest.mark.long
@pytest.mark.parametrize("number", range(50))
def test_fifty_killed_runs_go_on_to_the_same_end(number, whole, small_archive, tmp_path, capsys):
    saved, _, seconds = whole
    moment = random.Random(100 + number).uniform(number / 50, (number + 1) / 50)
    kill_and_go_on(tmp_path, small_archive, moment * seconds, saved, capsys)


@pytest.fixture(scope="module")
def whole_of_two(small_archive, tmp_path_factory):
    """As `whole`, shared by two workers."""
    folder, begin = tmp_path_factory.mktemp("two"), time.monotonic()
    assert subprocess.run(of_two(folder, small_archive), stdout=subprocess.DEVNULL).returncode == 0
    return checkpoint.read(folder / "checkpoint.npz"), time.monotonic() - begin


def of_two(folder, archive, *more):
    """The command of the same run with two workers."""
    return small_runs.command(*TRAINING, "--workers", "2", "--data-file", archive, "--model-dir", folder, *more)


def kill_one_of_two(folder, archive, number, moment, whole):
    """kill -9 the watcher, rank 0 or rank 1; all end, and a resumed run ends as `whole`."""
    run = subprocess.Popen(of_two(folder, archive), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=OFTEN)
    time.sleep(moment)
    processes = [psutil.Process(run.pid), *psutil.Process(run.pid).children()] if run.poll() is None else []
    for process in processes[number % 3:number % 3 + 1]:
        process.kill()
    run.wait()
    psutil.wait_procs(processes, timeout=15)
    assert not any(process.is_running() for process in processes)
    path = folder / "checkpoint.npz"
    left = checkpoint.read(path).progress if path.exists() else None
    if left is None or not left["finished"]:
        resume = [] if left is None else ["--resume"]
        assert subprocess.run(of_two(folder, archive, *resume), stdout=subprocess.DEVNULL).returncode == 0
    small_runs.assert_same_run(whole, checkpoint.read(path))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_a_killed_process_of_two_workers_costs_nothing(number, whole_of_two, small_archive, tmp_path):
    saved, seconds = whole_of_two
    kill_one_of_two(tmp_path, small_archive, number + 1, (0.6 + 0.2 * number) * seconds, saved)


@pytest.mark.long
@pytest.mark.parametrize("number", range(50))
def test_fifty_killed_processes_of_two_workers_cost_nothing(number, whole_of_two, small_archive, tmp_path):
    saved, seconds = whole_of_two
    moment = random.Random(200 + number).uniform(number / 50, (number + 1) / 50)
    kill_one_of_two(tmp_path, small_archive, number, moment * seconds, saved)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX system")
def test_ctrl_c_in_a_terminal_saves_and_says_how_to_go_on(small_archive, tmp_path):
    """Ctrl-C goes to every process of the terminal's group: here, a group of its own with two workers in it."""
    arguments = [*TRAINING, "--workers", "2", "--epochs", "500", "--data-file", str(small_archive),
                 "--model-dir", str(tmp_path)]
    run = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *arguments], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, start_new_session=True)
    while "Test with Pass 0" not in run.stdout.readline():
        assert run.poll() is None
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert err.startswith("Stopped and saved; resume with: python train.py --resume") and err.count("\n") == 1, err
    assert checkpoint.read(tmp_path / "checkpoint.npz").progress["finished"] is False
