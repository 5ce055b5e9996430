"""How images become batches: shuffled, augmented, scaled; each from numbers alone, with no hidden state.

Every random choice comes from (seed, epoch, batch), so that a run that is resumed in the middle of an epoch has the
very batches that it would have had.
"""
import numpy as np

PADDING = 4  # pixels, as in He et al. 2015, section 4.2


def epoch_order(count, seed, epoch):
    """The order in which an epoch visits `count` images: a shuffle of all, int64 [count]."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batches_of(order, batch_size):
    """Cut an epoch's order into batches; the last may be smaller, and no image is left out."""
    return [order[first:first + batch_size] for first in range(0, len(order), batch_size)]


def to_float(images):
    """uint8 [N, 3, 32, 32] -> float32 in [0, 1], what the networks read."""
    return np.multiply(images, np.float32(1 / 255), dtype=np.float32)


def augment(images, rng):
    """Random crop out of a frame padded with `PADDING` zeros, and a flip left to right of every other image.

    images: uint8 [N, C, H, W] -> uint8 [N, C, H, W]. Source: He et al. 2015, section 4.2.
    """
    count, channels, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    top, left = rng.integers(0, 2 * PADDING + 1, (2, count))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    cropped = windows[np.arange(count), :, top, left]  # (N, C, H, W)
    flipped = rng.random(count) < 0.5
    cropped[flipped] = cropped[flipped, :, :, ::-1]
    return cropped


def feed_of(images, labels, indices, rng=None):
    """What one step reads: pixel float32 [n, 3, 32, 32] and label int64 [n, 1].

    rng: for random crops and flips; None for the images as they are.
    """
    chosen = images[indices]
    if rng is not None:
        chosen = augment(chosen, rng)
    return {"pixel": to_float(chosen), "label": labels[indices].reshape(-1, 1)}
