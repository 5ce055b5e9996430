"""Batches come from numbers alone: every picture once, the same again for the same numbers."""
import numpy as np

from utils.data import batches


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
    moved = batches.augment(images, np.random.default_rng(1))
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
