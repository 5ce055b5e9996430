"""How images become batches: shuffled, augmented, scaled; each from numbers alone, with no hidden state.

Every random choice comes from (seed, epoch, batch, rank), so that a run that is resumed in the middle of an epoch has
the very batches that it would have had.
"""
from typing import Any, Optional

import numpy as np


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits `count` images: a shuffle of all, int64 [count]."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def balanced_order(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """As `epoch_order`, with each class equally often.

    Images of a small class are repeated; those of a large one take turns from epoch to epoch.
    Source: Buda et al. 2018, oversampling, with epochs of the usual length.
    """
    rng = np.random.default_rng([seed, epoch])
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    shares = np.bincount(np.arange(len(labels)) % len(classes))
    chosen = [np.resize(rng.permutation(each), share) for each, share in zip(classes, shares)]
    return rng.permutation(np.concatenate(chosen))


def order_of(labels: np.ndarray, settings: Any, epoch: int) -> np.ndarray:
    """The order in which an epoch visits the images, as `settings.balance` and `settings.seed` say: int64 [count]."""
    if settings.balance:
        return balanced_order(labels, settings.seed, epoch)
    return epoch_order(len(labels), settings.seed, epoch)


def batches_of(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an epoch's order into batches; the last may be smaller, and no image is left out."""
    return [order[first:first + batch_size] for first in range(0, len(order), batch_size)]


def random_of(seed: int, epoch: int, batch: int, rank: int) -> np.random.SeedSequence:
    """The source of all random numbers of one worker's share of a batch: its first word is dropout's seed."""
    return np.random.SeedSequence([seed, epoch, batch, rank])


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 [N, 3, 32, 32] -> float32 in [0, 1], what the networks read."""
    return np.multiply(images, np.float32(1 / 255), dtype=np.float32)


def augment(images: np.ndarray, rng: np.random.Generator, translate: int, pad_mode: str,
            flipped: Optional[np.ndarray] = None, cutout: int = 0) -> np.ndarray:
    """Shift images by up to `translate` pixels each way, mirror some left to right, and black out a square of each.

    images: uint8 [N, C, H, W] -> uint8 [N, C, H, W]. pad_mode: what comes in, as numpy.pad names it: "constant" for
    black, "reflect". flipped: which are mirrored, bool [N]; at random where None. cutout: side of the square, or 0.
    Source: He et al. 2015, section 4.2 (shift and mirror); DeVries and Taylor 2017 (cutout).
    """
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (translate, translate), (translate, translate)), mode=pad_mode)
    top, left = rng.integers(0, 2 * translate + 1, (2, count))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    moved = windows[np.arange(count), :, top, left]  # (N, C, H, W)
    if flipped is None:
        flipped = rng.random(count) < 0.5
    moved[flipped] = moved[flipped, :, :, ::-1]
    if cutout:
        for image, y, x in zip(moved, *rng.integers(0, (height - cutout + 1, width - cutout + 1), (count, 2)).T):
            image[:, y:y + cutout, x:x + cutout] = 0
    return moved


def feed_of(images: np.ndarray, labels: np.ndarray, indices: np.ndarray,
            changed: Optional[np.ndarray] = None) -> dict[str, np.ndarray]:
    """What one step reads: pixel float32 [n, 3, 32, 32] and label int64 [n, 1].

    changed: the images of `indices` after augmentation; None for the images unmodified.
    """
    pixels = to_float(images[indices] if changed is None else changed)
    return {"pixel": pixels, "label": labels[indices].reshape(-1, 1)}


def alternating_flip(count: int, seed: int, epoch: int) -> np.ndarray:
    """Which images an epoch mirrors: half of them, the other half in the next; bool [count].

    Source: Jordan 2024, section 3.6.
    """
    return (np.random.default_rng([seed]).random(count) < 0.5) ^ bool(epoch % 2)


def training_feed(data: Any, indices: np.ndarray, settings: Any, epoch: int,
                  seeds: np.random.SeedSequence) -> dict[str, np.ndarray]:
    """`feed_of` the training images, augmented where the recipe says so; seeds: see `random_of`."""
    recipe, changed, flipped = settings.hyperparameters, None, None
    if recipe.alternating_flip:
        flipped = alternating_flip(len(data.train_labels), settings.seed, epoch)[indices]
    elif not recipe.mirrors:
        flipped = np.zeros(len(indices), bool)
    if recipe.translate:
        changed = augment(data.train_images[indices], np.random.default_rng(seeds), recipe.translate, recipe.pad_mode,
                          flipped, recipe.cutout)
    return feed_of(data.train_images, data.train_labels, indices, changed)
