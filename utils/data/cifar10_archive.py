"""CIFAR-10's archive, or the folder in it, read with care: nothing is written, no code called."""
import codecs
import io
import os
import pickle
import posixpath
import tarfile
from pathlib import Path

import numpy as np

from utils.data.cifar10 import ARCHIVE, BATCHES, CLASSES, FOLDER
from utils.errors import Stopped, UserError, shown

META = "batches.meta"
BATCH_ROWS, ROW_BYTES = 10_000, 3 * 32 * 32


def read(path):
    """All images of an archive or folder in the official layout; UserError says what is wrong with any other one.

    Returns train_images, train_labels, test_images, test_labels: uint8 [N, 3, 32, 32] (RGB) and int64 [N].
    """
    batches, where = {}, path
    try:
        for name, blob in members(path):
            where = f"{path}: {name}"
            content = BatchUnpickler(io.BytesIO(blob), encoding="bytes").load()
            batches[name] = check_classes(content, where) if name == META else batch_of(content, where)
            where = path
    except (UserError, Stopped):
        raise
    except Exception as error:  # a damaged archive may raise anything at all
        reason = shown(" ".join(str(error).split()))[:200] or type(error).__name__
        raise UserError(f"{where} is damaged, not a whole {ARCHIVE} ({reason}): fetch it again") from error
    missing = [name for name in BATCHES if name not in batches]
    if missing:
        raise UserError(f"{path} is not a whole {ARCHIVE}: {FOLDER}/{missing[0]} is missing")
    images, labels = (np.concatenate(parts) for parts in zip(*(batches[name] for name in BATCHES[:-1])))
    return images, labels, *batches[BATCHES[-1]]


def members(path):
    """Yield (name, bytes) of the CIFAR-10 files in the archive or folder; one outside of FOLDER is skipped."""
    wanted = {f"{FOLDER}/{name}": name for name in (*BATCHES, META)}
    if os.path.isdir(path):
        for file in filter(Path.is_file, (Path(path) / name for name in wanted.values())):
            yield file.name, file.read_bytes()
        return
    with tarfile.open(path) as archive:
        for member in archive:
            name = wanted.pop(posixpath.normpath(member.name), None) if member.isreg() else None
            if name is not None:
                yield name, archive.extractfile(member).read()
        while archive.fileobj.read(2**20):
            pass  # up to the end, where gzip has its checksum


class BatchUnpickler(pickle.Unpickler):
    """Unpickles what is in a batch of Python 2 or 3, numpy 1 or 2; any other name is refused, and not imported."""

    NAMES = {
        "numpy.core.multiarray._reconstruct": np.empty(0).__reduce__()[0],
        "numpy._core.multiarray._reconstruct": np.empty(0).__reduce__()[0],  # as numpy 2 writes it
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "_codecs.encode": codecs.encode,  # by which Python 3 writes bytes in protocol 2
    }

    def find_class(self, module, name):
        if f"{module}.{name}" not in self.NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return self.NAMES[f"{module}.{name}"]


def batch_of(content, where):
    """A batch's images uint8 [n, 3, 32, 32] and labels int64 [n]; UserError where it has anything else."""
    pixels, labels = (content.get(key, content.get(key.encode())) for key in ("data", "labels"))
    if (getattr(pixels, "dtype", None) != np.uint8 or pixels.shape[1:] != (ROW_BYTES,)
            or not 1 <= len(pixels) <= BATCH_ROWS):
        raise UserError(f"{where} has no bytes (uint8) of shape ({BATCH_ROWS}, {ROW_BYTES}) under 'data'")
    if (type(labels) is not list or len(labels) != len(pixels)
            or not all(type(label) is int and 0 <= label < len(CLASSES) for label in labels)):
        raise UserError(f"{where} has no list of {len(pixels)} whole numbers from 0 to 9 under 'labels'")
    return np.ascontiguousarray(pixels).reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def check_classes(content, where):
    """UserError where the archive's class names are not CIFAR-10's, in its order."""
    names = content.get("label_names", content.get(b"label_names"))
    if names not in (list(CLASSES), [name.encode() for name in CLASSES]):
        raise UserError(f"{where} names other classes than CIFAR-10's")
