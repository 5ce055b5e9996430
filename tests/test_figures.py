"""The committed figures and pictures are what book/figures and book/art make, and small enough for a page."""
import functools
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from book import chapter, flowers
from book.art import pictures
from book.figures import draw, parts, scaling
from utils.data import folder
from utils.data.cifar10 import CLASSES

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "image"
NAMES = [figure.__name__ for figure in draw.FIGURES]
pages = pytest.mark.pages
SQUARE, GRAY_LEVELS = 40, 30  # matplotlib 3.11 against 3.9, letters a fraction of a pixel away: 24 at most


@functools.cache
def drawn(name):
    """The figure of this name, drawn now."""
    return getattr(draw, name)()


def difference(one, other):
    """The largest difference of two images in gray levels, between means over squares of 40 pixels."""
    small = (one.width // SQUARE, one.height // SQUARE)
    one, other = (np.asarray(each.convert("RGB").resize(small, Image.Resampling.BOX), np.int16)
                  for each in (one, other))
    return np.abs(one - other).max()


@pages
@pytest.mark.parametrize("name", NAMES)
def test_the_committed_figure_is_what_the_program_draws(name):
    again = io.BytesIO()
    parts.save(drawn(name), again)
    with Image.open(FOLDER / f"{name}.png") as committed, Image.open(again) as picture:
        assert committed.size == picture.size
        assert committed.width == 2 * parts.WIDTH
        assert difference(committed, picture) < GRAY_LEVELS


@pages
@pytest.mark.parametrize("name", CLASSES)
def test_the_committed_picture_is_what_the_program_paints(name):
    """But for a few pixels, which another processor rounds to the next of the steps that colors go in."""
    with Image.open(FOLDER / f"{name}.png") as committed:
        changed = np.asarray(committed, np.int16) != np.asarray(pictures.PICTURES[name](), np.int16)
    assert changed.shape == (512, 512, 3) and changed.any(-1).mean() < 1e-3


def test_the_comparison_sees_that_one_box_is_missing():
    with Image.open(FOLDER / "block.png") as committed:
        changed = committed.convert("RGB")
        x, y = 170, 160  # in the first convolution of the basic block
        assert changed.getpixel((2 * x + 120, 2 * y)) != changed.getpixel((0, 0))
        changed.paste(changed.getpixel((0, 0)), (2 * x - 152, 2 * y - 30, 2 * x + 152, 2 * y + 60))
        assert difference(committed, changed) > GRAY_LEVELS


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_small_and_has_a_light_ground_of_its_own(name):
    path = FOLDER / f"{name}.png"
    assert path.stat().st_size < 150_000
    with Image.open(path) as picture:
        colors = picture.convert("RGBA")
        corners = [colors.getpixel((x, y)) for x in (0, colors.width - 1) for y in (0, colors.height - 1)]
    assert all(alpha == 255 and min(rgb) > 240 for *rgb, alpha in corners)


@pages
@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_outside_its_card_or_on_other_text(name):
    """Measured by matplotlib itself; an overlap below 3 pixels is none."""
    figure = drawn(name)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    words = [text for axes in figure.axes for text in axes.findobj(Text) if text.get_text().strip()
             and text.get_visible()]
    places = [(text.get_text(), text.get_window_extent(renderer)) for text in words]
    card = figure.bbox
    for text, place in places:
        assert card.x0 <= place.x0 and place.x1 <= card.x1, text
        assert card.y0 <= place.y0 and place.y1 <= card.y1, text
    for number, (text, place) in enumerate(places):
        for other, there in places[number + 1:]:
            across = min(place.x1, there.x1) - max(place.x0, there.x0)
            down = min(place.y1, there.y1) - max(place.y0, there.y0)
            assert across < 3 or down < 3, f"{text!r} lies on {other!r}"


def test_top_5_errors_fall_and_the_page_gives_the_same_figures():
    best = {}
    for year, _, error, _ in draw.ILSVRC:
        best[year] = min(error, best.get(year, 100))
    assert list(best.values()) == sorted(best.values(), reverse=True)
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{draw.HUMAN}%" in page and f"{best[2010]}" in page and f"{best[2017]}" in page


@pages
def test_weights_named_in_the_figures_of_blocks_are_counted_right():
    """Worked out from kernel size and channels alone."""
    def weights(*convolutions):
        return sum(kernel ** 2 * before * after for kernel, before, after in convolutions)

    plain = weights((1, 192, 64), (3, 192, 128), (5, 192, 32))
    reduced = weights((1, 192, 64), (1, 192, 96), (3, 96, 128), (1, 192, 16), (5, 16, 32), (1, 192, 32))
    basic = weights((3, 64, 64), (3, 64, 64))
    bottleneck = weights((1, 256, 64), (3, 64, 64), (1, 64, 256))
    texts = [text.get_text() for figure in (drawn("inception"), drawn("block"))
             for text in figure.axes[0].texts]
    for count in (plain, reduced, basic, bottleneck):
        assert f"{count:,} weights" in texts


@pages
def test_weights_named_above_the_two_vggs_are_counted_right():
    """From the plan in the paper alone, with biases; batch normalization adds 0.01 million."""
    def weights(side, outputs):
        plan, before, convolutions = (64, 64, 128, 128, *[256] * 3, *[512] * 6), 3, 0
        for after in plan:
            convolutions, before = convolutions + (9 * before + 1) * after, after
        reads = (512 * (side // 32) ** 2, *outputs[:-1])
        dense = sum((inputs + 1) * number for inputs, number in zip(reads, outputs))
        return round((convolutions + dense) / 1e6), round(dense / 1e6, 1)

    titles = [text.get_text() for text in drawn("vgg").axes[0].texts if text.get_text().startswith("(")]
    assert weights(224, (4096, 4096, 1000)) == (138, 123.6) and "138 million weights, 124 million of" in titles[0]
    assert weights(32, (512, 512, 10)) == (15, 0.5) and "15 million weights, half a million of" in titles[1]


def test_the_flowers_shown_are_held_out_and_their_wrong_answers_are_twins_as_the_caption_says():
    said = json.loads(draw.FLOWERS.read_text(encoding="utf-8"))
    names = [kind.name for kind in flowers.KINDS]
    assert list(said) == names
    for place, name in enumerate(names):
        for number, answer, probability in said[name]:
            assert folder.is_held_out(f"{number:04}.jpg") and 0 < probability <= 1
            assert answer in (name, names[place ^ 1])


def test_the_smooth_line_is_the_mean_of_neighbors():
    assert np.allclose(draw.smooth(np.array([1.0, 2, 6, 3, 8]), 3), [1.5, 3, 11 / 3, 17 / 3, 5.5])


def test_captions_are_numbered_in_order_and_the_program_numbers_figures_alike():
    page = "".join(chapter.read(page) for page in chapter.PAGES)
    captions = re.findall(r'<img src="(?:\.\./)?image/(\w+)\.png"[^>]*><br/>\nFigure (\d+)\. ', page)
    numbered = [(figure.__name__, found[1]) for figure in draw.FIGURES
                if (found := re.match(r"Figure (\d+): ", figure.__doc__))]
    assert captions == numbered and [number for _, number in numbered] == [str(n + 1) for n in range(len(numbered))]
    assert set(re.findall(r"Figure\s+(\d+)", page)) == {number for _, number in numbered}


def test_the_figure_of_the_cores_shows_the_rows_of_the_results():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in (ROOT / "RESULTS.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    measured = json.loads(scaling.MEASURED.read_text(encoding="utf-8"))
    for place, cores in enumerate(measured["cores"]):
        row, = [row for row in rows if row[:3] == [str(cores)] * 2 + ["float32"]]  # a worker for each core
        for column, work in ((3, "train"), (5, "test")):
            speed, over, low, high = (measured[work][key][place] for key in ("speed", "over", "from", "to"))
            assert row[column:column + 2] == [f"{speed:,}", f"{over:.2f} ({low:.2f} to {high:.2f})"]
    page = (ROOT / "book" / "running.md").read_text(encoding="utf-8")
    for name, work in (("training", "train"), ("testing", "test")):
        *first, last = (f"{ratio:.2f}" for ratio in measured[work]["over"])
        assert f"{name} {', '.join(first)} and {last} times" in page


def test_numbers_in_captions_are_those_that_were_measured():
    page = " ".join(" ".join(chapter.read(page) for page in chapter.PAGES).split())
    counts = np.array(json.loads((draw.MODEL / "measured.json").read_text(encoding="utf-8"))["confusion"])
    animal = np.array([name in ("bird", "cat", "deer", "dog", "frog", "horse") for name in CLASSES])
    wrong, crossing = counts.sum() - counts.trace(), counts[animal[:, np.newaxis] != animal].sum()
    assert f"only {crossing} of the {wrong} mistakes cross that line" in page
    cat, dog = CLASSES.index("cat"), CLASSES.index("dog")
    assert f"cats classified as dogs, {counts[cat, dog]}, and dogs classified as cats, {counts[dog, cat]}" in page
    assert 0.18 < (counts[cat, dog] + counts[dog, cat]) / wrong < 0.22  # one in five
    said = {text.get_text() for axes in drawn("curves").axes for text in axes.texts}
    assert {"4.9", "11.9", "0.15", "0.37"} <= said
    assert "4.9% of the training pictures are misclassified, but 11.9% of the test pictures" in page


def test_labels_at_the_ends_of_lines_keep_their_distance_and_order():
    assert draw.spread([50, 10, 52, 51], 5) == [50, 10, 60, 55]


@pages
@pytest.mark.parametrize("module", ["book.figures", "book.figures.answers", "book.figures.patterns", "book.art"])
def test_help_is_help(module):
    asked = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0 and asked.stdout.startswith(f"usage: python -m {module}") and asked.stderr == ""


@pages
def test_an_unknown_figure_is_one_line():
    asked = subprocess.run([sys.executable, "-m", "book.figures", "nonsense"], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 2
    assert asked.stderr.startswith("draw.py: error: ") and asked.stderr.count("\n") == 1


@pages
def test_the_sheet_of_real_pictures_is_drawn_outside_the_repository(cifar10_archive):
    """CIFAR-10's pictures are not the project's to hand on: git must not see them."""
    target = draw.draw_cifar10(str(cifar10_archive))
    with Image.open(target) as picture:
        assert picture.width == 2 * parts.WIDTH
    assert not subprocess.run(["git", "status", "--short", "--", str(target)], cwd=ROOT, capture_output=True).stdout
