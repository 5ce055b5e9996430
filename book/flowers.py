"""Flowers to train on: `python -m book.flowers build/flowers` draws a folder of pictures for each of six kinds.

The kinds are those of Figure 2, in pairs of near-twins. Twins share the colors and the middle; the shape of the petals
tells one from the other: many narrow ones, or few broad ones.
"""
import argparse
import math
import random
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from book.art.brush import curve, oval
from utils.errors import UserError, above_zero, exit_status, say, shown

SIDE, FINE = 128, 2  # pixels of a picture; it is drawn larger by this factor, then reduced: smooth edges
GROUNDS = ((95, 138, 75), (70, 110, 60), (120, 130, 70), (110, 95, 70), (75, 100, 115), (150, 150, 140))
MANY, FEW = (20, 24), (8, 10)  # petals


class Kind(NamedTuple):
    """A kind of flower, measured in the radius of its head."""

    name: str
    petals: tuple  # how many: from, to
    breadth: float
    colors: tuple  # of the petals, one of them
    middle: tuple
    radius: float  # of the middle


WHITE, GOLD = ((250, 250, 246), (238, 240, 250)), (238, 188, 34)
YELLOW, BROWN = ((246, 196, 40), (250, 214, 60)), (120, 75, 30)
PINK, RUST = ((168, 144, 220), (214, 140, 190)), (190, 120, 40)
KINDS = (
    Kind("daisy", MANY, 0.14, WHITE, GOLD, 0.34), Kind("chamomile", FEW, 0.34, WHITE, GOLD, 0.34),
    Kind("sunflower", MANY, 0.14, YELLOW, BROWN, 0.42), Kind("corn marigold", FEW, 0.34, YELLOW, BROWN, 0.42),
    Kind("aster", MANY, 0.14, PINK, RUST, 0.36), Kind("coneflower", FEW, 0.34, PINK, RUST, 0.36))


def draw(kind, number):
    """The picture of this number of a kind, with another place, size, turn, tilt, light and background each time."""
    chance = random.Random(f"{kind.name} {number}")
    side = SIDE * FINE
    picture = Image.new("RGB", (side, side), varied(chance.choice(GROUNDS), chance, 14))
    ink = ImageDraw.Draw(picture)
    grass(ink, side, picture.getpixel((0, 0)), chance)
    middle = np.array([chance.uniform(0.4, 0.6), chance.uniform(0.4, 0.6)]) * side
    onto = view(chance, side * chance.uniform(0.3, 0.44))

    def paint(outline, color):
        """Fill an outline in the flower's coordinates, with a rim a little darker."""
        rim = tuple(part * 7 // 8 for part in color)
        ink.polygon([tuple(point) for point in (outline @ onto + middle).tolist()], fill=color, outline=rim)

    light = chance.uniform(0.75, 1.05)
    color = tuple(int(part * light) for part in varied(chance.choice(kind.colors), chance, 6))
    for outline in petals(chance, kind):
        paint(outline, color)
    paint(oval(0, 0, kind.radius, kind.radius), tuple(int(part * light) for part in varied(kind.middle, chance, 8)))
    return picture.resize((SIDE, SIDE), Image.BOX)


def petals(chance, kind):
    """Outlines of the petals around the origin, narrow at the middle, broadest at two thirds, with a round tip."""
    count = chance.randint(*kind.petals)
    for number in range(count):
        length, half = chance.uniform(0.92, 1.0), kind.breadth / 2 * chance.uniform(0.9, 1.1)
        upper = [(0.3 * length, 0.55 * half), (0.66 * length, half), (0.92 * length, 0.7 * half)]
        outline = curve([(0, 0), *upper, (length, 0), *[(x, -y) for x, y in reversed(upper)]], steps=4)
        yield outline @ turn(math.tau * number / count + chance.gauss(0, 0.03))


def turn(angle):
    """The matrix that turns rows of points by an angle."""
    return np.array(((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))))


def view(chance, radius):
    """The matrix from the flower's coordinates to pixels: turned, and seen at a slant."""
    slant = np.diag([1, chance.uniform(0.75, 1)])
    return turn(chance.uniform(0, math.tau)) @ slant @ turn(chance.uniform(0, math.tau)) * radius


def grass(ink, side, color, chance):
    """Blades, lighter and darker than the ground, that lean any way."""
    for _ in range(chance.randrange(20, 90)):
        x, y, lean = chance.uniform(0, side), chance.uniform(0, side), chance.gauss(0, 14)
        ink.line([(x, y), (x + lean, y - chance.uniform(10, 50))], fill=varied(color, chance, 18),
                 width=chance.randint(2, 5))


def varied(color, chance, spread):
    """A color, a little lighter or darker."""
    change = chance.gauss(0, spread)
    return tuple(int(min(255, max(0, part + change))) for part in color)


def draw_all(folder, each):
    """Draw `each` pictures of each kind into a folder of its name. Errors: UserError where that cannot be written."""
    try:
        for kind in KINDS:
            (folder / kind.name).mkdir(parents=True, exist_ok=True)
            for number in range(each):
                draw(kind, number).save(folder / kind.name / f"{number:04}.jpg", quality=90)
    except OSError as error:
        raise UserError(f"cannot write to {shown(folder)}: {error.strerror or error}; name another folder") from error


@exit_status("end other programs")
def main(arguments=None):
    """Draw the flowers; the same numbers give the same flowers, however many are drawn."""
    parser = argparse.ArgumentParser(prog="python -m book.flowers",
                                     description="Draw flowers of six kinds to train on, a folder of each.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to, such as build/flowers")
    parser.add_argument("--each", type=above_zero(int), default=200, metavar="N",
                        help="pictures of each kind (default: 200)")
    given = parser.parse_args(arguments)
    draw_all(given.folder, given.each)
    say(f"{len(KINDS)} kinds, {given.each} pictures of each: {shown(given.folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
