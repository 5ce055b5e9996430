"""The pictures that the program draws."""
import numpy as np
import pytest

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


def test_artists_are_in_the_official_order():
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
    for number in (150, 7, 199, 0):
        assert np.array_equal(sketches.draw_one(labels[number], 9, number), images[number])


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
