"""Fine-tuning: the last layer by its optimum, frozen statistics by their values, the fast path by Paddle's own way."""
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import small_networks
import train
from conftest import ROOT
from small_folders import NAMES, write_classes
from small_runs import command, state
from utils import fine_tuning, log, recipes, strong
from utils.data import batches, dataset
from utils.evaluation.metrics import interval, interval_words
from utils.parallel.workers import Workers
from utils.settings import Settings, with_defaults
from utils.storage import program_state

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
    weights = fine_tuning.logistic_regression(np.ones((4, 1)), np.eye(2)[[0, 0, 0, 1]])
    assert weights[0, 0] == pytest.approx(0.5351, abs=5e-4) and weights[0, 1] == pytest.approx(-weights[0, 0])


def test_no_step_in_any_direction_lessens_the_regressions_loss():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(3, 2, (60, 5)), rng.integers(0, 3, 60)
    targets = np.eye(3)[labels]

    def loss(weights):
        scores = features @ weights
        return (np.log(np.exp(scores).sum(1)) - scores[np.arange(60), labels]).mean() + 0.005 * (weights ** 2).sum()

    best = fine_tuning.logistic_regression(features, targets)
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

    paddle.enable_static()
    program = paddle.static.Program()
    assert strong.freeze(program, recipes.FINE_TUNE, ["one", "two"]) == []
    assert strong.freeze(program, recipes.QUICK, ["one", "two"]) == ["one", "two"]


def test_the_last_layer_alone_answers_as_the_regression_does(pets, tmp_path, runs, monkeypatch):
    """Before the first step the network's answers on a training picture are softmax(features @ weights)."""
    small_networks.save(tmp_path / "start", "resnet")
    seen, regression = {}, fine_tuning.logistic_regression

    def keep(features, targets):
        seen.update(features=features, weights=regression(features, targets))
        return seen["weights"]

    def ask(run, epoch):
        chosen = np.random.default_rng(0).permutation(len(run.data.train_labels))
        pixels = run.data.train_images[chosen].astype(np.float32) / 255
        seen["answers"], = run.executor.run(run.programs.test, feed={"pixel": pixels},
                                            fetch_list=[run.programs.probabilities])

    monkeypatch.setattr(fine_tuning, "logistic_regression", keep)
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
    judged = subprocess.run([sys.executable, "evaluate.py", "--model-dir", tmp_path / "two", "--data-dir", pets,
                             "--output", tmp_path / "out", "--json"], capture_output=True, text=True, cwd=ROOT)
    counts = np.array(json.loads(judged.stdout)["confusion"])
    mixed = {f"{a} and {b}": counts[i, j] + counts[j, i] for i, j, a, b in
             ((0, 1, "cat", "dog"), (0, 2, "cat", "emu"), (1, 2, "dog", "emu"))}
    two = max(mixed, key=mixed.get)
    assert f"Mixed up most: {two}, {mixed[two]} of their 10 pictures to test on" in done.stdout


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
    """All classes have 13 pictures to train on."""
    _, out = runs("--depth", "8", "--epochs", "1")
    assert re.search(r"Done: test accuracy 0\.\d+ \(95% interval 0\.\d{3} to 0\.\d{3}\) on the folder pets", out)
    assert "\nFew pictures to train on: cat (13), dog (13), emu (13); more would help most, or --start-from\n" in out
    assert "Steps: 5; with pictures of your own by default passes for at least 1,500, in batches of 32 below" in out


def run_with(train, test, learned=0.9, **settings):
    """What advice looks at, with so many pictures of the classes a, b, ... and an accuracy in training."""
    counts = {f"{side}_labels": np.repeat(range(len(each)), each) for side, each in (("train", train), ("test", test))}
    return SimpleNamespace(
        data=SimpleNamespace(classes=tuple("abc"[:len(train)]), **counts), settings=Settings(**settings),
        checkpoints=SimpleNamespace(progress={"history": {"points": [(1, 0.1, learned)] * 50}}))


def test_with_many_pictures_the_log_has_no_interval_and_no_advice():
    assert interval_words(0.9, 1000) == "" and interval_words(899 / 999, 999) == " (95% interval 0.880 to 0.917)"
    run = run_with([20, 30], [10, 10])
    assert log.advice(run, 0.85, run.data.test_labels) == ""


def test_a_gap_between_training_and_test_is_said():
    for settings, end in (({"start_from": "m"}, "would help\n"), ({}, "would help, or --start-from\n")):
        run = run_with([20, 30], [10, 10], **settings)
        assert log.advice(run, 0.75, run.data.test_labels) == (
            f"It names 90% of the pictures to train on correctly, and 75% of those to test on: more pictures {end}")


@pytest.mark.parametrize("moved, words", [
    ({0: 2, 10: 2, 50: 0, 51: 0, 52: 0}, "a and c, 5 of their 30 pictures"),  # 2 a are c, and 3 c are a
    ({0: 2, 50: 0, 51: 0, 52: 0}, None),                                      # 4 are few
    ({**dict.fromkeys(range(20, 25), 2), 50: 1}, "b and c, 6 of their 40 pictures"), ({}, None)])
def test_the_two_classes_that_are_mixed_up_most_are_named(moved, words):
    run = run_with([20, 20, 20], [20, 30, 10])
    answers = np.array([moved.get(number, label) for number, label in enumerate(run.data.test_labels)])
    line = f"Mixed up most: {words} to test on; evaluate.py shows all\n" if words else ""
    assert log.advice(run, 0.9, answers) == line


def test_five_of_many_are_no_advice_and_there_are_two_lines_at_most():
    run = run_with([5, 20], [30, 21])
    answers = np.where(np.arange(51) < 5, 1, run.data.test_labels)  # 5 of 51 are less than a tenth
    assert "Mixed" not in log.advice(run, 0.9, answers)
    run = run_with([5, 20], [30, 20])
    lines = log.advice(run, 0.1, answers[:50]).splitlines()
    assert [line.split()[0] for line in lines] == ["Few", "Mixed"]


def test_each_worker_has_the_answers_of_all():
    """Two workers that hold a picture in turns; the network sees the class in the first pixel, but for 7 pictures."""
    images, labels = np.zeros((300, 3, 32, 32), np.uint8), np.arange(300) % 3
    images[:, 0, 0, 0] = np.where(np.arange(300) < 7, 2, labels)
    data, sums = dataset.Dataset("x", images, labels, images, labels, classes=tuple("abc")), []

    def answer(program, feed, fetch_list):
        return [np.eye(3, dtype=np.float32)[np.rint(255 * feed["pixel"][:, 0, 0, 0]).astype(int)]]

    for number in (1, 0):
        workers = Workers({"PADDLE_TRAINER_ID": str(number), "PADDLE_TRAINERS_NUM": "2", "PADDLE_MASTER": "here:1"})
        others = iter(list(sums))
        workers.average_statistics = lambda program: None
        workers.all_reduce = lambda part, others=others: sums.append(part) or part + next(others, 0)
        programs = SimpleNamespace(main=None, test=None, probabilities=None)
        run = SimpleNamespace(data=data, programs=programs, workers=workers, executor=SimpleNamespace(run=answer))
        loss, accuracy, answers = train.test(run)
    assert answers.tolist() == images[:, 0, 0, 0].tolist()
    assert accuracy == 295 / 300 and loss == pytest.approx(5 / 300 * -np.log(1e-20))  # of 7 pictures 2 are of c
