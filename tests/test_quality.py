"""How good a model is: benchmarks/quality.py against counts made by hand, and the model that comes with the program.

What its card says holds on 1,000 real pictures, within what the choice of the 1,000 allows.
"""
import json
import math

import numpy as np
import pytest

import infer
from benchmarks import quality
from utils.data.cifar10 import CLASSES

CARD = infer.SHIPPED / "measured.json"


def test_confusion_counts_by_class():
    labels, named = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 2])
    assert quality.confusion(named, labels, 3).tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_calibration_error_by_hand():
    # Two intervals: below 0.5 one wrong answer at 0.4; above, three at 0.6, 0.8 and 1.0 of which two are right.
    probabilities = np.array([[0.4, 0.3, 0.3], [0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
    rows = quality.reliability(probabilities, np.array([1, 0, 1, 0]), bins=2)
    assert rows == [(1, 0.4, 0.0), (3, pytest.approx(0.8), pytest.approx(2 / 3))]
    assert quality.calibration_error(rows) == pytest.approx((0.4 + 3 * (0.8 - 2 / 3)) / 4)


def test_tables_say_what_was_measured():
    def forward(pixels):  # says "bright" (1) where a picture's mean is above one half
        return np.eye(2)[(pixels.mean((1, 2, 3)) > 0.5).astype(int)]

    images = np.zeros((8, 3, 32, 32), np.uint8)
    images[4:] = 255
    figures = quality.measure(forward, images, np.array([0, 0, 0, 1, 1, 1, 1, 1]), ["dark", "bright"])
    assert figures["confusion"] == [[3, 0], [1, 4]] and figures["error"] == 1 / 8
    # Light: 0.7, 0.45 and 0.25 of it on the left, twice as much on the right; half a white picture hidden stays light.
    assert figures["disturbed_accuracy"]["light"] == [7 / 8, 7 / 8, 3 / 8]
    assert figures["disturbed_accuracy"]["occlusion"] == [7 / 8] * 3
    table = quality.tables(figures)
    assert "| **bright** | 1 | 4 | 20.0% |" in table and "| light | 87.5% | 87.5% | 37.5% |" in table


def test_the_card_holds_the_measured_tables():
    card = (infer.SHIPPED / "README.md").read_text(encoding="utf-8")
    assert quality.tables(json.loads(CARD.read_text(encoding="utf-8"))) in card


def shipped_answers(pixels):
    """Probabilities by the model that comes with the program: [N, 10]."""
    import paddle

    paddle.enable_static()
    return infer.answer(infer.SHIPPED, "cpu", pixels)[0]


def test_shipped_model_names_the_drawn_pictures():
    pixels = np.concatenate([infer.load_image(f"{name}.png") for name in CLASSES])
    named = [CLASSES[i] for i in shipped_answers(pixels).argmax(1)]
    assert named[CLASSES.index("dog")] == "dog"
    assert sum(a == b for a, b in zip(named, CLASSES)) >= 8, named


def test_shipped_model_on_1000_real_pictures(cifar10_archive):
    from utils.data import dataset

    data = dataset.load("cifar10", cifar10_archive, say=lambda text: None)
    some = np.arange(0, len(data.test_labels), max(1, len(data.test_labels) // 1000))[:1000]  # fewer in a small archive
    probabilities = shipped_answers(data.test_images[some].astype(np.float32) / 255)
    error = (probabilities.argmax(1) != data.test_labels[some]).mean()
    said = json.loads(CARD.read_text(encoding="utf-8"))["error"]
    assert abs(error - said) < 3 * math.sqrt(said * (1 - said) / len(some))
