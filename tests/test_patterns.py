"""Figure 16: each stored pattern raises what it was searched for, from the pixels that the figure shows of it."""
import numpy as np
import pytest

from book.figures import inside, patterns
from utils.data import sketches
from utils.data.batches import to_float
from utils.data.cifar10 import CLASSES

STAGES = len(inside.SEEN)


@pytest.fixture(scope="module")
def layers():
    return patterns.layers()


@pytest.fixture(scope="module")
def opened():
    return inside.open_up(inside.shipped())


def values_of(opened, name, pixels):
    """A layer's values, without those of mirrored copies."""
    return opened.run({opened.input: pixels.astype(np.float32)}, [name])[0][:len(pixels)]


def middle(values):
    """[N, C, H, W] or [N, C] -> [N, C], the value in the middle of each map."""
    return values[(slice(None), slice(None), *(size // 2 for size in values.shape[2:]))]


@pytest.mark.slow
def test_each_pattern_raises_its_value_above_what_drawn_pictures_reach(opened, layers):
    """Anywhere in the map: ten paintings and a hundred sketches."""
    drawn = np.concatenate([*(inside.load_image(f"{name}.png") for name in CLASSES),
                            to_float(sketches.draw(100, seed=3)[0])])
    assert len(layers) == len(inside.patterns()) == STAGES + 1
    for (name, channels), found in zip(layers, inside.patterns()):
        reached = middle(values_of(opened, name, found))[np.arange(len(channels)), channels]
        others = values_of(opened, name, drawn)[:, channels].reshape(len(drawn), len(channels), -1).max(axis=(0, 2))
        assert (reached > others).all(), (name, reached, others)


@pytest.mark.parametrize("number", range(STAGES))
def test_the_pixels_shown_are_those_that_the_value_depends_on(opened, layers, number):
    name, channels = layers[number]
    first, size = list(inside.SEEN.values())[number]
    shown, random = np.zeros((32, 32), bool), np.random.default_rng(5)
    shown[first:first + size, first:first + size] = True
    picture = random.random((1, 3, 32, 32))
    value = middle(values_of(opened, name, picture))[:, channels]
    outside = np.where(shown, picture, random.random(picture.shape))
    assert np.allclose(middle(values_of(opened, name, outside))[:, channels], value, atol=1e-4)
    last = first + size - 1
    for edge in (np.s_[..., first, :], np.s_[..., last, :], np.s_[..., first], np.s_[..., last]):
        changed = picture.copy()
        changed[edge] = 1 - changed[edge]
        assert np.abs(middle(values_of(opened, name, changed))[:, channels] - value).max() > 1e-3


def test_the_search_climbs(opened, layers, monkeypatch):
    monkeypatch.setattr(patterns, "STEPS", 3)
    name, channels = layers[0]
    few = channels[:3]
    found = patterns.seek(inside.open_up(inside.shipped()), name, few, 0, 1)
    assert found.shape == (3, 3, 32, 32) and found.min() >= 0 and found.max() <= 1
    start = middle(values_of(opened, name, np.full((3, 3, 32, 32), 0.5)))
    end = middle(values_of(opened, name, found))
    assert (end - start)[np.arange(3), few].min() > 1


def test_smoothing_keeps_coarse_waves_and_weakens_fine_ones():
    """At the power of 1.5 fourfold frequency is an eighth of the strength."""
    wave = np.cos(2 * np.pi * np.arange(32) / 16)[np.newaxis, np.newaxis, np.newaxis] * np.ones((1, 3, 32, 1))
    fine = np.cos(2 * np.pi * np.arange(32) / 4)[np.newaxis, np.newaxis, np.newaxis] * np.ones((1, 3, 32, 1))
    assert np.allclose(patterns.smooth(wave, 1.5).max() / patterns.smooth(fine, 1.5).max(), 8)
