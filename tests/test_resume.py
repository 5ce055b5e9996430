"""What a run keeps, and how it is resumed: exactly, elsewhere, for longer; and that no finished model is lost."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT
from small_runs import assert_same_run, before_each_step, command, contents, state
from utils import run as run_module
from utils.parallel.workers import Workers
from utils.storage import checkpoint


def train(folder, archive, *arguments, status=0, workers=2, **environment):
    """Run small_runs.py as a user would train.py; returns (printed, errors)."""
    done = subprocess.run(
        command("--depth", "8", "--epochs", "1", "--batch-size", "64", "--seed", "5", "--device", "cpu", "--data-file",
                archive, "--model-dir", folder, "--workers", workers, *arguments), capture_output=True, text=True,
        env={**os.environ, **environment})
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_workers_that_were_stopped_in_an_epoch_end_as_if_they_had_not_been(workers, small_archive, tmp_path):
    """A signal to rank 0, to another rank, and kill -9 of each, with a checkpoint after nearly every batch.

    Batch normalization's running statistics differ between workers inside an epoch: each needs its own again.
    """
    train(tmp_path / "whole", small_archive, workers=workers)
    whole, cut = state(tmp_path / "whole"), tmp_path / "cut"
    train(cut, small_archive, workers=workers, status=130, DISTURB=f"0 2 {signal.SIGINT:d}")
    assert state(cut).statistics.shape[0] == workers and np.ptp(state(cut).statistics, axis=0).max() > 1e-4
    train(cut, small_archive, "--resume", workers=workers, status=137, CHECKPOINT_SECONDS="0",
          DISTURB=f"{workers - 1} 3 {signal.SIGKILL:d}")
    train(cut, small_archive, "--resume", workers=workers, status=143, DISTURB=f"{workers - 1} 0 {signal.SIGTERM:d}")
    out, _ = train(cut, small_archive, "--resume", workers=workers)
    assert int(re.search(r"Resumed at pass 0, batch (\d)", out)[1]) >= 4
    assert_same_run(whole, state(cut))


@pytest.mark.slow
def test_a_checkpoint_in_an_epoch_may_take_longer_than_gloo_waits(small_archive, tmp_path):
    train(tmp_path, small_archive, "--max-batches", "2", CHECKPOINT_SECONDS="0", WRITE_SECONDS="40")


def full(run, *extra, **options):
    """A whole run on the small archive, not a look: 8 batches."""
    return run("--depth", "8", "--epochs", "1", "--batch-size", "64", "--workers", "1", "--device", "cpu", *extra,
               quick=False, **options)


def test_a_finished_model_is_kept_when_another_run_takes_its_place(run, tmp_path):
    assert full(run, "--seed", "1")[0] == 0
    first = contents(tmp_path / "model")
    status, out, _ = full(run, "--seed", "2")
    assert status == 0 and out.count("model.earlier") == 1
    assert contents(tmp_path / "model.earlier") == first
    assert json.loads(contents(tmp_path / "model")["description.json"])["seed"] == 2
    import infer
    assert infer.main(["--model-dir", str(tmp_path / "model.earlier"), "--device", "cpu", "dog.png"]) == 0
    status, out, _ = full(run, "--seed", "3")
    assert json.loads(contents(tmp_path / "model.earlier")["description.json"])["seed"] == 2  # one generation
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.earlier"]


def test_a_quick_look_does_not_touch_a_finished_model(run, tmp_path):
    assert full(run, "--seed", "1")[0] == 0
    finished = contents(tmp_path / "model")
    status, out, _ = run("--seed", "2")
    assert status == 0 and contents(tmp_path / "model") == finished and not (tmp_path / "model.earlier").exists()
    assert f"this one goes to {tmp_path / 'model.look'}" in out
    assert json.loads(contents(tmp_path / "model.look")["description.json"])["seed"] == 2
    assert run("--seed", "3")[0] == 0  # a look may follow a look
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.look"]


def test_a_model_whose_place_cannot_be_kept_stays(run, tmp_path, monkeypatch):
    assert full(run, "--seed", "1")[0] == 0
    finished = contents(tmp_path / "model")

    def disk_full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", disk_full)
    status, _, err = full(run, "--seed", "2")
    assert status == 2 and len(err.splitlines()) == 1 and "No space left" in err and "model.earlier" in err
    assert contents(tmp_path / "model") == finished


def test_a_finished_run_is_given_more_passes(run, tmp_path):
    """One pass and one more are two passes, bit for bit, where the learning rate is constant."""
    assert full(run, "--seed", "1", "--recipe", "book")[0] == 0
    status, _, err = full(run, "--resume")
    assert status == 2 and "is finished after 1 pass" in err and "--resume" in err and "--epochs" in err
    status, out, err = run("--resume", "--epochs", "2", quick=False)
    assert status == 0 and "Resumed at pass 1, batch 0" in out, err
    assert run("--depth", "8", "--batch-size", "64", "--workers", "1", "--device", "cpu", "--seed", "1", "--recipe",
               "book", folder="two", quick=False)[0] == 0
    assert_same_run(state(tmp_path / "two"), state(tmp_path / "model"))


@pytest.mark.parametrize("recipe", ["quick", "strong"])
def test_one_cycle_cannot_be_longer_afterwards(run, recipe):
    assert full(run, "--recipe", recipe, "--seed", "1")[0] == 0
    status, _, err = run("--resume", "--epochs", "2", quick=False)
    assert status == 2 and len(err.splitlines()) == 1 and "start anew in another --model-dir" in err
    status, _, err = run("--resume", quick=False)
    assert status == 2 and "nothing to resume" in err and "more passes" not in err


@pytest.fixture
def stopped(run, tmp_path, monkeypatch):
    """A run of two passes that Ctrl-C stopped after one batch, its archive in a folder of its own."""
    with monkeypatch.context() as patch:
        before_each_step(patch, lambda: os.kill(os.getpid(), signal.SIGINT))
        status, _, err = run("--seed", "1")
    assert status == 130
    return err


def test_the_archive_and_the_folder_may_move(run, stopped, small_archive, tmp_path):
    moved, folder = tmp_path / "elsewhere.tar.gz", tmp_path / "another place"
    shutil.copy(small_archive, moved)
    (tmp_path / "model").rename(folder)
    status, out, err = run("--resume", "--data-file", str(moved), folder="another place")
    assert status == 0 and "Resumed at pass 0, batch 1" in out, err
    assert run("--seed", "1", folder="whole")[0] == 0
    assert_same_run(state(tmp_path / "whole"), state(folder))


def test_another_archive_is_refused_and_the_first_one_still_taken(run, stopped, tmp_path):
    import small_archives

    other = small_archives.write(tmp_path / "other.tar.gz", small_archives.contents(rows=100))
    status, _, err = run("--resume", "--data-file", str(other))
    assert status == 2 and len(err.splitlines()) == 1 and "--data-file" in err
    assert run("--resume")[0] == 0


def test_what_auto_turned_out_to_be_is_what_is_resumed(monkeypatch, tmp_path, capfd):
    """Begun on sketches for want of a network; CIFAR-10 is there when it is resumed, and not taken."""
    import train as program
    from utils.data import cifar10, dataset

    def absent(*_, **__):
        raise cifar10.NotFound(["no network"], "fetch it")

    arguments = ["--depth", "8", "--max-batches", "2", "--workers", "1", "--model-dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(dataset.cifar10, "find", absent)
        before_each_step(patch, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert program.main([*arguments, "--seed", "1"]) == 130
    settings = state(tmp_path).settings
    assert settings["dataset"] == "sketches" and settings["device"] == "cpu"
    monkeypatch.setattr(dataset.cifar10, "find", lambda *_, **__: pytest.fail("CIFAR-10 was looked for"))
    assert program.main(["--resume", "--model-dir", str(tmp_path)]) == 0
    assert capfd.readouterr().err.count("\n") == 1  # the first run's "Stopped and saved"


def test_another_device_is_allowed_and_said(run, stopped, tmp_path):
    saved = state(tmp_path / "model")
    checkpoint.write(tmp_path / "model" / "checkpoint.npz",
                     saved._replace(settings={**saved.settings, "device": "gpu"}))
    status, _, err = run("--resume", "--device", "gpu")
    assert status == 2 and "--device cpu" in err
    status, out, err = run("--resume", "--device", "cpu")
    assert status == 0 and "it began on the gpu" in out, err


def test_a_checkpoint_of_the_first_format_is_read(run, stopped, tmp_path):
    """Its settings had "place" beside "device", and no fingerprint of a worker's statistics."""
    path = tmp_path / "model" / "checkpoint.npz"
    with np.load(path) as members:
        arrays = {name: members[name] for name in members.files}
    head = json.loads(arrays.pop("head").tobytes())
    head["version"] = 1
    head["settings"].update(place="cpu", device="auto", dataset="auto")
    np.savez(path, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
    assert run("--resume")[0] == 0
    assert run("--seed", "1", folder="whole")[0] == 0
    assert_same_run(state(tmp_path / "whole"), state(tmp_path / "model"))


@pytest.mark.parametrize("change", [
    {"progress": {"epoch": -1}}, {"progress": {"batch": "3"}},
    {"progress": {"history": {"points": [[1]], "tests": []}}},
    {"progress": {"window": [["x", 1]]}}, {"progress": {"finished": 0}}, {"settings": {"batch_size": "64"}},
    {"settings": {"model": "lenet"}}, {"settings": {"stranger": 1}}, {"settings": {"seed": 1.5}},
])
def test_an_edited_checkpoint_is_one_line(run, stopped, tmp_path, change):
    saved = state(tmp_path / "model")
    for name, values in change.items():
        saved = saved._replace(**{name: {**getattr(saved, name), **values}})
    checkpoint.write(tmp_path / "model" / "checkpoint.npz", saved)
    status, _, err = run("--resume")
    assert status == 2 and len(err.splitlines()) == 1 and "damaged" in err


def test_a_compressed_checkpoint_is_refused(tmp_path, run, stopped):
    """64 MB of zeros in 64 KB: training writes none that is smaller than what it holds."""
    path = tmp_path / "model" / "checkpoint.npz"
    with np.load(path) as members:
        arrays = {name: members[name] for name in members.files}
    np.savez_compressed(path, **arrays, **{"v:zeros": np.zeros(16 << 20, np.float32)})
    status, _, err = run("--resume")
    assert status == 2 and len(err.splitlines()) == 1 and "compressed" in err


def printed_command(text):
    """The last command in what a script printed."""
    return re.findall(r"python (?:train|infer)\.py .*", text)[-1]


def shell(text, **more):
    """Run a printed command in a shell, in the project's folder."""
    return subprocess.run(["sh", "-c", text.replace("python", f"'{sys.executable}'", 1)], cwd=ROOT, text=True,
                          capture_output=True, **more)


def test_printed_commands_run(run, tmp_path, monkeypatch):
    """A folder's name with all that a shell cares about; a plain run; an archive that is not in the cache."""
    name = "it's $HOME & \"more\" *"
    with monkeypatch.context() as patch:
        before_each_step(patch, lambda: os.kill(os.getpid(), signal.SIGTERM))
        status, _, err = run("--seed", "1", "--recipe", "book", folder=name)
    assert status == 143
    status, _, refused = run("--seed", "1", folder=name)
    assert status == 2 and "unfinished run" in refused and printed_command(refused).split(", or")[0] in err
    resumed = shell(printed_command(err))
    assert resumed.returncode == 0 and "Resumed at pass 0, batch 1" in resumed.stdout, resumed.stderr
    named = shell(printed_command(resumed.stdout))
    assert named.returncode == 0 and "infer results: " in named.stdout, named.stderr
    status, _, finished = run("--resume", folder=name)
    more = shell(printed_command(finished))
    assert more.returncode == 0 and "4 passes" in more.stdout, more.stderr


def test_another_networks_resume_command_names_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before_each_step(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    import train as program

    assert program.main(["--model", "googlenet", "--dataset", "sketches", "--batch-size", "2", "--max-batches", "1",
                         "--workers", "1", "--device", "cpu"]) == 130


def test_a_test_loss_that_is_not_finite_is_no_model(run, tmp_path):
    """A rate that blows the weights up in the first step, where the cost was still finite."""
    assert run("--seed", "1", "--epochs", "1")[0] == 0
    good = contents(tmp_path / "model")
    status, out, err = run("--seed", "1", "--learning-rate", "1e308", "--max-batches", "1", "--epochs", "2")
    assert status == 2 and "Done" not in out and len(err.splitlines()) == 1
    assert "the test loss became" in err and "pass 0" in err and "last good state" in err
    assert contents(tmp_path / "model") == good


def test_curves_that_cannot_be_drawn_cost_a_picture_and_no_pass(run, tmp_path, monkeypatch):
    seen = []

    def fail(*_):
        seen.append(state(tmp_path / "model").progress["epoch"])
        raise ImportError("No module named 'matplotlib'")

    monkeypatch.setattr(run_module.curves, "draw", fail)
    status, out, _ = run("--seed", "1")
    assert status == 0 and seen == [1, 2] and "Done" in out
    assert out.count("curves were not drawn (No module named 'matplotlib')") == 2


def test_a_diverged_pass_is_not_saved_at_a_stop(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Workers, "read", lambda *_: (float("inf"), 0.1, (signal.SIGINT, True)))
    status, _, err = run("--seed", "1")
    assert status == 2 and "nothing was saved yet" in err
    assert not (tmp_path / "model" / "checkpoint.npz").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="needs a POSIX system")
@pytest.mark.parametrize("workers", [1, 2])
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
        done = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), "--depth", "8", "--device", "cpu", "--data-file",
             str(small_archive), "--model-dir", str(tmp_path), "--workers", "1"], stdout=full_disk,
            stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs a POSIX system")
def test_a_closed_terminal_ends_the_run_saved(run, tmp_path, monkeypatch):
    before_each_step(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert run("--seed", "1")[0] == 128 + signal.SIGHUP
    assert state(tmp_path / "model").progress["batch"] == 1


@pytest.mark.parametrize("arguments, said", [
    (["--seed", "-1"], "2**63"), (["--seed", str(2 ** 64)], "2**63"), (["--model-dir", ""], "empty"),
])
def test_values_are_refused_while_the_command_line_is_read(run, arguments, said, capfd):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    err = capfd.readouterr().err
    assert stop.value.code == 2 and said in err and "Traceback" not in err


def test_a_name_that_is_too_long_is_one_line(run):
    status, _, err = run(folder="x" * 300)
    assert status == 2 and len(err.splitlines()) == 1 and "File name too long" in err


def test_letters_that_the_terminal_lacks(small_archive, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--depth", "8", "--epochs", "1", "--max-batches", "1", "--workers",
         "1", "--device", "cpu", "--data-file", str(small_archive), "--model-dir", str(tmp_path / "Übung")],
        capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and "\\xdcbung" in done.stdout, done.stderr


def test_workers_other_than_the_launchers_are_one_line(run, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINER_ID", "0")
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    monkeypatch.setenv("PADDLE_MASTER", "127.0.0.1:1")
    status, _, err = run("--workers", "3")
    assert status == 2 and len(err.splitlines()) == 1 and "--workers 3, here are 2" in err and "checkpoint" not in err
