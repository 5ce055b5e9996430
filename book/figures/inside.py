"""The figures of "Look Inside": what the supplied model sees in a picture, layer by layer.

Unlike the others they are drawn from the model itself, so that they need Paddle.
"""
import functools
from pathlib import Path

import numpy as np
from matplotlib.patheffects import withStroke
from PIL import Image

from book.figures import parts
from book.figures.parts import GROUND, INK, QUIET, card, chart, write
from book.inside import features_of, grad_cam, heat_over, open_up, squares
from infer import SHIPPED, infer, label, load_image, load_model
from utils.data import sketches
from utils.data.batches import to_float
from utils.data.cifar10 import CLASSES

COLUMNS = 10  # maps in a row
HALO = [withStroke(linewidth=3, foreground=GROUND)]  # letters on points stay legible
PATTERNS = Path(__file__).with_name("patterns.png")  # what channels look for, a row for each stage and one for classes
# The learned stages, and which pixels the middle value of each map depends on: the first row and column, and how many.
SEEN = {"first": (11, 9), "middle": (3, 23), "last": (0, 32)}
EXPLAINED = ("dog_airplane", "deer", "dog", "truck")
# A color for each class; squares for what people build, circles for animals.
MARKS = dict(zip(CLASSES, (("#2f6fd6", "s"), ("#e0403f", "s"), ("#f2a11f", "o"), ("#6b2fa0", "o"), ("#7a5230", "o"),
                           ("#e86fb4", "o"), ("#3f9a3a", "o"), ("#94a0ae", "o"), ("#1fa5a8", "s"), ("#1f2733", "s"))))
# Where the classes' names are written in Figure 17b, from the middle of their points: pixels right and down.
NAMED = {"airplane": (48, 26), "automobile": (0, 38), "bird": (-58, 30), "cat": (54, -4), "deer": (52, -32),
         "dog": (36, -30), "frog": (52, -54), "horse": (-52, 22), "ship": (48, 8), "truck": (0, -42)}


@functools.lru_cache(maxsize=1)
def shipped():
    """The supplied model, loaded once."""
    return load_model(SHIPPED, "cpu")[0]


def maps():
    """Figure 16: what channels of the learned stages look for and find in dog.png, and what raises each score."""
    figure, axes = card(640)
    opened, pixels = open_up(shipped()), load_image("dog.png")
    found = opened.run({opened.input: pixels}, stages_of(opened)[1:])
    *stages, scores = patterns()
    for number, (stack, (name, (first, size)), sought) in enumerate(zip(found, SEEN.items(), stages)):
        y, end = 26 + 164 * number, first + size
        sees = "the whole picture" if size == 32 else f"{size}×{size} pixels"
        write(axes, 24, y, f"({'abc'[number]}) {name} stage: {COLUMNS} of {len(stack[0])} maps, {size_of(stack)}; "
              f"each value sees {sees}", size=14, align="left", bold=True)
        write(axes, 24, y + 43, "what it\nlooks for", size=13.5, align="left", color=QUIET)
        write(axes, 24, y + 107, "its map\nof this:", size=13.5, align="left", color=QUIET)
        parts.photo(axes, squares(pixels[0], 116), 100, y + 78, 58)
        for column, channel in enumerate(liveliest(stack[0])):
            x = 166 + column * 64.6
            parts.photo(axes, sought[column, :, first:end, first:end].transpose(1, 2, 0), x, y + 14, 58)
            parts.photo(axes, gray(stack[0, channel]), x, y + 78, 58)
    write(axes, 24, 518, "(d) the ten scores: what each class looks for; each sees the whole picture", size=14,
          align="left", bold=True)
    for column, name in enumerate(CLASSES):
        parts.photo(axes, scores[column].transpose(1, 2, 0), 24 + column * 79, 532, 71)
        write(axes, 59.5 + column * 79, 618, name, size=13.5)
    return figure


def patterns():
    """What `python -m book.figures.patterns` has found: float [4, COLUMNS, 3, 32, 32] in [0, 1]."""
    with Image.open(PATTERNS) as sheet:
        pixels = np.asarray(sheet) / 255
    return pixels.reshape(-1, 32, COLUMNS, 32, 3).transpose(0, 2, 4, 1, 3)


def stages_of(opened):
    """Names of the last feature maps of each size after a GELU, from large to small."""
    block = opened.program.global_block()
    shapes = {op.output("Out")[0]: block.var(op.output("Out")[0]).shape for op in block.ops if op.type == "gelu"}
    return list({shape[2:]: name for name, shape in shapes.items()}.values())


def liveliest(stack):
    """Numbers of the maps that differ most from place to place, in the network's order: [C, H, W] -> [COLUMNS]."""
    return np.sort(np.argsort(-stack.std(axis=(1, 2)), kind="stable")[:COLUMNS])


def size_of(stack):
    """Height × width of maps or kernels, as text."""
    return "×".join(map(str, stack.shape[-2:]))


def gray(feature_map):
    """A feature map as a picture, white where it is largest: [H, W] -> [H, W, 3]."""
    low, high = feature_map.min(), feature_map.max()
    return np.repeat(((feature_map - low) / max(high - low, 1e-12))[:, :, np.newaxis], 3, axis=2)


def plane(points):
    """Where points lie in the plane of their first two principal components: [N, F] -> [N, 2]."""
    centered = points - points.mean(axis=0)
    directions = np.linalg.svd(centered, full_matrices=False)[2]  # those of most difference first
    return centered @ directions[:2].T


def features():
    """Figure 17: sketches in the plane of the first two principal components, of pixels and of features."""
    figure, axes = card(516)
    images, labels = sketches.draw(300, seed=11)
    pixels = to_float(images)
    for left, title, points, named in ((24, "(a) by their pixels", pixels.reshape(len(pixels), -1), {}),
                                       (427, "(b) by their features", features_of(shipped(), pixels), NAMED)):
        write(axes, left, 28, f"{title}: {points.shape[1]:,} numbers each", size=15, align="left", bold=True)
        plot = chart(figure, left + 20, 50, 359, 340)
        plot.set_xticks([])
        plot.set_yticks([])
        write(axes, left + 199, 403, "first component", size=13, color=QUIET)
        write(axes, left + 8, 220, "second component", size=13, color=QUIET, rotation=90)
        places = plane(points)
        places *= np.sign(places[np.abs(places).argmax(axis=0), [0, 1]])  # a component has no sign of its own
        for number, (color, mark) in enumerate(MARKS.values()):
            plot.scatter(*places[labels == number].T, s=20, marker=mark, color=color, edgecolor=GROUND, linewidth=0.5)
        for name, (right, down) in named.items():
            plot.annotate(name, np.median(places[labels == CLASSES.index(name)], axis=0), (right * 0.72, -down * 0.72),
                          textcoords="offset points", ha="center", va="center", fontsize=parts.points(14),
                          fontweight="bold", color=MARKS[name][0], path_effects=HALO)
        write(axes, left, 428, f"the nearest other sketch is of the same class: {same_class(points, labels):.0%}",
              size=14, align="left", color=QUIET)
    for number, (name, (color, mark)) in enumerate(MARKS.items()):
        x, y = 32 + number % 5 * 156, 462 + number // 5 * 26
        axes.plot(x, y, marker=mark, color=color, markersize=6)
        write(axes, x + 12, y, name, size=14, align="left", color=INK)
    return figure


def same_class(points, labels):
    """Share of points whose nearest other point has the same label."""
    squared = (points ** 2).sum(axis=1)
    distances = squared[:, np.newaxis] + squared - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    return (labels[distances.argmin(axis=1)] == labels).mean()


def gradcam():
    """Figure 18: where the model sees the two classes that it finds likeliest."""
    figure, axes = card(350)
    model, size = shipped(), 120
    pixels = np.concatenate([load_image(f"{name}.png") for name in EXPLAINED])
    probabilities = infer(model, pixels)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    heats = grad_cam(model, pixels, best)
    for place in range(len(EXPLAINED)):
        x, y = 24 + place % 2 * 404, 24 + place // 2 * 162
        answers = label(probabilities[place], model.description["classes"], 2)
        parts.photo(axes, squares(pixels[place], 2 * size), x, y, size)
        write(axes, x + size / 2, y + size + 16, "picture", size=14, color=QUIET)
        for number, (name, share) in enumerate(answers):
            left = x + (number + 1) * (size + 9)
            parts.photo(axes, heat_over(pixels[place], heats[place, number], 2 * size), left, y, size)
            cells(axes, left, y, size, *heats.shape[-2:])
            write(axes, left + size / 2, y + size + 16, f"{name} {share:.2f}", size=14, bold=number == 0)
    return figure


def cells(axes, x, y, size, rows, columns):
    """Light lines between the cells of a heat map."""
    for number in range(1, rows):
        axes.plot([x, x + size], [y + size * number / rows] * 2, color="white", alpha=0.6, linewidth=parts.THIN)
    for number in range(1, columns):
        axes.plot([x + size * number / columns] * 2, [y, y + size], color="white", alpha=0.6, linewidth=parts.THIN)
