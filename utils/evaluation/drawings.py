"""What evaluate.py draws: the confusion matrix, and a sheet of mistakes."""
import numpy as np

from utils.figures import picture

MOST_COUNTED, MOST_NAMED = 25, 80  # classes of a matrix: beyond, there is no room for numbers, or for names
COLUMNS = 6  # of the sheet of mistakes
JUDGED = "evaluate.py"  # the title in its files


def draw_confusion(path, metrics, title):
    """Draw the confusion matrix of what `metrics.measure` returned: counts, and as color their share of the row."""
    counts, classes = np.array(metrics["confusion"]), metrics["classes"]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.55 * min(len(classes), MOST_COUNTED)
    with picture(path, side, side, JUDGED, layout="constrained") as figure:
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
    """Draw what `metrics.worst_mistakes` returned, on a sheet of these images, uint8 [N, 3, H, W]."""
    tiles = [(images[each["image"]].transpose(1, 2, 0), f"{each['named'][:14]} {each['probability']:.4f}\n"
              f"is {each['is'][:14]} {each['probability_of_right']:.4f}") for each in mistakes]
    draw_sheet(path, tiles, max(1, -(-len(tiles) // COLUMNS)), COLUMNS, JUDGED, head)


def draw_sheet(path, tiles, rows, columns, title, head):
    """Draw rows of pictures, pairs (picture [H, W, 3], words above it), under a headline; title: as for `picture`."""
    width, height = 0.2 + 1.9 * columns, 0.6 + 2.2 * rows  # inches
    margins = {"left": 0.1 / width, "right": 1 - 0.1 / width, "bottom": 0.1 / height, "top": 1 - 0.9 / height}
    with picture(path, width, height, title) as figure:
        cells = figure.subplots(rows, columns, squeeze=False, gridspec_kw={**margins, "hspace": 0.25},
                                subplot_kw={"frame_on": False, "xticks": [], "yticks": []})
        for axes, (tile, words) in zip(cells.ravel(), tiles):
            axes.imshow(tile, interpolation="nearest")
            axes.set_title(words, fontsize=8)
        figure.suptitle(head, fontsize=10)
