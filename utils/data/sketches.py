"""Images of CIFAR-10's ten classes that this program draws, for machines without the data set.

All that is random in a picture follows from (seed, its number), so pictures can be drawn in any order, by anybody.
"""
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
MOST_PROCESSES = 16
FEWEST = 1000  # pictures that are worth more than one process
SIZE = 32
FINE = 3  # drawn this many times larger, then reduced: smooth edges
CIRCLE = [(math.cos(k * math.pi / 9), math.sin(k * math.pi / 9)) for k in range(18)]

BLACK, WHITE, RED, GRAY = (22, 20, 22), (240, 240, 236), (190, 45, 40), (135, 138, 142)
SKIES = ((120, 175, 230), (70, 120, 200), (205, 215, 225), (235, 175, 130), (60, 75, 110), (225, 232, 240))
GRASSES = ((90, 140, 60), (130, 150, 70), (60, 100, 50), (165, 155, 90), (70, 120, 85))
EARTHS = ((150, 120, 85), (200, 180, 140), (110, 90, 70), (232, 235, 240), (95, 80, 60))
SEAS = ((50, 100, 150), (40, 120, 130), (90, 130, 165), (35, 60, 95), (130, 150, 160))
ROADS = ((95, 95, 100), (130, 130, 132), (70, 72, 78), (160, 155, 148))
WALLS = ((215, 200, 175), (180, 195, 205), (150, 110, 85), (120, 130, 110), (230, 228, 222), (95, 70, 65))
WOODS = ((50, 80, 45), (80, 105, 60), (120, 110, 70), (40, 60, 50), (150, 165, 120))
PAINTS = (RED, (40, 80, 170), WHITE, (190, 192, 196), (35, 36, 42), (235, 190, 50), (50, 120, 70),
          (215, 110, 40))
COATS = ((150, 100, 60), (205, 165, 110), (60, 45, 38), (232, 222, 205), (110, 72, 45), (120, 115, 112),
         (190, 120, 60))


class Pen:
    """Draws in the object's coordinates ([-1, 1], y down), turned, mirrored and scaled into the picture."""

    def __init__(self, chance, turn=5):
        self.chance = chance
        self.half = SIZE * FINE / 2
        self.picture = Image.new("RGB", (SIZE * FINE, SIZE * FINE))
        self.ink = ImageDraw.Draw(self.picture)
        angle, scale = math.radians(chance.gauss(0, turn)), self.half * chance.uniform(0.86, 1.04)
        self.cos, self.sin = scale * math.cos(angle), scale * math.sin(angle)
        self.across = chance.choice((-1, 1)) * chance.uniform(0.88, 1.1)
        self.x, self.y = (self.half * (1 + chance.uniform(-0.08, 0.08)) for _ in "xy")

    def place(self, points):
        """Object coordinates -> picture coordinates."""
        cos, sin, across = self.cos, self.sin, self.across
        return [(self.x + across * (cos * x - sin * y), self.y + sin * x + cos * y) for x, y in points]

    def shape(self, color, *points):
        self.ink.polygon(self.place(points), fill=color)

    def oval(self, color, x, y, wide, high, tilt=0.0):
        c, s = math.cos(tilt), math.sin(tilt)
        rim = [(wide * u, high * v) for u, v in CIRCLE]
        self.shape(color, *[(x + c * u - s * v, y + s * u + c * v) for u, v in rim])

    def line(self, color, width, *points):
        thick = max(1, round(width * self.half))
        self.ink.line(self.place(points), fill=color, width=thick, joint="curve")

    def tint(self, colors, spread=12):
        """One of the colors, a little different each time."""
        light = self.chance.gauss(0, spread)
        color = self.chance.choice(colors)
        return tuple(int(min(255, max(0, c + light + self.chance.gauss(0, 7)))) for c in color)

    def scene(self, *kinds):
        """Backdrop: (far colors, near colors) with a horizon between them, and a few blots."""
        far, near = self.chance.choice(kinds)
        end, self.far, self.near = SIZE * FINE, self.tint(far), self.tint(near)
        horizon = self.half * self.chance.uniform(0.5, 1.6)
        self.ink.rectangle((0, 0, end, end), fill=self.far)
        self.ink.rectangle((0, horizon, end, end), fill=self.near)
        for _ in range(self.chance.randrange(6)):
            x, y = self.chance.uniform(0, end), self.chance.uniform(0, end)
            wide, high = self.chance.uniform(2, 20), self.chance.uniform(2, 9)
            color = shade(self.near if y > horizon else self.far, self.chance.uniform(0.78, 1.2))
            self.ink.ellipse((x - wide, y - high, x + wide, y + high), fill=color)


def shade(color, factor):
    return tuple(min(255, int(c * factor)) for c in color)


def wheel(pen, x, y, size):
    pen.oval(BLACK, x, y, size, size)
    pen.oval(GRAY, x, y, size * 0.5, size * 0.5)


def airplane(pen):
    pen.scene((SKIES, SKIES), (SKIES, SKIES), (SKIES, SKIES), (SKIES, ROADS))
    body = pen.tint((WHITE, WHITE, GRAY, (200, 205, 215), (90, 95, 100)))
    wing, mark = pen.tint(((170, 175, 182), GRAY)), pen.tint(PAINTS)
    if pen.chance.random() < 0.75:  # from the side
        sweep = pen.chance.uniform(0.1, 0.4)
        pen.shape(shade(wing, 0.8), (0.15, -0.05), (-0.1, -0.05), (-0.1 - sweep, -0.42), (0.02 - sweep, -0.42))
        pen.shape(mark, (-0.62, -0.08), (-0.95, -0.5), (-0.76, -0.5), (-0.4, -0.1))
        pen.oval(body, 0, 0, 0.96, 0.15)
        pen.shape(body, (-0.3, -0.14), (-0.98, -0.1), (-0.9, 0.0), (-0.3, 0.14))
        pen.line(mark, 0.04, (-0.8, 0.03), (0.85, 0.03))
        pen.line(BLACK, 0.03, (-0.5, -0.05), (0.65, -0.05))
        pen.shape(wing, (0.25, 0.05), (-0.18, 0.05), (-0.2 - sweep, 0.5), (-0.05 - sweep, 0.5))
        pen.oval(shade(wing, 0.65), 0.1, 0.2, 0.16, 0.06)
        pen.shape(wing, (-0.68, 0.0), (-0.95, 0.16), (-0.83, 0.17), (-0.5, 0.03))
    else:  # from below or above
        back, tip = pen.chance.uniform(0.0, 0.45), pen.chance.uniform(0.06, 0.16)
        for side in (-1, 1):
            pen.shape(wing, (0.25, 0), (-back, side * 0.92), (-back - tip, side * 0.92), (-0.2, 0))
            pen.shape(shade(mark, 0.9), (-0.6, 0), (-0.9, side * 0.35), (-0.97, side * 0.35), (-0.85, 0))
            pen.oval(shade(body, 0.6), 0.1 - back / 3, side * 0.36, 0.12, 0.05)
        pen.oval(body, 0, 0, 0.95, 0.12)


def automobile(pen):
    pen.scene((WALLS, ROADS), (WALLS, ROADS), (WOODS, ROADS), (SKIES, ROADS))
    paint, glass = pen.tint(PAINTS), pen.tint(((60, 75, 90), (150, 175, 190), (35, 40, 48)))
    pen.oval(shade(pen.near, 0.45), 0, 0.42, 1.0, 0.1)
    if pen.chance.random() < 0.75:  # from the side
        nose, roof = pen.chance.uniform(0.3, 0.6), pen.chance.uniform(-0.5, -0.32)
        pen.shape(shade(paint, 0.9), (-0.8, -0.05), (-0.5, roof), (0.15, roof), (nose, 0))
        pen.shape(glass, (-0.64, -0.06), (-0.45, roof + 0.07), (0.12, roof + 0.07), (nose - 0.12, -0.04))
        pen.line(paint, 0.06, (-0.14, roof), (-0.1, 0))
        pen.shape(paint, (-0.97, 0.02), (-0.85, -0.09), (0.5, -0.06), (0.93, 0.06), (0.98, 0.3), (-0.97, 0.3))
        pen.shape(shade(paint, 0.65), (-0.97, 0.2), (0.98, 0.22), (0.95, 0.33), (-0.94, 0.33))
        pen.oval((250, 240, 190), 0.9, 0.1, 0.07, 0.05)
        wheel(pen, -0.55, 0.3, 0.2)
        wheel(pen, 0.56, 0.3, 0.2)
    else:  # from the front
        for x in (-0.58, 0.58):
            pen.oval(BLACK, x, 0.38, 0.14, 0.2)
        pen.shape(shade(paint, 0.85), (-0.62, -0.1), (-0.42, -0.55), (0.42, -0.55), (0.62, -0.1))
        pen.shape(glass, (-0.53, -0.12), (-0.37, -0.48), (0.37, -0.48), (0.53, -0.12))
        pen.shape(paint, (-0.78, 0.4), (-0.8, 0.02), (-0.6, -0.13), (0.6, -0.13), (0.8, 0.02), (0.78, 0.4))
        pen.shape(BLACK, (-0.34, 0.08), (0.34, 0.08), (0.3, 0.23), (-0.3, 0.23))
        pen.line(shade(paint, 0.6), 0.08, (-0.75, 0.34), (0.75, 0.34))
        for x in (-0.58, 0.58):
            pen.oval((250, 245, 215), x, 0.1, 0.14, 0.09)


def bird(pen):
    pen.scene((WOODS, WOODS), (WOODS, WOODS), (WOODS, GRASSES), (SKIES, WOODS))
    coat = pen.tint(COATS + ((60, 110, 180), RED, (225, 190, 60), (80, 130, 80)))
    wing, belly = pen.tint((shade(coat, 0.6), BLACK, GRAY)), pen.tint((shade(coat, 1.4), WHITE, coat))
    beak = pen.tint(((230, 160, 40), (60, 55, 50)))
    if pen.chance.random() < 0.8:  # sitting
        if pen.chance.random() < 0.5:
            pen.line(pen.tint(EARTHS), 0.1, (-1.3, 0.68), (1.3, 0.62))
        for x in (-0.05, 0.12):
            pen.line(beak, 0.05, (x, 0.3), (x + 0.03, 0.66))
        pen.shape(wing, (-0.3, 0.05), (-0.98, 0.42), (-0.9, 0.56), (-0.25, 0.35))
        pen.oval(coat, 0, 0.08, 0.5, 0.34, -0.5)
        pen.oval(belly, 0.14, 0.2, 0.3, 0.22, -0.6)
        pen.oval(wing, -0.18, 0.12, 0.4, 0.17, -0.45 + pen.chance.uniform(-0.2, 0.2))
        pen.oval(coat, 0.38, -0.36, 0.25, 0.23)
        pen.shape(beak, (0.58, -0.46), (0.58, -0.28), (0.9, -0.32))
        pen.oval(BLACK, 0.44, -0.41, 0.055, 0.055)
    else:  # flying
        lift = pen.chance.uniform(-0.8, -0.3)
        pen.shape(shade(wing, 1.25), (0.2, -0.05), (0.42, lift), (0.1, lift - 0.15), (-0.2, 0))
        pen.shape(coat, (-0.25, -0.08), (-0.9, -0.12), (-0.85, 0.2), (-0.2, 0.14))
        pen.oval(coat, 0.05, 0.05, 0.48, 0.18)
        pen.oval(belly, 0.1, 0.1, 0.34, 0.11)
        pen.shape(wing, (0.25, 0.02), (-0.15, lift), (-0.65, lift - 0.1), (-0.5, lift + 0.3), (-0.2, 0.06))
        pen.oval(coat, 0.55, -0.04, 0.18, 0.15)
        pen.shape(beak, (0.68, -0.1), (0.68, 0.05), (0.95, 0))
        pen.oval(BLACK, 0.6, -0.08, 0.04, 0.04)


def face(pen, x, y, size, coat, cat):
    """Head of a cat (pointed ears, small nose, whiskers) or a dog (hanging ears, muzzle, big nose)."""
    def at(u, v):
        return x + u * size, y + v * size

    ear = shade(coat, pen.chance.uniform(0.5, 0.8))
    if cat:
        for s in (-1, 1):
            pen.shape(coat, at(s * 0.95, -1.25), at(s * 0.98, -0.1), at(s * 0.15, -0.75))
            pen.shape((215, 150, 145), at(s * 0.84, -1.0), at(s * 0.84, -0.4), at(s * 0.42, -0.75))
    pen.oval(coat, x, y, size * (1.05 if cat else 0.88), size * 0.9)
    if cat:
        for s in (-1, 0, 1):
            pen.line(ear, 0.12 * size, at(s * 0.3, -0.85), at(s * 0.22, -0.5))
        pen.oval(pen.tint((WHITE, shade(coat, 1.25))), x, y + 0.45 * size, 0.5 * size, 0.34 * size)
        eye = pen.tint(((190, 200, 70), (110, 190, 110), (230, 180, 60)))
        for s in (-1, 1):
            pen.oval(eye, *at(s * 0.45, -0.08), 0.22 * size, 0.2 * size)
            pen.oval(BLACK, *at(s * 0.45, -0.08), 0.08 * size, 0.2 * size)
            for tip in (0.3, 0.6):
                pen.line(WHITE, 0.05 * size, at(s * 0.3, 0.42), at(s * 1.35, tip))
        pen.shape((205, 110, 115), at(-0.16, 0.22), at(0.16, 0.22), at(0, 0.42))
        return
    muzzle = pen.tint((WHITE, shade(coat, 1.3), shade(coat, 1.1), (225, 195, 150)))
    if pen.chance.random() < 0.5:  # a blaze between the eyes
        pen.shape(muzzle, at(-0.12, -0.8), at(0.12, -0.8), at(0.3, 0.3), at(-0.3, 0.3))
    for s in (-1, 1):
        pen.oval(ear, *at(s * 0.88, 0.15), 0.3 * size, pen.chance.uniform(0.55, 0.9) * size, s * -0.2)
        pen.oval(BLACK, *at(s * 0.36, -0.15), 0.13 * size, 0.14 * size)
    if pen.chance.random() < 0.5:  # the tongue
        pen.oval((215, 105, 115), *at(0, 1.0), 0.18 * size, 0.32 * size)
    pen.oval(muzzle, *at(0, 0.5), 0.5 * size, 0.45 * size)
    pen.oval(BLACK, *at(0, 0.3), 0.24 * size, 0.17 * size)
    pen.line(BLACK, 0.07 * size, at(-0.25, 0.75), at(0, 0.62), at(0.25, 0.75))


def pet(pen, cat):
    """A cat or a dog: its head alone, sitting, or standing."""
    home = ((WALLS, WALLS), (WALLS, EARTHS))
    outside = ((GRASSES, GRASSES), (WOODS, GRASSES), (SKIES, GRASSES))
    pen.scene(*(home * 6 + outside if cat else home + outside * 5))
    coat = pen.tint(COATS)
    dark, pale = shade(coat, 0.8), pen.tint((WHITE, shade(coat, 1.2), coat))
    view = pen.chance.random()
    if view < 0.25:
        pen.oval(dark, pen.chance.uniform(-0.4, 0.4), 1.0, 0.75, 0.7)
        face(pen, 0, -0.02, pen.chance.uniform(0.62, 0.75), coat, cat)
    elif view < (0.75 if cat else 0.85):
        pen.line(dark, 0.13, (-0.4, 0.75), (-0.75, 0.6), (-0.85, 0.1 if cat else 0.35))
        pen.oval(dark, -0.2, 0.55, 0.48, 0.4)
        if not cat and pen.chance.random() < 0.7:  # from the front: a haunch on either side
            wide = pen.chance.uniform(0.38, 0.5)
            for s in (-1, 1):
                pen.oval(shade(coat, pen.chance.uniform(0.8, 1.0)), s * wide, 0.62, 0.36, 0.32)
        pen.oval(coat, 0, 0.3, 0.4, 0.58)
        pen.oval(pale, 0.05, 0.3, 0.22, 0.4)
        for x in (-0.15, 0.2):
            pen.line(shade(coat, 0.92), 0.17, (x, 0.35), (x, 0.9))
            pen.oval(pale, x + 0.03, 0.92, 0.13, 0.07)
        face(pen, pen.chance.uniform(-0.02, 0.12), -0.42, pen.chance.uniform(0.4, 0.52), coat, cat)
    else:
        for x, step in ((-0.55, 0.08), (-0.42, -0.08), (0.22, 0.08), (0.36, -0.06)):
            pen.line(dark if step > 0 else coat, 0.15, (x, 0.2), (x + step * pen.chance.uniform(-1, 2), 0.8))
        pen.line(coat, 0.12, (-0.6, 0.05), (-0.85, -0.2), (-0.8, -0.75 if cat else -0.4))
        pen.oval(coat, -0.1, 0.12, 0.62, 0.27)
        pen.oval(pale, 0.0, 0.26, 0.4, 0.11)
        if cat:
            for x in (-0.45, -0.25, -0.05, 0.15):
                pen.line(dark, 0.05, (x, -0.12), (x - 0.04, 0.12))
        face(pen, 0.5, -0.28, pen.chance.uniform(0.34, 0.44), coat, cat)


def cat(pen):
    pet(pen, True)


def dog(pen):
    if pen.chance.random() < 0.5:
        sitting_dog(pen)
    else:
        pet(pen, False)


def sitting_dog(pen):
    """A dog from the front: long ears, a chest and paws of another color, a haunch on either side."""
    pen.scene((WOODS, GRASSES), (WOODS, GRASSES), (SKIES, GRASSES), (GRASSES, GRASSES), (WALLS, EARTHS))
    vary = pen.chance.uniform
    coat = pen.tint(((190, 115, 50), (165, 95, 45), (205, 140, 80), (120, 80, 50), (95, 85, 80), (215, 185, 140)))
    ear, pale = shade(coat, vary(0.45, 0.75)), pen.tint((WHITE, WHITE, shade(coat, 1.3)))
    wide, top = vary(0.36, 0.46), vary(-0.5, -0.38)
    pen.line(coat, 0.11, (-0.5, 0.8), (-0.75, 0.6), (-0.82, vary(0.1, 0.4)))
    for s in (-1, 1):
        pen.oval(shade(coat, vary(0.8, 1.05)), s * wide, 0.65, 0.34, 0.28)
    pen.oval(coat, 0, 0.3, vary(0.32, 0.4), 0.56)
    pen.oval(pale, 0, 0.35, vary(0.08, 0.2), 0.42)
    for s in (-1, 1):
        pen.line(shade(coat, 0.9), 0.17, (s * 0.19, 0.3), (s * 0.19, 0.75))
        pen.oval(pale, s * 0.19, 0.82, 0.09, 0.14)
        pen.oval(pale, s * 0.2, 0.92, 0.14, 0.07)
    size = vary(0.36, 0.48)
    pen.oval(coat, 0, top, size * vary(0.75, 0.9), size)
    pen.shape(pale, (-0.03, top - size), (0.03, top - size), (0.1, top + 0.2), (-0.1, top + 0.2))
    for s in (-1, 1):
        pen.oval(ear, s * size * 0.95, top + vary(0, 0.14), size * 0.28, size * vary(0.75, 0.95), s * -0.12)
        pen.oval(BLACK, s * size * 0.42, top - 0.08, 0.055, 0.06)
    if pen.chance.random() < 0.6:
        pen.oval((215, 105, 115), 0, top + size * 1.0, size * 0.16, size * 0.3)
    pen.oval(pale, 0, top + size * 0.55, size * 0.5, size * 0.4)
    pen.oval(BLACK, 0, top + size * 0.35, size * 0.26, size * 0.18)


def hoofed(pen, coat, width, neck, head):
    """Body, four legs and neck of a deer or a horse, up to the point `head` where the head begins."""
    dark = shade(coat, 0.75)
    for x, color in ((-0.5, dark), (0.24, dark), (-0.4, coat), (0.36, coat)):
        knee, foot = x + pen.chance.uniform(-0.1, 0.12), x + pen.chance.uniform(-0.14, 0.14)
        pen.line(color, width, (x, 0.1), (knee, 0.48), (foot, 0.9))
    pen.oval(coat, -0.08, 0.0, 0.58, 0.25)
    pen.oval(shade(coat, 1.15), -0.12, -0.08, 0.42, 0.1)
    pen.shape(coat, (0.2, -0.1), (head[0] - neck, head[1]), (head[0] + neck * 0.4, head[1] + 0.1), (0.5, 0.1))


def deer(pen):
    pen.scene((WOODS, GRASSES), (WOODS, WOODS), (WOODS, EARTHS))
    coat = pen.tint(((165, 115, 70), (135, 95, 60), (185, 140, 95), (110, 85, 65)))
    horn = pen.tint(((90, 65, 45), (190, 165, 125)))
    x, y = 0.58 + pen.chance.uniform(-0.08, 0.08), -0.42 + pen.chance.uniform(-0.08, 0.08)
    hoofed(pen, coat, 0.075, 0.14, (x, y))
    pen.oval(WHITE, -0.63, -0.03, 0.09, 0.15)
    pen.oval(shade(coat, 1.35), 0, 0.19, 0.36, 0.06)
    if pen.chance.random() < 0.4:  # a fawn's spots
        for spot in range(7):
            pen.oval(WHITE, -0.5 + spot * 0.13, -0.1 + 0.1 * (spot % 2), 0.035, 0.035)
    if pen.chance.random() < 0.85:
        for s in (-1, 1):
            pen.line(horn, 0.055, (x, y - 0.08), (x + s * 0.2 - 0.06, y - 0.3), (x + s * 0.24, y - 0.55))
            pen.line(horn, 0.05, (x + s * 0.16 - 0.05, y - 0.25), (x + s * 0.34, y - 0.36))
    for s in (-1, 1):
        pen.oval(shade(coat, 0.85), x + s * 0.17, y - 0.1, 0.14, 0.065, s * -0.4)
    pen.oval(coat, x + 0.1, y + 0.02, 0.22, 0.12, 0.4)
    pen.oval(BLACK, x + 0.28, y + 0.1, 0.05, 0.045)
    pen.oval(BLACK, x + 0.09, y - 0.03, 0.035, 0.035)


def frog(pen):
    pen.scene((WOODS, EARTHS), (EARTHS, EARTHS), (SEAS, GRASSES), (WALLS, EARTHS), (WOODS, SEAS))
    skin = pen.tint(((90, 150, 50), (120, 165, 60), (110, 120, 50), (70, 125, 55)))
    pale, dark = shade(skin, 1.4), shade(skin, 0.65)
    pen.oval(shade(pen.near, 0.55), 0, 0.58, 0.9, 0.12)
    front = pen.chance.random() < 0.5
    for s in ((-1, 1) if front else (-1,)):
        pen.oval(dark, s * 0.52, 0.28, 0.36, 0.28, s * -0.5)
        pen.oval(skin, s * 0.5, 0.22, 0.34, 0.22, s * -0.7)
        pen.line(skin, 0.12, (s * 0.5, 0.52), (s * 0.92, 0.58))
    if front:
        pen.oval(skin, 0, 0.15, 0.52, 0.42)
        pen.oval(pale, 0, 0.32, 0.4, 0.26)
        center, eyes = 0, (-0.34, 0.34)
    else:
        pen.oval(skin, -0.08, 0.16, 0.66, 0.34, -0.45)
        pen.oval(pale, 0.16, 0.3, 0.36, 0.2, -0.3)
        center, eyes = 0.36, (0.2, 0.5)
    pen.oval(skin, center, -0.14, 0.5 if front else 0.42, 0.27)
    pen.line(dark, 0.045, (center - 0.4, -0.06), (center, 0.03), (center + 0.4, -0.06))
    for x in (-0.3, 0.32) if front else (0.2, 0.42):
        pen.line(skin, 0.12, (x, 0.3), (x + 0.05, 0.6), (x + 0.2, 0.62))
    for _spot in range(pen.chance.randrange(6)):
        pen.oval(dark, pen.chance.uniform(-0.45, 0.3), pen.chance.uniform(0.0, 0.3), 0.06, 0.05)
    for x in eyes:
        pen.oval(skin, x, -0.38, 0.18, 0.17)
        pen.oval((235, 205, 80), x, -0.39, 0.13, 0.12)
        pen.oval(BLACK, x, -0.39, 0.09, 0.065)


def horse(pen):
    pen.scene((SKIES, GRASSES), (SKIES, GRASSES), (SKIES, EARTHS), (GRASSES, GRASSES))
    coat, mane = pen.tint(COATS), pen.tint((BLACK, (70, 45, 30), WHITE, (190, 150, 90)))
    x, y = 0.62 + pen.chance.uniform(-0.06, 0.06), -0.55 + pen.chance.uniform(-0.08, 0.12)
    pen.line(mane, 0.17, (-0.58, -0.12), (-0.8, 0.05), (-0.82 + pen.chance.uniform(-0.1, 0.1), 0.55))
    hoofed(pen, coat, 0.14, 0.24, (x, y))
    pen.line(mane, 0.15, (0.2, -0.16), (x - 0.24, y + 0.1), (x - 0.08, y - 0.1))
    pen.shape(coat, (x - 0.12, y - 0.12), (x + 0.1, y - 0.12), (x + 0.36, y + 0.3), (x + 0.22, y + 0.4),
              (x - 0.1, y + 0.2))
    pen.shape(coat, (x - 0.08, y - 0.1), (x, y - 0.3), (x + 0.06, y - 0.1))
    stripe = WHITE if pen.chance.random() < 0.4 else shade(coat, 0.85)
    pen.line(stripe, 0.06, (x + 0.1, y - 0.05), (x + 0.28, y + 0.26))
    pen.oval(shade(coat, 0.6), x + 0.28, y + 0.32, 0.09, 0.08)
    pen.oval(BLACK, x + 0.03, y, 0.04, 0.04)
    if pen.chance.random() < 0.4:  # a saddle
        pen.shape(pen.tint(PAINTS), (-0.25, -0.26), (0.1, -0.26), (0.05, 0.05), (-0.2, 0.05))


def ship(pen):
    pen.scene((SKIES, SEAS), (SKIES, SEAS), (SKIES, SEAS), (WOODS, SEAS))
    hull, house = pen.tint(PAINTS + (BLACK, (60, 70, 90))), pen.tint((WHITE, WHITE, (220, 200, 160), GRAY))
    kind = pen.chance.random()
    if kind < 0.35:  # under sail
        pen.line(pen.tint(((110, 80, 55), GRAY)), 0.05, (0, 0.35), (0, -0.95))
        cloth = pen.tint((WHITE, WHITE, (235, 220, 180), RED))
        pen.shape(cloth, (-0.05, -0.9), (-0.05, 0.22), (-0.62, 0.22))
        pen.shape(shade(cloth, 0.86), (0.06, -0.8), (0.06, 0.22), (0.6, 0.25))
    elif kind < 0.7:  # a liner
        pen.shape(house, (-0.7, 0.28), (-0.65, 0.0), (0.4, 0.0), (0.5, 0.28))
        pen.shape(shade(house, 0.9), (-0.5, 0.02), (-0.48, -0.22), (0.2, -0.22), (0.25, 0.02))
        for y in (0.12, -0.1):
            pen.line((60, 75, 95), 0.045, (-0.55, y), (0.25, y))
        for x in (-0.35, -0.02):
            funnel = pen.tint(PAINTS)
            pen.shape(funnel, (x - 0.09, -0.2), (x - 0.11, -0.58), (x + 0.07, -0.58), (x + 0.09, -0.2))
    else:  # a freighter
        for x in (-0.3, -0.05, 0.2, 0.45):
            top = pen.chance.uniform(-0.1, 0.12)
            pen.shape(pen.tint(PAINTS), (x, 0.28), (x, top), (x + 0.22, -0.02), (x + 0.22, 0.28))
        pen.shape(house, (-0.78, 0.28), (-0.76, -0.4), (-0.42, -0.4), (-0.4, 0.28))
        pen.line((60, 75, 95), 0.06, (-0.74, -0.25), (-0.44, -0.25))
        pen.line(GRAY, 0.05, (0.6, 0.3), (0.6, -0.4))
    short = 0.75 if kind < 0.35 else 1
    pen.shape(hull, (-0.92 * short, 0.25), (0.98 * short, 0.2), (0.72 * short, 0.62), (-0.8 * short, 0.62))
    pen.line(shade(hull, 1.35), 0.05, (-0.9 * short, 0.28), (0.94 * short, 0.24))
    pen.shape(pen.near, (-1.6, 0.58), (1.6, 0.58), (1.6, 1.8), (-1.6, 1.8))
    pen.line(shade(pen.near, 1.3), 0.05, (-1, 0.63), (1, 0.63))


def truck(pen):
    pen.scene((SKIES, ROADS), (SKIES, ROADS), (WOODS, ROADS), (SKIES, EARTHS))
    cab, load = pen.tint(PAINTS), pen.tint(PAINTS + (WHITE, GRAY))
    top, tail = pen.chance.uniform(-0.68, -0.4), pen.chance.uniform(0.2, 0.34)
    pen.oval(shade(pen.near, 0.45), 0, 0.6, 1.0, 0.1)
    pen.shape(BLACK, (-0.96, 0.36), (0.9, 0.36), (0.9, 0.5), (-0.96, 0.5))
    kind = pen.chance.random()
    if kind < 0.6:  # a box
        pen.shape(load, (-0.97, top), (tail, top), (tail, 0.38), (-0.97, 0.38))
        pen.line(shade(load, 0.75), 0.05, (-0.97, 0.34), (tail, 0.34))
        for x in (-0.7, -0.4, -0.1):
            pen.line(shade(load, 0.85), 0.03, (x, top), (x, 0.36))
    elif kind < 0.8:  # a tank
        pen.oval(load, -0.36, 0.05, 0.62, 0.32)
        pen.oval(shade(load, 1.25), -0.36, -0.08, 0.5, 0.1)
    else:  # a tipper
        pen.shape(load, (-0.99, -0.2), (tail, -0.26), (tail - 0.05, 0.36), (-0.8, 0.36))
        pen.oval(pen.tint(EARTHS), -0.4, -0.22, 0.42, 0.16)
    front = -0.3 + pen.chance.uniform(-0.12, 0.08)
    pen.shape(cab, (tail + 0.06, front), (0.72, front), (0.86, 0.05), (0.96, 0.1), (0.96, 0.45), (tail + 0.06, 0.45))
    pen.shape((60, 80, 100), (0.5, front + 0.07), (0.7, front + 0.07), (0.8, 0.04), (0.5, 0.04))
    pen.oval((250, 240, 190), 0.92, 0.25, 0.05, 0.06)
    for x in (-0.74, -0.42, 0.66):
        wheel(pen, x, 0.46, 0.18)


ARTISTS = (airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck)  # the official order


def lit(picture, noise):
    """A picture, uint8 [3, 32, 32], with light from a random side, contrast and grain."""
    ramp = np.linspace(-1, 1, SIZE, dtype=np.float32)
    light = noise.normal(1, 0.06) + noise.normal(0, 0.07) * ramp[:, None] + noise.normal(0, 0.07) * ramp
    grain = noise.uniform(1, 5) * noise.standard_normal(picture.shape, np.float32)
    return np.clip(picture * light + grain, 0, 255).astype(np.uint8)


def labels_of(count, seed):
    """The class of each picture, int64 [count]: all equally often, give or take one, and shuffled."""
    return np.random.default_rng(seed).permutation(np.arange(count, dtype=np.int64) % len(ARTISTS))


def draw(count, seed, part=slice(None)):
    """`count` drawings, or those of a part of the numbers up to `count`; the same seed draws the same pixels.

    Returns images uint8 [N, 3, 32, 32] (RGB) and labels int64 [N], classes in CIFAR-10's order.
    """
    labels = labels_of(count, seed)[part]
    images = np.empty((len(labels), 3, SIZE, SIZE), np.uint8)
    for image, label, number in zip(images, labels, range(count)[part]):
        pen = Pen(random.Random(f"{seed} {number}"), turn=9 if label == 0 else 4)
        ARTISTS[label](pen)
        picture = np.asarray(pen.picture.resize((SIZE, SIZE), Image.BOX)).transpose(2, 0, 1)
        image[...] = lit(picture, np.random.default_rng([seed, number]))
    return images, labels


def draw_sets(sets):
    """`draw(count, seed)` for each of `sets`, by a small process on each core; by this one where that fails."""
    cores = [None] * (os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):  # a worker is kept on some of its launcher's cores
        cores = sorted(os.sched_getaffinity(os.getppid() if "PADDLE_LOCAL_RANK" in os.environ else 0))
    if len(cores) > 1 and sum(count for count, _ in sets) >= FEWEST:
        with contextlib.suppress(OSError, ValueError):
            return draw_in_processes(sets, cores[:MOST_PROCESSES])
    return [draw(*each) for each in sets]


def draw_in_processes(sets, cores):
    """`draw_sets` with a process on each of `cores`. Errors: OSError; ValueError where one does not do its part."""
    images = [np.empty((count, 3, SIZE, SIZE), np.uint8) for count, _ in sets]
    with contextlib.ExitStack() as stack:
        pipes = []
        for part, core in enumerate(cores):
            command = [sys.executable, "-m", __name__, json.dumps([core, part, len(cores), list(sets)])]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE,
                                                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
            stack.callback(process.kill)
            pipes.append(process.stdout)
        for part, pipe in enumerate(pipes):
            for array in images:
                place = array[part::len(cores)]
                place[...] = np.frombuffer(pipe.read(place.nbytes), np.uint8).reshape(place.shape)
    return [(array, labels_of(*each)) for array, each in zip(images, sets)]


if __name__ == "__main__":  # one of the processes of `draw_in_processes`
    threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()  # it ends with its parent
    core, part, parts, sets = json.loads(sys.argv[1])
    if core is not None:
        os.sched_setaffinity(0, [core])
    for count, seed in sets:
        sys.stdout.buffer.write(draw(count, seed, slice(part, None, parts))[0])
