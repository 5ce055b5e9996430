"""What every figure of the chapter is made of: one card, one palette, boxes, slabs and arrows.

A card is measured in the pixels a reader sees: 830 wide, y downwards, drawn at twice that. Sizes of letters
are in the same pixels. It has a light ground of its own, so that it reads on a light page and on a dark one.
"""
import io
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath
from PIL import Image

IMAGES = Path(__file__).resolve().parents[2] / "image"
WIDTH = 830
GROUND, INK, QUIET, RULE = "#fbfbf9", "#1f2733", "#5d6878", "#c9ced6"
LINE, THIN = 1.3, 0.8

# kind of layer -> (fill, edge); the same color means the same thing in every figure
KINDS = {
    "data": ("#e9edf2", "#66758a"),
    "conv": ("#d3e3f8", "#2f6db5"),
    "pool": ("#fce3c8", "#c26f22"),
    "dense": ("#d8edd6", "#3d8748"),
    "answer": ("#e7ddf5", "#7852ae"),
    "join": ("#fff3bf", "#a88414"),
    "side": ("#fbdde3", "#b8455f"),
    "reduce": ("#d3eef0", "#227f8a"),
    "plain": ("#ffffff", "#8b95a3"),
}

matplotlib.rcParams.update({"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans",
                            "axes.unicode_minus": False})


def card(height, width=WIDTH):
    """An empty card: (figure, axes), the axes in pixels with y downwards."""
    figure = Figure(figsize=(width / 100 + 1e-6, height / 100 + 1e-6), dpi=200,
                    facecolor=GROUND)  # never a pixel less
    FigureCanvasAgg(figure)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return figure, axes


def chart(figure, left, top, width, height):
    """Axes for a plot in a card, at a place in pixels."""
    wide, high = figure.get_size_inches() * 100
    axes = figure.add_axes([left / wide, 1 - (top + height) / high, width / wide, height / high],
                           facecolor=GROUND)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.tick_params(colors=QUIET, labelsize=points(13), length=3, width=THIN)
    return axes


def points(pixels):
    """Matplotlib's size of a letter for a size in a reader's pixels."""
    return pixels * 0.72


def write(axes, x, y, text, size=13, color=INK, align="center", bold=False, rows="center", **more):
    """Put text at a place; `rows` says which part of it lies at y."""
    return axes.text(x, y, text, fontsize=points(size), color=color, ha=align, va=rows,
                     fontweight="bold" if bold else "normal", linespacing=1.35, **more)


def box(axes, x, y, width, height, text="", kind="plain", size=13, bold=False, dashed=False):
    """A rounded box with its upper left corner at (x, y) and text in its middle."""
    fill, edge = KINDS[kind]
    axes.add_artist(FancyBboxPatch((x + 4, y + 4), width - 8, height - 8,
                                   boxstyle="round,pad=4,rounding_size=5",
                                  facecolor=fill, edgecolor=edge, linewidth=LINE,
                                  linestyle=(0, (4, 2.5)) if dashed else "-"))
    if text:
        write(axes, x + width / 2, y + height / 2, text, size=size, bold=bold)


def row_of_boxes(axes, layers, x, y, gap, above=False, dashed=()):
    """A row of boxes joined by arrows, with their shapes below or above; gives back each one's left and right end.

    layers: (text, shape, kind, width) of each; dashed: the kinds with a dashed outline
    """
    ends = []
    for text, shape, kind, wide in layers:
        if ends:
            arrow(axes, (ends[-1][1], y + 25), (x, y + 25))
        box(axes, x, y, wide, 50, text, kind, size=13.5, dashed=kind in dashed)
        write(axes, x + wide / 2, y - 8 if above else y + 58, shape, size=13, color=QUIET,
              rows="bottom" if above else "top")
        ends.append((x, x + wide))
        x += wide + gap
    return ends


def slab(axes, x, y, width, height, depth, kind="data"):
    """A block of feature maps, seen from the left: wide for many channels, high for large maps."""
    fill, edge = KINDS[kind]
    shift = depth * 0.5
    faces = ([(x, y), (x + width, y), (x + width, y + height), (x, y + height)],
             [(x, y), (x + shift, y - shift), (x + width + shift, y - shift), (x + width, y)],
             [(x + width, y), (x + width + shift, y - shift), (x + width + shift, y + height - shift),
              (x + width, y + height)])
    for corners, shade in zip(faces, (0.0, 0.45, -0.07)):
        axes.add_artist(Polygon(corners, closed=True, facecolor=mix(fill, shade), edgecolor=edge,
                                linewidth=LINE * 0.8,
                               joinstyle="round"))


def rectangle(axes, x, y, width, height, fill, edge, line=THIN, order=2):
    """A plain rectangle; gives back the patch."""
    return axes.add_artist(Polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)],
                                   closed=True,
                                  facecolor=fill, edgecolor=edge, linewidth=line, joinstyle="miter",
                                   zorder=order))


def frame(axes, x, y, size, kind):
    """A strong square outline around what is meant."""
    rectangle(axes, x, y, size, size, "none", KINDS[kind][1], line=LINE * 1.7, order=4)


def grid(axes, x, y, cell, rows, shades, faint=None):
    """Numbers in squares; shades: number -> fill; the number `faint` is written quietly, None not at all."""
    for down, row in enumerate(rows):
        for across, number in enumerate(row):
            if number is None:
                continue
            rectangle(axes, x + across * cell, y + down * cell, cell, cell, shades[number], RULE)
            write(axes, x + (across + 0.5) * cell, y + (down + 0.5) * cell, f"{number}".replace("-", "−"),
                  size=12.5,
                  color=QUIET if number == faint else INK)


def legend(axes, x, y, entries):
    """What the colors mean, in one row: entries are (kind, text)."""
    for kind, text in entries:
        box(axes, x, y - 8, 18, 15, kind=kind)
        x += 26
        write(axes, x, y, text, size=12.5, align="left", color=QUIET)
        x += length_of(text, 12.5) + 22


def length_of(text, size):
    """How many pixels a line of text is long."""
    return TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans")).get_extents().width


def mix(color, share):
    """The color moved towards white (share > 0) or black (share < 0)."""
    red, green, blue = (int(color[i:i + 2], 16) for i in (1, 3, 5))
    to = 255 if share > 0 else 0
    return "#" + "".join(f"{round(part + (to - part) * abs(share)):02x}" for part in (red, green, blue))


def arrow(axes, *corners, color=QUIET, dashed=False, width=LINE, head=True, bend=0):
    """An arrow along the given corners; `bend` rounds each corner by so many pixels."""
    steps, codes = [corners[0]], [Outline.MOVETO]
    for before, here, after in zip(corners, corners[1:], corners[2:]):
        steps += [_towards(here, before, bend), here, _towards(here, after, bend)]
        codes += [Outline.LINETO, Outline.CURVE3, Outline.CURVE3]
    steps.append(corners[-1])
    codes.append(Outline.LINETO)
    style = "-|>,head_length=4.2,head_width=2.3" if head else "-"
    axes.add_artist(FancyArrowPatch(path=Outline(steps, codes), arrowstyle=style, edgecolor=color,
                                    linewidth=width,
                                   mutation_scale=1.25, joinstyle="miter", capstyle="butt", shrinkA=0,
                                    shrinkB=0,
                                   facecolor=color if head else "none",
                                   linestyle=(0, (4, 2.5)) if dashed else "-"))


def _towards(here, there, distance):
    """The point `distance` away from `here` on the way to `there`."""
    across, down = there[0] - here[0], there[1] - here[1]
    length = max((across ** 2 + down ** 2) ** 0.5, 1e-9)
    return here[0] + across / length * distance, here[1] + down / length * distance


def plus(axes, x, y, radius=11, kind="join"):
    """The sign of an addition; a small one is a dot."""
    fill, edge = KINDS[kind]
    axes.add_artist(Circle((x, y), radius, facecolor=fill, edgecolor=edge, linewidth=LINE, zorder=3))
    for across, down in ((radius * 0.5, 0), (0, radius * 0.5)) if radius > 5 else ():
        axes.plot([x - across, x + across], [y - down, y + down], color=edge, linewidth=LINE, zorder=4,
                  solid_capstyle="round")


def photo(axes, pixels, x, y, size, smooth=False, frame=True):
    """A square picture (any array matplotlib takes) with its upper left corner at (x, y)."""
    axes.imshow(pixels, extent=(x, x + size, y + size, y), aspect="auto", zorder=2,
                interpolation="lanczos" if smooth else "nearest")
    if frame:
        rectangle(axes, x, y, size, size, "none", RULE, order=3)


def save(figure, target):
    """Write the figure to a path or a file as a small PNG with at most 256 colors."""
    whole = io.BytesIO()
    figure.savefig(whole, format="png", metadata={"Software": None})
    whole.seek(0)
    picture = Image.open(whole).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(target, "png", optimize=True)
