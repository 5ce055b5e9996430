"""What a run keeps, and how it is resumed: exactly, elsewhere, for longer; and that no finished model is lost."""
import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

from small_runs import assert_same_run, before_each_step, command, contents, have_few_sketches, state
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


@pytest.mark.parametrize("workers, cuts", [
    (2, [(1, 3, "SIGKILL")]),
    pytest.param(2, [(0, 2, "SIGINT"), (1, 3, "SIGKILL"), (1, 0, "SIGTERM")], marks=pytest.mark.slow),
    pytest.param(3, [(0, 2, "SIGINT"), (2, 3, "SIGKILL"), (2, 0, "SIGTERM")], marks=pytest.mark.slow)])
def test_workers_that_were_stopped_in_an_epoch_end_as_if_they_had_not_been(workers, cuts, small_archive, tmp_path):
    """Signals to a rank before a step; kill -9 with a checkpoint after every batch.

    Batch normalization's running statistics differ between workers inside an epoch: each needs its own again.
    """
    train(tmp_path / "whole", small_archive, workers=workers)
    whole, cut, resume = state(tmp_path / "whole"), tmp_path / "cut", []
    for rank, step, name in cuts:
        seconds = {"CHECKPOINT_SECONDS": "0"} if name == "SIGKILL" else {}
        train(cut, small_archive, *resume, workers=workers, status=128 + signal.Signals[name],
              DISTURB=f"{rank} {step} {signal.Signals[name]:d}", **seconds)
        resume = ["--resume"]
        assert state(cut).statistics.shape[0] == workers and np.ptp(state(cut).statistics, axis=0).max() > 1e-4
    out, _ = train(cut, small_archive, *resume, workers=workers)
    assert int(re.search(r"Resumed at pass 0, batch (\d)", out)[1]) >= sum(step for _, step, _ in cuts) - 1
    assert_same_run(whole, state(cut))


@pytest.mark.slow
def test_a_checkpoint_in_an_epoch_may_take_longer_than_gloo_waits(small_archive, tmp_path):
    train(tmp_path, small_archive, "--max-batches", "2", CHECKPOINT_SECONDS="0", WRITE_SECONDS="40")


def test_a_finished_model_is_kept_when_another_run_takes_its_place(full, finished, tmp_path):
    first = contents(finished)
    status, out, _ = full("--seed", "2")
    assert status == 0 and out.count("model.earlier") == 1
    assert contents(tmp_path / "model.earlier") == first
    assert json.loads(contents(tmp_path / "model")["description.json"])["seed"] == 2
    import infer
    assert infer.main(["--model-dir", str(tmp_path / "model.earlier"), "--device", "cpu", "dog.png"]) == 0
    assert full("--seed", "3")[0] == 0
    assert json.loads(contents(tmp_path / "model.earlier")["description.json"])["seed"] == 2  # one generation
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.earlier"]


def test_a_quick_look_does_not_touch_a_finished_model(run, finished, tmp_path):
    before = contents(finished)
    status, out, _ = run("--seed", "2", "--epochs", "1")
    assert status == 0 and contents(finished) == before and not (tmp_path / "model.earlier").exists()
    assert f"this one goes to {tmp_path / 'model.look'}" in out
    assert json.loads(contents(tmp_path / "model.look")["description.json"])["seed"] == 2
    assert run("--seed", "3", "--epochs", "1")[0] == 0  # a look may follow a look
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.look"]


def test_a_model_whose_place_cannot_be_kept_stays(full, finished, monkeypatch):
    before = contents(finished)

    def disk_full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", disk_full)
    status, _, err = full("--seed", "2")
    assert status == 2 and len(err.splitlines()) == 1 and "No space left" in err and "model.earlier" in err
    assert contents(finished) == before


def test_a_finished_run_is_given_more_passes(full, run, tmp_path):
    """One pass and one more are two passes, bit for bit, where the learning rate is constant."""
    assert full("--seed", "1", "--recipe", "book")[0] == 0
    status, _, err = full("--resume")
    assert status == 2 and "is finished after 1 pass" in err and "--resume" in err and "--epochs" in err
    status, out, err = full("--resume", "--epochs", "2")
    assert status == 0 and "Resumed at pass 1, batch 0" in out, err
    assert full("--epochs", "2", "--seed", "1", "--recipe", "book", folder="two")[0] == 0
    assert_same_run(state(tmp_path / "two"), state(tmp_path / "model"))


@pytest.mark.parametrize("recipe", ["quick", "strong"])
def test_one_cycle_cannot_be_longer_afterwards(full, recipe):
    assert full("--recipe", recipe, "--seed", "1")[0] == 0
    status, _, err = full("--resume", "--epochs", "2", "--recipe", recipe)
    assert status == 2 and len(err.splitlines()) == 1 and "start over in another --model-dir" in err
    status, _, err = full("--resume", "--recipe", recipe)
    assert status == 2 and "nothing to resume" in err and "more passes" not in err


def test_the_archive_and_the_folder_may_move_but_no_other_archive_is_taken(run, stopped, quick_run, small_archive,
                                                                           tiny_archive, tmp_path):
    moved, folder = tmp_path / "elsewhere.tar.gz", tmp_path / "another place"
    shutil.copy(small_archive, moved)
    stopped.rename(folder)
    status, _, err = run("--resume", "--data-file", str(tiny_archive), folder="another place")
    assert status == 2 and len(err.splitlines()) == 1 and "--data-file" in err
    status, out, err = run("--resume", "--data-file", str(moved), folder="another place")
    assert status == 0 and "Resumed at pass 0, batch 1" in out, err
    assert_same_run(state(quick_run[0]), state(folder))


def test_what_auto_turned_out_to_be_is_what_is_resumed(monkeypatch, tmp_path, capfd):
    """Begun on sketches for want of a network; CIFAR-10 is there when it is resumed, and not taken."""
    import train as program
    from utils.data import cifar10, dataset

    def absent(*_, **__):
        raise cifar10.NotFound(["no network"], "fetch it")

    arguments = ["--depth", "8", "--max-batches", "2", "--batch-size", "8", "--workers", "1", "--model-dir",
                 str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(dataset.cifar10, "find", absent)
        have_few_sketches(monkeypatch)  # in the resumed run too
        before_each_step(patch, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert program.main([*arguments, "--seed", "1"]) == 130
    settings = state(tmp_path).settings
    assert settings["dataset"] == "sketches" and settings["device"] == "cpu"
    monkeypatch.setattr(dataset.cifar10, "find", lambda *_, **__: pytest.fail("CIFAR-10 was looked for"))
    assert program.main(["--resume", "--model-dir", str(tmp_path)]) == 0
    assert capfd.readouterr().err.count("\n") == 1  # the first run's "Stopped and saved"


def test_another_device_is_allowed_and_said(run, stopped):
    saved = state(stopped)
    checkpoint.write(stopped / "checkpoint.npz", saved._replace(settings={**saved.settings, "device": "gpu"}))
    status, _, err = run("--resume", "--device", "gpu")
    assert status == 2 and "--device cpu" in err
    status, out, err = run("--resume", "--device", "cpu")
    assert status == 0 and "it began on the gpu" in out, err


def test_a_checkpoint_of_another_format_is_one_line(run, stopped):
    path = stopped / "checkpoint.npz"
    with np.load(path) as members:
        arrays = {name: members[name] for name in members.files}
    head = json.loads(arrays.pop("head").tobytes())
    head["version"] = 1
    np.savez(path, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
    status, _, err = run("--resume")
    assert status == 2 and len(err.splitlines()) == 1 and "has format 1, this program reads 2" in err


@pytest.mark.parametrize("change", [{"model": "lenet"}, {"stranger": 1}])
def test_settings_of_another_program_are_one_line(run, stopped, change):
    saved = state(stopped)
    checkpoint.write(stopped / "checkpoint.npz", saved._replace(settings={**saved.settings, **change}))
    status, _, err = run("--resume")
    assert status == 2 and len(err.splitlines()) == 1 and "damaged" in err


def test_a_compressed_checkpoint_is_refused(run, stopped):
    """64 MB of zeros in 64 KB: training writes none that is smaller than what it holds."""
    path = stopped / "checkpoint.npz"
    with np.load(path) as members:
        arrays = {name: members[name] for name in members.files}
    np.savez_compressed(path, **arrays, **{"v:zeros": np.zeros(16 << 20, np.float32)})
    status, _, err = run("--resume")
    assert status == 2 and len(err.splitlines()) == 1 and "compressed" in err
