"""Batches come from numbers alone: every picture once, the same again for the same numbers."""
from types import SimpleNamespace

import numpy as np
import pytest

from utils.data import batches
from utils.recipes import AIRBENCH, QUICK, STRONG


def test_an_epoch_visits_every_picture_once_and_shuffles_the_whole_set():
    order = batches.epoch_order(1000, seed=3, epoch=0)
    assert sorted(order) == list(range(1000))
    assert (order == batches.epoch_order(1000, seed=3, epoch=0)).all()
    assert (order != batches.epoch_order(1000, seed=3, epoch=1)).mean() > 0.9
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1


def test_the_last_uneven_batch_is_kept():
    assert [len(part) for part in batches.batches_of(np.arange(10), 4)] == [4, 4, 2]


def test_pixels_are_the_bytes_over_255():
    pixels = batches.to_float(np.array([[0, 51, 255]], np.uint8))
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, [[0, 0.2, 1]], rtol=1e-6)


def test_crop_and_flip_only_move_pixels():
    """Every augmented image is found by brute force among the 9 x 9 x 2 shifted and flipped copies of its original."""
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (20, 3, 32, 32), dtype=np.uint8)
    moved = batches.augment(images, np.random.default_rng(1), translate=4, pad_mode="constant")
    seen = set()
    for original, picture in zip(images, moved):
        frame = np.zeros((3, 40, 40), np.uint8)
        frame[:, 4:36, 4:36] = original
        copies = {(top, left, flip): frame[:, top:top + 32, left:left + 32][:, :, ::-1 if flip else 1]
                  for top in range(9) for left in range(9) for flip in (False, True)}
        found = [key for key, copy in copies.items() if (copy == picture).all()]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 15 and {flip for _, _, flip in seen} == {False, True}


def test_a_feed_has_the_shapes_that_the_programs_declare():
    images, labels = np.zeros((5, 3, 32, 32), np.uint8), np.arange(5)
    feed = batches.feed_of(images, labels, np.array([4, 0]))
    assert feed["pixel"].shape == (2, 3, 32, 32) and feed["pixel"].dtype == np.float32
    assert feed["label"].tolist() == [[4], [0]] and feed["label"].dtype == np.int64


@pytest.mark.parametrize("balance", [False, True])
def test_an_epochs_order_follows_from_seed_and_balance(balance):
    labels = np.repeat([0, 1], [90, 10])
    first, again, later, other = (batches.order_of(labels, SimpleNamespace(seed=seed, balance=balance), epoch)
                                  for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0)))
    assert (first == again).all() and (first != later).any() and (first != other).any()
    assert np.bincount(labels[first]).tolist() == ([50, 50] if balance else [90, 10])


def test_random_numbers_differ_in_each_seed_epoch_batch_and_worker():
    words = {int(batches.random_of(*numbers).generate_state(1)[0])
             for numbers in ((1, 0, 0, 0), (2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1))}
    assert len(words) == 5


DATA = SimpleNamespace(train_images=np.random.default_rng(3).integers(1, 256, (40, 3, 32, 32), np.uint8),
                       train_labels=np.arange(40) % 10)


def settings(recipe, seed):
    return SimpleNamespace(hyperparameters=recipe, seed=seed)


def test_without_augmentation_a_training_feed_has_the_images_unmodified():
    indices = np.array([7, 3])
    feed = batches.training_feed(DATA, indices, settings(QUICK, seed=1), 0, batches.random_of(1, 0, 0, 0))
    np.testing.assert_allclose(feed["pixel"], DATA.train_images[indices] / 255, rtol=1e-6)
    assert feed["label"].tolist() == [[7], [3]]


@pytest.mark.parametrize("recipe, sides", [(STRONG, {0, 1, 2, 3, 4}), (AIRBENCH, {0, 1, 2})])
def test_with_augmentation_it_has_shifted_and_mirrored_ones_the_same_for_the_same_numbers(recipe, sides):
    """Where each image went is found by brute force in numpy.pad's frame; Airbench flips in every second pass."""
    indices = np.arange(30, 10, -1)
    frame = ((0, 0), (0, 0), (recipe.translate, recipe.translate), (recipe.translate, recipe.translate))
    padded, size = np.pad(DATA.train_images[indices], frame, mode=recipe.pad_mode), 2 * recipe.translate + 1

    def places(epoch, rank=0):
        """(rows, columns, whether mirrored) of each image of a feed."""
        seeds = batches.random_of(5, epoch, 2, rank)
        feed = batches.training_feed(DATA, indices, settings(recipe, seed=5), epoch, seeds)
        assert feed["label"][:, 0].tolist() == (indices % 10).tolist()
        found = []
        for image, frame in zip(np.rint(feed["pixel"] * 255), padded):
            found.append(next((y, x, flip) for y in range(size) for x in range(size)
                              for flip in (1, -1) if (frame[:, y:y + 32, x:x + 32][..., ::flip] == image).all()))
        return found

    first, second = places(0), places(1)
    assert first == places(0) and first != second and first != places(0, rank=1)
    assert {abs(y - recipe.translate) for y, _, _ in first + second} == sides
    in_turn = all(one[2] == -other[2] for one, other in zip(first, second))
    assert in_turn == recipe.alternating_flip
