"""Which images a run trains on: CIFAR-10, drawn sketches where it is unavailable, or a reader's own pictures."""
import hashlib
import zlib  # before Paddle: see utils/flags.py
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data import cache, cifar10
from utils.errors import UserError, shown

SKETCHES = {"train": (10_000, 1), "test": (2_000, 2)}  # how many, and their seed


class Dataset(NamedTuple):
    """Images to train and to test on: uint8 [N, 3, 32, 32] (RGB), labels int64 [N], from 0."""
    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    note: str = ""
    classes: tuple[str, ...] = cifar10.CLASSES
    choice: str = "auto"  # auto, cifar10 or sketches: what a resumed run has to take

    @property
    def fingerprint(self):
        """A number that differs when an image, a label or a class does; 0.1 s for 180 MB.

        Below 2**32 the CRC of what is trained on, above it that of the test and the classes.
        """
        crc = zlib.crc32(self.test_labels, zlib.crc32(self.test_images))
        crc = zlib.crc32(repr(self.classes).encode(), crc)
        return crc << 32 | zlib.crc32(self.train_labels, zlib.crc32(self.train_images))

    def description(self):
        """What the description of a model trained on this says about it."""
        return {"classes": list(self.classes), "dataset": self.name, "dataset_note": self.note}


def load(settings, workers):
    """The images of a run, the same for all workers; on each machine one of them fills the cache for the others.

    settings: dataset, data_file, data_dir. workers: rank, is_first_here, log, broadcast, barrier.
    Errors: UserError where they are unavailable, or differ from those of rank 0.
    """
    def read_here(choice):
        if settings.data_dir:
            return read_folder(settings.data_dir, workers.log, workers.rank == 0)
        return read(choice, settings.data_file, workers.log)

    data = read_here(settings.dataset) if workers.rank == 0 else None
    choice, fingerprint = workers.broadcast([data.choice, data.fingerprint] if data else None)
    if data is None and workers.is_first_here:
        data = read_here(choice)
    workers.barrier()
    data = data or read_here(choice)
    if workers.rank and data.fingerprint != fingerprint:  # rank 0 has just counted its own
        raise UserError(f"worker {workers.rank} has other images than rank 0: give both machines the same files")
    workers.barrier()  # reading many pictures takes minutes, and not equally long everywhere
    return data


def read(choice, data_file=None, say=print, sources=cifar10.SOURCES, md5=cifar10.MD5):
    """The data set of the user's choice (auto, cifar10, sketches); say: takes each line meant for the user.

    Errors: UserError where "cifar10" is unavailable, and for a named file that is not CIFAR-10.
    """
    if choice == "sketches":
        if data_file is not None:
            raise UserError("--data-file goes with CIFAR-10, not with --dataset sketches: omit one")
        return draw_sketches(say)

    def make():
        from utils.data import archive  # what every later start does without

        return archive.read(data_file or archive.find(sources, md5, say))

    found = md5 if data_file is None else cifar10.md5_of_copy(data_file)
    try:
        arrays = cached(f"cifar10-{found}", make, say)
    except cifar10.NotFound as absence:
        if choice == "cifar10" or absence.is_slow:
            raise
        say("\n".join([
            "=" * 100,
            "  CIFAR-10 IS NOT HERE: this run trains on SKETCHES, pictures that the program draws itself.",
            "  Its figures say nothing about CIFAR-10.",
            *(f"  - {reason}" for reason in absence.reasons),
            f"  For CIFAR-10: {absence.advice}.",
            "=" * 100]))
        return draw_sketches(say)
    data = Dataset("CIFAR-10", *arrays, choice="cifar10")
    notes = [] if found == cifar10.MD5 else [f"not the official archive: images {data.fingerprint:016x}"]
    train, test = len(data.train_labels), len(data.test_labels)
    if (train, test) != (50_000, 10_000):
        notes.append(f"{train:,} + {test:,} images instead of 50,000 + 10,000")
    return data._replace(note="; ".join(notes))


def read_folder(path, say=print, is_seen=True, is_split=True):
    """The pictures in a folder that holds a folder for each class; see folder.read."""
    from utils.data import folder  # needs Pillow, as sketches do

    *images, note, classes = folder.read(path, say, is_seen, is_split)
    return Dataset(name_of(path), *images, note, classes)


def name_of(folder):
    """What a folder of pictures is called as a data set."""
    return f"the folder {shown(Path(folder).resolve().name)[:50]}"  # a saved model's description takes twice as much


def draw_sketches(say=print):
    """The images that this program draws; those to train and to test on come from different seeds."""
    def make():
        from utils.data import sketches  # needs Pillow, which a run on CIFAR-10 does without

        return *sketches.draw(*SKETCHES["train"]), *sketches.draw(*SKETCHES["test"])

    source = Path(__file__).with_name("sketches.py").read_bytes()
    code = hashlib.sha256(source + repr(SKETCHES).encode()).hexdigest()[:16]
    return Dataset("sketches", *cached(f"sketches-{code}", make, say), choice="sketches")


def cached(name, make, say):
    """The four arrays of this name from the cache; they are made, and kept there, where it has none."""
    fields = Dataset._fields[1:5]
    arrays = cache.load(name, fields)
    if arrays is None:
        arrays = make()
        kinds = [(field, array.dtype, array.shape) for field, array in zip(fields, arrays)]
        cache.keep(name, np.array([(*arrays,)], kinds), say)
        arrays = cache.load(name, fields) or arrays
    return arrays
