"""All that is drawn into a file: the curves of training, evaluate.py's two pictures, and the heat maps of --explain.

Only what draws imports this. matplotlib is imported by the functions: without it one picture is missing, and no more.
"""
import contextlib
import functools
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from utils.errors import Stopped, UserError, print_error, shown
from utils.storage.files import whole_file

MOST_COUNTED, MOST_NAMED = 25, 80  # classes of a matrix: beyond, there is no room for numbers, or for names
COLUMNS = 6  # of the sheet of mistakes
CURVES, JUDGED, EXPLANATION = "train.py", "evaluate.py", "infer.py --explain"  # titles in the files, unseen
FEATURES = "infer.py --features"  # at the start of its file, by which it is known
SCALE = "Red: what speaks most for the class; gray: nothing does.\nEach map has its own scale."
LONGEST = 30  # letters of a picture's name
SIDE = 256  # of a heat map, in pixels


@contextlib.contextmanager
def picture(path, width, height, title, **options):
    """Give a figure of this size in inches to draw on; at the end of the block it is written as a PNG, whole.

    title: by which `refuse_to_replace` knows the file; options: of matplotlib.figure.Figure
    Errors: UserError where it cannot be drawn or written, whatever is wrong with matplotlib.
    """
    try:
        refuse_to_replace(path, title)
        if "module://" not in os.environ.get("MPLBACKEND", ""):  # not a notebook's: matplotlib ends at unknown names
            os.environ.pop("MPLBACKEND", None)
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
        from matplotlib.figure import Figure
        from matplotlib.text import Text

        figure = FigureCanvasAgg(Figure(figsize=(width, height), **options)).figure
        yield figure
        texts = figure.findobj(Text)
        fonts = fonts_for("".join(sorted({*"".join(text.get_text() for text in texts)})))
        for text in texts:
            text.set(family=fonts, parse_math=False)  # names may have dollars
        with warnings.catch_warnings(), whole_file(path) as temporary:
            warnings.simplefilter("ignore")  # of letters that the font lacks
            figure.savefig(temporary, format="png", metadata={"Software": None, "Title": title})
    except (UserError, Stopped, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"cannot draw {shown(path)}: {shown(error)}; matplotlib comes with python -m pip install -r "
                        "requirements.txt") from error


@functools.cache
def fonts_for(letters):
    """Families of fonts that have these letters: matplotlib's own, and of the system's as many as it takes."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    families, own = ["DejaVu Sans"], FT2Font(font_manager.findfont("DejaVu Sans"))
    missing = {*map(ord, filter(str.isprintable, letters))} - own.get_charmap().keys()
    for path in sorted(font_manager.findSystemFonts()) if missing else ():
        with contextlib.suppress(RuntimeError, OSError):  # no font that matplotlib reads
            font = FT2Font(path)
            found = missing & font.get_charmap().keys()
            if found and font.scalable and "LastResort" not in path:  # macOS's has a box for each letter
                font_manager.fontManager.addfont(path)
                families.append(font.family_name)
                missing -= found
    if missing:
        print_error(f"pictures show boxes for {''.join(map(chr, sorted(missing)))}, which no font here has: install "
                    "one that has them, such as Noto Sans CJK")
    return families


def refuse_to_replace(path, title):
    """UserError where there is something that has not this title at its start, as what `picture` draws has."""
    is_own = os.path.isfile(path) and title.encode() in Path(path).read_bytes()[:1000]
    if os.path.lexists(path) and not is_own:
        raise UserError(f"{shown(path)} is there already and was not written by {title}: name another file, or move it")


def draw_curves(path, history, title):
    """Draw cost (left) and classification error (right) over passes.

    history: {"points": [[pass, cost, accuracy], ...], "tests": [[pass, loss, accuracy], ...]}, passes as fractions
    """
    panels = (("cost (cross entropy)", lambda row: row[1]), ("error (%)", lambda row: 100 * (1 - row[2])))
    lines = (("training", history["points"], "#4c78a8", None), ("test", history["tests"], "#e45756", "o"))
    with picture(path, 9, 3.6, CURVES, dpi=110, layout="constrained") as figure:
        for axes, (label, value) in zip(figure.subplots(1, 2), panels):
            for name, rows, color, marker in lines:
                axes.plot([row[0] for row in rows], [value(row) for row in rows], color=color, linewidth=1.6,
                          label=name, marker=marker)
            axes.set(xlabel="pass", ylabel=label)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False)
        figure.suptitle(title, fontsize=11)


def draw_confusion(path, metrics, title):
    """Draw what was named (columns) for what it is (rows): counts, and as color their share of the row.

    metrics: as `metrics.measure` returns them
    """
    counts, classes = np.array(metrics["confusion"]), metrics["classes"]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.55 * min(len(classes), MOST_COUNTED)
    with picture(path, side, side, JUDGED, dpi=110, layout="constrained") as figure:
        axes = figure.add_subplot(xlabel="named", ylabel="is")
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # the root: mistakes are rare, and are seen
        if len(classes) <= MOST_COUNTED:
            for row, column in zip(*counts.nonzero()):
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=8,
                          color="white" if shares[row, column] > 0.4 else "black")
        if len(classes) <= MOST_NAMED:
            names, size = [name[:20] for name in classes], 9 if len(classes) <= MOST_COUNTED else 5
            axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=size)
            axes.set_yticks(range(len(classes)), names, fontsize=size)
        axes.set_title(title, fontsize=10)


def draw_mistakes(path, images, mistakes, head):
    """Draw a sheet of images with what was named and what they are, each with its probability.

    images: uint8 [N, 3, H, W]; mistakes: as `metrics.worst_mistakes` returns them
    """
    tiles = [(images[each["image"]].transpose(1, 2, 0), f"{each['named'][:14]} {each['probability']:.4f}\n"
              f"is {each['is'][:14]} {each['probability_of_right']:.4f}") for each in mistakes]
    _draw_sheet(path, tiles, max(1, -(-len(tiles) // COLUMNS)), COLUMNS, JUDGED, head)


def draw_heat(path, names, pixels, heats, labels):
    """Draw for each picture a row: the picture, and where it shows its likeliest classes.

    pixels: [N, 3, 32, 32]; heats: [N, K, H, W]; labels: for each picture K pairs (class, probability)
    """
    def tiles():
        for name, image, maps, best in zip(names, pixels, heats, labels):
            yield squares(image, SIDE), name if len(name) <= LONGEST else "…" + name[1 - LONGEST:]
            for heat, (label, probability) in zip(maps, best):
                yield heat_over(image, heat, SIDE), f"{label} {probability:.4f}"

    _draw_sheet(path, tiles(), len(names), 1 + heats.shape[1], EXPLANATION, SCALE)


def _draw_sheet(path, tiles, rows, columns, title, head):
    """Draw rows of pictures, pairs (picture [H, W, 3], words above it), under a headline; title: as for `picture`."""
    width, height = 0.2 + 1.9 * columns, 0.6 + 2.2 * rows  # inches
    margins = {"left": 0.1 / width, "right": 1 - 0.1 / width, "bottom": 0.1 / height, "top": 1 - 0.9 / height}
    with picture(path, width, height, title, dpi=110) as figure:
        cells = figure.subplots(rows, columns, squeeze=False, gridspec_kw={**margins, "hspace": 0.25},
                                subplot_kw={"frame_on": False, "xticks": [], "yticks": []})
        for axes, (tile, words) in zip(cells.ravel(), tiles):
            axes.imshow(tile, interpolation="nearest")
            axes.set_title(words, fontsize=8)
        figure.suptitle(head, fontsize=10)


def enlarge(heat, side):
    """A heat map [H, W] at the size of the picture, [side, side], by linear interpolation."""
    return np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize((side, side), Image.BILINEAR))


def squares(pixels, side):
    """A picture [3, H, W] as the network reads it, each pixel a square: [side, side, 3]."""
    places = np.arange(side) * pixels.shape[1] // side
    return pixels.transpose(1, 2, 0)[places][:, places]


def heat_over(pixels, heat, side):
    """A heat map in yellow to red over the picture in gray; where it is 0 only the picture is seen.

    pixels: [3, 32, 32] in [0, 1]; heat: [H, W], 0 and above -> [side, side, 3] in [0, 1]
    """
    from matplotlib import colormaps

    share = enlarge(heat, side) / max(float(np.max(heat)), np.finfo(np.float32).tiny)
    gray = squares(pixels, side).mean(axis=2, keepdims=True)
    opacity = 0.75 * np.sqrt(share)[:, :, np.newaxis]
    return (1 - opacity) * gray + opacity * colormaps["YlOrRd"](0.15 + 0.75 * share)[:, :, :3]
