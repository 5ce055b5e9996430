"""Disturbed images: what moves, what darkens, what is hidden, on images whose answer is known."""
import numpy as np
import pytest

from book import disturb
from book.disturb import KINDS, STRENGTHS


@pytest.fixture
def noise():
    """Two images of random pixels, float32 [2, 3, 32, 32]."""
    return np.random.default_rng(3).random((2, 3, 32, 32), dtype=np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_each_strength_changes_more_and_shape_and_range_stay(kind, noise):
    smooth = np.cumsum(np.cumsum(noise, axis=2), axis=3)  # neighbors alike, as in photographs
    smooth /= smooth.max()
    changes = []
    for strength in STRENGTHS:
        disturbed = disturb.disturb(smooth, kind, strength)
        assert disturbed.shape == smooth.shape and disturbed.dtype == np.float32
        assert disturbed.min() >= 0 and disturbed.max() <= 1
        changes.append(np.abs(disturbed - smooth).mean())
    assert 0 < changes[0] < changes[1] < changes[2]


def test_the_images_given_are_left_as_they_are(noise):
    before = noise.copy()
    for kind in KINDS:
        disturb.disturb(noise, kind, 2)
    assert np.array_equal(noise, before)


def test_a_map_that_moves_nothing_changes_nothing(noise):
    assert np.allclose(disturb.taken_at(noise, *disturb.places_of(noise)), noise, atol=1e-6)


def test_a_shift_by_whole_pixels_is_a_shift_and_mirrors_at_the_border(noise):
    down, across = np.meshgrid(np.arange(32.0), np.arange(32.0), indexing="ij")
    shifted = disturb.warp(noise, across + 2, down)
    assert np.allclose(shifted[:, :, :, :30], noise[:, :, :, 2:], atol=1e-6)
    assert np.allclose(shifted[:, :, :, 30:], noise[:, :, :, :29:-1], atol=1e-6)


def test_half_a_pixel_is_the_mean_of_two(noise):
    down, across = np.meshgrid(np.arange(32.0), np.arange(32.0), indexing="ij")
    between = disturb.warp(noise, across + 0.5, down)
    assert np.allclose(between[..., :31], (noise[..., :31] + noise[..., 1:]) / 2, atol=1e-6)


def test_from_the_side_the_middle_stays_and_one_edge_grows():
    """A ladder of level lines: turned about its upright axis, lines fan out on the near side."""
    ladder = np.zeros((1, 3, 64, 64), np.float32)
    ladder[:, :, 20:44] = 1
    turned = disturb.viewpoint(ladder, 3)[0, 0]
    heights = turned.sum(axis=0)
    assert abs(heights[32] - 24) < 1.5
    assert abs(heights[8] - heights[56]) > 4


def test_light_falls_from_one_side():
    gray = np.full((1, 3, 32, 32), 0.4, np.float32)
    lit = disturb.light(gray, 3)[0, 0, 0]
    assert lit[0] == pytest.approx(0.4 * 0.25, rel=0.05) and lit[-1] == pytest.approx(0.4 * 0.5, rel=0.05)


@pytest.mark.parametrize("strength, share", zip(STRENGTHS, (0.2, 0.35, 0.5)))
def test_the_board_hides_its_share_and_nothing_else(strength, share, noise):
    hidden = disturb.occlusion(noise, strength)
    changed = (hidden != noise).any(axis=(0, 1))
    assert changed.mean() == pytest.approx(share * 0.8, abs=0.02)
    assert (hidden[:, :, changed] == 0.5).all()
    assert not changed[:16].any() and not changed[:, 26:].any()
