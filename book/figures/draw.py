"""Every figure of the chapter; `python -m book.figures` draws them into image/.

Each function draws one figure and returns it; its name is the file's name. The look is parts.py's.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from book import disturb, flowers
from book.figures import parts
from book.figures.inside import features, gradcam, maps
from book.figures.networks import block, cnn, googlenet, inception, resnet, vgg
from book.figures.parts import INK, KINDS, LINE, QUIET, RULE, THIN, arrow, box, card, chart, legend, points, write
from book.figures.scaling import scaling
from utils.data import dataset, sketches
from utils.data.cifar10 import CLASSES
from utils.errors import UserError, exit_status
from utils.storage.files import whole_file

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "airbench_cifar10"  # the supplied model, and what is known of it
FLOWERS = Path(__file__).with_name("flowers.json")  # what a model that was trained on drawn flowers answers

# ILSVRC's classification task: year, team, top-5 error in per cent, whether its features were learned.
# 2010 to 2014 and the human's 5.1 (section 6.4): Russakovsky et al. 2015, entries that trained on the given
# data alone; 2015: He et al. 2016; 2016 and 2017: Hu et al. 2018.
ILSVRC = (
    (2010, "NEC-UIUC", 28.2, False), (2011, "XRCE", 25.8, False), (2012, "AlexNet", 16.4, True),
    (2013, "Clarifai", 11.7, True), (2014, "VGG", 7.3, True), (2014, "GoogLeNet", 6.7, True),
    (2015, "ResNet", 3.57, True), (2016, "Trimps-\nSoushen", 2.99, True), (2017, "SENet", 2.25, True),
)
HUMAN = 5.1
FEW = 30  # answers, of which the share that is right says little


def general():
    """Figure 1: the ten drawn pictures with the answers of the supplied model."""
    figure, axes = card(410)
    said, size, gap = answers(), 140, 20.5
    for place, name in enumerate(CLASSES):
        x, y = 24 + place % 5 * (size + gap), 22 + place // 5 * 192
        with Image.open(parts.IMAGES / f"{name}.png") as picture:
            parts.photo(axes, picture.convert("RGB").resize((size, size), Image.LANCZOS), x, y, size)
        _answer(axes, x + size / 2, y + size + 18, *said[name], right=name)
    return figure


def answers():
    """What the model answers, as `python -m book.figures.answers` has written it: {picture: [class, probability]}."""
    return json.loads((MODEL / "answers.json").read_text(encoding="utf-8"))


def _answer(axes, x, y, name, probability, right, between=" "):
    """An answer below a picture, green where it is right and red where it is not."""
    color = KINDS["dense" if name == right else "side"][1]
    write(axes, x, y, f"{name}{between}{probability:.2f}", size=14.5, bold=True, color=color)


def disturbed():
    """Figure 3: dog.png disturbed in the chapter's four ways, as the model gets it, with the model's answers."""
    figure, axes = card(552)
    size, step, down, left, top = 118, 127, 160, 24, 64
    said, small = answers(), disturb.small_examples(parts.IMAGES / "dog.png")
    seen = {name: pixels[0].transpose(1, 2, 0) for name, pixels in small.items()}  # (1, C, H, W) -> (H, W, C)
    middle = left + size / 2
    with Image.open(parts.IMAGES / "dog.png") as painting:
        parts.photo(axes, painting.convert("RGB").resize((2 * size, 2 * size), Image.LANCZOS), left, top, size)
    write(axes, middle, 35, "the picture", size=14.5, bold=True)
    write(axes, middle, top + size + 18, "512×512", size=14, color=QUIET)
    parts.photo(axes, seen["undisturbed"], left, top + down, size)
    _answer(axes, middle, top + down + size + 18, *said["undisturbed"], right="dog")
    write(axes, middle, top + 2 * down + 50, "The network gets\n32×32 pixels.\nBelow: its answer\nand probability,",
          size=13.5)
    write(axes, middle - 31, top + 2 * down + 100, "right", size=13.5, bold=True, color=KINDS["dense"][1])
    write(axes, middle, top + 2 * down + 100, "or", size=13.5)
    write(axes, middle + 37, top + 2 * down + 100, "wrong", size=13.5, bold=True, color=KINDS["side"][1])
    for row, word in enumerate(("weak", "medium", "strong")):
        write(axes, 161, top + row * down + size / 2, word, size=14.5, color=QUIET, rotation=90)
    names = {"occlusion": "occlusion\nfrom below", "occlusion from above": "occlusion\nfrom above"}
    for column, kind in enumerate(disturb.SHOWN):
        x = 806 - size - (len(disturb.SHOWN) - 1 - column) * step
        write(axes, x + size / 2, 35, names.get(kind, kind), size=14.5, bold=True)
        for row, strength in enumerate(disturb.STRENGTHS):
            y = top + row * down
            parts.photo(axes, seen[f"{kind} {strength}"], x, y, size)
            _answer(axes, x + size / 2, y + size + 18, *said[f"{kind} {strength}"], right="dog")
    return figure


def finegrained():
    """Figure 2: a fine-grained question, three pairs of flowers that are near-twins, with a model's answers."""
    figure, axes = card(408)
    said, size = json.loads(FLOWERS.read_text(encoding="utf-8")), 112
    for place, kind in enumerate(flowers.KINDS):
        pair, twin = divmod(place, 2)
        x = 32 + pair * 267 + twin * (size + 8)
        if not twin:
            parts.rectangle(axes, x - 8, 16, 2 * size + 24, 376, KINDS["plain"][0], RULE, order=1)
        write(axes, x + size / 2, 38, kind.name, size=14, bold=True)
        for row, (number, name, probability) in enumerate(said[kind.name]):
            y = 58 + row * 166
            parts.photo(axes, flowers.draw(kind, number), x, y, size)
            _answer(axes, x + size / 2, y + size + 25, name, probability, right=kind.name, between="\n")
    return figure


def ilsvrc():
    """Figure 4: top-5 error on ILSVRC by year."""
    figure, axes = card(400)
    write(axes, 24, 26, "Top-5 error in the ILSVRC classification task, %", size=15, align="left", bold=True)
    legend(axes, 24, 56, (("data", "features made by hand"), ("conv", "convolutional networks")))
    plot = chart(figure, 24, 78, 782, 250)
    plot.set_xlim(-0.5, len(ILSVRC) + 0.55)
    plot.set_ylim(0, 31)
    plot.set_yticks([])
    plot.spines["left"].set_visible(False)
    color = KINDS["side"][1]
    plot.axhline(HUMAN, color=color, linewidth=LINE, linestyle=(0, (4, 2.5)), zorder=0)
    plot.text(len(ILSVRC) + 0.55, HUMAN + 0.7, "one trained\nhuman: 5.1", ha="right", va="bottom", fontsize=points(14),
              color=color, fontweight="bold", linespacing=1.3)
    for place, (_, _, error, learned) in enumerate(ILSVRC):
        fill, edge = KINDS["conv" if learned else "data"]
        plot.bar(place, error, width=0.66, color=fill, edgecolor=edge, linewidth=LINE)
        plot.text(place, error + 0.45, f"{error:g}", ha="center", va="bottom", fontsize=points(14.5), color=INK,
                  fontweight="bold", bbox={"facecolor": parts.GROUND, "edgecolor": "none", "pad": 1.2})
    plot.set_xticks(range(len(ILSVRC)), [f"{year}\n{team}" for year, team, _, _ in ILSVRC])
    plot.tick_params(axis="x", length=0, labelsize=points(13), labelcolor=INK, pad=6)
    return figure


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
    parts.row_of_boxes(axes, row, 24, 456, 38)
    return figure


def _training_flow(axes):
    """The pictures' way through the training program, the test program and the saved model."""
    box(axes, 24, 60, 150, 56, "CIFAR-10\n50,000 to train on", "data", size=13.5)
    box(axes, 24, 292, 150, 56, "CIFAR-10\n10,000 to test on", "data", size=13.5)
    box(axes, 214, 60, 130, 56, "shuffle, cut into\nbatches of 128", "plain", size=13.5)
    box(axes, 214, 292, 130, 56, "batches,\nin order", "plain", size=13.5)
    box(axes, 384, 46, 190, 84, "", "conv")
    write(axes, 479, 66, "training program", size=13.5, bold=True)
    write(axes, 479, 98, "network, loss, gradients,\nAdam", size=13.5)
    box(axes, 384, 278, 190, 84, "", "conv")
    write(axes, 479, 298, "test program", size=13.5, bold=True)
    write(axes, 479, 330, "network alone,\ncloned before the loss", size=13.5)
    box(axes, 398, 176, 162, 56, "weights and\nbatch-norm statistics", "join", size=13.5)
    box(axes, 640, 60, 166, 56, "Pass 0, Batch 100,\nCost …, Acc …", "data", size=13.5)
    box(axes, 640, 176, 166, 56, "saved model\nfor infer.py", "answer", size=13.5)
    box(axes, 640, 292, 166, 56, "Test with Pass 0,\nLoss …, Acc …", "data", size=13.5)
    for y in (88, 320):
        for start, end in ((174, 214), (344, 384), (574, 640)):
            arrow(axes, (start, y), (end, y))
    arrow(axes, (462, 130), (462, 176))
    arrow(axes, (496, 176), (496, 130))
    write(axes, 508, 153, "each batch", size=13, color=QUIET, align="left")
    arrow(axes, (479, 232), (479, 278))
    arrow(axes, (560, 204), (640, 204))
    write(axes, 598, 192, "each pass", size=13, color=QUIET)
    write(axes, 491, 255, "each pass", size=13, color=QUIET, align="left")


def curves():
    """Figure 13: cost and error of a real run, from the history that train.py kept: a point for ten batches."""
    figure, axes = card(400)
    history = json.loads((ROOT / "book" / "figures" / "resnet32.json").read_text(encoding="utf-8"))
    write(axes, 24, 26, history["title"], size=15, align="left", bold=True)
    passes, costs, shares = np.array(history["points"]).T
    tested, test_costs, test_shares = np.array(history["tests"]).T
    within = round((passes < 1).sum() / 2)  # half a pass
    panels = (("cost", "{:.2f}", 68, costs, test_costs),
              ("error, %", "{:.1f}", 468, 100 - 100 * shares, 100 - 100 * test_shares))
    for label, form, left, training, testing in panels:
        plot = chart(figure, left, 84, 290, 256)
        plot.plot(passes, training, color=parts.mix(KINDS["conv"][1], 0.62), linewidth=THIN)
        smoothed = smooth(training, within)
        plot.plot(passes, smoothed, color=KINDS["conv"][1], linewidth=LINE * 1.7)
        plot.plot(tested, testing, color=KINDS["side"][1], linewidth=LINE * 1.3, marker="o", markersize=4)
        plot.set_ylim(0, 1.06 * testing.max())
        plot.set_xticks(np.arange(0, tested[-1] + 1, 10))
        plot.set_xlim(0, tested[-1] * 1.01)
        write(axes, left, 66, label, size=14, align="left", color=QUIET)
        write(axes, left + 145, 380, "pass", size=14, color=QUIET)
        for kind, end in (("conv", smoothed[-1]), ("side", testing[-1])):
            y = 84 + 256 * (1 - end / plot.get_ylim()[1])
            write(axes, left + 300, y, form.format(end), size=14.5, align="left", bold=True, color=KINDS[kind][1])
    for at, kind, text in ((500, "conv", "training"), (650, "side", "test")):
        axes.plot([at, at + 26], [26, 26], color=KINDS[kind][1], linewidth=LINE * 1.7)
        write(axes, at + 36, 26, text, size=14.5, align="left", bold=True, color=KINDS[kind][1])
    return figure


def smooth(values, width):
    """The mean of each value and up to `width` neighbors in all, fewer at the ends."""
    half, sums = width // 2, np.concatenate([[0], np.cumsum(values)])
    first, last = (np.clip(np.arange(len(values)) + shift, 0, len(values)) for shift in (-half, half + 1))
    return (sums[last] - sums[first]) / (last - first)


def confusion():
    """Figure 14: what each class of the test pictures was mistaken for."""
    figure, axes = card(560)
    measured = json.loads((MODEL / "measured.json").read_text(encoding="utf-8"))
    counts, left, top, wide, high = np.array(measured["confusion"]), 128, 118, 61, 41
    shares = counts / counts.sum(axis=1, keepdims=True)
    wrong = counts.sum() - counts.trace()
    write(axes, 24, 26, f"{wrong:,} of {counts.sum():,} test pictures are misclassified", size=15, align="left",
          bold=True)
    write(axes, left - 14, top - 42, "true class", size=14, align="right", color=QUIET)
    write(axes, left + 5 * wide, 58, "predicted class", size=14, color=QUIET)
    write(axes, left + 10 * wide + 40, top - 42, "error, %", size=14, color=QUIET)
    for row, name in enumerate(measured["classes"]):
        y = top + (row + 0.5) * high
        write(axes, left - 14, y, name, size=14, align="right", bold=True)
        write(axes, left + (row + 0.5) * wide, top - (34 if row % 2 else 14), name, size=13.5, bold=True)
        write(axes, left + 10 * wide + 40, y, f"{100 - 100 * shares[row, row]:.1f}", size=14)
        for column, count in enumerate(counts[row].tolist()):
            kind = "dense" if row == column else "side"
            share = shares[row, column] ** (2 if row == column else 0.5)  # so that rare mistakes are seen
            fill = parts.mix(KINDS[kind][1], 1 - min(0.75 * share if row == column else 1.5 * share, 0.8))
            x = left + column * wide
            parts.rectangle(axes, x, top + row * high, wide, high, fill if count else "#ffffff", RULE)
            if count:
                write(axes, x + wide / 2, y, f"{count}", size=14, bold=row == column)
    return figure


def trust():
    """Figure 15: accuracy when pictures are disturbed, and how often an answer of some probability is right."""
    figure, axes = card(700)
    measured = json.loads((MODEL / "measured.json").read_text(encoding="utf-8"))
    write(axes, 24, 28, "(a) disturbed pictures: classified correctly, %", size=15, align="left", bold=True)
    left, wide, high = 88, 582, 230
    plot = chart(figure, left, 60, wide, high)
    undisturbed, kinds = 100 * (1 - measured["error"]), measured["disturbed_accuracy"]
    ends = spread([60 + high * (1 - shares[-1]) for shares in kinds.values()], 20)
    for color, (kind, shares), y in zip(("conv", "pool", "answer", "dense"), kinds.items(), ends):
        plot.plot(range(4), [undisturbed] + [100 * share for share in shares], color=KINDS[color][1],
                  linewidth=LINE * 1.6, marker="o", markersize=5)
        write(axes, left + wide + 10, y, f"{kind} {100 * shares[-1]:.0f}", size=14, align="left", bold=True,
              color=KINDS[color][1])
    plot.set_xticks(range(4), ["none", "weak", "medium", "strong"])
    plot.set_xlim(-0.08, 3.04)
    plot.set_ylim(0, 100)
    write(axes, 24, 356, "(b) answers of each probability: share that is right, %", size=15, align="left", bold=True)
    wide, rows = 718, measured["reliability"]
    plot = chart(figure, left, 388, wide, high)
    fill, edge = KINDS["conv"]
    for number, (count, _, share) in enumerate(rows):
        middle = (number + 0.5) / len(rows)
        if count:
            few = count < FEW
            plot.bar(middle, 100 * share, 0.92 / len(rows), color="none" if few else fill, edgecolor=edge,
                     linewidth=THIN if few else LINE, linestyle=(0, (3, 3)) if few else "-")
        write(axes, left + wide * middle, 388 + high + 15, f"{count:,}", size=13)
    plot.plot([0, 1], [0, 100], color=KINDS["side"][1], linewidth=LINE * 1.2, linestyle=(0, (4, 2.5)))
    write(plot, 0.43, 74, "perfectly\ncalibrated", size=14, bold=True, color=KINDS["side"][1])
    plot.set_xlim(0, 1)
    plot.set_ylim(0, 100)
    plot.set_xticks(np.arange(0, 1.01, 0.2))
    plot.tick_params(axis="x", length=0, pad=20)
    write(axes, left - 12, 388 + high + 15, "answers", size=13, color=QUIET, align="right")
    write(axes, left + wide / 2, 388 + high + 62, "probability of the answer", size=14, color=QUIET)
    return figure


def spread(places, apart):
    """The places moved so far that no two are nearer than `apart`, in the order in which they were given."""
    moved, order = list(places), sorted(range(len(places)), key=places.__getitem__)
    for one, other in zip(order, order[1:]):
        moved[other] = max(moved[other], moved[one] + apart)
    return moved


FIGURES = (general, finegrained, disturbed, ilsvrc, cnn, vgg, inception, googlenet, block, resnet, classes, flow,
           curves, confusion, trust, maps, features, gradcam, scaling)


def draw_cifar10(archive=None):
    """The contact sheet with CIFAR-10's own images, for the reader's machine alone; returns where it is.

    archive: path of a cifar-10-python.tar.gz; without one, what train.py takes (from the cache, or downloaded).
    Errors: UserError where none is available.
    """
    data = dataset.read("cifar10", archive)
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
            save(known[name](), parts.IMAGES / f"{name}.png")
            print(f"image/{name}.png")
    return 0
