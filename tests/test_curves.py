"""Durations as a reader says them; the curves are a picture."""
import numpy as np
import pytest
from PIL import Image

from utils import figures, log
from utils.errors import UserError


def test_durations():
    assert [log.duration(s) for s in (0.4, 48.2, 720, 5399, 6720)] == ["0 s", "48 s", "12 min", "1 h 30 min",
                                                                       "1 h 52 min"]


def test_curves_show_both_lines(tmp_path):
    history = {"points": [(x / 10, 2 - x / 20, x / 20) for x in range(1, 20)], "tests": [(1, 1.5, 0.5), (2, 1.2, 0.6)]}
    figures.draw_curves(tmp_path / "curves.png", history, "ResNet-8 on sketches")
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    for color in ((0x4c, 0x78, 0xa8), (0xe4, 0x57, 0x56)):
        near = np.abs(pixels - color).max(axis=2) < 12
        half = pixels.shape[1] // 2
        assert near[:, :half].sum() > 50 and near[:, half:].sum() > 50


def test_a_picture_that_training_did_not_draw_is_not_replaced(tmp_path):
    history = {"points": [(0, 2, 0.1)], "tests": []}
    for _ in range(2):
        figures.draw_curves(tmp_path / "curves.png", history, "")  # its own is
    Image.new("RGB", (8, 8)).save(tmp_path / "curves.png")
    before = (tmp_path / "curves.png").read_bytes()
    with pytest.raises(UserError, match="curves.png is there already and was not written by train.py"):
        figures.draw_curves(tmp_path / "curves.png", history, "")
    assert (tmp_path / "curves.png").read_bytes() == before
