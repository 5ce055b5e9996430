"""The ten drawn pictures in image/, one for each of CIFAR-10's classes, and one of two halves: `python -m book.art`."""
import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from book.art.brush import Canvas, curve, limb, oval, turned
from utils.errors import exit_status
from utils.storage.files import whole_file

IMAGES = Path(__file__).resolve().parents[2] / "image"
LAWN = ((96, 138, 58), (74, 118, 46), (120, 155, 72), (60, 98, 42), (140, 165, 90))


def meadow(canvas, horizon=34, far=((150, 180, 200), (70, 100, 66)), colors=LAWN, tall=6.0):
    """Trees out of focus, and a lawn in front of them."""
    sky, trees = far
    canvas.backdrop([(0, sky), (horizon * 0.5, trees), (horizon, trees), (horizon + 3, colors[0]),
                     (100, colors[1])],
                    cloud=tuple(c * 0.7 for c in trees), clouds=0.9, grain=16, soft=1.6)
    canvas.grass(horizon, 104, colors, tall)


def eye(canvas, x, y, size, iris=(62, 38, 22)):
    """A dark-rimmed eye with a gleam; size: the radius of its iris."""
    canvas.flat(oval(x, y, size * 1.25, size * 1.15), (30, 20, 16), soft=0.2)
    canvas.flat(oval(x, y, size, size), iris, soft=0.1)
    canvas.flat(oval(x, y, size * 0.6, size * 0.62), (10, 8, 8))
    canvas.flat(oval(x - size * 0.35, y - size * 0.4, size * 0.28, size * 0.28), (255, 255, 255), soft=0.1)


def dog():
    """A brown and white dog that sits on the lawn."""
    canvas = Canvas(6)
    meadow(canvas)
    coat, ear, white, fur = (176, 116, 62), (118, 70, 36), (240, 232, 218), (2.2, 80, 1.0)
    canvas.flat(oval(54, 93, 38, 6), (20, 35, 15), 0.65, 2.5)
    canvas.part(limb([(26, 84), (14, 80), (8, 68), (11, 58)], (7, 7, 6, 3)), coat, fur=(2.4, 230, 1.0))
    canvas.part(oval(31, 78, 16, 15, -20), coat, fur=fur)
    canvas.part(oval(67, 80, 12, 13, 20), coat, fur=fur)
    body = curve([(40, 40), (60, 40), (68, 56), (66, 78), (58, 90), (38, 90), (29, 78), (32, 56)])
    chest = curve([(44, 42), (57, 42), (60, 58), (55, 74), (49, 78), (44, 70), (41, 56)])
    canvas.part(body, coat, marks=[(chest, white, 1.6)], fur=fur)
    for x, lean in ((42, -1), (58, 1)):
        leg = limb([(x, 60), (x + lean, 76), (x + lean, 93)], (12, 9.5, 9))
        canvas.part(leg, coat, marks=[(oval(x + lean, 93, 9, 12), white, 1.5)], fur=(1.6, 90, 1.0))
        canvas.part(oval(x + lean * 1.5, 94, 7, 4), white, fur=(1.2, 90, 1.0))
        for toe in (-2, 2):
            canvas.line([(x + lean * 1.5 + toe, 94), (x + lean * 1.5 + toe, 97)], (90, 75, 65), 0.5)
    head = curve([(50, 9), (60, 11), (67, 20), (66, 34), (60, 43), (50, 47), (40, 43), (34, 34), (33, 20),
                  (40, 11)])
    blaze = curve([(50, 8), (52.5, 18), (55, 30), (60, 42), (50, 49), (40, 42), (45, 30), (47.5, 18)])
    canvas.part(head, coat, marks=[(blaze, white, 1.0)], fur=(1.8, 100, 1.0))
    for side in (-1, 1):
        flap = [(13, 12), (19, 15), (23, 26), (24, 38), (20, 45), (15, 41), (13, 31), (12, 20)]
        canvas.part(curve([(50 + side * x, y) for x, y in flap]), ear, fur=(2.2, 90, 1.0))
        eye(canvas, 50 + side * 8, 25, 2.3)
        canvas.flat(oval(50 + side * 8, 20.4, 3, 1, side * 12), (215, 165, 110), 0.5, 0.5)
    canvas.part(curve([(47, 45), (53, 45), (53.5, 51), (50, 55), (46.5, 51)]), (214, 104, 112), gloss=0.15)
    canvas.part(curve([(50, 30), (57, 34), (60, 40), (56, 46), (50, 45), (44, 46), (40, 40), (43, 34)]),
                white,
                fur=(1.1, 90, 1.0))
    canvas.part(curve([(50, 30), (54.5, 31), (54, 34.5), (50, 37), (46, 34.5), (45.5, 31)]), (34, 28, 28),
                gloss=0.5)
    canvas.line([(44, 44), (47.5, 44.5), (50, 42), (52.5, 44.5), (56, 44)], (70, 45, 40), 0.8)
    canvas.line([(50, 37), (50, 42)], (90, 60, 52), 0.7)
    return canvas.finish()


def airplane():
    """An airliner that climbs in front of fair-weather clouds."""
    canvas = Canvas(2)
    canvas.backdrop([(0, (72, 128, 200)), (100, (178, 210, 236))], clouds=0.55, grain=45, soft=0.6)
    white, gray, blue = (232, 236, 242), (158, 166, 178), (36, 72, 150)

    def part(points, color, **more):
        """A part of the airplane, which flies upwards."""
        canvas.part(turned(points, -9), color, shadow=0.12, mottle=0.015, **more)

    part([(58, 46), (50, 46), (31, 21), (36, 20)], (136, 144, 156), depth=0.3)
    part([(22, 46), (12, 46), (3, 37), (7, 36)], (136, 144, 156), depth=0.3)
    part([(30, 45), (10, 46), (3, 20), (11, 19)], blue, depth=0.4)
    part([(24, 36), (8.5, 38), (7, 33), (19.5, 31)], white, depth=0.2)
    hull = [(97, 54), (94, 49), (87, 45.5), (75, 43.5), (50, 43), (28, 43.5), (8, 43.5), (3, 45), (9, 49),
            (24, 54), (42, 58.5), (60, 60.5), (80, 60.5), (92, 58.5)]
    stripe = [(97, 54.5), (60, 54), (10, 46), (12, 50), (40, 57), (70, 58)]
    part(curve(hull), white, depth=1.3, marks=[(turned(stripe, -9), blue, 0.3)], gloss=0.12)
    for x in range(26, 84, 3):
        canvas.flat(turned(oval(x, 48.8 + (x - 26) * 0.015, 0.75, 1.1), -9), (52, 62, 80))
    canvas.flat(turned([(87, 48), (91.5, 49.2), (93.6, 51.2), (87.5, 51)], -9), (40, 48, 62), soft=0.1)
    part(limb([(60, 68), (48, 67)], (9, 6.5)), gray, gloss=0.15)
    canvas.flat(turned(oval(61, 68, 1.8, 4), -9), (44, 48, 56), soft=0.2)
    part([(66, 56), (44, 55), (12, 83), (18, 85), (40, 71)], gray, depth=0.35, gloss=0.05)
    part([(23, 48), (12, 47), (0, 56), (4, 58)], gray, depth=0.35)
    return canvas.finish()


def tyre(canvas, x, y, size):
    """A wheel with five holes in its rim; size: its radius."""
    canvas.part(oval(x, y, size, size), (34, 34, 37), depth=0.5)
    canvas.part(oval(x, y, size * 0.66, size * 0.66), (186, 190, 196), depth=0.5, gloss=0.2)
    for k in range(5):
        canvas.flat(turned(oval(x, y - size * 0.4, size * 0.1, size * 0.17), 72 * k, (x, y)), (52, 54, 60),
                    soft=0.15)
    canvas.flat(oval(x, y, size * 0.13, size * 0.13), (90, 94, 100))


def street(canvas, kerb=58):
    """A road in front of hedges out of focus."""
    canvas.backdrop([(0, (150, 186, 222)), (kerb * 0.55, (206, 220, 228)), (kerb * 0.6, (92, 116, 84)),
                     (kerb - 4, (66, 90, 56)), (kerb - 3, (180, 176, 168)), (kerb, (166, 164, 158)),
                     (kerb + 1.5, (120, 120, 124)), (100, (98, 99, 105))])
    for _ in range(26):
        x, size = canvas.chance.uniform(-5, 105), canvas.chance.uniform(4, 11)
        green = np.array((72, 104, 60)) * canvas.chance.uniform(0.7, 1.25)
        canvas.flat(oval(x, kerb - 5 - size, size, size * 0.9), green, 0.8, 1.0)
    canvas.blur(0.7)
    canvas.flat([(-5, kerb - 3), (105, kerb - 3), (105, kerb), (-5, kerb)], (182, 178, 170), 1.0, 0.2)


def automobile():
    """A red saloon at the roadside."""
    canvas = Canvas(3)
    street(canvas)
    red, glass, dark = (188, 30, 34), (66, 84, 100), (28, 28, 32)
    canvas.flat(oval(50, 79, 47, 5), (24, 24, 28), 0.75, 1.6)
    cabin = [(21, 51), (29, 42), (36, 36), (45, 33.5), (56, 33.5), (65, 37), (73, 44), (80, 51), (50, 55)]
    canvas.part(curve(cabin), red, depth=0.7, gloss=0.2, mottle=0.01)
    for pane in ([(26, 50), (33, 42), (38.5, 38), (47.5, 36.5), (48, 50)],
                 [(51, 50), (50.5, 36.5), (56, 36.5), (63, 39.5), (68.5, 45), (72, 50)]):
        canvas.part(pane, glass, depth=0.25, gloss=0.1, mottle=0.02, shadow=0)
        low = [(x + (0.5 - y / 90) * 6, y) for x, y in pane]
        canvas.flat([low[0], low[1], (low[1][0] + 4, low[1][1]), (low[0][0] + 5, low[0][1])], (210, 225, 235),
                    0.45, 0.6)
    body = [(4, 68), (4, 60), (7, 54.5), (20, 51), (50, 49.5), (78, 50), (91, 53), (96, 58), (97, 68),
            (95, 75), (50, 77), (7, 76)]
    sill = [(3, 71), (98, 71), (98, 80), (3, 80)]
    shine = [(10, 54.5), (50, 52), (90, 54.5), (90, 56.5), (50, 54.5), (10, 57)]
    canvas.part(curve(body), red, depth=0.9, gloss=0.25, mottle=0.01,
                marks=[(sill, (90, 14, 20), 0.8), (shine, (232, 104, 98), 0.6)])
    for x in (49.5, 27, 73):
        canvas.line([(x, 51), (x + 0.4, 62), (x - 0.5, 72)], (110, 16, 22), 0.5)
    for x in (44, 68):
        canvas.flat(oval(x, 57.5, 2.4, 0.7), (92, 14, 18))
    canvas.part(oval(93, 58.5, 3.4, 2.2, 24), (250, 244, 214), depth=0.4, gloss=0.4, mottle=0)
    canvas.part(oval(5.5, 58.5, 1.8, 3), (236, 86, 40), depth=0.4, gloss=0.2, mottle=0)
    canvas.part([(89, 69), (98, 68), (98, 72.5), (90, 73)], dark, depth=0.3)
    for x in (23, 77):
        canvas.flat(oval(x, 74, 11, 11.5), (18, 16, 18), soft=0.3)
        tyre(canvas, x, 75.5, 9.3)
    return canvas.finish()


def bird():
    """A robin on a mossy branch."""
    canvas = Canvas(4)
    canvas.backdrop([(0, (168, 190, 130)), (55, (112, 148, 88)), (100, (78, 112, 66))],
                    cloud=(206, 214, 160), clouds=0.8, grain=26, soft=2.5)
    canvas.part(limb([(-6, 92), (30, 86), (70, 87), (106, 80)], (9, 8, 7, 6)), (104, 80, 58), mottle=0.22)
    brown, breast, pale = (118, 96, 70), (214, 100, 42), (226, 220, 206)
    canvas.part(limb([(34, 64), (18, 76), (4, 90)], (12, 8, 6)), (88, 70, 52), fur=(3, 135, 0.8))
    for x in (46, 56):
        canvas.line([(x, 74), (x + 1, 81), (x + 3, 86)], (92, 60, 44), 1.6)
        canvas.line([(x - 2, 87), (x + 3, 85.5), (x + 7, 86.5)], (92, 60, 44), 1.5)
    body = [(60, 12), (70, 13), (78, 20), (80, 29), (80, 40), (78, 54), (70, 68), (56, 76), (42, 75),
            (32, 68), (30, 58), (38, 44), (46, 30), (50, 18)]
    bib = [(72, 16), (80, 22), (84, 34), (82, 48), (74, 58), (64, 56), (60, 44), (62, 30), (64, 22)]
    belly = [(80, 54), (72, 68), (56, 78), (44, 77), (52, 66), (64, 58)]
    canvas.part(curve(body), brown, depth=1.1, fur=(2.0, 115, 1.0),
                marks=[(curve(belly), pale, 1.8), (curve(bib), breast, 1.4)])
    wing = [(46, 38), (56, 42), (60, 54), (52, 66), (34, 76), (18, 84), (26, 70), (34, 54)]
    canvas.part(curve(wing), (98, 80, 58), depth=0.7, fur=(2.6, 125, 0.8))
    for k in range(5):
        canvas.line([(53 - k * 3, 55 + k * 2.4), (40 - k * 2.6, 68 + k * 1.6), (26 - k, 79 + k * 0.4)],
                    (66, 52, 40), 0.7)
    canvas.part(curve([(79, 21), (85, 23), (92, 26.5), (85, 28), (79, 28)]), (70, 60, 52), depth=0.6)
    eye(canvas, 71, 22.5, 2.3, (36, 24, 18))
    return canvas.finish()


def cat():
    """A gray tabby on the sofa, seen from near."""
    canvas = Canvas(5)
    canvas.backdrop([(0, (150, 158, 168)), (42, (128, 136, 148)), (48, (66, 62, 74)), (53, (112, 92, 98)),
                     (100, (86, 70, 78))], cloud=(96, 100, 112), clouds=0.5, grain=26, soft=1.4)
    coat, dark, pale = (146, 138, 128), (40, 36, 34), (240, 236, 228)
    body = [(40, 46), (60, 46), (70, 60), (77, 80), (76, 104), (50, 108), (24, 104), (23, 80), (30, 60)]
    stripe = ((8, 0), (16, 3), (26, 10), (16, 7))
    bars = [(curve([(50 + s * x, top + y) for x, y in stripe]), dark, 0.5)
            for s in (-1, 1) for top in (54, 63, 72)]
    bib = curve([(42, 44), (58, 44), (60, 60), (50, 82), (40, 60)])
    canvas.part(curve(body), coat, marks=bars + [(bib, pale, 1.5)], fur=(1.8, 80, 1.0))
    for x in (42, 58):
        rings = [(oval(x, y, 7, 1.3, 4), dark, 0.4) for y in (72, 78)]
        canvas.part(limb([(x, 68), (x, 82), (x, 104)], (11, 10, 10)), coat, marks=rings, fur=(1.4, 90, 1.0))
    cat_head(canvas, coat, dark, pale)
    canvas.crop(12, 0, 76)
    return canvas.finish()


def cat_head(canvas, coat, dark, pale):
    """A striped cat's head, seen from the front."""
    for s in (-1, 1):
        ear = [(50 + s * x, y) for x, y in ((23, 4), (24.5, 16), (22, 28), (6, 15), (14, 9))]
        canvas.part(curve(ear), coat, fur=(1.5, 90 - s * 10, 1.0))
        inside = [(50 + s * x, y) for x, y in ((21, 10), (21, 19), (13, 16))]
        canvas.flat(curve(inside), (176, 120, 116), 0.9, 0.8)
    head = [(50, 12), (61, 13.5), (71, 21), (74, 32), (69, 43), (59, 49), (50, 50.5), (41, 49), (31, 43),
            (26, 32), (29, 21), (39, 13.5)]
    lines = [(limb([(50 + s * x, 11), (50 + s * (x - 0.5), 24)], (2.4, 1.0)), dark, 0.4)
             for s in (-1, 1) for x in (2.2, 7.5, 12.8)]
    cheeks = [(curve([(50 + s * 25, y), (50 + s * 15, y + 1), (50 + s * 25, y + 3.4)]), dark, 0.4)
              for s in (-1, 1) for y in (30, 36, 42)]
    canvas.part(curve(head), coat, marks=lines + cheeks, fur=(1.6, 90, 1.0))
    canvas.part(oval(50, 47, 6, 4), pale, depth=0.6, shadow=0, fur=(1.0, 90, 1.0))
    for s in (-1, 1):
        canvas.part(oval(50 + s * 5, 43, 7, 5.2, s * 12), pale, depth=0.6, shadow=0.15, fur=(1.0, 90, 1.0))
    for s in (-1, 1):
        x = 50 + s * 10.5
        canvas.flat(oval(x, 29, 5.8, 4.8, s * -14), (24, 20, 18), soft=0.4)
        canvas.flat(oval(x, 29, 4.7, 3.9, s * -14), (170, 180, 84), soft=0.2)
        canvas.flat(oval(x, 29, 2.3, 3.7), (10, 10, 10), soft=0.2)
        canvas.flat(oval(x - 1.4, 27.4, 0.9, 0.9), (255, 255, 255), soft=0.1)
        for k in (-2, 0.5, 3):
            hair = [(50 + s * 8, 43 + k * 0.3), (50 + s * 20, 42 + k), (50 + s * 33, 43 + k * 2.4)]
            canvas.line(hair, (244, 242, 236), 0.3)
    canvas.part(curve([(46.6, 37.5), (53.4, 37.5), (50, 41.5)]), (186, 104, 106), depth=0.6, gloss=0.1)
    canvas.line([(44.5, 46), (47.6, 46.4), (50, 42.5), (52.4, 46.4), (55.5, 46)], (86, 60, 54), 0.6)


def deer():
    """A stag at the edge of the forest."""
    canvas = Canvas(7)
    hay = ((124, 122, 72), (98, 104, 56), (146, 136, 86), (84, 86, 48))
    meadow(canvas, horizon=54, far=((104, 112, 76), (62, 74, 46)), colors=hay, tall=8)
    coat, dark, pale, horn = (158, 114, 76), (108, 76, 52), (226, 212, 190), (196, 170, 132)
    canvas.flat(oval(44, 93, 34, 3), (36, 38, 18), 0.5, 2.5)
    for points in ([(28, 50), (26, 62), (30, 76), (28, 93)], [(55, 50), (58, 66), (56, 78), (57, 93)]):
        canvas.part(limb(points, (8, 4.4, 2.5, 2.3)), dark, fur=(1.2, 90, 0.8))
    canvas.part(oval(14, 44, 4, 7, 12), pale, fur=(2, 100, 1.0))
    body = [(14, 43), (18, 38), (30, 36.5), (44, 38.5), (53, 37), (60, 31), (65, 25), (72, 26), (74, 34),
            (71, 42), (66, 48), (58, 53), (44, 53.5), (32, 52), (22, 55), (15, 50)]
    belly = curve([(24, 53), (40, 52), (56, 52), (50, 57), (30, 57)])
    canvas.part(curve(body), coat, marks=[(belly, pale, 1.2), (oval(71, 36, 2.6, 5, 20), pale, 1.3)],
                fur=(1.7, 160, 1.0))
    for points in ([(20, 46), (20, 60), (17, 74), (19, 94)], [(61, 45), (62, 62), (63, 77), (62, 94)]):
        canvas.part(limb(points, (12, 5.6, 2.7, 2.4)), coat, depth=0.7, shadow=0.1, fur=(1.6, 100, 1.0))
    for x in (19.3, 28.6, 57.6, 62.4):
        canvas.part(oval(x, 94, 1.9, 1.8), (46, 38, 34))
    for s in (-1, 1):
        canvas.part(limb([(69 + s * 3, 24), (69 + s * 13, 17), (70 + s * 16, 4)], (3.6, 3.2, 1.8)), horn)
        canvas.part(limb([(69 + s * 8, 20), (69 + s * 7, 9)], (2.8, 1.5)), horn)
        canvas.part(limb([(69 + s * 14.5, 14), (70 + s * 22, 8)], (2.6, 1.4)), horn)
        ear = oval(70 + s * 10, 26, 7, 3, s * -15)
        canvas.part(ear, dark if s < 0 else coat, fur=(1.1, 90 + s * 60, 1.0))
    head = [(65, 24), (71, 21), (77, 24), (82, 29.5), (88, 34), (89, 38), (85, 40.5), (78, 38.5), (70, 35)]
    canvas.part(curve(head), coat, marks=[(oval(86, 39.5, 4, 2), pale, 0.7)], fur=(1.1, 35, 1.0))
    canvas.part(oval(88.4, 35.6, 2.1, 2.1), (36, 30, 30), gloss=0.3)
    eye(canvas, 75.5, 28, 1.6, (40, 26, 18))
    return canvas.finish()


def frog():
    """A green frog on wet earth."""
    canvas = Canvas(8)
    canvas.backdrop([(0, (84, 92, 58)), (45, (104, 96, 66)), (60, (120, 100, 72)), (100, (92, 74, 54))],
                    cloud=(58, 50, 38), clouds=0.7, grain=18, soft=1.2)
    for _ in range(60):
        x, y = canvas.chance.uniform(0, 100), canvas.chance.uniform(60, 100)
        canvas.part(oval(x, y, *canvas.chance.uniform(0.6, 2.2, 2)), (112, 96, 76), mottle=0.15)
    green, dark, pale = (104, 146, 58), (58, 86, 36), (206, 206, 150)
    spots = [(oval(x, y, wide, 2.4, -25), dark, 0.5) for x, y, wide in (
        (30, 52, 4), (40, 44, 3.4), (24, 62, 3), (48, 40, 2.6), (38, 56, 3), (52, 50, 2.6))]
    canvas.flat(oval(48, 86, 45, 6), (30, 24, 16), 0.7, 2.2)
    canvas.part(limb([(66, 66), (78, 74), (76, 86), (86, 89)], (10, 8, 6, 4)), (86, 122, 50), mottle=0.12)
    body = [(88, 40), (80, 32), (68, 29), (54, 32), (40, 39), (26, 50), (14, 66), (14, 78), (26, 84),
            (46, 84), (64, 80), (76, 70), (86, 56), (91, 47)]
    throat = curve([(90, 48), (80, 52), (66, 60), (56, 72), (50, 86), (66, 84), (80, 68), (90, 56)])
    canvas.part(curve(body), green, marks=[(throat, pale, 2.0)] + spots, mottle=0.14, gloss=0.1)
    bars = [(oval(x, y, 1.5, 5, t), dark, 0.5) for x, y, t in ((22, 66, 60), (30, 68, 50), (38, 72, 40))]
    canvas.part(curve([(14, 82), (12, 70), (20, 60), (32, 60), (44, 68), (50, 78), (46, 84), (32, 78),
                       (26, 84)]), green,
                marks=bars, mottle=0.14, gloss=0.12)
    canvas.part(limb([(18, 82), (34, 85), (48, 88), (58, 89)], (8, 7, 5, 3)), green, mottle=0.14, gloss=0.1)
    for tip in ((62, 86), (65, 89), (62, 92)):
        canvas.part(limb([(52, 88.5), tip], (3, 1.8)), green, mottle=0.1)
    canvas.part(limb([(64, 62), (60, 74), (68, 84), (70, 88)], (12, 8, 6, 4.5)), green, mottle=0.14,
                gloss=0.1)
    for tip in ((76, 87), (78, 91), (72, 93)):
        canvas.part(limb([(69, 88), tip], (2.8, 1.8)), green, mottle=0.1)
    canvas.line([(90, 48), (80, 50), (70, 50), (62, 46)], (54, 66, 30), 0.8)
    canvas.part(oval(81, 33, 4.5, 4), (86, 122, 50))
    canvas.part(oval(68, 31, 8, 7.4), green, mottle=0.1)
    canvas.flat(oval(69, 31, 5.4, 5.2), (212, 172, 62), soft=0.3)
    canvas.flat(oval(69.4, 31, 3.7, 2.6), (14, 14, 10), soft=0.2)
    canvas.flat(oval(67.6, 29, 1.1, 1), (255, 255, 255), soft=0.1)
    canvas.flat(oval(86.5, 43, 0.8, 0.6), (40, 46, 22))
    canvas.part(oval(58, 46, 3.4, 3.6), (128, 128, 62), depth=0.5)
    return canvas.finish()


def horse():
    """A bay horse in its paddock."""
    canvas = Canvas(9)
    meadow(canvas, horizon=56, far=((176, 202, 226), (96, 120, 80)))
    coat, dark, black = (134, 76, 42), (92, 52, 32), (34, 28, 28)
    canvas.flat(oval(44, 93, 38, 4), (24, 40, 16), 0.55, 2.5)
    canvas.part(limb([(14, 42), (6, 52), (7, 70), (5, 80)], (6, 8, 8, 3)), black, fur=(4, 92, 1.2))
    for points in ([(26, 50), (27, 66), (23, 78), (26, 93)], [(56, 52), (60, 68), (57, 80), (60, 93)]):
        canvas.part(limb(points, (13, 8, 5, 5)), dark, marks=[(oval(points[3][0], 90, 7, 12), black, 2)])
    body = [(11, 44), (15, 37), (26, 34.5), (40, 37), (50, 35), (57, 26), (63, 15), (70, 8), (76, 12),
            (78, 22), (76, 33), (72, 46), (66, 56), (56, 60), (40, 60.5), (26, 59), (15, 58)]
    canvas.part(curve(body), coat, depth=1.2, gloss=0.06, fur=(1.0, 150, 0.7))
    for points in ([(20, 50), (21, 66), (15, 77), (18, 94)], [(62, 50), (64, 68), (64, 80), (64, 94)]):
        canvas.part(limb(points, (17, 9, 5.4, 5.4)), coat, depth=0.7, shadow=0.1, fur=(1.0, 95, 0.7),
                    marks=[(oval(points[3][0], 92, 7, 13), black, 2)])
    for x in (18.5, 26.5, 60.5, 64.5):
        canvas.part([(x - 2.6, 92), (x + 2.4, 92), (x + 3.8, 96), (x - 3.2, 96)], (60, 54, 50), depth=0.5)
    canvas.part(curve([(70, 3), (73, 6), (73, 12), (68, 11)]), coat)
    head = [(67, 12), (73, 8), (79, 12), (84, 22), (90, 33), (90.5, 38), (86, 41), (81, 38), (75, 28),
            (69, 22)]
    canvas.part(curve(head), coat, marks=[(oval(88, 38, 4, 4), (70, 44, 36), 1.2),
                                          (curve([(77, 10), (81, 16), (87, 28), (84, 24)]), (236, 230, 220),
                                           0.5)],
                fur=(0.8, 60, 0.7))
    canvas.part(curve([(74, 2), (77.5, 7), (76, 12.5), (71.5, 10)]), coat)
    mane = [(72, 7), (66, 9), (60, 18), (53, 29), (47, 37), (55, 37), (62, 29), (67, 20), (71, 13)]
    canvas.part(curve(mane), black, fur=(4, 120, 1.2))
    canvas.flat(oval(87.6, 36, 0.9, 1.2, 30), (24, 18, 18), soft=0.2)
    eye(canvas, 77, 18, 1.6, (40, 26, 18))
    return canvas.finish()


def sea(canvas, top):
    """Waves: short level strokes, longer towards the front."""
    y = np.sort(canvas.chance.uniform(top, 102, 2600))
    near = (y - top) / (102 - top)
    shades = np.array(((40, 84, 128), (64, 112, 152), (30, 66, 108), (126, 164, 190)), np.float32)
    canvas.strokes(np.stack((canvas.chance.uniform(-6, 100, len(y)), y), 1) * canvas.unit,
                   np.radians(canvas.chance.normal(0, 4, len(y))), (1.5 + 7 * near) * canvas.unit,
                   shades[canvas.chance.choice(4, len(y), p=(0.35, 0.3, 0.25, 0.1))], 4)


def ship():
    """A passenger ship at sea."""
    canvas = Canvas(10)
    canvas.backdrop([(0, (118, 168, 216)), (56, (206, 222, 234)), (57, (60, 104, 146)), (100, (34, 72, 114))],
                    clouds=0.3, grain=40, soft=0.5)
    sea(canvas, 58)
    white, navy, glass = (240, 240, 238), (32, 48, 86), (58, 72, 92)
    for low, high, left, right in ((46, 60, 14, 82), (38, 47, 18, 74), (31, 39, 24, 66)):
        canvas.part([(left, high), (left + 1, low), (right - 3, low), (right + 2, high)], white, depth=0.3,
                    mottle=0.01)
        for x in range(left + 4, right - 4, 3):
            canvas.flat([(x, low + 3), (x + 1.7, low + 3), (x + 1.7, low + 5.6), (x, low + 5.6)], glass,
                        soft=0.1)
    canvas.flat([(60, 33), (66, 33), (67, 36), (60, 36)], glass)
    canvas.part([(35, 32), (33, 14), (44, 14), (47, 32)], (196, 52, 40), depth=0.8, gloss=0.1)
    canvas.flat([(33, 14), (44, 14), (44.5, 18), (33.4, 18)], (30, 30, 34))
    canvas.line([(60, 31), (60, 14)], (220, 220, 220), 0.9)
    canvas.line([(84, 56), (84, 38)], (210, 210, 210), 0.9)
    hull = [(4, 56), (30, 58), (60, 58), (84, 55), (97, 50), (92, 62), (86, 75), (60, 77), (12, 77), (7, 68)]
    canvas.part(hull, navy, depth=0.6, mottle=0.03, marks=[([(0, 70), (99, 70), (99, 80), (0, 80)],
                                                            (150, 42, 38), 0.2),
                                                           ([(0, 55), (62, 57), (98, 49), (97, 52), (62, 60),
                                                             (0, 58)],
                                                            white, 0.2)])
    for x in range(14, 84, 5):
        canvas.flat(oval(x, 64, 0.8, 0.8), (190, 204, 214))
    wash = curve([(2, 77), (30, 75.5), (60, 76), (88, 74), (95, 76), (86, 79), (50, 80), (8, 80)])
    canvas.part(wash, (204, 220, 230), depth=0.3, mottle=0.2, shadow=0.2)
    return canvas.finish()


def truck():
    """A lorry with a box body on the road."""
    canvas = Canvas(11)
    street(canvas, kerb=66)
    red, white, glass, dark = (196, 44, 36), (232, 232, 228), (60, 78, 96), (34, 34, 38)
    canvas.flat(oval(50, 86, 48, 5), (22, 22, 26), 0.75, 1.6)
    canvas.part([(5, 70), (95, 70), (95, 78), (5, 78)], dark, depth=0.4)
    canvas.part([(2, 16), (62, 16), (62, 71), (2, 71)], white, depth=0.15, mottle=0.015,
                marks=[([(2, 52), (62, 38), (62, 48), (2, 62)], (40, 92, 160), 0.2)])
    for x in range(8, 62, 6):
        canvas.line([(x, 17), (x, 43), (x, 70)], (206, 206, 204), 0.35)
    canvas.line([(2, 16.5), (32, 16.5), (62, 16.5)], (170, 170, 172), 1.0)
    canvas.line([(2, 70.5), (32, 70.5), (62, 70.5)], (120, 120, 124), 1.2)
    cab = [(65, 74), (65, 30), (67, 27), (84, 27), (88, 31), (93, 50), (97, 54), (97.5, 75), (96, 77),
           (66, 77)]
    canvas.part(cab, red, depth=0.5, gloss=0.15, mottle=0.01)
    canvas.part([(72, 33), (84, 33), (89, 50), (72, 50)], glass, depth=0.25, gloss=0.1)
    canvas.flat([(75, 33.5), (79, 33.5), (75, 49), (72.5, 49)], (205, 220, 232), 0.4, 0.4)
    canvas.line([(70.5, 31), (70.5, 52), (70.5, 74)], (126, 24, 22), 0.6)
    canvas.line([(90, 51), (90.3, 60), (90, 74)], (126, 24, 22), 0.6)
    canvas.flat(oval(75, 56, 2, 0.7), dark)
    canvas.part([(91, 33), (94, 33), (94, 43), (91, 43)], dark, depth=0.4)
    canvas.part(oval(95.5, 63, 1.8, 3), (250, 244, 210), depth=0.4, gloss=0.3, mottle=0)
    canvas.part([(87, 72), (99, 72), (99, 78), (87, 78)], (70, 70, 74), depth=0.4)
    for x in (16, 34, 80):
        canvas.flat(oval(x, 77, 10, 9.5), (16, 16, 18), soft=0.3)
        tyre(canvas, x, 79.5, 8.6)
    return canvas.finish()


PAINTERS = (airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck)  # the official order
PICTURES = {painter.__name__: painter for painter in PAINTERS}


def dog_airplane():
    """Two things in one picture: on the left half the middle of the dog's, on the right of the airplane's."""
    return Image.fromarray(np.hstack([np.asarray(paint())[:, 128:384] for paint in (dog, airplane)]))


@exit_status("end other programs")
def main(arguments=None):
    """Paint them all: the same each time, but for a pixel or two that processors round differently."""
    argparse.ArgumentParser(prog="python -m book.art",
                            description="Paint the chapter's pictures into image/.").parse_args(arguments)
    for name, paint in {**PICTURES, "dog_airplane": dog_airplane}.items():
        with whole_file(IMAGES / f"{name}.png") as temporary:
            paint().save(temporary, optimize=True)
        print(f"image/{name}.png")
    return 0
