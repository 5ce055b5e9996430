"""Which images a run trains on: CIFAR-10, drawn sketches where it is unavailable, or a reader's own pictures."""
import hashlib
import zlib  # before Paddle: see utils/flags.py
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data import cache, cifar10, cifar10_archive
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
    choice: str = "auto"  # of CHOICES: what a resumed run has to take
    md5: str = ""  # of CIFAR-10's archive

    @property
    def fingerprint(self):
        """A number that differs when the training images or labels do: CRC-32, 0.1 s for 150 MB."""
        return zlib.crc32(self.train_labels, zlib.crc32(self.train_images))

    def description(self):
        """What the description of a model trained on this says about it."""
        return {"classes": list(self.classes), "dataset": self.name, "dataset_note": self.note}


def load(settings, workers):
    """The images of a run, the same for all workers; on each machine one of them fills the cache for the others.

    settings: dataset, data_file, data_dir. workers: rank, is_first_here, log, broadcast, barrier.
    Errors: UserError where they are unavailable, or differ from those of rank 0.
    """
    def read_here(choice, md5):
        if settings.data_dir:
            return read_folder(settings.data_dir, workers.log, workers.rank == 0)._replace(choice=choice)
        return read(choice, settings.data_file, workers.log, archive_md5=md5)

    data = read_here(settings.dataset, None) if workers.rank == 0 else None
    choice, md5, fingerprint = workers.broadcast([data.choice, data.md5, data.fingerprint] if data else None)
    if data is None and workers.is_first_here:
        data = read_here(choice, md5)
    workers.barrier()
    data = data or read_here(choice, md5)
    if data.fingerprint != fingerprint:
        raise UserError(f"worker {workers.rank} has other images than rank 0: give both machines the same files")
    workers.barrier()  # reading many pictures takes minutes, and not equally long everywhere
    return data


def read(choice, data_file=None, say=print, sources=cifar10.SOURCES, md5=cifar10.MD5, archive_md5=None):
    """The data set of the user's choice ("auto", "cifar10" or "sketches"), for this process alone.

    say: takes each line meant for the user. md5: the official archive's; archive_md5: of the archive that another
    process has read, whose pictures may be in the cache.
    Errors: UserError where "cifar10" is unavailable, and for a named file that is not CIFAR-10.
    """
    if choice not in CHOICES:
        raise ValueError(f"choice is {choice!r}, not one of {', '.join(CHOICES)}")
    if choice == "sketches":
        if data_file is not None:
            raise UserError("--data-file goes with CIFAR-10, not with --dataset sketches: omit one")
        return draw_sketches(say)
    found = archive_md5 or (md5 if data_file is None else None)
    arrays = cache.read(f"cifar10-{found}")
    if arrays is None:
        try:
            archive = cifar10.find(data_file, say, sources, md5, Patience() if choice == "cifar10" else HURRY)
        except cifar10.NotFound as absence:
            if choice == "cifar10":
                raise
            say(notice(absence))
            return draw_sketches(say)
        found = archive.md5
        arrays = cache.pictures(f"cifar10-{found}", lambda: cifar10_archive.read(archive.path), say)
    return Dataset("CIFAR-10", *arrays, cifar10_note(arrays, found), choice="cifar10", md5=found)


def cifar10_note(arrays, md5):
    """What is unusual about these pictures of CIFAR-10; "" for the official ones."""
    notes = [] if md5 == cifar10.MD5 else [f"archive MD5 {md5} is not the official one"]
    _, train, _, test = map(len, arrays)
    if (train, test) != (50_000, 10_000):
        notes.append(f"{train:,} + {test:,} images instead of 50,000 + 10,000")
    return "; ".join(notes)


def read_folder(path, say=print, is_seen=True):
    """The pictures in a folder that holds a folder for each class; see utils/data/folder.py.

    say: takes each warning; is_seen: whether a progress bar may be shown. Errors: UserError.
    """
    from utils.data import folder  # needs Pillow, as sketches do

    *images, note, classes = folder.read(path, say, is_seen)
    name = shown(Path(path).resolve().name)[:50]  # a saved model's description takes twice as much
    return Dataset(f"the folder {name}", *images, note, classes)


def draw_sketches(say=print):
    """The images that this program draws; those to train and to test on come from different seeds."""
    def make():
        from utils.data import sketches  # needs Pillow, which a run on CIFAR-10 does without

        (train, train_labels), (test, test_labels) = sketches.draw_sets(list(SKETCHES.values()))
        return train, train_labels, test, test_labels

    source = Path(__file__).with_name("sketches.py").read_bytes()
    code = hashlib.sha256(source + repr(SKETCHES).encode()).hexdigest()[:16]
    return Dataset("sketches", *cache.pictures(f"sketches-{code}", make, say), choice="sketches")


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
