"""Durations as a reader says them; the curves are a picture; names in pictures."""
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.axes import Axes
from PIL import Image

from utils import figures, log
from utils.errors import UserError
from utils.evaluation.drawings import draw_confusion


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


def test_a_point_is_the_mean_of_ten_batches(tmp_path, monkeypatch):
    seen, plot = [], Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda axes, x, y, **more: seen.append((x, y)) or plot(axes, x, y, **more))
    figures.draw_curves(tmp_path / "curves.png", {"points": [(n, n, 1.0) for n in range(25)], "tests": []}, "")
    assert seen[0] == ([4.5, 14.5, 22], [4.5, 14.5, 22])


def test_a_picture_that_training_did_not_draw_is_not_replaced(tmp_path):
    history = {"points": [(0, 2, 0.1)], "tests": []}
    for _ in range(2):
        figures.draw_curves(tmp_path / "curves.png", history, "")  # its own is
    Image.new("RGB", (8, 8)).save(tmp_path / "curves.png")
    before = (tmp_path / "curves.png").read_bytes()
    with pytest.raises(UserError, match="curves.png is there already and was not written by train.py"):
        figures.draw_curves(tmp_path / "curves.png", history, "")
    assert (tmp_path / "curves.png").read_bytes() == before


def pixels_of_title(path, title):
    """The picture of a confusion matrix with this title and these class names."""
    draw_confusion(path, {"confusion": [[3, 1], [0, 2]], "classes": [title, "b"]}, title)
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def system_fonts(monkeypatch):
    """Sets which fonts the system has besides matplotlib's own, as paths."""
    def have(*names):
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(folder / name) for name in names])
        figures.fonts_for.cache_clear()
    yield have
    figures.fonts_for.cache_clear()


def test_letters_that_the_usual_font_lacks_come_from_one_of_the_system(system_fonts, tmp_path, capsys):
    """Circled letters are in STIXGeneral, not in DejaVu Sans, which draws the same box for each."""
    system_fonts()
    assert np.array_equal(*(pixels_of_title(tmp_path / "confusion.png", name) for name in "\u24b6\u24b7"))
    assert capsys.readouterr().err.count("which no font here has") == 2  # once for each set of letters
    pixels_of_title(tmp_path / "confusion.png", "\u24b6")
    assert capsys.readouterr().err == ""
    system_fonts("cmsy10.ttf", "STIXGeneral.ttf")
    assert not np.array_equal(*(pixels_of_title(tmp_path / "confusion.png", name) for name in "\u24b6\u24b7"))
    assert capsys.readouterr().err == ""


def test_dollars_in_a_name_are_no_formula(tmp_path):
    """Neither a wrong one, which ends the drawing, nor a right one, which takes the dollars away."""
    history = {"points": [(0, 2, 0.1), (1, 1, 0.5)], "tests": [(1, 1.5, 0.5)]}
    seen = []
    for title in ("$\\frac$", "$abc$", "abc"):
        figures.draw_curves(tmp_path / "curves.png", history, title)
        seen.append((np.asarray(Image.open(tmp_path / "curves.png").convert("L")) < 128).sum())
    assert seen[1] > seen[2] + 20
