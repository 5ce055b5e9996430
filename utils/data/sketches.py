"""Images of CIFAR-10's ten classes that this program draws, for machines without the data set: see `draw`."""
import math
import random

import numpy as np
from PIL import Image, ImageDraw

SIZE = 32
HALF = 48  # drawn larger, then reduced: smooth edges
CIRCLE = [(math.cos(k * math.pi / 9), math.sin(k * math.pi / 9)) for k in range(18)]

BLACK, WHITE, RED, GRAY = (22, 20, 22), (240, 240, 236), (190, 45, 40), (135, 138, 142)
YELLOW, PINK, GLASS, BROWN = (235, 205, 80), (215, 105, 115), (60, 75, 95), (110, 80, 55)
SKIES = ((120, 175, 230), (70, 120, 200), (205, 215, 225), (235, 175, 130), (60, 75, 110), (225, 232, 240))
GREENS = ((90, 140, 60), (130, 150, 70), (60, 100, 50), (165, 155, 90), (50, 80, 45), (80, 105, 60), (120, 110, 70))
GROUNDS = ((150, 120, 85), (200, 180, 140), (110, 90, 70), (232, 235, 240), (95, 95, 100), (130, 130, 132))
SEAS = ((50, 100, 150), (40, 120, 130), (90, 130, 165), (35, 60, 95), (130, 150, 160))
WALLS = ((215, 200, 175), (180, 195, 205), (150, 110, 85), (120, 130, 110), (230, 228, 222), (95, 70, 65))
PAINTS = (RED, (40, 80, 170), WHITE, (190, 192, 196), (35, 36, 42), (235, 190, 50), (50, 120, 70), (215, 110, 40))
COATS = ((150, 100, 60), (205, 165, 110), (60, 45, 38), (232, 222, 205), (110, 72, 45), (120, 115, 112), (190, 120, 60))


class Pen:
    """Draws in the object's coordinates: x to the right and y down, from -1 to 1."""

    def __init__(self, chance):
        self.chance, self.vary = chance, chance.uniform
        self.picture = Image.new("RGB", (2 * HALF, 2 * HALF))
        self.ink = ImageDraw.Draw(self.picture)
        angle, scale, mirror = math.radians(chance.gauss(0, 5)), HALF * self.vary(0.86, 1.04), chance.choice((-1, 1))
        x, y = HALF * self.vary(0.92, 1.08), HALF * self.vary(0.92, 1.08)
        cos, sin, across = scale * math.cos(angle), scale * math.sin(angle), mirror * self.vary(0.88, 1.1)
        self.place = lambda points: [(x + across * (cos * u - sin * v), y + sin * u + cos * v) for u, v in points]

    def shape(self, color, *points):
        self.ink.polygon(self.place(points), fill=color)

    def line(self, color, width, *points):
        self.ink.line(self.place(points), fill=color, width=max(1, round(width * HALF)), joint="curve")

    def oval(self, color, x, y, wide, high, tilt=0.0):
        """An ellipse: its center, half its width and height, and the angle by which it is turned."""
        c, s = math.cos(tilt), math.sin(tilt)
        self.shape(color, *[(x + c * wide * u - s * high * v, y + s * wide * u + c * high * v) for u, v in CIRCLE])

    def pair(self, color, x, apart, y, wide, high, tilt=0.0):
        """Two ellipses, left and right of x."""
        self.oval(color, x - apart, y, wide, high, -tilt)
        self.oval(color, x + apart, y, wide, high, tilt)

    def tint(self, *colors):
        """One of the colors, a little different each time."""
        light = self.chance.gauss(0, 12)
        return tuple(int(min(255, max(0, c + light + self.chance.gauss(0, 7)))) for c in self.chance.choice(colors))

    def scene(self, *kinds):
        """Backdrop: (far colors, near colors) with a horizon between them."""
        far, near = self.chance.choice(kinds)
        self.near, horizon = self.tint(*near), HALF * self.vary(0.5, 1.6)
        self.ink.rectangle((0, 0, 2 * HALF, 2 * HALF), fill=self.tint(*far))
        self.ink.rectangle((0, horizon, 2 * HALF, 2 * HALF), fill=self.near)


def shade(color, factor):
    """The color, darker (factor < 1) or lighter."""
    return tuple(min(255, int(c * factor)) for c in color)


def airplane(pen):
    pen.scene((SKIES, SKIES), (SKIES, SKIES), (SKIES, GROUNDS))
    body, wing, mark = pen.tint(WHITE, WHITE, GRAY, GLASS), pen.tint((170, 175, 182), GRAY), pen.tint(*PAINTS)
    sweep, span = pen.vary(0.1, 0.6), pen.vary(0.4, 0.9)  # from the side, or from above
    pen.shape(shade(wing, 0.8), (0.2, 0), (-0.2, 0), (-0.1 - sweep, -span), (0.02 - sweep, -span))
    pen.shape(mark, (-0.6, 0), (-0.95, -0.5), (-0.76, -0.5), (-0.4, 0))
    pen.oval(body, 0, 0, 0.96, pen.vary(0.11, 0.16))
    pen.line(BLACK, 0.03, (-0.5, -0.05), (0.65, -0.05))
    pen.shape(wing, (0.25, 0.04), (-0.2, 0.04), (-0.2 - sweep, span), (-0.05 - sweep, span))
    pen.shape(wing, (-0.65, 0), (-0.95, 0.2), (-0.83, 0.2), (-0.5, 0.03))


def automobile(pen):
    pen.scene((WALLS, GROUNDS), (GREENS, GROUNDS), (SKIES, GROUNDS))
    paint, nose, roof, tail = pen.tint(*PAINTS), pen.vary(0.3, 0.6), pen.vary(-0.5, -0.32), pen.vary(-0.9, -0.6)
    pen.oval(shade(pen.near, 0.45), 0, 0.42, 1.0, 0.1)
    pen.shape(shade(paint, 0.9), (tail, 0), (-0.45, roof), (0.15, roof), (nose, 0))
    pen.shape(pen.tint(GLASS, BLACK), (tail + 0.15, -0.05), (-0.4, roof + 0.07), (0.1, roof + 0.07), (nose - 0.1, 0))
    pen.shape(paint, (-0.97, 0.02), (-0.85, -0.09), (0.5, -0.06), (0.93, 0.06), (0.98, 0.32), (-0.97, 0.32))
    pen.pair(BLACK, 0, 0.56, 0.3, 0.2, 0.2)
    pen.pair(GRAY, 0, 0.56, 0.3, 0.1, 0.1)


def bird(pen):
    pen.scene((GREENS, GREENS), (GREENS, GREENS), (SKIES, GREENS))
    coat, y = pen.tint(*COATS, *PAINTS), pen.vary(-0.46, -0.26)
    wing, beak = pen.tint(shade(coat, 0.6), BLACK, GRAY), pen.tint((230, 160, 40), BROWN)
    pen.line(pen.tint(*GROUNDS), pen.vary(0.02, 0.12), (-1.3, 0.68), (1.3, 0.62))  # a branch
    for x in (-0.05, 0.12):
        pen.line(beak, 0.05, (x, 0.3), (x + 0.03, 0.66))
    pen.shape(wing, (-0.3, 0.05), (-0.98, y + 0.78), (-0.9, y + 0.92), (-0.25, 0.35))
    pen.oval(coat, 0, 0.08, 0.5, 0.34, -0.5)
    pen.oval(pen.tint(shade(coat, 1.4), WHITE, coat), 0.14, 0.2, 0.3, 0.22, -0.6)
    pen.oval(wing, -0.18, 0.12, 0.4, 0.17, pen.vary(-0.65, -0.25))
    pen.oval(coat, 0.38, y, 0.25, 0.23)
    pen.shape(beak, (0.58, y - 0.1), (0.58, y + 0.08), (0.9, y + 0.04))
    pen.oval(BLACK, 0.44, y - 0.05, 0.055, 0.055)


def sitting(pen, coat, pale):
    """The body of a cat or a dog from the front: a chest and paws of another color, a haunch on either side."""
    pen.line(coat, 0.11, (-0.5, 0.8), (-0.75, 0.6), (-0.82, pen.vary(0.0, 0.4)))
    pen.pair(shade(coat, pen.vary(0.8, 1.05)), 0, pen.vary(0.36, 0.46), 0.65, 0.34, 0.28)
    pen.oval(coat, 0, 0.3, pen.vary(0.32, 0.4), 0.56)
    pen.oval(pale, 0, 0.35, pen.vary(0.08, 0.2), 0.42)
    pen.pair(shade(coat, 0.9), 0, 0.19, 0.5, 0.1, 0.3)
    pen.pair(pale, 0, 0.19, 0.82, 0.09, 0.14)
    pen.pair(pale, 0, 0.2, 0.92, 0.14, 0.07)


def cat(pen):
    pen.scene((WALLS, WALLS), (WALLS, GROUNDS), (WALLS, GREENS))
    coat, y, size = pen.tint(*COATS), pen.vary(-0.5, -0.35), pen.vary(0.36, 0.5)
    pale, dark = pen.tint(WHITE, shade(coat, 1.25), coat), shade(coat, 0.65)
    sitting(pen, coat, pale)
    for x in (-size, size):
        pen.shape(coat, (x * 0.95, y - size * 1.25), (x, y), (x * 0.15, y - size * 0.75))
        pen.shape(PINK, (x * 0.84, y - size), (x * 0.84, y - size * 0.4), (x * 0.42, y - size * 0.75))
    pen.oval(coat, 0, y, size * 1.05, size * 0.9)
    pen.oval(pale, 0, y + size * 0.45, size * 0.5, size * 0.34)
    for x in (-size, 0, size):
        pen.line(dark, 0.05, (x * 0.3, y - size * 0.85), (x * 0.22, y - size * 0.5))
        pen.line(WHITE, 0.02, (x * 0.3, y + size * 0.4), (x * 1.35, y + size * 0.5))
    pen.pair(pen.tint(YELLOW, (110, 190, 110)), 0, size * 0.45, y, size * 0.22, size * 0.2)
    pen.pair(BLACK, 0, size * 0.45, y, size * 0.08, size * 0.2)
    pen.oval(PINK, 0, y + size * 0.3, size * 0.15, size * 0.1)


def dog(pen):
    pen.scene((GREENS, GREENS), (GREENS, GREENS), (SKIES, GREENS), (WALLS, GROUNDS))
    coat = pen.tint(*COATS, (190, 115, 50), (165, 95, 45), (205, 140, 80))
    y, size, pale = pen.vary(-0.5, -0.38), pen.vary(0.36, 0.48), pen.tint(WHITE, WHITE, shade(coat, 1.3))
    sitting(pen, coat, pale)
    pen.oval(coat, 0, y, size * pen.vary(0.75, 0.9), size)
    pen.shape(pen.tint(pale, coat), (-0.03, y - size), (0.03, y - size), (0.1, y + 0.2), (-0.1, y + 0.2))
    pen.pair(shade(coat, pen.vary(0.45, 0.75)), 0, size * 0.95, y + pen.vary(0, 0.14), size * 0.28, size * 0.85, -0.12)
    pen.pair(BLACK, 0, size * 0.42, y - 0.08, 0.055, 0.06)
    pen.oval(PINK, 0, y + size * pen.vary(0.6, 1.1), size * 0.16, size * 0.3)
    pen.oval(pale, 0, y + size * 0.55, size * 0.5, size * 0.4)
    pen.oval(BLACK, 0, y + size * 0.35, size * 0.26, size * 0.18)


def hoofed(pen, coat, width, x, y):
    """The body of a deer or a horse, with legs of this width and a neck up to its head at (x, y)."""
    for leg, color in ((-0.5, shade(coat, 0.75)), (0.24, shade(coat, 0.75)), (-0.4, coat), (0.36, coat)):
        pen.line(color, width, (leg, 0.1), (leg + pen.vary(-0.1, 0.12), 0.48), (leg + pen.vary(-0.14, 0.14), 0.9))
    pen.oval(coat, -0.08, 0.0, 0.58, 0.25)
    pen.shape(coat, (0.2, -0.1), (x - 1.8 * width, y), (x + 0.07, y + 0.1), (0.5, 0.1))


def deer(pen):
    pen.scene((GREENS, GREENS), (GREENS, GREENS), (GREENS, GROUNDS))
    coat, horn = pen.tint((165, 115, 70), (135, 95, 60), (185, 140, 95)), pen.tint(BROWN, (190, 165, 125))
    x, y, high = pen.vary(0.5, 0.66), pen.vary(-0.5, -0.34), pen.vary(0.1, 0.55)
    hoofed(pen, coat, 0.075, x, y)
    pen.oval(WHITE, -0.63, -0.03, 0.09, 0.15)
    for s in (-1, 1):
        pen.line(horn, 0.055, (x, y), (x + s * 0.16 - 0.05, y - 0.25), (x + s * 0.24, y - high))
        pen.line(horn, 0.05, (x + s * 0.16 - 0.05, y - 0.25), (x + s * 0.34, y - 0.36))
    pen.pair(shade(coat, 0.85), x, 0.17, y - 0.1, 0.14, 0.065, -0.4)
    pen.oval(coat, x + 0.1, y + 0.02, 0.22, 0.12, 0.4)
    pen.pair(BLACK, x + 0.18, 0.1, y + 0.03, 0.04, 0.04, 0.4)


def horse(pen):
    pen.scene((SKIES, GREENS), (SKIES, GROUNDS), (GREENS, GREENS))
    coat, mane = pen.tint(*COATS), pen.tint(BLACK, BROWN, WHITE, (190, 150, 90))
    x, y = pen.vary(0.56, 0.68), pen.vary(-0.63, -0.43)
    pen.line(mane, 0.17, (-0.58, -0.12), (-0.8, 0.05), (pen.vary(-0.9, -0.7), 0.55))
    hoofed(pen, coat, 0.14, x, y)
    pen.line(mane, 0.15, (0.2, -0.16), (x - 0.24, y + 0.1), (x - 0.08, y - 0.1))
    pen.shape(coat, (x - 0.1, y + 0.2), (x, y - 0.3), (x + 0.1, y - 0.12), (x + 0.36, y + 0.3), (x + 0.22, y + 0.4))
    pen.oval(BLACK, x + 0.03, y, 0.04, 0.04)
    pen.shape(pen.tint(*PAINTS, coat, coat), (-0.25, -0.26), (0.1, -0.26), (0.05, 0.05), (-0.2, 0.05))  # a saddle


def frog(pen):
    pen.scene((GREENS, GROUNDS), (GROUNDS, GROUNDS), (SEAS, GREENS), (WALLS, GROUNDS), (GREENS, SEAS))
    skin, x = pen.tint((90, 150, 50), (120, 165, 60), (110, 120, 50), (70, 125, 55)), pen.vary(-0.12, 0.12)
    pen.pair(shade(skin, 0.65), 0, 0.52, 0.28, 0.36, 0.28, -0.5)
    pen.pair(skin, 0, 0.5, 0.22, 0.34, 0.22, -0.7)
    pen.oval(skin, 0, 0.15, 0.52, 0.42)
    pen.oval(shade(skin, 1.4), x, 0.32, 0.4, 0.26)
    pen.oval(skin, x, -0.14, 0.5, 0.27)
    pen.line(shade(skin, 0.65), 0.045, (x - 0.4, -0.06), (x, 0.03), (x + 0.4, -0.06))
    pen.pair(skin, 0, 0.34, 0.45, 0.07, 0.2, -0.2)
    for color, size in ((skin, 0.18), (YELLOW, 0.13), (BLACK, 0.08)):
        pen.pair(color, x, 0.34, -0.38, size, size)


def ship(pen):
    pen.scene((SKIES, SEAS), (SKIES, SEAS), (GREENS, SEAS))
    hull, size, top = pen.tint(*PAINTS, GLASS), pen.vary(0.7, 0.95), pen.vary(-0.35, -0.1)
    if pen.chance.random() < 0.4:  # under sail
        cloth = pen.tint(WHITE, WHITE, (235, 220, 180), RED)
        pen.line(pen.tint(BROWN, GRAY), 0.05, (0, 0.35), (0, -0.95))
        pen.shape(cloth, (-0.05, -0.9), (-0.05, 0.22), (-0.62, 0.22))
        pen.shape(shade(cloth, 0.86), (0.06, -0.8), (0.06, 0.22), (0.6, 0.25))
    else:  # a steamer
        for x in (-0.45, -0.15):
            pen.line(pen.tint(*PAINTS), 0.18, (x, 0), (x, top - 0.3))
        pen.shape(pen.tint(WHITE, WHITE, YELLOW, GRAY), (-0.7, 0.28), (-0.65, top), (-top, top), (0.4, 0.28))
        pen.line(GLASS, 0.06, (-0.6, top + 0.15), (-top, top + 0.15))
    pen.shape(hull, (-size, 0.25), (size, 0.2), (size - 0.24, 0.62), (0.1 - size, 0.62))
    pen.shape(pen.near, (-1.6, 0.58), (1.6, 0.58), (1.6, 1.8), (-1.6, 1.8))


def truck(pen):
    pen.scene((SKIES, GROUNDS), (GREENS, GROUNDS))
    load, top, tail, front = pen.tint(*PAINTS), pen.vary(-0.68, -0.4), pen.vary(0.2, 0.34), pen.vary(-0.42, -0.22)
    pen.oval(shade(pen.near, 0.45), 0, 0.6, 1.0, 0.1)
    pen.shape(load, (-0.97, top), (tail, top), (tail, 0.38), (-0.97, 0.38))
    for x in (-0.7, -0.4, -0.1):
        pen.line(shade(load, 0.85), 0.03, (x, top), (x, 0.36))
    pen.shape(pen.tint(*PAINTS), (tail, front), (0.72, front), (0.86, 0.05), (0.96, 0.1), (0.96, 0.4), (tail, 0.4))
    pen.shape(GLASS, (0.5, front + 0.07), (0.7, front + 0.07), (0.8, 0.04), (0.5, 0.04))
    pen.line(BLACK, 0.14, (-0.96, 0.43), (0.9, 0.43))
    for x in (-0.74, -0.42, 0.66):
        pen.oval(BLACK, x, 0.46, 0.18, 0.18)
        pen.oval(GRAY, x, 0.46, 0.09, 0.09)


ARTISTS = (airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck)  # the official order


def draw_one(label, seed, number):
    """A picture of this class, uint8 [3, 32, 32]: all that is random in it follows from its seed and its number."""
    pen, noise = Pen(random.Random(f"{seed} {number}")), np.random.default_rng([seed, number])
    ARTISTS[label](pen)
    picture = np.asarray(pen.picture.resize((SIZE, SIZE), Image.BOX)).transpose(2, 0, 1)
    ramp = np.linspace(-1, 1, SIZE, dtype=np.float32)
    light = noise.normal(1, 0.06) + noise.normal(0, 0.07) * ramp[:, None] + noise.normal(0, 0.07) * ramp
    grain = noise.uniform(1, 5) * noise.standard_normal(picture.shape, np.float32)
    return np.clip(picture * light + grain, 0, 255).astype(np.uint8)


def draw(count, seed):
    """Draw `count` pictures, all classes equally often: uint8 [count, 3, 32, 32] (RGB) and labels int64 [count]."""
    labels = np.random.default_rng(seed).permutation(np.arange(count, dtype=np.int64) % len(ARTISTS))
    return np.stack([draw_one(label, seed, number) for number, label in enumerate(labels)]), labels
