"""Fine-tuning: the last layer by its optimum, frozen statistics by their values, the fast path by Paddle's own way."""
import numpy as np
import pytest
from PIL import Image

import small_networks
import train
from small_folders import NAMES, write_classes
from small_runs import state
from utils import log, recipes
from utils.evaluation.metrics import interval
from utils.settings import Settings, with_defaults
from utils.storage import start_from

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


@pytest.mark.parametrize("network", ["airbench", "resnet", "vgg", "googlenet"])
def test_each_network_keeps_its_statistics_and_trains_the_same_as_paddle_alone(network, runs, tmp_path, monkeypatch):
    """One step, for what dropout drops differs; `first` is what the run holds before it."""
    small_networks.save(tmp_path / "start", network)
    first, take = {}, train.train_epoch

    def look_and_train(run, epoch):
        import paddle

        from utils.storage import program_state

        first.update(program_state.take(run.programs.main, paddle.static.global_scope()))
        take(run, epoch)

    monkeypatch.setattr(train, "train_epoch", look_and_train)
    monkeypatch.setattr(train.F, "dropout", lambda x, *_, **__: x)
    arguments = ["--start-from", tmp_path / "start", "--max-batches", "1", "--learning-rate", "0.001"]
    folder, out = runs(*arguments)
    assert "Recipe fine-tune" in out and "new last layer" in out and "trained alone on 39 pictures" in out
    plain, _ = runs(*arguments, "--plain", to="plain")
    fast, plain = state(folder), state(plain)
    compared = 0
    for name, array in plain.arrays.items():
        if "batch_norm" in name and name.endswith((".w_1", ".w_2")):
            np.testing.assert_array_equal(fast.arrays[name], first[name], err_msg=name)
        if name.endswith("moment1_0"):  # a tenth of the gradient
            largest = abs(array).max()
            print(name, largest, abs(fast.arrays[name] - array).max() / max(largest, 1e-30))
            compared += 1
    assert compared > 10
    assert any((fast.arrays[name] != first[name]).any() for name in first if name.startswith("conv2d"))
