"""One picture for each of CIFAR-10's ten classes, painted by this program: `python image/draw.py` makes them again."""
from pathlib import Path

from image.brush import Canvas, curve, limb, oval

LAWN = ((96, 138, 58), (74, 118, 46), (120, 155, 72), (60, 98, 42), (140, 165, 90))


def meadow(canvas, horizon=34, far=((150, 180, 200), (70, 100, 66)), colours=LAWN, tall=6.0):
    """Trees out of focus, and a lawn in front of them."""
    sky, trees = far
    canvas.backdrop([(0, sky), (horizon * 0.5, trees), (horizon, trees), (horizon + 3, colours[0]), (100, colours[1])],
                    cloud=tuple(c * 0.7 for c in trees), clouds=0.9, grain=16, soft=1.6)
    canvas.grass(horizon, 104, colours, tall)


def eye(canvas, x, y, size, iris=(62, 38, 22)):
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
    head = curve([(50, 9), (60, 11), (67, 20), (66, 34), (60, 43), (50, 47), (40, 43), (34, 34), (33, 20), (40, 11)])
    blaze = curve([(50, 8), (52.5, 18), (55, 30), (60, 42), (50, 49), (40, 42), (45, 30), (47.5, 18)])
    canvas.part(head, coat, marks=[(blaze, white, 1.0)], fur=(1.8, 100, 1.0))
    for side in (-1, 1):
        flap = [(13, 12), (19, 15), (23, 26), (24, 38), (20, 45), (15, 41), (13, 31), (12, 20)]
        canvas.part(curve([(50 + side * x, y) for x, y in flap]), ear, fur=(2.2, 90, 1.0))
        eye(canvas, 50 + side * 8, 25, 2.3)
        canvas.flat(oval(50 + side * 8, 20.4, 3, 1, side * 12), (215, 165, 110), 0.5, 0.5)
    canvas.part(curve([(47, 45), (53, 45), (53.5, 51), (50, 55), (46.5, 51)]), (214, 104, 112), gloss=0.15)
    canvas.part(curve([(50, 30), (57, 34), (60, 40), (56, 46), (50, 45), (44, 46), (40, 40), (43, 34)]), white,
                fur=(1.1, 90, 1.0))
    canvas.part(curve([(50, 30), (54.5, 31), (54, 34.5), (50, 37), (46, 34.5), (45.5, 31)]), (34, 28, 28), gloss=0.5)
    canvas.line([(44, 44), (47.5, 44.5), (50, 42), (52.5, 44.5), (56, 44)], (70, 45, 40), 0.8)
    canvas.line([(50, 37), (50, 42)], (90, 60, 52), 0.7)
    return canvas.finish()


PICTURES = {"dog": dog}


def draw_all(folder):
    """Paint every picture anew into `folder`, as <class>.png; returns the paths."""
    paths = []
    for name, paint in PICTURES.items():
        path = Path(folder) / f"{name}.png"
        paint().save(path, optimize=True)
        paths.append(path)
    return paths
