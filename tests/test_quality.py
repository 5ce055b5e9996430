"""How good a model is: what is measured against counts made by hand, and the supplied model.

What its card says holds on 1,000 real images, within what the choice of the 1,000 allows. And of every benchmark: help
without data, and one line for an archive that does not exist.
"""
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evaluate
import infer
from benchmarks import quality
from utils.data.cifar10 import CLASSES
from utils.evaluation import metrics as evaluation
from utils.speed import executor

ROOT = Path(__file__).resolve().parent.parent
CARD = infer.SHIPPED / "measured.json"
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "benchmarks").glob("*.py"))}
PROGRAMS = [name for name, source in SOURCES.items() if "__main__" in source]


def test_confusion_counts_by_class():
    labels, named = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 2])
    assert evaluation.confusion(named, labels, 3).tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_calibration_error_by_hand():
    # Two intervals: below 0.5 one wrong answer at 0.4; above, three at 0.6, 0.8 and 1.0 of which two are right.
    probabilities = np.array([[0.4, 0.3, 0.3], [0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
    rows = evaluation.reliability(probabilities, np.array([1, 0, 1, 0]), bins=2)
    assert rows == [(1, 0.4, 0.0), (3, pytest.approx(0.8), pytest.approx(2 / 3))]
    assert evaluation.calibration_error(rows) == pytest.approx((0.4 + 3 * (0.8 - 2 / 3)) / 4)


def test_tables_say_what_was_measured():
    class Brightness:
        """In the place of an executor: says "bright" (1) where an image's mean is above one half."""
        def run(self, _program, feed, **_):
            return [np.eye(2)[(feed["pixel"].mean((1, 2, 3)) > 0.5).astype(int)]]

    images = np.zeros((8, 3, 32, 32), np.uint8)
    images[4:] = 255
    model = infer.Model(None, ["pixel"], [], Brightness(), None, {})
    metrics = quality.measure(model, images, np.array([0, 0, 0, 1, 1, 1, 1, 1]), ["dark", "bright"])
    assert metrics["confusion"] == [[3, 0], [1, 4]] and metrics["error"] == 1 / 8
    # Light: 0.7, 0.45 and 0.25 of it on the left, twice as much on the right; half a white image hidden stays light.
    assert metrics["disturbed_accuracy"]["light"] == [7 / 8, 7 / 8, 3 / 8]
    assert metrics["disturbed_accuracy"]["occlusion"] == [7 / 8] * 3
    table = quality.tables(metrics)
    assert "| **bright** | 1 | 4 | 20.0% |" in table and "| light | 87.5% | 87.5% | 37.5% |" in table


def test_the_card_holds_the_measured_tables():
    card = (infer.SHIPPED / "README.md").read_text(encoding="utf-8")
    assert quality.tables(json.loads(CARD.read_text(encoding="utf-8"))) in card


def shipped_answers(pixels):
    """Probabilities by the supplied model: [N, 10]."""
    import paddle

    paddle.enable_static()
    return infer.infer(infer.load_model(infer.SHIPPED, "cpu")[0], pixels)


def test_shipped_model_names_the_drawn_pictures():
    pixels = np.concatenate([infer.load_image(f"{name}.png") for name in CLASSES])
    named = [CLASSES[i] for i in shipped_answers(pixels).argmax(1)]
    assert named[CLASSES.index("dog")] == "dog"
    assert sum(a == b for a, b in zip(named, CLASSES)) >= 8, named


@pytest.mark.slow
def test_shipped_model_on_1000_real_pictures(cifar10_archive):
    from utils.data import dataset

    data = dataset.read("cifar10", cifar10_archive, say=lambda text: None)
    some = np.arange(0, len(data.test_labels), max(1, len(data.test_labels) // 1000))[:1000]  # fewer in a small archive
    probabilities = shipped_answers(data.test_images[some].astype(np.float32) / 255)
    error = (probabilities.argmax(1) != data.test_labels[some]).mean()
    said = json.loads(CARD.read_text(encoding="utf-8"))["error"]
    assert abs(error - said) < 3 * math.sqrt(said * (1 - said) / len(some))


def test_the_quick_way_and_the_executors_give_the_same_probabilities(monkeypatch):
    """As where Paddle has no oneDNN, and so no quick way."""
    images = np.concatenate([infer.load_image(f"{name}.png") for name in CLASSES])
    images = (255 * images).round().astype(np.uint8)
    quick = evaluate.ask(evaluate.load_model(infer.SHIPPED, "cpu")[0], images)
    monkeypatch.setattr(executor, "has_onednn", lambda: False)
    plain = evaluate.ask(evaluate.load_model(infer.SHIPPED, "cpu")[0], images)
    assert np.allclose(plain, quick, atol=1e-4) and (plain != quick).any()


def asked(name, *arguments):
    """What `python -m benchmarks.NAME ARGUMENTS...` prints; the test is skipped where it lacks PyTorch."""
    if "\nimport torch" in SOURCES[name]:
        pytest.importorskip("torch", reason="this benchmark needs PyTorch")
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=ROOT, capture_output=True,
                          text=True, env=environment)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_benchmark_explains_itself_without_data(name):
    shown = asked(name, "--help")
    assert shown.returncode == 0 and shown.stdout.startswith(f"usage: {name}.py") and shown.stderr == ""


@pytest.mark.parametrize("name", [name for name in PROGRAMS if "--data-file" in SOURCES[name]])
def test_an_archive_that_does_not_exist_is_one_line(name, tmp_path):
    ended = asked(name, "--data-file", str(tmp_path / "nowhere.tar.gz"))
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith(f"{name}.py: error: ") and ended.stderr.count("\n") == 1
    assert "nowhere.tar.gz: it does not exist" in ended.stderr
