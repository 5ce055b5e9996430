"""The figures of the networks: what a convolution does, and how VGG, GoogLeNet and ResNet are put together."""
from PIL import Image

from book.figures import parts
from book.figures.parts import KINDS, LINE, QUIET, RULE, THIN, arrow, box, card, legend, row_of_boxes, slab, write
from utils.data import sketches
from utils.data.cifar10 import CLASSES

ONLY_IN_TRAINING = KINDS["side"][1]
IDENTITY, PROJECTION = KINDS["side"][1], KINDS["conv"][1]  # the two kinds of shortcut, in every figure

# VGG-16 (Simonyan and Zisserman 2015, table 1, column D): channels and number of convolutions of each group.
VGG_GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def cnn():
    """Figure 5: one step of a convolution, and a small network from the picture to the classes."""
    figure, axes = card(616)
    write(axes, 24, 26, "(a) one kernel at one place", size=15, align="left", bold=True)
    _sliding_window(axes, 24, 50)
    write(axes, 24, 380, "(b) from the picture to the classes", size=15, align="left", bold=True)
    _small_network(axes, 24, 508)
    return figure


def _sliding_window(axes, left, top):
    """A 3x3 kernel that finds upright edges, on a 6x6 input with a border of zeros."""
    cell, at_x, at_y = 28, 2, 2
    kernel = [[1, 0, -1]] * 3
    padded = [[0] * 8] + [[0, 5, 5, 5, 1, 1, 1, 0] for _ in range(6)] + [[0] * 8]
    result = [[sum(kernel[i][j] * padded[y + i][x + j] for i in range(3) for j in range(3)) for x in range(6)]
              for y in range(6)]
    inner = [[number if 0 < x < 5 and 0 < y < 5 else None for x, number in enumerate(row)]
             for y, row in enumerate(result)]
    border = [[number if within is None else None for number, within in zip(*rows)] for rows in zip(result, inner)]
    middle = top + 4 * cell
    parts.grid(axes, left, top, cell, padded, {0: "none", 1: "#c3cad4", 5: "#ffffff"}, faint=0)
    parts.frame(axes, left + at_x * cell, top + at_y * cell, 3 * cell, "conv")
    write(axes, left + 4 * cell, top + 8 * cell + 18, "input 6×6 in a border of zeros", size=13.5, color=QUIET)
    kernel_x = left + 8 * cell + 46
    write(axes, kernel_x - 23, middle, "∗", size=24)
    parts.grid(axes, kernel_x, middle - 1.5 * cell, cell, kernel, dict.fromkeys((-1, 0, 1), KINDS["conv"][0]))
    parts.frame(axes, kernel_x, middle - 1.5 * cell, 3 * cell, "conv")
    write(axes, kernel_x + 1.5 * cell, middle + 1.5 * cell + 18, "kernel 3×3", size=13.5, color=QUIET)
    out_x = kernel_x + 3 * cell + 46
    write(axes, out_x - 23, middle, "=", size=20)
    numbers = sum(result, [])
    parts.grid(axes, out_x, middle - 3 * cell, cell, inner, dict.fromkeys(numbers, "#ffffff"))
    parts.grid(axes, out_x, middle - 3 * cell, cell, border, dict.fromkeys(numbers, KINDS["join"][0]))
    parts.frame(axes, out_x + at_x * cell, middle + (at_y - 3) * cell, cell, "side")
    write(axes, out_x + 3 * cell, middle + 3 * cell + 18, "feature map 6×6", size=13.5, color=QUIET)
    _nine_products(axes, out_x + 6 * cell + 22, middle, kernel,
                   [row[at_x:at_x + 3] for row in padded[at_y:at_y + 3]])
    write(axes, left, top + 8 * cell + 56, "Yellow: places at the border. There the kernel covers zeros, which count "
          "as dark,\nand so it finds edges that are not in the picture.", size=13.5, align="left")


def _nine_products(axes, left, middle, kernel, pixels):
    """The sum behind the framed number: pixels times weights, row by row."""
    write(axes, left, middle - 92, "Pixels times weights,\nrow by row:", size=13.5, align="left")
    sums = [sum(pixel * weight for pixel, weight in zip(*rows)) for rows in zip(pixels, kernel)]
    for number, (row, weights, total) in enumerate(zip(pixels, kernel, sums)):
        products = " + ".join(f"{pixel}·({weight})" if weight < 0 else f"{pixel}·{weight}"
                              for pixel, weight in zip(row, weights)).replace("-", "−")
        write(axes, left, middle - 52 + 22 * number, f"{products} = {total}", size=13.5, align="left",
              color=KINDS["conv"][1])
    write(axes, left, middle + 20, f"{' + '.join(map(str, sums))} = {sum(sums)}", size=14.5, align="left", bold=True,
          color=KINDS["side"][1])
    write(axes, left, middle + 74, "Large where bright is\nleft of dark, 0 where all is\none brightness: it finds\n"
          "upright edges.", size=13.5, align="left")


def _small_network(axes, left, middle):
    """Picture, two rounds of convolution and pooling, a fully connected layer, softmax."""
    images, labels = sketches.draw(40, 5)
    dog = images[list(labels).index(CLASSES.index("dog"))].transpose(1, 2, 0)
    parts.photo(axes, dog, left, middle - 46, 92)
    stages = (  # x, width for the channels, height, depth, kind, above, below
        (156, 14, 92, 40, "conv", "convolution\n3×3, ReLU", "16 maps\n32×32"),
        (262, 14, 52, 24, "pool", "max pooling\n2×2", "16 maps\n16×16"),
        (352, 28, 52, 24, "conv", "convolution\n3×3, ReLU", "32 maps\n16×16"),
        (460, 28, 30, 14, "pool", "max pooling\n2×2", "32 maps\n8×8"),
    )
    write(axes, left + 46, middle + 66, "3 colors\n32×32", size=13.5, color=QUIET, rows="top")
    write(axes, left + 46, middle - 84, "picture", size=13.5)
    before = left + 92
    for x, wide, high, deep, kind, above, below in stages:
        slab(axes, x, middle - high / 2 + deep / 4, wide, high, deep, kind)
        arrow(axes, (before + 5, middle), (x - 4, middle))
        write(axes, x + wide / 2 + deep / 4, middle - 84, above, size=13.5)
        write(axes, x + wide / 2 + deep / 4, middle + 66, below, size=13.5, color=QUIET, rows="top")
        before = x + wide + deep / 2
    box(axes, 556, middle - 50, 22, 100, kind="dense")
    arrow(axes, (before + 5, middle), (552, middle))
    write(axes, 567, middle - 84, "fully\nconnected", size=13.5)
    write(axes, 567, middle + 66, "10\nscores", size=13.5, color=QUIET, rows="top")
    arrow(axes, (583, middle), (642, middle))
    write(axes, 611, middle - 14, "softmax", size=13)
    shares = (0.01, 0.01, 0.03, 0.12, 0.03, 0.73, 0.02, 0.04, 0.005, 0.005)
    for row, (name, share) in enumerate(zip(CLASSES, shares)):
        y = middle - 67 + row * 15
        write(axes, 722, y, name, size=13, align="right", bold=share > 0.5)
        fill, edge = KINDS["answer"]
        parts.rectangle(axes, 728, y - 5, 1 + 100 * share, 10, fill, edge)
    write(axes, 742, middle - 90, "probabilities", size=13.5)


def vgg():
    """Figure 6: the VGG-16 of ImageNet, and the one that is built here."""
    figure, axes = card(620)
    with Image.open(parts.IMAGES / "dog.png") as painting:
        large = painting.convert("RGB").resize((128, 128), Image.LANCZOS)
    write(axes, 24, 26, "(a) VGG-16 for ImageNet: 138 million weights, 124 million of them fully connected", size=15,
          align="left", bold=True)
    _vgg_row(axes, 178, large, 224, (None,) * 5, (("4096", ""), ("4096", "0.5"), ("1000", "0.5")), 112)
    write(axes, 24, 304, "(b) VGG for CIFAR-10: 15 million weights, half a million of them fully connected", size=15,
          align="left", bold=True)
    _vgg_row(axes, 456, large.resize((32, 32), Image.LANCZOS), 32, ("0.3, 0", "0.4, 0", *["0.4, 0.4, 0"] * 3),
             (("512", "0.5"), ("512", "0.5"), ("10", "")), 72)
    legend(axes, 24, 594, (("conv", "convolution 3×3, ReLU"), ("pool", "max pooling 2×2"),
                           ("dense", "fully connected"), ("answer", "fully connected, softmax")))
    return figure


def _vgg_row(axes, base, picture, side, rates, dense, tall):
    """One VGG from the picture, of `side` pixels, to the classes; what lies below are sizes and dropout.

    rates: dropout after the convolutions of each group, as text, or None; dense: (outputs, dropout before) of each
    tall: height of the fully connected layers
    """
    heights, widths = (112, 80, 56, 38, 24), (9, 12, 15, 19, 19)
    parts.photo(axes, picture, 24, base - 72, 72)
    write(axes, 60, base + 18, "picture", size=13.5, bold=True)
    write(axes, 60, base + 34, f"3 colors\n{side}×{side}", size=13, color=QUIET, rows="top")
    before, x = 96, 120
    for (channels, count), rate, high, wide, small in zip(VGG_GROUPS, rates, heights, widths, heights[1:] + (14,)):
        deep, start = high * 0.32, x
        arrow(axes, (before + 3, base - 10), (x - 2, base - 10))
        for _ in range(count):
            slab(axes, x, base - high, wide, high, deep, "conv")
            x += wide + 5
        x += deep * 0.25
        slab(axes, x, base - small, wide, small, small * 0.32, "pool")
        before = x + wide + small * 0.16
        middle = (start + before) / 2
        write(axes, middle, base + 18, f"{count} × conv", size=13.5, bold=True)
        write(axes, middle, base + 34, f"{channels} maps\n{side}×{side}", size=13, color=QUIET, rows="top")
        if rate:
            write(axes, middle, base + 76, f"dropout\n{rate}", size=13, color=ONLY_IN_TRAINING, rows="top")
        side //= 2
        x = before + 25
    for number, (outputs, rate) in enumerate(dense):
        kind, high = ("dense", tall) if number < 2 else ("answer", tall - 30)
        arrow(axes, (before + 3, base - 10), (x - 2, base - 10))
        box(axes, x, base - high, 22, high, kind=kind)
        write(axes, x + 11, base + 10, f"fc\n{outputs}", size=13, rows="top", bold=True)
        if rate:
            write(axes, x - 11, base + 76, f"dropout\n{rate}", size=13, color=ONLY_IN_TRAINING, rows="top")
        before, x = x + 22, x + 56


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
    box(axes, left, 50, whole, 36, "192 channels", "data", size=14)
    for number, path in enumerate(paths):
        x = left + number * (wide + gap)
        center, before = x + wide / 2, 86
        for text, y in zip(path, rows):
            if text is None:
                continue
            reduces = "1×1" in text and text != "conv 1×1\n64"
            kind = "pool" if "pool" in text else "reduce" if reduces else "conv"
            arrow(axes, (center, before), (center, y))
            box(axes, x, y, wide, 48, text, kind, size=14)
            before = y + 48
        arrow(axes, (center, before), (center, 316))
    box(axes, left, 316, whole, 36, "concatenate: " + channels, "join", size=13.5)
    write(axes, left + whole / 2, 376, weights, size=14.5, color=QUIET)


def googlenet():
    """Figure 8: GoogLeNet as published, for pictures of ImageNet; dashed is what only training uses."""
    figure, axes = card(560)
    write(axes, 24, 26, "GoogLeNet for ImageNet: 22 layers deep, where each inception block counts as two", size=15,
          align="left", bold=True)
    top = (("picture", "3 colors\n224×224", "data", 76), ("conv 7×7\nstride 2", "64\n112×112", "conv", 84),
           ("max\npool", "64\n56×56", "pool", 56), ("conv 1×1\nconv 3×3", "192\n56×56", "conv", 84),
           ("max\npool", "192\n28×28", "pool", 56), ("3a", "256\n28×28", "join", 60), ("3b", "480\n28×28", "join", 60),
           ("max\npool", "480\n14×14", "pool", 56))
    middle = (("4a", "512\n14×14", "join", 86), ("4b", "512\n14×14", "join", 86), ("4c", "512\n14×14", "join", 86),
              ("4d", "528\n14×14", "join", 86), ("4e", "832\n14×14", "join", 86), ("max\npool", "832\n7×7", "pool", 86))
    low = (("5a", "832\n7×7", "join", 86), ("5b", "1024\n7×7", "join", 86), ("average\npool", "1024\n1×1", "pool", 86),
           ("dropout\n0.4", "", "side", 86), ("fc", "1000", "dense", 86), ("softmax", "1000", "answer", 86))
    first = row_of_boxes(axes, top, 40, 56, 29)
    second = row_of_boxes(axes, middle, 40, 254, 43, above=True)
    third = row_of_boxes(axes, low, 40, 444, 43, dashed=("side",))
    for above, y, below, there in ((first, 81, second, 279), (second, 279, third, 469)):
        turn = 186 if there == 279 else 420
        arrow(axes, (above[-1][1], y), (806, y), (806, turn), (18, turn), (18, there), (below[0][0], there), bend=8)
    for block in (0, 3):
        x, y = sum(second[block]) / 2, 304
        arrow(axes, (x, y), (x, 334), color=ONLY_IN_TRAINING, dashed=True)
        box(axes, second[block][0], 334, 226, 56, "average pool, conv 1×1,\nfc, dropout 0.7, fc, softmax", "side",
            size=13, dashed=True)
    write(axes, 672, 362, "auxiliary\nclassifiers,\nin training only", size=13, color=ONLY_IN_TRAINING, align="left")
    return figure


def block():
    """Figure 9: the basic and the bottleneck residual block."""
    figure, axes = card(470)
    axes.plot([415, 415], [16, 454], color=RULE, linewidth=THIN)
    write(axes, 24, 26, "(a) basic block", size=15, align="left", bold=True)
    _residual(axes, 186, "64 channels", ("conv 3×3, 64", "conv 3×3, 64"), 74, "73,728 weights")
    write(axes, 438, 26, "(b) bottleneck block", size=15, align="left", bold=True)
    _residual(axes, 596, "256 channels", ("conv 1×1, 64", "conv 3×3, 64", "conv 1×1, 256"), 46.5, "69,632 weights")
    return figure


def _residual(axes, middle, channels, layers, gap, weights):
    """A block: convolutions one under the other, and the shortcut round them."""
    wide, high = 150, 36
    write(axes, middle, 60, f"$x$: {channels}", size=14.5)
    y, last = 74, len(layers) - 1
    arrow(axes, (middle, 74), (middle, y + gap))
    for number, text in enumerate(layers):
        y += gap
        box(axes, middle - wide / 2, y, wide, high, text, "conv", size=14.5)
        y += high
        arrow(axes, (middle, y), (middle, y + gap - (0 if number < last else 11)))
        write(axes, middle - 12, y + gap / 2 - 4, "batch norm" + (", ReLU" if number < last else ""), size=14,
              color=QUIET, align="right")
    y += gap
    parts.plus(axes, middle, y)
    arrow(axes, (middle, 88), (middle + 112, 88), (middle + 112, y), (middle + 11, y), bend=12, color=IDENTITY,
          width=LINE * 1.3)
    write(axes, middle + 122, (88 + y) / 2, "shortcut:\n$x$ unchanged", size=14.5, color=IDENTITY, align="left")
    write(axes, middle - 18, y + 2, "$F(x)+x$", size=14.5, align="right")
    arrow(axes, (middle, y + 11), (middle, y + 52))
    write(axes, middle - 12, y + 30, "ReLU", size=14, color=QUIET, align="right")
    write(axes, middle, y + 68, f"$y$: {channels}", size=14.5)
    write(axes, middle + 212, y + 68, weights, size=14.5, color=QUIET, align="right")


def resnet():
    """Figure 10: the ResNet-32 as built here, and how often ImageNet's ResNets repeat their blocks."""
    figure, axes = card(500)
    write(axes, 24, 26, "(a) ResNet-32 for CIFAR-10: 3 stages of 5 basic blocks", size=15, align="left", bold=True)
    _residual_chain(axes, 24, 108)
    write(axes, 24, 280, "(b) ResNets for ImageNet: how many bottleneck blocks each stage has", size=15, align="left",
          bold=True)
    columns = ("conv 7×7\n64", "64, 64, 256\n56×56", "128, 128, 512\n28×28", "256, 256, 1024\n14×14",
               "512, 512, 2048\n7×7", "fc\n1000")
    places = (158, 268, 396, 530, 664, 776)
    for x, text in zip(places, columns):
        write(axes, x, 320, text, size=13.5, color=QUIET)
    for row, (depth, counts) in enumerate(((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3)))):
        y = 368 + row * 44
        write(axes, 24, y, f"ResNet-{depth}", size=14.5, align="left", bold=True)
        box(axes, places[0] - 28, y - 16, 56, 32, "1", "conv", size=14)
        for x, count in zip(places[1:5], counts):
            box(axes, x - 50, y - 16, 100, 32, f"{count} blocks", "join", size=14)
        box(axes, places[5] - 28, y - 16, 56, 32, "1", "dense", size=14)
        stops = [(places[0] + 28, places[1] - 50)]
        stops += [(a + 50, b - 50) for a, b in zip(places[1:4], places[2:5])]
        for here, there in stops + [(places[4] + 50, places[5] - 28)]:
            arrow(axes, (here, y), (there, y))
    return figure


def _residual_chain(axes, left, top):
    """ResNet-32 block by block: arcs are shortcuts, dots additions; a dashed arc is a 1x1 convolution."""
    high, wide, pitch = 56, 18, 34
    line = top + high / 2
    box(axes, left, top, 62, high, "picture", "data", size=13.5)
    arrow(axes, (left + 62, line), (left + 74, line))
    box(axes, left + 74, top, 46, high, "conv\n16", "conv", size=13.5)
    dot, x = left + 120, left + 136
    for stage, (channels, size) in enumerate(((16, 32), (32, 16), (64, 8))):
        start = x
        for number in range(5):
            new = stage > 0 and number == 0
            end = x + wide + 8
            arrow(axes, (dot, line), (end, line), head=False)
            arrow(axes, (x - 8, line), (x - 4, top - 18), (end - 4, top - 18), (end, line), bend=13,
                  color=PROJECTION if new else IDENTITY, dashed=new, head=False, width=LINE * 1.3)
            box(axes, x, top, wide, high, kind="join")
            parts.plus(axes, end, line, radius=3.2)
            dot, x = end, x + pitch
        write(axes, (start + x - pitch + wide) / 2, top + high + 24, f"5 blocks, {channels} maps", size=13.5, bold=True)
        write(axes, (start + x - pitch + wide) / 2, top + high + 44, f"{size}×{size}", size=13.5, color=QUIET)
    arrow(axes, (dot + 3, line), (x + 10, line))
    box(axes, x + 10, top, 62, high, "average\npool", "pool", size=13.5)
    arrow(axes, (x + 72, line), (x + 84, line))
    box(axes, x + 84, top, 50, high, "fc 10", "answer", size=13.5)
    changed = "shortcut: a 1×1 convolution with stride 2, for the new shape"
    for at, color, dashed, text in ((left, IDENTITY, False, "shortcut: $x$ unchanged"),
                                    (left + 230, PROJECTION, True, changed)):
        arrow(axes, (at, top - 46), (at + 34, top - 46), color=color, dashed=dashed, head=False, width=LINE * 1.3)
        write(axes, at + 44, top - 46, text, size=13.5, color=color, align="left")
