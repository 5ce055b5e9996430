"""The picture that `infer.py --explain` draws: each picture, and where it shows its two likeliest classes."""
import warnings

import numpy as np
from PIL import Image

SIDE, GAP, MARGIN, HEAD, FOOT = 256, 16, 20, 40, 36  # in pixels
GROUND, INK, QUIET = "#fbfbf9", "#1f2733", "#5d6878"
TITLE = "infer.py --explain"  # in the file, by which `is_drawing` knows it
FOOTNOTE = "Red: what speaks most for the class; gray: nothing does. Each map has its own scale."
NAME = 30  # letters of a picture's name


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


def draw(target, names, pixels, heats, labels):
    """Write the drawing to a PNG: for each picture a row with the picture and its heat maps.

    pixels: [N, 3, 32, 32]; heats: [N, K, H, W]; labels: for each picture K pairs (class, probability)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    width = 2 * MARGIN + SIDE + heats.shape[1] * (GAP + SIDE)
    height = len(names) * (HEAD + SIDE) + FOOT
    figure = Figure(figsize=(width / 100 + 1e-6, height / 100 + 1e-6), dpi=100, facecolor=GROUND)  # no pixel less
    FigureCanvasAgg(figure)
    axes = figure.add_axes([0, 0, 1, 1], xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    for row, name in enumerate(names):
        top = row * (HEAD + SIDE) + HEAD
        tiles = [squares(pixels[row], SIDE)] + [heat_over(pixels[row], heat, SIDE) for heat in heats[row]]
        titles = [shortened(name)] + [f"{kind} {share:.4f}" for kind, share in labels[row]]
        for column, (tile, title) in enumerate(zip(tiles, titles)):
            left = MARGIN + column * (SIDE + GAP)
            axes.imshow(tile, extent=(left, left + SIDE, top + SIDE, top), aspect="auto", interpolation="nearest")
            axes.text(left, top - 9, title, color=INK if column else QUIET, fontsize=11, parse_math=False,
                      fontweight="bold" if column else "normal")
    axes.text(MARGIN, height - 12, FOOTNOTE, color=QUIET, fontsize=9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks
        figure.savefig(target, format="png", metadata={"Software": None, "Title": TITLE})


def shortened(name):
    """A picture's name on one line, its end where it is long."""
    return name if len(name) <= NAME else "…" + name[1 - NAME:]


def is_drawing(path):
    """Whether a file is one that `draw` has written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of huge pictures
        try:
            with Image.open(path, formats=["PNG"]) as picture:
                return picture.text.get("Title") == TITLE
        except Exception:  # Pillow's readers raise almost anything on other files
            return False
