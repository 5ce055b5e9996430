"""What a run keeps, and how it is resumed: exactly, elsewhere, for longer; and that no finished model is lost."""
import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

from small_runs import assert_same_run, before_each_step, command, contents, have_costs_of, have_few_sketches, state
from utils import settings
from utils.checkpoints import Checkpoints
from utils.errors import UserError
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
    assert contents(tmp_path / "model.earlier") == first and seed_of(tmp_path / "model.earlier-2") == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.earlier", "model.earlier-2"]


def test_a_finished_model_is_kept_when_quick_looks_take_its_place(run, finished, tmp_path):
    before = contents(finished)
    for seed in (2, 3):  # a look may follow a look, which needs no copy
        assert run("--seed", str(seed), "--epochs", "1")[0] == 0
        assert contents(tmp_path / "model.earlier") == before
        assert json.loads(contents(tmp_path / "model")["description.json"])["seed"] == seed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.earlier"]


def interrupt_at(monkeypatch, step):
    """Have Ctrl-C come before this step of a run in this process, counted from 1."""
    steps = []

    def count():
        steps.append(0)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGINT)

    before_each_step(monkeypatch, count)


def seed_of(folder):
    """The seed of the run that a folder's model is from, and whether that run was finished."""
    description = json.loads((folder / "description.json").read_text())
    return description["seed"], description["finished"]


def test_the_model_kept_aside_is_the_finished_one(full, finished, monkeypatch, tmp_path):
    """As the lines advise: a run is stopped after its first pass, its checkpoint is removed, another run begins."""
    first = contents(finished)
    assert seed_of(finished) == (1, True)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        assert full("--seed", "2", "--epochs", "2")[0] == 130
    assert seed_of(finished) == (2, False) and contents(tmp_path / "model.earlier") == first
    assert "unfinished run" in full("--seed", "3")[2]
    (finished / "checkpoint.npz").unlink()
    status, out, _ = full("--seed", "3")
    assert status == 0 and "model.earlier" not in out and seed_of(finished) == (3, True)
    assert contents(tmp_path / "model.earlier") == first


@pytest.mark.parametrize("resumes", [True, False])
def test_a_run_that_ends_between_a_model_and_a_checkpoint_is_resumed(full, finished, monkeypatch, tmp_path, resumes):
    first = contents(finished)

    def disk_full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "after_epoch", disk_full)
        with pytest.raises(OSError, match="No space"):
            full("--seed", "2", "--epochs", "2")
    assert seed_of(finished) == (2, False)
    if resumes:
        assert full("--resume", "--epochs", "2")[0] == 0 and seed_of(finished) == (2, True)
        assert full("--seed", "2", "--epochs", "2", folder="whole")[0] == 0
        assert_same_run(state(tmp_path / "whole"), state(finished))
    else:
        (finished / "checkpoint.npz").unlink()
        assert full("--seed", "3")[0] == 0
    assert contents(tmp_path / "model.earlier") == first


def test_a_stopped_run_never_replaces_a_finished_model_that_is_kept_nowhere(full, finished, monkeypatch, tmp_path):
    """Its checkpoint is there, its model is not yet: the one that is there is the finished run's."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert full("--seed", "2")[0] == 130
    assert seed_of(finished) == (1, True) and state(finished).settings["seed"] == 2
    shutil.rmtree(tmp_path / "model.earlier")
    assert full("--resume")[0] == 0
    assert seed_of(finished) == (2, True) and seed_of(tmp_path / "model.earlier") == (1, True)


def test_a_model_and_the_checkpoint_of_its_run_have_one_name(finished):
    assert json.loads((finished / "description.json").read_text())["run"] == state(finished).progress["run"] != ""


def in_the_way(kind, finished, place):
    """Put something where a finished model would be kept."""
    if kind == "link":
        place.symlink_to(finished.parent / "nowhere")
    elif kind == "file":
        place.write_text("mine")
    elif kind == "part":  # of a copy by hand
        place.mkdir()
        shutil.copy(finished / "description.json", place)
    elif kind in ("folder", "damaged"):
        shutil.copytree(finished, place)
        damaged = "description.json" if kind == "folder" else next(finished.glob("*.pdiparams")).name
        (place / damaged).write_text("{}")


@pytest.mark.parametrize("kind", ["link", "file", "part", "folder", "damaged"])
def test_what_is_where_a_model_would_be_kept_stays(kind, full, finished, monkeypatch, tmp_path):
    """The model goes next to it; a whole copy of it is enough, however many runs begin and end before they save."""
    place, kept, first = tmp_path / "model.earlier", tmp_path / "model.earlier-2", contents(finished)
    in_the_way(kind, finished, place)
    before = os.lstat(place).st_ino, contents(place) if place.is_dir() else None
    have_costs_of(monkeypatch, float("nan"))
    for printed in (1, 0):
        status, out, err = full("--seed", "2")
        assert status == 2 and "nothing was saved yet" in err and out.count(f"is kept in {kept}") == printed
    assert contents(kept) == contents(finished) == first
    assert (os.lstat(place).st_ino, contents(place) if place.is_dir() else None) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.earlier", "model.earlier-2"]


@pytest.mark.parametrize("kind", ["full", "long"])
def test_a_model_that_cannot_be_kept_aside_is_noticed_before_training(kind, full, finished, monkeypatch, tmp_path):
    name = "model"
    if kind == "full":
        monkeypatch.setattr(shutil, "copy2", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    if kind == "long":
        name = "m" * 250
        finished.rename(tmp_path / name)
    before_each_step(monkeypatch, lambda: pytest.fail("it trains"))
    before = contents(tmp_path / name), sorted(tmp_path.iterdir())
    status, _, err = full("--seed", "2", folder=name)
    assert status == 2 and len(err.splitlines()) == 1 and ".earlier" in err and "[" not in err
    assert "finished model" in err
    assert (contents(tmp_path / name), sorted(tmp_path.iterdir())) == before


def test_a_run_that_ends_before_it_writes_leaves_the_earlier_models(full, finished, tmp_path, monkeypatch):
    assert full("--seed", "2")[0] == 0
    first, second = contents(tmp_path / "model.earlier"), contents(finished)
    have_costs_of(monkeypatch, float("nan"))
    status, _, err = full("--seed", "3")
    assert status == 2 and "nothing was saved yet" in err
    assert contents(tmp_path / "model.earlier") == first
    assert contents(finished) == contents(tmp_path / "model.earlier-2") == second


@pytest.mark.parametrize("options", [["--depth", "8"], ["--learning-rate", "0.012"], ["--batch-size", "32"],
                                     ["--recipe", "quick"], ["--model", "resnet"]])
def test_what_the_run_began_with_may_be_named_again(run, stopped, options):
    status, out, err = run("--resume", *options)
    assert status == 0 and "Resumed" in out, err


def test_defaults_may_be_named_when_a_run_is_resumed(tmp_path):
    """The checkpoint of a run that named none of them, as an earlier version wrote it: with None."""
    checkpoint.write(tmp_path / "checkpoint.npz", checkpoint.Checkpoint(
        {}, {"seed": 1, "depth": None, "batch_size": None, "learning_rate": None}, checkpoint.beginning()))
    for options in (["--depth", "32"], ["--learning-rate", "0.012"], ["--batch-size", "128"]):
        assert settings.parse(["--resume", "--model-dir", str(tmp_path), *options]).resume
    with pytest.raises(UserError, match="depth 32 -> 20"):
        settings.parse(["--resume", "--model-dir", str(tmp_path), "--depth", "20"])


@pytest.mark.parametrize("change", ["classes", "test_labels"])
def test_other_test_pictures_or_classes_are_noticed(run, stopped, monkeypatch, change):
    from utils.data import dataset

    read = dataset.read

    def changed(*arguments):
        data = read(*arguments)
        return data._replace(**{change: data.classes[::-1] if change == "classes" else data.test_labels[::-1].copy()})

    monkeypatch.setattr(dataset, "read", changed)
    status, _, err = run("--resume")
    assert status == 2 and len(err.splitlines()) == 1 and "images or classes are not those" in err


def test_a_checkpoint_of_an_earlier_version_is_resumed(run, stopped, quick_run):
    """It knows a fingerprint of the training images alone, and no name of the run."""
    saved = state(stopped)
    del saved.progress["run"]
    saved.settings["data"] %= 2**32
    checkpoint.write(stopped / "checkpoint.npz", saved)
    assert run("--resume")[0] == 0
    assert_same_run(state(quick_run[0]), state(stopped))


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
    from utils.data import archive, cifar10

    def absent(*_, **__):
        raise cifar10.NotFound(["no network"], "fetch it")

    arguments = ["--depth", "8", "--max-batches", "2", "--batch-size", "8", "--workers", "1", "--model-dir",
                 str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(archive, "find", absent)
        have_few_sketches(monkeypatch)  # in the resumed run too
        before_each_step(patch, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert program.main([*arguments, "--seed", "1"]) == 130
    begun = state(tmp_path).settings
    assert begun["dataset"] == "sketches" and begun["device"] == "cpu"
    monkeypatch.setattr(archive, "find", lambda *_, **__: pytest.fail("CIFAR-10 was looked for"))
    assert program.main(["--resume", "--model-dir", str(tmp_path)]) == 0
    assert capfd.readouterr().err.count("\n") == 1  # the first run's "Stopped and saved"


def test_another_device_is_allowed(run, stopped):
    saved = state(stopped)
    checkpoint.write(stopped / "checkpoint.npz", saved._replace(settings={**saved.settings, "device": "gpu"}))
    status, _, err = run("--resume", "--device", "gpu")
    assert status == 2 and "--device cpu" in err
    assert run("--resume", "--device", "cpu")[0] == 0
