"""Folders of small pictures in class folders, whose names tell by hand which are held out to test on."""
from PIL import Image

# Those that `printf NAME | sha256sum` begins below 33333333 for, a fifth of all beginnings; 2.png has 33761a26.
HELD_OUT = ["0.png", "6.png", "7.png", "8.png", "é.png"]
NAMES = sorted([*(f"{number}.png" for number in range(10)), "a.png", "b.png", "c.png", "d.png", "e.png", "x.png",
                "y.png", "é.png"])


def picture(path, shade, size=(8, 8)):
    """Write a picture of one color, which the shade, up to 2 ** 24, tells from others; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade >> 16, shade >> 8 & 255, shade & 255)).save(path)
    return path


def write_classes(root, **classes):
    """A folder with class folders; classes: the names of the pictures of each."""
    shades = iter(range(0, 2 ** 24, 20_011))
    for name, pictures in classes.items():
        (root / name).mkdir(parents=True)
        for each in pictures:
            picture(root / name / each, next(shades))
    return root
