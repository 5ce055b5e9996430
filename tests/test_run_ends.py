"""How a run ends: what it says and saves then, on a signal, a full disk, a reader who leaves, a cost that is no number.

And that the commands which it prints can be typed.
"""
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest

import infer
import train
from conftest import ROOT
from small_runs import QUICK, before_each_step, contents, have_costs_of, have_curves_fail, state


def printed_command(text):
    """The last command in what a script printed."""
    return re.findall(r"python (?:\S*/)?(?:train|infer)\.py .*", text)[-1]


def test_printed_commands_run(run, small_archive, tmp_path, monkeypatch, capfd):
    """A folder's name with all that a shell cares about; an archive that is not in the cache.

    The first goes through a shell; of the others, a shell's words are handed to the script's main.
    """
    name = "it's $HOME & \"more\" *"
    with monkeypatch.context() as patch:
        before_each_step(patch, lambda: os.kill(os.getpid(), signal.SIGTERM))
        status, _, err = run("--seed", "1", "--recipe", "book", "--epochs", "1", folder=name)
    assert status == 143
    status, _, refused = run("--seed", "1", folder=name)
    assert status == 2 and "unfinished run" in refused and printed_command(refused).split(", or")[0] in err
    resumed = subprocess.run(["sh", "-c", printed_command(err).replace("python", f"'{sys.executable}'", 1)], cwd=ROOT,
                             text=True, capture_output=True)
    assert resumed.returncode == 0 and "Resumed at pass 0, batch 1" in resumed.stdout, resumed.stderr
    _, script, *words = shlex.split(printed_command(resumed.stdout))
    assert script == "infer.py" and infer.main([*words, "--device", "cpu"]) == 0
    assert "infer results: " in capfd.readouterr().out
    _, _, finished = run("--resume", "--epochs", "1", folder=name)
    _, script, *words = shlex.split(printed_command(finished))
    assert script == "train.py" and train.main(words) == 0
    assert "3 passes" in capfd.readouterr().out


def test_another_networks_resume_command_names_it(small_archive, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before_each_step(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert train.main(["--model", "airbench", "--data-file", str(small_archive), "--batch-size", "2", "--max-batches",
                       "1", "--workers", "1", "--device", "cpu"]) == 130
    script = shlex.quote(str(ROOT / "train.py"))  # which is not in this folder
    assert printed_command(capsys.readouterr().err) == f"python {script} --resume --model airbench"


def test_a_test_loss_that_is_not_finite_is_no_model(run, looked, monkeypatch):
    """As where the last step before the test blows the weights up, and its cost was still finite."""
    monkeypatch.setattr(train, "test", lambda run: (float("nan"), 0.1, None))
    good = contents(looked)
    status, out, err = run("--seed", "1", "--max-batches", "1", "--epochs", "1")
    assert status == 2 and "Done" not in out and len(err.splitlines()) == 1
    assert "the test loss became" in err and "pass 0" in err and "nothing was saved yet" in err
    assert contents(looked) == good


def test_curves_that_cannot_be_drawn_cost_a_picture_and_no_pass(run, tmp_path, monkeypatch):
    seen = []

    def fail(*_):
        seen.append(state(tmp_path / "model").progress["epoch"])
        raise ImportError("No module named 'matplotlib'")

    have_curves_fail(monkeypatch, fail)
    status, out, _ = run("--seed", "1")
    assert status == 0 and seen == [2] and "Done" in out  # after two short passes they are drawn once
    assert out.count("curves were not drawn (No module named 'matplotlib')") == 1


def test_a_diverged_pass_is_not_saved_at_a_stop(run, tmp_path, monkeypatch):
    have_costs_of(monkeypatch, float("inf"), signal.SIGINT)
    status, _, err = run("--seed", "1")
    assert status == 2 and "nothing was saved yet" in err
    assert not (tmp_path / "model" / "checkpoint.npz").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="needs a POSIX system")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_reader_who_leaves_ends_the_run_saved(workers, small_archive, tmp_path):
    """As `python train.py | head -1` does."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "--depth", "8", "--epochs", "500", "--batch-size", "64", "--device",
         "cpu", "--data-file", str(small_archive), "--model-dir", str(tmp_path), "--workers", str(workers)],
        stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    with os.fdopen(reading) as lines:
        assert "ResNet-8" in lines.readline()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGPIPE and "Traceback" not in err and err.count("\n") <= 1, err
    assert not state(tmp_path).progress["finished"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_log_on_a_full_disk_is_one_line(small_archive, tmp_path):
    with open("/dev/full", "w") as full_disk:
        done = subprocess.run([sys.executable, str(ROOT / "train.py"), *QUICK, "--data-file", str(small_archive),
                               "--model-dir", str(tmp_path)], stdout=full_disk, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs a POSIX system")
def test_a_closed_terminal_ends_the_run_saved(run, tmp_path, monkeypatch):
    before_each_step(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert run("--seed", "1")[0] == 128 + signal.SIGHUP
    assert state(tmp_path / "model").progress["batch"] == 1


@pytest.mark.parametrize("arguments, said", [
    (["--seed", "-1"], "2**63"), (["--seed", str(2 ** 64)], "2**63"), (["--model-dir", ""], "empty"),
])
def test_values_are_refused_while_the_command_line_is_read(run, arguments, said):
    status, _, err = run(*arguments)
    assert status == 2 and said in err and err.count("\n") == 1


def test_a_name_that_is_too_long_is_one_line(run):
    status, _, err = run(folder="x" * 300)
    assert status == 2 and len(err.splitlines()) == 1 and "File name too long" in err


def test_letters_that_the_terminal_lacks(small_archive, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *QUICK, "--epochs", "1", "--max-batches", "1",
         "--data-file", str(small_archive), "--model-dir", str(tmp_path / "Übung")],
        capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and "\\xdcbung" in done.stdout, done.stderr


def test_workers_other_than_the_launchers_are_one_line(run, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINER_ID", "0")
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    monkeypatch.setenv("PADDLE_MASTER", "127.0.0.1:1")
    status, _, err = run("--workers", "3")
    assert status == 2 and len(err.splitlines()) == 1
    assert "--workers 3, but this start has 2" in err and "checkpoint" not in err
