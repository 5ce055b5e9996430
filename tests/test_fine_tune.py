"""Fine-tuning: the last layer by its optimum, frozen statistics by their values, the fast path by Paddle's own way."""
import re
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import small_networks
import train
from small_folders import NAMES, write_classes
from small_runs import command, state
from utils import log, recipes
from utils.data import batches, dataset
from utils.evaluation.metrics import interval, interval_words
from utils.settings import Settings, with_defaults
from utils.storage import program_state, start_from

FEW = ["--epochs", "1", "--batch-size", "8", "--seed", "3", "--device", "cpu", "--workers", "1"]


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A folder with noise of three classes, 13 pictures to train and 5 to test on of each."""
    folder = write_classes(tmp_path_factory.mktemp("own") / "pets", cat=NAMES, dog=NAMES, emu=NAMES)
    rng = np.random.default_rng(1)
    for path in sorted(folder.glob("*/*.png")):  # no two neighbors are equal, so a pooling knows its largest
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    return folder


@pytest.fixture
def runs(pets, tmp_path, capfd):
    """Run train.py's main on the pets -> (the run's folder, its log)."""
    def run_main(*arguments, to="model"):
        status = train.main([*FEW, "--data-dir", str(pets), "--model-dir", str(tmp_path / to), *map(str, arguments)])
        out, err = capfd.readouterr()
        assert status == 0, err
        return tmp_path / to, out

    return run_main


def test_the_regression_by_hand():
    """A feature that is always 1, and classes 3 to 1: with w for the first and -w for the other p = 1 / (1 + e^-2w).

    The slope p - 3/4 + 2 * DECAY * w is 0 at w = 0.5351 (found by bisection).
    """
    weights = start_from.logistic_regression(np.ones((4, 1)), np.eye(2)[[0, 0, 0, 1]])
    assert weights[0, 0] == pytest.approx(0.5351, abs=5e-4) and weights[0, 1] == pytest.approx(-weights[0, 0])


def test_no_step_in_any_direction_lessens_the_regressions_loss():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(3, 2, (60, 5)), rng.integers(0, 3, 60)
    targets = np.eye(3)[labels]

    def loss(weights):
        scores = features @ weights
        return (np.log(np.exp(scores).sum(1)) - scores[np.arange(60), labels]).mean() + 0.005 * (weights ** 2).sum()

    best = start_from.logistic_regression(features, targets)
    for direction in rng.normal(size=(50, 5, 3)):
        assert loss(best) < loss(best + 0.01 * direction)


@pytest.mark.parametrize("network", ["airbench", "resnet", *(
    pytest.param(name, marks=pytest.mark.slow) for name in ("vgg", "googlenet"))])
def test_each_network_keeps_its_statistics_and_has_the_gradients_of_paddle_alone(network, runs, tmp_path, monkeypatch):
    """After one step: with a rounding error the regression ends elsewhere by 0.001, and so do the gradients."""
    small_networks.save(tmp_path / "start", network)
    first, train_epoch = {}, train.train_epoch

    def look_and_train(run, epoch):
        first.update(program_state.take(run.programs.main))
        train_epoch(run, epoch)

    monkeypatch.setattr(train, "train_epoch", look_and_train)
    arguments = ["--start-from", tmp_path / "start", "--max-batches", "1"]
    monkeypatch.setattr(train.F, "dropout", lambda x, *_, **__: x)  # drops others on the fast path
    fast, out = runs(*arguments)
    assert "Recipe fine-tune" in out and "with a new last layer" in out and ", trained alone on 39 pictures" in out
    plain, _ = runs(*arguments, "--plain", to="plain")
    fast, plain, compared = state(fast).arrays, state(plain).arrays, 0
    for name, array in plain.items():
        if name.startswith("batch_norm") and name.endswith((".w_1", ".w_2")):
            np.testing.assert_array_equal(fast[name], first[name], err_msg=name)
        if name.endswith("moment1_0"):  # a tenth of the gradient
            assert abs(fast[name] - array).max() < 0.05 * abs(array).max() + 1e-7, name
            compared += array.any()
    assert compared > 13


def test_new_auxiliary_classifiers_do_not_pull_at_what_was_learned():
    import paddle

    from utils import strong

    paddle.enable_static()
    program = paddle.static.Program()
    assert strong.freeze(program, recipes.FINE_TUNE, ["one", "two"]) == []
    assert strong.freeze(program, recipes.QUICK, ["one", "two"]) == ["one", "two"]


def test_the_last_layer_alone_answers_as_the_regression_does(pets, tmp_path, runs, monkeypatch):
    """Before the first step the network's answers on a training picture are softmax(features @ weights)."""
    small_networks.save(tmp_path / "start", "resnet")
    seen, regression = {}, start_from.logistic_regression

    def keep(features, targets):
        seen.update(features=features, weights=regression(features, targets))
        return seen["weights"]

    def ask(run, epoch):
        chosen = np.random.default_rng(0).permutation(len(run.data.train_labels))
        pixels = run.data.train_images[chosen].astype(np.float32) / 255
        seen["answers"], = run.executor.run(run.programs.test, feed={"pixel": pixels},
                                            fetch_list=[run.programs.probabilities])

    monkeypatch.setattr(start_from, "logistic_regression", keep)
    monkeypatch.setattr(train, "train_epoch", ask)
    for more, sides in ([], 2), (["--no-mirror"], 1):
        runs("--start-from", tmp_path / "start", *more, to=f"with {sides}")
        powers = np.exp(seen["features"] @ seen["weights"])
        shares = (powers / powers.sum(1, keepdims=True)).reshape(sides, 39, 3)
        np.testing.assert_allclose(seen["answers"], shares.mean(0), atol=1e-3)


@pytest.mark.slow
def test_two_workers_fine_tune_one_model(pets, tmp_path):
    small_networks.save(tmp_path / "start", "airbench")
    done = subprocess.run(command(*FEW[:-1], "2", "--data-dir", pets, "--start-from", tmp_path / "start", "--model-dir",
                                  tmp_path / "two"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "workers: 2" in done.stdout and done.stdout.count("trained alone on 39 pictures") == 1


def test_without_mirroring_pictures_are_only_shifted(pets):
    """One white column at the left stays in the left half."""
    images = np.zeros((50, 3, 32, 32), np.uint8)
    images[..., 2] = 255
    data = dataset.Dataset("x", images, np.zeros(50, np.int64), images[:1], np.zeros(1, np.int64))
    for no_mirror, most in ((True, 4), (False, 29)):
        settings = with_defaults(Settings(recipe="fine-tune", start_from="x", no_mirror=no_mirror, seed=1))
        feed = batches.training_feed(data, np.arange(50), settings, 0, batches.random_of(1, 0, 0, 0))
        columns = feed["pixel"].max((1, 2)).argmax(1)
        assert (columns <= most).all() == no_mirror
    airbench = with_defaults(Settings(model="airbench", recipe="strong", no_mirror=True, seed=1))
    assert not (batches.training_feed(data, np.arange(50), airbench, 0, batches.random_of(1, 0, 0, 0))["pixel"]
                .max((1, 2)).argmax(1) > 4).any()


def count_of(pictures, monkeypatch):
    monkeypatch.setattr(Settings, "pictures", pictures)


@pytest.mark.parametrize("pictures, given, expected", [
    (900, {}, (52, 32, 0.006)),                     # 29 steps a pass; the root of a quarter
    (3999, {}, (12, 32, 0.006)), (4000, {}, (47, 128, 0.012)), (100_000, {}, (2, 128, 0.012)),
    (900, {"epochs": 3}, (3, 32, 0.006)), (900, {"batch_size": 128}, (188, 128, 0.012)),
    (900, {"learning_rate": 0.1}, (52, 32, 0.1)), (900, {"recipe": "strong"}, (52, 32, 0.05)),
    (900, {"start_from": "m"}, (10, 32, 1e-4)), (0, {}, (1500, 32, 0.006))])
def test_passes_and_batches_follow_from_the_number_of_pictures(pictures, given, expected, monkeypatch):
    count_of(pictures, monkeypatch)
    settings = with_defaults(Settings(data_dir="pictures", **given))
    assert (settings.epochs, settings.batch_size, settings.learning_rate) == pytest.approx(expected)


def test_other_data_keep_the_books_numbers(monkeypatch):
    monkeypatch.setattr(Settings, "pictures", None)  # a use would fail
    settings = with_defaults(Settings())
    assert (settings.recipe, settings.epochs, settings.batch_size, settings.learning_rate) == ("quick", 2, 128, 0.012)


def test_the_pictures_of_both_layouts_are_counted(pets, tmp_path):
    assert Settings(data_dir=pets).pictures == round(0.8 * 54)
    write_classes(tmp_path / "two" / "train", cat=NAMES[:7], dog=NAMES[:4])
    write_classes(tmp_path / "two" / "test", cat=NAMES[:2])
    assert Settings(data_dir=tmp_path / "two").pictures == 11


def test_fine_tuning_needs_a_model(capfd):
    assert train.main([*FEW, "--recipe", "fine-tune", "--dataset", "sketches"]) == 2
    assert capfd.readouterr().err.endswith("name one with --start-from, or omit it\n")


@pytest.mark.parametrize("right, count, least, most", [  # Newcombe 1998, table I, method 3
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)])
def test_the_interval_of_an_accuracy(right, count, least, most):
    assert interval(right / count, count) == pytest.approx((least, most), abs=5e-5)


def test_the_log_ends_with_the_interval_and_what_would_help(runs):
    """Noise cannot be named, and all classes have 13 pictures to train on."""
    _, out = runs("--depth", "8", "--epochs", "12")
    assert re.search(r"Done: test accuracy 0\.\d+ \(95% interval 0\.\d{3} to 0\.\d{3}\) on the folder pets", out)
    assert "Few pictures to train on, so more would help most: cat (13), dog (13), emu (13)\n" in out
    assert re.search(r"It names \d+% of .* more pictures would help, or --start-from\n", out)
    assert "Steps: 60; with pictures of your own by default passes for at least 1,500, in batches of 32 below" in out


def test_with_many_pictures_the_log_has_no_interval_and_no_advice():
    assert interval_words(0.9, 1000) == "" and interval_words(899 / 999, 999) == " (95% interval 0.880 to 0.917)"
    points = [(1, 0.1, 0.95)] * 5
    run = SimpleNamespace(
        data=SimpleNamespace(train_labels=np.repeat([0, 1], [20, 30]), classes=("a", "b")),
        checkpoints=SimpleNamespace(progress={"history": {"points": points}}), settings=Settings(start_from="m"))
    assert log.advice(run, 0.9) == "" and log.advice(run, 0.8).endswith("more pictures would help\n")
