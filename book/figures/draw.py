"""Every figure of the chapter; `python -m book.figures` draws them into image/.

Each function draws one figure and returns it; its name is the file's name. The look is parts.py's.
"""
import argparse
import json
import math
import random
from pathlib import Path

from matplotlib.patches import PathPatch
from PIL import Image

from benchmarks import disturb
from book.figures import parts
from book.figures.inside import features, gradcam, maps
from book.figures.parts import INK, KINDS, LINE, QUIET, RULE, THIN, arrow, box, card, chart, legend, points, slab, write
from utils.data import dataset, sketches
from utils.data.cifar10 import CLASSES
from utils.errors import UserError, exit_status
from utils.storage.files import whole_file

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "image"
MODEL = ROOT / "models" / "resnet32_cifar10"  # the model that comes with the program, and what is known of it

# ILSVRC's classification task: year, team, top-5 error in per cent, whether its features were learned.
# 2010 to 2014 and the human's 5.1 (section 6.4): Russakovsky et al. 2015, entries that trained on the given
# data alone; 2015: He et al. 2016; 2016 and 2017: Hu et al. 2018.
ILSVRC = (
    (2010, "NEC-UIUC", 28.2, False), (2011, "XRCE", 25.8, False), (2012, "AlexNet", 16.4, True),
    (2013, "Clarifai", 11.7, True), (2014, "VGG", 7.3, True), (2014, "GoogLeNet", 6.7, True),
    (2015, "ResNet", 3.57, True), (2016, "Trimps-\nSoushen", 2.99, True), (2017, "SENet", 2.25, True),
)
HUMAN = 5.1

# Six flowers of one family: name, color and number of petals, their length and width (the head's radius
# is 1), their color near the middle, radius and color of the middle.
FLOWERS = (
    ("daisy", "#fbfbf6", 30, 0.98, 0.15, "#e9edf0", 0.30, "#f2c230"),
    ("chamomile", "#fdfdfb", 15, 0.86, 0.25, "#eef0ea", 0.40, "#e7b416"),
    ("sunflower", "#f6bf26", 26, 1.05, 0.20, "#e59a17", 0.55, "#5d3a1e"),
    ("corn marigold", "#f8d033", 18, 0.94, 0.27, "#f0b822", 0.34, "#eaa91c"),
    ("aster", "#a890dc", 36, 1.00, 0.11, "#8b6fc9", 0.28, "#f0bb2c"),
    ("coneflower", "#dd8fb5", 15, 1.02, 0.24, "#c66f9d", 0.42, "#a8501f"),
)


def general():
    """Figure 1: the ten drawn pictures with the answers of the model that comes with the program."""
    figure, axes = card(410)
    said, size, gap = answers(), 140, 20.5
    for place, name in enumerate(CLASSES):
        x, y = 24 + place % 5 * (size + gap), 22 + place // 5 * 192
        with Image.open(IMAGES / f"{name}.png") as picture:
            parts.photo(axes, picture.convert("RGB").resize((size, size), Image.LANCZOS), x, y, size)
        _answer(axes, x + size / 2, y + size + 18, *said[name], right=name)
    return figure


def answers():
    """What the model answers, as `python -m book.figures.answers` has written it: {picture: [class, probability]}."""
    return json.loads((MODEL / "answers.json").read_text(encoding="utf-8"))


def _answer(axes, x, y, name, probability, right):
    """An answer below a picture, green where it is right and red where it is not."""
    color = KINDS["dense" if name == right else "side"][1]
    write(axes, x, y, f"{name} {probability:.2f}", size=14, bold=True, color=color)


def disturbed():
    """Figure 3: dog.png disturbed in the chapter's four ways, as the model gets it, with the model's answers."""
    figure, axes = card(530)
    size, step, left, top = 128, 140, 24, 50
    said, small = answers(), disturb.small_examples(IMAGES / "dog.png")
    seen = {name: pixels[0].transpose(1, 2, 0) for name, pixels in small.items()}  # (1, C, H, W) -> (H, W, C)
    write(axes, left + size / 2, top + step - 6, "undisturbed", size=14, bold=True)
    parts.photo(axes, seen["undisturbed"], left, top + 158, size)
    _answer(axes, left + size / 2, top + 158 + size + 17, *said["dog"], right="dog")
    for row, word in enumerate(("weak", "medium", "strong")):
        write(axes, left + size + 74, top + row * 158 + size / 2, word, size=13.5, color=QUIET, align="right")
    for column, kind in enumerate(disturb.KINDS):
        x = 806 - (4 - column) * step + step - size
        write(axes, x + size / 2, 26, kind, size=14, bold=True)
        for row, strength in enumerate(disturb.STRENGTHS):
            y = top + row * 158
            parts.photo(axes, seen[f"{kind} {strength}"], x, y, size)
            _answer(axes, x + size / 2, y + size + 17, *said[f"{kind} {strength}"], right="dog")
    return figure


def finegrained():
    """Figure 2: a fine-grained question, six flowers of one family."""
    figure, axes = card(190)
    size, gap = 118, 14.8
    for place, (name, *look) in enumerate(FLOWERS):
        x = 24 + place * (size + gap)
        _flower(axes, x, 22, size, *look, chance=random.Random(name))
        write(axes, x + size / 2, 164, name, size=13.5, bold=True)
    return figure


def _flower(axes, left, top, size, petal, count, length, width, inner, middle, color, chance):
    """One flower from above on a lawn, in a square."""
    tile = parts.rectangle(axes, left, top, size, size, "#5f8a4b", "none", order=1)
    for _ in range(90):
        x, y, lean = left + size * chance.random(), top + size * chance.random(), chance.uniform(-5, 5)
        axes.plot([x, x + lean], [y, y - chance.uniform(6, 18)], linewidth=chance.uniform(0.8, 2.2),
                  zorder=1.5, clip_path=tile,
                  color=chance.choice(("#527c40", "#6c9a55", "#7fab62", "#48703a")), solid_capstyle="round")
    center, reach = (left + size / 2, top + size / 2), size * 0.44
    for ring, shade in ((0, inner), (1, petal)):
        for number in range(count):
            angle = (number + 0.5 * ring) * 2 * math.pi / count + chance.gauss(0, 0.04)
            _petal(axes, center, angle, reach * length * chance.uniform(0.93, 1.03) * (1 - 0.08 * ring),
                   reach * width, shade, inner)
    axes.add_artist(parts.Circle(center, reach * middle, facecolor=color, edgecolor="none", zorder=3.5))
    for _ in range(int(420 * middle)):
        turn, far = chance.uniform(0, 2 * math.pi), reach * middle * chance.random() ** 0.5
        dot = parts.mix(color, chance.uniform(-0.3, 0.3))
        axes.add_artist(parts.Circle((center[0] + far * math.cos(turn), center[1] + far * math.sin(turn)),
                                     reach * 0.055,
                                    facecolor=dot, edgecolor="none", zorder=4))


def _petal(axes, center, angle, length, width, color, edge):
    """A petal that starts at the center: narrow, widest at two thirds, with a round tip."""
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    outline = [(0, 0), (0.5, 0.5), (0.85, 0.62), (1.0, 0.0), (0.85, -0.62), (0.5, -0.5), (0, 0)]
    curve = [(center[0] + length * a * along[0] + width * b * across[0],
              center[1] + length * a * along[1] + width * b * across[1])
             for a, b in outline]
    path = parts.Outline(curve, [parts.Outline.MOVETO] + [parts.Outline.CURVE4] * 6)
    axes.add_artist(PathPatch(path, facecolor=color, edgecolor=parts.mix(edge, -0.18), linewidth=0.5,
                                    zorder=3))


def ilsvrc():
    """Figure 4: top-5 error on ILSVRC by year."""
    figure, axes = card(390)
    write(axes, 24, 26, "Top-5 error in the ILSVRC classification task, %", size=15, align="left", bold=True)
    legend(axes, 24, 54, (("data", "features made by hand"), ("conv", "convolutional networks")))
    plot = chart(figure, 24, 78, 782, 240)
    plot.set_xlim(-0.6, len(ILSVRC) - 0.4)
    plot.set_ylim(0, 31)
    plot.set_yticks([])
    plot.spines["left"].set_visible(False)
    for place, (_, _, error, learned) in enumerate(ILSVRC):
        fill, edge = KINDS["conv" if learned else "data"]
        plot.bar(place, error, width=0.62, color=fill, edgecolor=edge, linewidth=LINE)
        above = error if error > HUMAN else HUMAN  # a number never lies on the dashed line
        plot.text(place, above + 0.6, f"{error:g}", ha="center", va="bottom", fontsize=points(14), color=INK,
                  fontweight="bold")
    plot.set_xticks(range(len(ILSVRC)), [f"{year}\n{team}" for year, team, _, _ in ILSVRC])
    plot.tick_params(axis="x", length=0, labelsize=points(12.5), labelcolor=INK, pad=6)
    color = KINDS["side"][1]
    plot.axhline(HUMAN, color=color, linewidth=LINE, linestyle=(0, (4, 2.5)), zorder=0)
    plot.text(len(ILSVRC) - 0.45, HUMAN + 4.2, f"one trained human: {HUMAN}", ha="right", va="bottom",
              fontsize=points(13), color=color)
    return figure


def cnn():
    """Figure 5: one step of a convolution, and a small network from the picture to the classes."""
    figure, axes = card(560)
    write(axes, 24, 26, "(a) one kernel at one place", size=15, align="left", bold=True)
    _sliding_window(axes, 24, 54)
    write(axes, 24, 320, "(b) from the picture to the classes", size=15, align="left", bold=True)
    _small_network(axes, 24, 448)
    return figure


def _sliding_window(axes, left, top):
    """A 3x3 kernel that finds upright edges, on a 6x6 input with a border of zeros."""
    cell, at_x, at_y = 26, 2, 2
    kernel = [[1, 0, -1]] * 3
    padded = [[0] * 8] + [[0, 3, 3, 3, 1, 1, 1, 0] for _ in range(6)] + [[0] * 8]
    result = [[sum(kernel[i][j] * padded[y + i][x + j] for i in range(3) for j in range(3)) for x in range(6)]
              for y in range(6)]
    shades = {0: "none", 1: "#c3cad4", 3: "#ffffff"}
    middle = top + 4 * cell
    parts.grid(axes, left, top, cell, padded, shades, faint=0)
    parts.frame(axes, left + at_x * cell, top + at_y * cell, 3 * cell, "conv")
    write(axes, left + 4 * cell, top + 8 * cell + 17, "input 6×6 in a border of zeros", size=12.5,
          color=QUIET)
    kernel_x = left + 8 * cell + 62
    write(axes, kernel_x - 31, middle, "∗", size=24)
    parts.grid(axes, kernel_x, middle - 1.5 * cell, cell, kernel, dict.fromkeys((-1, 0, 1), KINDS["conv"][0]))
    parts.frame(axes, kernel_x, middle - 1.5 * cell, 3 * cell, "conv")
    write(axes, kernel_x + 1.5 * cell, middle + 1.5 * cell + 17, "kernel 3×3", size=12.5, color=QUIET)
    out_x = kernel_x + 3 * cell + 58
    write(axes, out_x - 29, middle, "=", size=20)
    parts.grid(axes, out_x, middle - 3 * cell, cell, result, dict.fromkeys(sum(result, []), "#ffffff"))
    parts.frame(axes, out_x + at_x * cell, middle + (at_y - 3) * cell, cell, "side")
    write(axes, out_x + 3 * cell, middle + 3 * cell + 17, "feature map 6×6", size=12.5, color=QUIET)
    text_x = out_x + 6 * cell + 24
    write(axes, text_x, middle - 62, "Nine products and\ntheir sum:", size=13, align="left")
    write(axes, text_x, middle - 14, "3 · (3·1 + 3·0 − 1·1) = 6", size=13, align="left", bold=True)
    write(axes, text_x, middle + 46, "Large where bright stands\nleft of dark, 0 where all is\n"
          "one brightness: this kernel\nfinds upright edges.", size=13, align="left")


def _small_network(axes, left, middle):
    """Picture, two rounds of convolution and pooling, a fully connected layer, softmax."""
    images, labels = sketches.draw(40, 5)
    dog = images[list(labels).index(CLASSES.index("dog"))].transpose(1, 2, 0)
    parts.photo(axes, dog, left, middle - 46, 92)
    stages = (  # x, width for the channels, height, depth, kind, above, below
        (156, 14, 92, 40, "conv", "convolution\n+ ReLU", "16\n32×32"),
        (262, 14, 52, 24, "pool", "pooling", "16\n16×16"),
        (348, 28, 52, 24, "conv", "convolution\n+ ReLU", "32\n16×16"),
        (452, 28, 30, 14, "pool", "pooling", "32\n8×8"),
    )
    write(axes, left + 46, middle + 66, "3 colours\n32×32", size=12.5, color=QUIET, rows="top")
    write(axes, left + 46, middle - 80, "picture", size=13)
    before = left + 92
    for x, wide, high, deep, kind, above, below in stages:
        slab(axes, x, middle - high / 2 + deep / 4, wide, high, deep, kind)
        arrow(axes, (before + 5, middle), (x - 4, middle))
        write(axes, x + wide / 2 + deep / 4, middle - 80, above, size=13)
        write(axes, x + wide / 2 + deep / 4, middle + 66, below, size=12.5, color=QUIET, rows="top")
        before = x + wide + deep / 2
    box(axes, 546, middle - 50, 22, 100, kind="dense")
    arrow(axes, (before + 5, middle), (542, middle))
    write(axes, 557, middle - 80, "fully\nconnected", size=13)
    write(axes, 557, middle + 66, "10", size=12.5, color=QUIET, rows="top")
    arrow(axes, (572, middle), (632, middle))
    write(axes, 600, middle - 13, "softmax", size=12.5)
    shares = (0.01, 0.01, 0.03, 0.12, 0.03, 0.73, 0.02, 0.04, 0.005, 0.005)
    for row, (name, share) in enumerate(zip(CLASSES, shares)):
        y = middle - 63 + row * 14
        write(axes, 718, y, name, size=12, align="right", bold=share > 0.5)
        fill, edge = KINDS["answer"]
        parts.rectangle(axes, 724, y - 4.5, 1 + 90 * share, 9, fill, edge)
    write(axes, 730, middle - 84, "probabilities", size=13)


def vgg():
    """Figure 6: the VGG as built here."""
    figure, axes = card(380)
    write(axes, 24, 26, "VGG for CIFAR-10: 13 convolutions and 3 fully connected layers", size=15,
          align="left", bold=True)
    base = 212
    heights, widths = (118, 84, 58, 40, 26), (9, 12, 16, 22, 22)
    slab(axes, 34, base - 118, 4, 118, 38)
    write(axes, 45, base + 20, "picture", size=12.5, bold=True)
    write(axes, 45, base + 36, "3 colours\n32×32", size=12, color=QUIET, rows="top")
    before, x = 57, 88
    groups = ((64, 32, "0.3"), (128, 16, "0.4"), (256, 8, "0.4  0.4"), (512, 4, "0.4  0.4"),
              (512, 2, "0.4  0.4"))
    for (channels, size, rates), high, wide, small in zip(groups, heights, widths, heights[1:] + (14,)):
        count, deep, start = 2 if channels < 256 else 3, high * 0.32, x
        arrow(axes, (before + 3, base - 10), (x - 2, base - 10))
        for _ in range(count):
            slab(axes, x, base - high, wide, high, deep, "conv")
            x += wide + 6
        x += deep * 0.25
        slab(axes, x, base - small, wide, small, small * 0.32, "pool")
        before = x + wide + small * 0.16
        middle = (start + before) / 2
        write(axes, middle, base + 20, f"{count} × conv", size=12.5, bold=True)
        write(axes, middle, base + 36, f"{channels} maps\n{size}×{size}", size=12, color=QUIET, rows="top")
        write(axes, middle, base + 78, f"dropout\n{rates}", size=12, color=KINDS["side"][1], rows="top")
        x = before + 25
    for label, rate, high, kind in (("fc\n512", "0.5", 96, "dense"), ("fc\n512", "0.5", 96, "dense"),
                                    ("fc\n10", "", 40, "answer")):
        arrow(axes, (before + 3, base - 10), (x - 2, base - 10))
        box(axes, x, base - high, 24, high, kind=kind)
        write(axes, x + 12, base + 12, label, size=12.5, rows="top", bold=True)
        write(axes, x - 14, base + 78, f"dropout\n{rate}" if rate else "", size=12, color=KINDS["side"][1],
              rows="top")
        before, x = x + 24, x + 54
    legend(axes, 34, 352, (("conv", "conv 3×3, batch norm, ReLU"), ("pool", "max pooling 2×2"),
                           ("dense", "fully connected"), ("answer", "fully connected + softmax")))
    return figure


def inception():
    """Figure 7: an inception block, plain and with 1x1 reductions; the numbers are GoogLeNet's block 3a."""
    figure, axes = card(410)
    axes.plot([415, 415], [16, 394], color=RULE, linewidth=THIN)
    write(axes, 24, 26, "(a) plain", size=15, align="left", bold=True)
    _inception(axes, 24, ((None, "conv 1×1\n64"), (None, "conv 3×3\n128"), (None, "conv 5×5\n32"),
                          (None, "max pool\n3×3")), "64 + 128 + 32 + 192 = 416 channels", "387,072 weights")
    write(axes, 438, 26, "(b) with 1×1 reductions", size=15, align="left", bold=True)
    _inception(axes, 438, ((None, "conv 1×1\n64"), ("conv 1×1\n96", "conv 3×3\n128"),
                           ("conv 1×1\n16", "conv 5×5\n32"), ("max pool\n3×3", "conv 1×1\n32")),
               "64 + 128 + 32 + 32 = 256 channels", "163,328 weights")
    return figure


def _inception(axes, left, paths, channels, weights):
    """Four paths side by side between one input and one concatenation."""
    wide, gap = 84, 10
    whole = 4 * wide + 3 * gap
    reduced = any(first for first, _ in paths)
    rows = (128, 226) if reduced else (None, 177)
    box(axes, left, 50, whole, 36, "192 channels", "data")
    for number, path in enumerate(paths):
        x = left + number * (wide + gap)
        center, before = x + wide / 2, 86
        for text, y in zip(path, rows):
            if text is None:
                continue
            reduces = "1×1" in text and text != "conv 1×1\n64"
            kind = "pool" if "pool" in text else "side" if reduces else "conv"
            arrow(axes, (center, before), (center, y))
            box(axes, x, y, wide, 48, text, kind, size=12.5)
            before = y + 48
        arrow(axes, (center, before), (center, 316))
    box(axes, left, 316, whole, 36, "concatenate: " + channels, "join")
    write(axes, left + whole / 2, 376, weights, size=13)


def googlenet():
    """Figure 8: GoogLeNet as published, for pictures of ImageNet."""
    figure, axes = card(450)
    write(axes, 24, 26, "GoogLeNet for ImageNet: 22 layers with weights, 9 of its blocks inception", size=15,
          align="left",
          bold=True)
    top = (("picture", "3\n224×224", "data", 74), ("conv 7×7\nstride 2", "64\n112×112", "conv", 78),
           ("pool", "64\n56×56", "pool", 50), ("conv 1×1\nconv 3×3", "192\n56×56", "conv", 78),
           ("pool", "192\n28×28", "pool", 50), ("3a", "256\n28×28", "join", 60),
           ("3b", "480\n28×28", "join", 60),
           ("pool", "480\n14×14", "pool", 50))
    low = (("4a", "512\n14×14", "join", 46), ("4b", "512\n14×14", "join", 46),
           ("4c", "512\n14×14", "join", 46), ("4d", "528\n14×14", "join", 46),
           ("4e", "832\n14×14", "join", 46), ("pool", "832\n7×7", "pool", 46),
           ("5a", "832\n7×7", "join", 46), ("5b", "1024\n7×7", "join", 46),
           ("average\npool", "1024\n1×1", "pool", 66), ("fc", "1000", "dense", 46),
           ("softmax", "1000", "answer", 68))
    ends = _row(axes, top, 34, 66, 30, QUIET)
    starts = _row(axes, low, 34, 240, 22, QUIET)
    arrow(axes, (ends[-1][1], 91), (806, 91), (806, 180), (16, 180), (16, 265), (starts[0][0], 265), bend=8)
    for block in (0, 3):
        x = (starts[block][0] + starts[block][1]) / 2
        arrow(axes, (x, 334), (x, 366))
        box(axes, x - 23, 366, 184, 50, "average pool, conv 1×1,\nfc, fc, softmax", "side", size=12.5)
    write(axes, 446, 391, "two auxiliary classifiers,\nin training only", size=13, color=KINDS["side"][1],
          align="left")
    return figure


def _row(axes, layers, x, y, gap, color):
    """A row of boxes joined by arrows, with their shapes below; gives back each one's left and right end."""
    ends = []
    for text, shape, kind, wide in layers:
        if ends:
            arrow(axes, (ends[-1][1], y + 25), (x, y + 25))
        box(axes, x, y, wide, 50, text, kind, size=12.5)
        write(axes, x + wide / 2, y + 58, shape, size=12, color=color, rows="top")
        ends.append((x, x + wide))
        x += wide + gap
    return ends


def block():
    """Figure 9: the basic and the bottleneck residual block."""
    figure, axes = card(470)
    axes.plot([415, 415], [16, 454], color=RULE, linewidth=THIN)
    write(axes, 24, 26, "(a) basic block", size=15, align="left", bold=True)
    _residual(axes, 170, "64 channels", ("conv 3×3, 64", "conv 3×3, 64"), 36, 74, "73,728 weights")
    write(axes, 438, 26, "(b) bottleneck block", size=15, align="left", bold=True)
    _residual(axes, 584, "256 channels", ("conv 1×1, 64", "conv 3×3, 64", "conv 1×1, 256"), 36, 46,
              "69,632 weights")
    return figure


def _residual(axes, middle, channels, layers, high, gap, weights):
    """A block: convolutions one under the other, and the shortcut round them."""
    wide = 150
    write(axes, middle, 62, f"$x$: {channels}", size=13)
    y, last = 74, len(layers) - 1
    arrow(axes, (middle, 74), (middle, y + gap))
    for number, text in enumerate(layers):
        y += gap
        box(axes, middle - wide / 2, y, wide, high, text, "conv")
        y += high
        arrow(axes, (middle, y), (middle, y + gap - (0 if number < last else 11)))
        write(axes, middle - 12, y + gap / 2 - 4, "batch norm" + (", ReLU" if number < last else ""),
              size=12.5, color=QUIET,
              align="right")
    y += gap
    parts.plus(axes, middle, y)
    arrow(axes, (middle, 88), (middle + 120, 88), (middle + 120, y), (middle + 11, y), bend=12,
          color=KINDS["side"][1])
    write(axes, middle + 128, (88 + y) / 2, "shortcut\n$x$", size=13, color=KINDS["side"][1], align="left")
    write(axes, middle - 18, y + 2, "$F(x)+x$", size=13, align="right")
    arrow(axes, (middle, y + 11), (middle, y + 52))
    write(axes, middle - 12, y + 28, "ReLU", size=12.5, color=QUIET, align="right")
    write(axes, middle, y + 66, channels, size=13)
    write(axes, middle + 128, y + 66, weights, size=12.5, color=QUIET)


def resnet():
    """Figure 10: the ResNet-32 as built here, and how often ImageNet's ResNets repeat their blocks."""
    figure, axes = card(500)
    write(axes, 24, 26, "(a) ResNet-32 for CIFAR-10: 3 stages of 5 basic blocks", size=15, align="left",
          bold=True)
    _residual_chain(axes, 24, 104)
    write(axes, 24, 276, "(b) ResNets for ImageNet: how many bottleneck blocks each stage has", size=15,
          align="left",
          bold=True)
    columns = ("conv 7×7\n64", "64, 64, 256\n56×56", "128, 128, 512\n28×28", "256, 256, 1024\n14×14",
               "512, 512, 2048\n7×7",
               "fc\n1000")
    places = (152, 268, 396, 530, 664, 776)
    for x, text in zip(places, columns):
        write(axes, x, 318, text, size=12.5, color=QUIET)
    for row, (depth, counts) in enumerate(((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3)))):
        y = 364 + row * 42
        write(axes, 24, y, f"ResNet-{depth}", size=13.5, align="left", bold=True)
        box(axes, places[0] - 30, y - 15, 60, 30, "1", "conv")
        for x, count in zip(places[1:5], counts):
            box(axes, x - 50, y - 15, 100, 30, f"{count} blocks", "join")
        box(axes, places[5] - 26, y - 15, 52, 30, "1", "dense")
        stops = [(places[0] + 30, places[1] - 50)]
        stops += [(a + 50, b - 50) for a, b in zip(places[1:4], places[2:5])]
        for here, there in stops + [(places[4] + 50, places[5] - 26)]:
            arrow(axes, (here, y), (there, y))
    return figure


def _residual_chain(axes, left, top):
    """ResNet-32 block by block: arcs are shortcuts, dots additions; a dashed arc is a 1x1 convolution."""
    high, wide, pitch = 56, 18, 34
    line = top + high / 2
    box(axes, left, top, 58, high, "picture", "data", size=12.5)
    arrow(axes, (left + 58, line), (left + 72, line))
    box(axes, left + 72, top, 46, high, "conv\n16", "conv", size=12.5)
    dot, x = left + 118, left + 134
    for stage, (channels, size) in enumerate(((16, 32), (32, 16), (64, 8))):
        start = x
        for number in range(5):
            new = stage > 0 and number == 0
            color = KINDS["side"][1] if new else QUIET
            end = x + wide + 8
            arrow(axes, (dot, line), (end, line), head=False)
            arrow(axes, (x - 8, line), (x - 4, top - 18), (end - 4, top - 18), (end, line), bend=13,
                  color=color, dashed=new,
                  head=False)
            box(axes, x, top, wide, high, kind="join")
            parts.plus(axes, end, line, radius=3.2)
            dot, x = end, x + pitch
        write(axes, (start + x - pitch + wide) / 2, top + high + 22, f"{channels} maps, {size}×{size}",
              size=12.5, bold=True)
        write(axes, (start + x - pitch + wide) / 2, top + high + 42, "5 blocks", size=12.5, color=QUIET)
    arrow(axes, (dot + 3, line), (x + 4, line))
    box(axes, x + 4, top, 60, high, "average\npool", "pool", size=12.5)
    arrow(axes, (x + 64, line), (x + 80, line))
    box(axes, x + 80, top, 50, high, "fc 10", "answer", size=12.5)
    write(axes, left + 134, top - 38, "shortcut: x as it is", size=12.5, color=QUIET, align="left")
    write(axes, left + 300, top - 38, "dashed: 1×1 convolution with stride 2, for the new shape", size=12.5,
          color=KINDS["side"][1], align="left")


def classes():
    """Figure 11: the ten classes, as sketches (pictures of CIFAR-10 are not the project's to hand on)."""
    return contact_sheet(*sketches.draw(300, 11))


def contact_sheet(images, labels):
    """Twelve pictures of each class in a row: images uint8 [N, 3, 32, 32], labels int64 [N]."""
    figure, axes = card(594)
    size, step, left = 50, 56, 128
    for row, name in enumerate(CLASSES):
        y = 20 + row * step
        write(axes, 24, y + size / 2, name, size=14, align="left", bold=True)
        for column, index in enumerate([i for i, label in enumerate(labels) if label == row][:12]):
            parts.photo(axes, images[index].transpose(1, 2, 0), left + column * (size + 7.5), y, size,
                        frame=False)
    return figure


def flow():
    """Figure 12: what goes where in train.py and infer.py."""
    figure, axes = card(560)
    write(axes, 24, 26, "python train.py", size=15, align="left", bold=True)
    _training_flow(axes)
    axes.plot([24, 806], [402, 402], color=RULE, linewidth=THIN)
    write(axes, 24, 428, "python infer.py dog.png", size=15, align="left", bold=True)
    row = (("dog.png", "any size", "data", 92), ("load_image", "[1, 3, 32, 32]", "plain", 118),
           ("saved model", "pixel in, 10 out", "answer", 126), ("probabilities", "[1, 10]", "plain", 126),
           ("infer results: dog", "", "data", 166))
    _row(axes, row, 24, 456, 38, QUIET)
    return figure


def _training_flow(axes):
    """The pictures' way through the training program, the test program and the saved model."""
    box(axes, 24, 60, 150, 56, "CIFAR-10\n50,000 to train on", "data", size=12.5)
    box(axes, 24, 292, 150, 56, "CIFAR-10\n10,000 to test on", "data", size=12.5)
    box(axes, 214, 60, 130, 56, "shuffle, cut into\nbatches of 128", "plain", size=12.5)
    box(axes, 214, 292, 130, 56, "batches,\nin order", "plain", size=12.5)
    box(axes, 384, 46, 190, 84, "", "conv")
    write(axes, 479, 66, "training program", size=12.5, bold=True)
    write(axes, 479, 98, "network, loss, gradients,\nAdam", size=12.5)
    box(axes, 384, 278, 190, 84, "", "conv")
    write(axes, 479, 298, "test program", size=12.5, bold=True)
    write(axes, 479, 330, "network alone,\ncloned before minimize", size=12.5)
    box(axes, 404, 176, 150, 56, "weights and\nbatch-norm statistics", "join", size=12.5)
    box(axes, 626, 60, 180, 56, "Pass 0, Batch 100,\nCost …, Acc …", "data", size=12.5)
    box(axes, 626, 176, 180, 56, "saved model\nfor infer.py", "answer", size=12.5)
    box(axes, 626, 292, 180, 56, "Test with Pass 0,\nLoss …, Acc …", "data", size=12.5)
    for y in (88, 320):
        for start, end in ((174, 214), (344, 384), (574, 626)):
            arrow(axes, (start, y), (end, y))
    arrow(axes, (462, 130), (462, 176))
    arrow(axes, (496, 176), (496, 130))
    write(axes, 508, 153, "each batch", size=12, color=QUIET, align="left")
    arrow(axes, (479, 232), (479, 278))
    arrow(axes, (554, 204), (626, 204))
    write(axes, 590, 192, "each pass", size=12, color=QUIET)
    write(axes, 491, 255, "each pass", size=12, color=QUIET, align="left")


def curves():
    """Figure 13: cost and error of a real run, from the history that train.py keeps."""
    figure, axes = card(360)
    history = json.loads((MODEL / "history.json").read_text(encoding="utf-8"))
    write(axes, 24, 26, history["title"], size=15, align="left", bold=True)
    panels = (("cost", 70, lambda row: row[1]), ("error, %", 490, lambda row: 100 * (1 - row[2])))
    for label, left, value in panels:
        plot = chart(figure, left, 84, 316, 220)
        for name, kind in (("points", "conv"), ("tests", "side")):
            rows, (_, edge) = history[name], KINDS[kind]
            plot.plot([row[0] for row in rows], [value(row) for row in rows], color=edge, linewidth=LINE * 1.2,
                      marker="o" if name == "tests" else None, markersize=4)
        plot.set_ylim(bottom=0)
        plot.set_xlim(0, history["tests"][-1][0])
        write(axes, left, 68, label, size=13, align="left", color=QUIET)
        write(axes, left + 158, 340, "pass", size=13, color=QUIET)
    legend(axes, 560, 26, (("conv", "training"), ("side", "test")))
    return figure


def trust():
    """Figure 14: accuracy when pictures are disturbed, and how often an answer of some probability is right."""
    figure, axes = card(390)
    measured = json.loads((MODEL / "measured.json").read_text(encoding="utf-8"))
    write(axes, 24, 28, "(a) disturbed pictures", size=15, align="left", bold=True)
    plot = chart(figure, 64, 76, 330, 250)
    undisturbed = 100 * (1 - measured["error"])
    kinds = tuple(zip(("conv", "pool", "answer", "dense"), measured["disturbed_accuracy"].items()))
    for color, (_, shares) in kinds:
        plot.plot(range(4), [undisturbed] + [100 * share for share in shares], color=KINDS[color][1],
                  linewidth=LINE * 1.4, marker="o", markersize=5)
    plot.set_xticks(range(4), ["none", "weak", "medium", "strong"])
    plot.set_ylim(0, 100)
    write(axes, 64, 60, "accuracy, %", size=13, align="left", color=QUIET)
    legend(axes, 64, 366, [(color, kind) for color, (kind, _) in kinds])
    write(axes, 458, 28, "(b) is an answer as sure as it says?", size=15, align="left", bold=True)
    plot = chart(figure, 498, 76, 308, 250)
    rows = measured["reliability"]
    for number, (count, _, share) in enumerate(rows):
        if count:
            fill, edge = KINDS["conv"]
            plot.bar((number + 0.5) / len(rows), 100 * share, 0.94 / len(rows), color=fill, edgecolor=edge,
                     linewidth=THIN)
    plot.plot([0, 1], [0, 100], color=KINDS["side"][1], linewidth=LINE, linestyle=(0, (4, 2.5)))
    plot.set_xlim(0, 1)
    plot.set_ylim(0, 100)
    write(axes, 498, 60, "named rightly, %", size=13, align="left", color=QUIET)
    write(axes, 652, 366, "probability of the answer", size=13, color=QUIET)
    return figure


FIGURES = (general, finegrained, disturbed, ilsvrc, cnn, vgg, inception, googlenet, block, resnet, classes, flow,
           curves, trust, maps, features, gradcam)


def draw_cifar10(archive=None):
    """The contact sheet with CIFAR-10's own images, for the reader's machine alone; returns where it is.

    archive: path of a cifar-10-python.tar.gz; without one, what train.py takes (from the cache, or downloaded).
    Errors: UserError where none is available.
    """
    data = dataset.load("cifar10", archive)
    target = ROOT / "build" / "cifar10.png"  # not committed
    save(contact_sheet(data.test_images, data.test_labels), target)
    return target


def save(figure, target):
    """Write a figure to a file. Errors: UserError where that is impossible."""
    with whole_file(target) as temporary:
        parts.save(figure, temporary)


@exit_status("end other programs")
def main(arguments=None):
    """Draw the figures of these names, or all of them."""
    known = {figure.__name__: figure for figure in FIGURES}
    parser = argparse.ArgumentParser(prog="python -m book.figures", description="Draw the chapter's figures.")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"which to draw into image/ (default: all): {', '.join(known)}; cifar10: Figure 11 with "
                             "CIFAR-10's own images, into build/cifar10.png")
    parser.add_argument("--data-file", metavar="ARCHIVE",
                        help="for cifar10: a cifar-10-python.tar.gz; without one it is downloaded")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in (*known, "cifar10"):
            raise UserError(f"there is no figure {name}: choose from {', '.join(known)}, cifar10")
    for name in given.names or known:
        if name == "cifar10":
            print(draw_cifar10(given.data_file).relative_to(ROOT))
        else:
            save(known[name](), IMAGES / f"{name}.png")
            print(f"image/{name}.png")
    return 0
