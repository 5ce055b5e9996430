"""The two pictures that evaluate.py leaves: the confusion matrix, and a sheet of the worst mistakes."""
import warnings

import numpy as np

from utils.storage.files import whole_file

MOST_COUNTED = 25  # classes: beyond, a cell is too small for a number
MOST_NAMED = 80  # classes: beyond, the names are too small to read
COLUMNS = 6  # of the sheet


def new_figure(width, height):
    """A figure of this size in inches, without display and global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure, path):
    """Write a figure as PNG, whole or not at all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a class's name may be in any script
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def draw_confusion(path, metrics, title):
    """Draw what was named (columns) for what it is (rows): counts, and as color their share of the row.

    metrics: as `metrics.measure` returns them
    """
    from matplotlib.colors import PowerNorm

    counts, classes = np.array(metrics["confusion"]), metrics["classes"]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.55 * min(len(classes), MOST_COUNTED)
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # the root: mistakes are seen, though they are rare
    if len(classes) <= MOST_COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8,
                          color="white" if shares[row, column] > 0.4 else "black")
    if len(classes) <= MOST_NAMED:
        names, size = [name[:20] for name in classes], 9 if len(classes) <= MOST_COUNTED else 5
        axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(len(classes)), names, fontsize=size, parse_math=False)
    axes.set_xlabel("named")
    axes.set_ylabel("is")
    axes.set_title(title, fontsize=10, parse_math=False)
    save(figure, path)


def draw_mistakes(path, images, mistakes, title):
    """Draw a sheet of images with what was named and what they are, each with its probability.

    images: uint8 [N, 3, H, W]; mistakes: as `metrics.worst_mistakes` returns them
    """
    rows = max(1, -(-len(mistakes) // COLUMNS))
    figure = new_figure(1.65 * COLUMNS, 0.5 + 2.05 * rows)
    cells = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in cells:
        axes.axis("off")
    for axes, mistake in zip(cells, mistakes):
        axes.imshow(images[mistake["image"]].transpose(1, 2, 0), interpolation="nearest")  # (C, H, W) -> (H, W, C)
        axes.set_title(f"{mistake['named'][:14]} {mistake['probability']:.4f}\n"
                       f"is {mistake['is'][:14]} {mistake['probability_of_right']:.4f}", fontsize=8, parse_math=False)
    figure.suptitle(title, fontsize=10, parse_math=False)
    save(figure, path)
