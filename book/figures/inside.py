"""The figures of "Look Inside": what the supplied model sees in a picture, layer by layer.

Unlike the others they are drawn from the model itself, so that they need Paddle.
"""
import functools

import numpy as np

from book.figures import parts
from book.figures.parts import GROUND, INK, QUIET, card, chart, write
from book.inside import features_of, grad_cam, heat_over, open_up, squares
from infer import SHIPPED, infer, label, load_image, load_model
from utils.data import sketches
from utils.data.batches import to_float
from utils.data.cifar10 import CLASSES

COLUMNS = 10  # maps in a row
EXPLAINED = ("dog_airplane", "deer", "dog", "truck")
# A color for each class; squares for what people build, circles for animals.
MARKS = dict(zip(CLASSES, (("#4c78a8", "s"), ("#e45756", "s"), ("#f2a93b", "o"), ("#9a6fb0", "o"), ("#7a5c3e", "o"),
                           ("#d8709f", "o"), ("#54a24b", "o"), ("#8b95a3", "o"), ("#2fa6a6", "s"), ("#1f2733", "s"))))


@functools.lru_cache(maxsize=1)
def shipped():
    """The supplied model, loaded once."""
    return load_model(SHIPPED, "cpu")[0]


def maps():
    """Figure 16: kernels of the first convolution, and feature maps of dog.png from the first to the last stage."""
    figure, axes = card(404)
    opened, pixels = open_up(shipped()), load_image("dog.png")
    convolution = next(op for op in opened.program.global_block().ops if op.type == "conv2d")
    kernels, stages = np.array(opened.scope.find_var(convolution.input("Filter")[0]).get_tensor()), stages_of(opened)
    first, middle, last = (each[0] for each in opened.run(
        {opened.input: pixels}, [stages[0], stages[len(stages) // 2], opened.maps]))
    parts.photo(axes, squares(pixels[0], 128), 24, 40, 118)
    write(axes, 83, 180, "what the network\nis shown, 32×32", size=13.5, color=QUIET)
    chosen = liveliest(first)
    count = f"{COLUMNS} of the {len(first)}"
    rows = ((f"(a) {count} kernels of the first convolution, {size_of(kernels)}",
             [colored(kernels[i]) for i in chosen]),
            (f"(b) what each of them finds: its map, {size_of(first)}", [gray(first[i]) for i in chosen]),
            (f"(c) end of the middle stage: {COLUMNS} of {len(middle)} maps, {size_of(middle)}",
             [gray(middle[i]) for i in liveliest(middle)]),
            (f"(d) end of the last stage: {COLUMNS} of {len(last)} maps, {size_of(last)}",
             [gray(last[i]) for i in liveliest(last)]))
    for row, (title, tiles) in enumerate(rows):
        y = 26 + row * 94
        write(axes, 166, y, title, size=14, align="left", bold=True)
        for column, tile in enumerate(tiles):
            parts.photo(axes, tile, 166 + column * 64.6, y + 14, 58)
    return figure


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


def colored(kernel):
    """A kernel [3, k, k] as a picture, middle gray where it is 0: [k, k, 3]."""
    return (0.5 + 0.5 * kernel / np.abs(kernel).max()).transpose(1, 2, 0)


def plane(points):
    """Where points lie in the plane of their first two principal components: [N, F] -> [N, 2]."""
    centered = points - points.mean(axis=0)
    directions = np.linalg.svd(centered, full_matrices=False)[2]  # those of most difference first
    return centered @ directions[:2].T


def features():
    """Figure 17: sketches in the plane of the first two principal components, of pixels and of features."""
    figure, axes = card(500)
    images, labels = sketches.draw(300, seed=11)
    pixels = to_float(images)
    for left, title, points in ((24, "(a) by their pixels", pixels.reshape(len(pixels), -1)),
                                (427, "(b) by their features", features_of(shipped(), pixels))):
        write(axes, left, 28, f"{title}: {points.shape[1]:,} numbers each", size=15, align="left", bold=True)
        plot = chart(figure, left, 50, 379, 340)
        plot.set_xticks([])
        plot.set_yticks([])
        places = plane(points)
        places *= np.sign(places[np.abs(places).argmax(axis=0), [0, 1]])  # a component has no sign of its own
        for number, (color, mark) in enumerate(MARKS.values()):
            plot.scatter(*places[labels == number].T, s=20, marker=mark, color=color, edgecolor=GROUND, linewidth=0.5)
        write(axes, left, 412, f"the nearest other sketch is of the same class: {same_class(points, labels):.0%}",
              size=14, align="left", color=QUIET)
    for number, (name, (color, mark)) in enumerate(MARKS.items()):
        x, y = 32 + number % 5 * 156, 446 + number // 5 * 26
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
    figure, axes = card(348)
    model, size = shipped(), 120
    pixels = np.concatenate([load_image(f"{name}.png") for name in EXPLAINED])
    probabilities = infer(model, pixels)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    heats = grad_cam(model, pixels, best)
    for place in range(len(EXPLAINED)):
        x, y = 24 + place % 2 * 404, 24 + place // 2 * 162
        answers = label(probabilities[place], model.description["classes"], 2)
        parts.photo(axes, squares(pixels[place], 2 * size), x, y, size)
        write(axes, x + size / 2, y + size + 16, "shown", size=14, color=QUIET)
        for number, (name, share) in enumerate(answers):
            left = x + (number + 1) * (size + 9)
            parts.photo(axes, heat_over(pixels[place], heats[place, number], 2 * size), left, y, size)
            write(axes, left + size / 2, y + size + 16, f"{name} {share:.2f}", size=13.5, bold=number == 0)
    return figure
