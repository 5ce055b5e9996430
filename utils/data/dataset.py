"""Which images a run trains on: CIFAR-10, drawn sketches where it is unavailable, or a reader's own pictures."""
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data import cifar10, cifar10_archive
from utils.data.download import Patience
from utils.errors import UserError, shown

CHOICES = ("auto", "cifar10", "sketches")
SKETCHES = {"train": (10_000, 1), "test": (2_000, 2)}  # how many, and their seed
HURRY = Patience(answer=4, pauses=(1, 2))  # where sketches are waiting, an absent network costs seconds


class Dataset(NamedTuple):
    """Images to train and to test on: uint8 [N, 3, 32, 32] (RGB), labels int64 [N], from 0."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    note: str = ""
    classes: tuple[str, ...] = cifar10.CLASSES

    @property
    def arrays(self):
        """Images and labels, in this order."""
        return self[1:5]

    def description(self):
        """What a reader of a model trained on this is told."""
        return {"classes": list(self.classes), "dataset": self.name, "dataset_note": self.note}


def load(choice, data_file=None, say=print, sources=cifar10.SOURCES, md5=cifar10.MD5, are_drawn=True):
    """The data set of the user's choice ("auto", "cifar10" or "sketches").

    say: takes each line meant for the user. are_drawn: where False, sketches come without their arrays.
    Errors: UserError where "cifar10" is unavailable, and for a named file that is not CIFAR-10.
    """
    if choice not in CHOICES:
        raise ValueError(f"choice is {choice!r}, not one of {', '.join(CHOICES)}")
    if choice == "sketches":
        if data_file is not None:
            raise UserError("--data-file goes with CIFAR-10, not with --dataset sketches: omit one")
        return draw_sketches() if are_drawn else UNDRAWN
    patience = Patience() if choice == "cifar10" else HURRY
    try:
        archive = cifar10.find(data_file, say, sources, md5, patience)
    except cifar10.NotFound as absence:
        if choice == "cifar10":
            raise
        say(notice(absence))
        return draw_sketches() if are_drawn else UNDRAWN
    return read_cifar10(archive)


def read_cifar10(archive):
    """CIFAR-10 from an archive that was found, with a note where it is not the official one."""
    images = cifar10_archive.read(archive.path)
    notes = []
    if archive.md5 != cifar10.MD5:
        notes.append(f"archive MD5 {archive.md5} is not the official one")
    train, test = len(images.train_labels), len(images.test_labels)
    if (train, test) != (50_000, 10_000):
        notes.append(f"{train:,} + {test:,} images instead of 50,000 + 10,000")
    return Dataset("CIFAR-10", *images, note="; ".join(notes))


def read_folder(path, say=print, is_seen=True):
    """The pictures in a folder that holds a folder for each class; see utils/data/folder.py.

    say: takes each warning; is_seen: whether a progress bar may be shown. Errors: UserError.
    """
    from utils.data import folder  # needs Pillow, as sketches do

    *images, note, classes = folder.read(path, say, is_seen)
    name = shown(Path(path).resolve().name)[:50]  # a saved model's description takes twice as much
    return Dataset(f"the folder {name}", *images, note, classes)


UNDRAWN = Dataset("sketches", None, None, None, None)


def draw_sketches():
    """The drawn stand-in images; training and test images come from different seeds."""
    arrays = [np.empty(shape, kind) for kind, shape in kinds_of_sketches()]
    draw_part(arrays, 0, 1)
    return Dataset("sketches", *arrays)


def kinds_of_sketches():
    """(type, shape) of each of a Dataset's arrays, for sketches."""
    return [kind for count, _ in SKETCHES.values() for kind in (("|u1", (count, 3, 32, 32)), ("<i8", (count,)))]


def draw_part(arrays, rank, world):
    """Draw one of `world` parts of the sketches into arrays of their kinds, which together are what one draws alone."""
    from utils.data import sketches  # needs Pillow, which a run on CIFAR-10 does without

    for (count, seed), images, labels in zip(SKETCHES.values(), arrays[::2], arrays[1::2]):
        labels[:] = sketches.draw(count, seed, images, rank, world)[1]


def notice(absence):
    """A framed notice that nobody overlooks: these pictures are not CIFAR-10."""
    rule = "=" * 100
    return "\n".join([
        rule,
        "  CIFAR-10 IS NOT HERE: this run trains on SKETCHES, pictures that the program draws itself.",
        "  Its figures say nothing about CIFAR-10.",
        *(f"  - {reason}" for reason in absence.reasons),
        f"  For CIFAR-10: {absence.advice}.",
        rule,
    ])
