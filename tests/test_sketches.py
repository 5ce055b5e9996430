"""The drawn stand-in pictures."""
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT
from utils.data import sketches


@pytest.fixture(scope="module")
def drawn():
    return sketches.draw(1000, seed=1)


def test_layout_is_that_of_cifar10(drawn):
    images, labels = drawn
    assert images.shape == (1000, 3, 32, 32) and images.dtype == np.uint8
    assert labels.shape == (1000,) and labels.dtype == np.int64


def test_classes_come_equally_often_and_shuffled(drawn):
    labels = drawn[1]
    assert np.bincount(labels).tolist() == [100] * 10
    assert len(set(labels[:50].tolist())) > 5  # sorted labels would show one class here
    assert np.bincount(sketches.draw(13, seed=3)[1], minlength=10).max() == 2


def test_artists_stand_in_the_official_order():
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert [artist.__name__ for artist in sketches.ARTISTS] == names


def test_same_seed_same_pixels_other_seed_other_pictures():
    images, labels = sketches.draw(40, seed=7)
    again, labels_again = sketches.draw(40, seed=7)
    other, labels_other = sketches.draw(40, seed=8)
    assert np.array_equal(images, again) and np.array_equal(labels, labels_again)
    assert not np.array_equal(labels, labels_other)
    far = np.abs(images[:, None].astype(np.int16) - other[None]).mean((2, 3, 4))
    assert far.min() > 4  # no picture of one seed returns in the other


def test_pictures_can_be_drawn_in_any_order_by_anybody():
    images, labels = sketches.draw(200, seed=9)
    for part in (slice(1, None, 3), slice(150, 40, -7), slice(7, 8), slice(5, 5)):
        some, classes = sketches.draw(200, 9, part)
        assert np.array_equal(some, images[part]) and np.array_equal(classes, labels[part])


SETS = [(700, 3), (301, 4)]


def drawn_alone():
    return [sketches.draw(*each) for each in SETS]


def assert_same(one, other):
    for left, right in zip(one, other):
        assert all(map(np.array_equal, left, right))


def test_processes_draw_together_what_one_draws_alone(monkeypatch):
    cores = [None, None, None] if not hasattr(os, "sched_getaffinity") else [*os.sched_getaffinity(0)] * 3
    assert_same(sketches.draw_in_processes(SETS, cores[:3]), drawn_alone())


@pytest.mark.parametrize("executable", ["false", "no such program"])
def test_where_a_process_fails_one_draws_alone(monkeypatch, executable):
    monkeypatch.setattr(sketches.sys, "executable", shutil.which(executable) or executable)
    with pytest.raises((OSError, ValueError)):
        sketches.draw_in_processes(SETS, [None, None])
    assert_same(sketches.draw_sets(SETS), drawn_alone())


def test_what_draws_ends_with_its_parent():
    """It draws for minutes; its standard input closes when the process that started it ends."""
    with subprocess.Popen([sys.executable, "-m", "utils.data.sketches", "[null, 0, 1, [[1000000, 1]]]"], cwd=ROOT,
                          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.stdin.close()
        assert process.wait(20) == 1


def test_mean_colors_alone_do_not_tell_the_classes(drawn):
    """A classifier by the nearest mean picture stays far from what a network has to reach (0.90)."""
    images, labels = drawn
    unseen, truth = sketches.draw(500, seed=2)
    means = np.stack([images[labels == c].mean(0).ravel() for c in range(10)])
    flat = unseen.reshape(len(unseen), -1).astype(np.float64)
    guesses = ((means**2).sum(1) - 2 * flat @ means.T).argmin(1)
    assert 0.1 < (guesses == truth).mean() < 0.5


def test_pictures_of_one_class_differ(drawn):
    images, labels = drawn
    for c in range(10):
        one_class = images[labels == c].astype(np.float64)
        assert one_class.std(0).mean() > 25, sketches.ARTISTS[c].__name__
