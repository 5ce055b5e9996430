"""A run that starts from a trained model has its weights, but for the last layer, and then needs the model no more."""
import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

import small_models
import train
from conftest import ROOT
from small_folders import NAMES, write_classes
from small_runs import assert_same_run, before_each_step, command, contents, state
from utils.settings import Settings
from utils.storage import program_state, start_from

SHIPPED = ROOT / "models" / "airbench_cifar10"
FEW = ["--epochs", "1", "--batch-size", "8", "--max-batches", "2", "--seed", "3", "--device", "cpu", "--workers", "1"]


@pytest.fixture(scope="module")
def base(tmp_path_factory, small_archive):
    """A ResNet-8 that has trained for three batches on ten classes."""
    folder = tmp_path_factory.mktemp("base") / "model"
    assert train.main(["--depth", "8", "--epochs", "1", "--batch-size", "64", "--max-batches", "3", "--device", "cpu",
                       "--workers", "1", "--data-file", str(small_archive), "--model-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A folder with pictures of two classes."""
    return write_classes(tmp_path_factory.mktemp("own") / "pets", cat=NAMES, dog=NAMES)


@pytest.fixture
def begin(tmp_path, capfd, pets):
    """Run train.py's main on the pets, quickly; returns (status, printed, errors)."""
    def run_main(*arguments, to="model"):
        status = train.main([*FEW, "--model-dir", str(tmp_path / to), *map(str, arguments)])
        out = capfd.readouterr()
        return status, out.out, out.err

    return run_main


@pytest.fixture
def at_first(monkeypatch):
    """What a run's training program holds before its first step: filled while it runs."""
    state, train_epoch = {}, train.train_epoch

    def look_and_train(run, epoch):
        state.update(program_state.take(run.programs.main) if epoch == 0 else {})
        train_epoch(run, epoch)

    monkeypatch.setattr(train, "train_epoch", look_and_train)
    return state


def test_all_weights_but_the_last_layers_are_the_models(base, pets, begin, at_first):
    status, out, _ = begin("--data-dir", pets, "--start-from", base)
    assert status == 0 and "ResNet-8, " in out  # the network comes from the model too
    assert "Start: resnet-8 trained on CIFAR-10, with a new last layer, trained alone on 26 pictures\n" in out
    trained = {name: array for name, array in state(base).arrays.items()
               if re.fullmatch(r"(conv2d|batch_norm)_\d+\.[wb]_\d", name)}
    assert len(trained) == 9 + 3 + 9 * 4  # convolutions, biases of the second ones, four numbers a channel
    for name, array in trained.items():
        np.testing.assert_array_equal(at_first[name], array, err_msg=name)
    assert at_first["fc_0.w_0"].shape == (64, 2) and at_first["fc_0.w_0"].std() > 0.01
    assert all(not at_first[name].any() for name in at_first if "moment" in name)


def test_the_last_layer_is_new_with_as_many_classes_too(base, small_archive, begin, at_first, tmp_path):
    status, out, _ = begin("--data-file", small_archive, "--start-from", base)
    assert status == 0 and (at_first["fc_0.w_0"] != state(base).arrays["fc_0.w_0"]).all()
    description = json.loads((tmp_path / "model" / "description.json").read_text())
    assert description["start_from"] == base.name and description["depth"] == 8


def test_a_resumed_run_does_not_need_the_model(base, pets, begin, tmp_path, monkeypatch):
    lent = shutil.copytree(base, tmp_path / "lent")
    asked = ("--data-dir", pets, "--start-from", lent)
    assert begin(*asked, to="whole")[0] == 0
    with monkeypatch.context() as patch:
        steps = iter(range(2))
        before_each_step(patch, lambda: next(steps, None) == 0 and os.kill(os.getpid(), signal.SIGTERM))
        assert begin(*asked)[0] == 128 + signal.SIGTERM
    shutil.rmtree(lent)
    status, out, err = begin("--resume")
    assert status == 0 and "Resumed at pass 0, batch 1" in out and "Start:" not in out, err
    assert_same_run(state(tmp_path / "whole"), state(tmp_path / "model"))


def test_a_run_may_take_the_place_of_the_model_it_starts_from(base, pets, begin, tmp_path):
    shutil.copytree(base, tmp_path / "model")
    status, _, err = begin("--data-dir", pets, "--start-from", tmp_path / "model")
    assert status == 0, err
    assert state(tmp_path / "model").settings["start_from"] == str(tmp_path / "model")


@pytest.mark.slow
def test_two_workers_start_from_the_same(base, pets, tmp_path):
    done = subprocess.run(command(*FEW[:-1], "2", "--learning-rate", "1e-12", "--data-dir", pets,
                                  "--start-from", base, "--model-dir", tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Start: resnet-8") == 1
    before, after = state(base).arrays, state(tmp_path).arrays
    for name in (name for name in before if re.fullmatch(r"conv2d_\d+\.w_0", name)):
        np.testing.assert_allclose(after[name], before[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("other, complaint", [
    (["--depth", "14"], "resnet-8 trained on CIFAR-10, a ResNet-8, not a ResNet-14: omit --model and --depth"),
    (["--model", "googlenet"], "a ResNet-8, not a GoogLeNet"),
])
def test_another_network_is_one_line(base, begin, tmp_path, other, complaint):
    status, out, err = begin("--start-from", base, *other)
    assert status == 2 and out == "" and err.count("\n") == 1 and complaint in err
    assert not (tmp_path / "model").exists()


def test_the_same_network_may_be_named(base, pets, begin):
    assert begin("--start-from", base, "--model", "resnet", "--depth", "8", "--data-dir", pets)[0] == 0


def test_what_is_no_model_of_these_networks_is_one_line(begin, tmp_path, base):
    small_models.save_colors(tmp_path / "colors")
    (tmp_path / "empty").mkdir()
    damaged = shutil.copytree(base, tmp_path / "damaged")
    next(damaged.glob("*.pdiparams")).write_bytes(b"")
    for folder, complaint in (("colors", "is no network that train.py builds"), ("empty", "no model in"),
                              ("none", "no model in"), ("damaged", "cannot be used")):
        status, out, err = begin("--start-from", tmp_path / folder, "--dataset", "sketches")
        assert status == 2 and out == "" and err.count("\n") == 1 and complaint in err
        assert "with --model-dir" not in err


def test_a_description_that_names_another_network_is_one_line(base, pets, begin, tmp_path):
    wrong = shutil.copytree(base, tmp_path / "wrong")
    small_models.redescribe(wrong, depth=14)
    status, _, err = begin("--start-from", wrong, "--data-dir", pets)
    assert status == 2 and err.count("\n") == 1 and "another network than its description says" in err
    assert "description.json" not in (contents(tmp_path / "model") if (tmp_path / "model").exists() else {})


def test_the_model_that_comes_with_the_program(pets, begin, at_first):
    status, out, _ = begin("--data-dir", pets, "--start-from", SHIPPED, "--max-batches", "1")
    assert status == 0 and "Start: airbench trained on CIFAR-10, with a new last layer" in out
    assert at_first["batch_norm_0.w_2"].std() > 0.01  # running variances, which are 1 in a new network


def built(model, classes, recipe="quick"):
    """A network's programs, initialized in a scope of their own: (programs, scope, executor)."""
    import paddle

    from utils.parallel.workers import Workers

    paddle.enable_static()
    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    programs = train.build_programs(Settings(model=model, recipe=recipe, learning_rate=0.001), classes, 10, Workers())
    executor.run(programs.startup, scope=scope)
    return programs, scope, executor


@pytest.mark.parametrize("model, recipe, layer", [
    ("resnet", "quick", {"fc_0.w_0", "fc_0.b_0"}), ("vgg", "quick", {"fc_2.w_0", "fc_2.b_0"}),
    ("googlenet", "quick", {"fc_4.w_0", "fc_4.b_0"}), ("airbench", "strong", {"fc_0.w_0"})])
def test_which_layer_is_the_last(model, recipe, layer):
    programs, _, _ = built(model, 10, recipe)
    assert start_from.last_layer(programs.test, programs.probabilities) == layer


def test_means_of_weights_start_where_the_weights_do(tmp_path):
    import paddle

    programs, scope, executor = built("airbench", 10, "strong")
    old = program_state.take(programs.main, scope)
    small_models.save(tmp_path, executor, programs.test, programs.image, programs.probabilities,
                      small_models.describe(model="airbench", classes=list("abcdefghij")), scope)
    programs, scope, executor = built("airbench", 4, "strong")
    with paddle.static.scope_guard(scope):
        assert start_from.put(tmp_path, programs, executor)[0].endswith(", with a new last layer")
    now = program_state.take(programs.main, scope)
    means = [name for name in now if name.endswith(".mean") and "fc_0" not in name]
    assert len(means) == 6 + 6 + 1 + 12  # of weights, shifts, the first layer's bias, running means and variances
    for name in means:
        np.testing.assert_array_equal(now[name], old[name[:-len(".mean")]], err_msg=name)
    assert (now["conv2d_0.w_0"] == old["conv2d_0.w_0"]).all()
    assert now["fc_0.w_0.mean"].shape[1] == 4


@pytest.mark.slow
def test_googlenets_auxiliary_classifiers_are_new(tmp_path):
    import paddle

    programs, scope, executor = built("googlenet", 10)
    small_models.save(tmp_path, executor, programs.test, programs.image, programs.probabilities,
                      small_models.describe(model="googlenet", classes=list("abcdefghij")), scope)
    old = program_state.take(programs.main, scope)
    programs, scope, executor = built("googlenet", 3)
    first = program_state.take(programs.main, scope)
    with paddle.static.scope_guard(scope):
        line, _ = start_from.put(tmp_path, programs, executor)
    assert line == "googlenet trained on three colors, with a new last layer and new auxiliary classifiers"
    now = program_state.take(programs.main, scope)
    weights = {parameter.name for parameter in programs.main.all_parameters() if parameter.name.endswith("w_0")}
    kept = {name for name in weights if (now[name] == first[name]).all() and now[name].std() > 0}
    # Each auxiliary classifier has a convolution and two fully connected layers; the last layer is the fifth of those.
    assert {name.split("_")[0] for name in kept} == {"conv2d", "fc"} and len(kept) == 2 + 4 + 1
    assert all((now[name] == old[name]).all() for name in weights - kept)
