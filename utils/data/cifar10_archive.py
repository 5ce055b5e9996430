"""CIFAR-10's archive, or the folder in it, read with care: nothing is written, no code called, no memory filled."""
import codecs
import gzip
import io
import os
import pickle
import posixpath
import tarfile
import zlib  # noqa: F401  before Paddle: see utils/flags.py
from pathlib import Path

import numpy as np

from utils.data.cifar10 import ARCHIVE, BATCHES, CLASSES, FOLDER
from utils.errors import Stopped, UserError, shown

META = "batches.meta"
BATCH_ROWS, ROW_BYTES = 10_000, 3 * 32 * 32
# A real batch has 31 MB, or up to 62 MB as Python 3 pickles it; the whole archive has up to 370 MB.
MAX_UNPACKED = 512 * 2**20
MAX_MEMBER = 64 * 2**20
MAX_HEADERS = 2**20


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
        raise UserError(f"{where} is damaged, or another kind of archive, not a whole {ARCHIVE} ({reason}): fetch it "
                        f"again, or unpack it and name its folder {FOLDER}") from error
    missing = [name for name in BATCHES if name not in batches]
    if missing:
        raise UserError(f"{path} is not a whole {ARCHIVE}: {FOLDER}/{missing[0]} is missing")
    images, labels = (np.concatenate(parts) for parts in zip(*(batches[name] for name in BATCHES[:-1])))
    return images, labels, *batches[BATCHES[-1]]


class Headers:
    """The archive as tarfile sees it, which reads headers alone and seeks over the rest."""

    def __init__(self, stream):
        self.stream, self.tell, self.left = stream, stream.tell, MAX_HEADERS

    def seek(self, position):
        """Skip what is between two headers."""
        if position > MAX_UNPACKED:
            raise tarfile.ReadError(f"it unpacks to more than {MAX_UNPACKED // 2**20} MB")
        return self.stream.seek(position)

    def read(self, size):
        """Read a header, or what extends one: tarfile would keep an extension of any size in memory."""
        self.left -= size
        if size < 0 or self.left < 0:
            raise tarfile.ReadError("its headers are too long")
        return self.stream.read(size)


def members(path):
    """Yield (name, bytes) of the CIFAR-10 files in the archive or folder; one outside of FOLDER is skipped."""
    wanted = {f"{FOLDER}/{name}": name for name in (*BATCHES, META)}
    if os.path.isdir(path):
        for file in filter(Path.is_file, (Path(path) / name for name in wanted.values())):
            check_size(file.stat().st_size)
            yield file.name, file.read_bytes()
        return
    with open(path, "rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if is_zipped else file
        for member in tarfile.TarFile(fileobj=Headers(stream)):
            check_size(member.size)
            name = wanted.pop(posixpath.normpath(member.name), None) if member.isreg() else None
            if name is not None:
                stream.seek(member.offset_data)
                blob = stream.read(member.size)
                if len(blob) < member.size:
                    raise tarfile.ReadError("unexpected end of data")
                yield name, blob
        while stream.read(2**20):  # up to the end, where gzip has its checksum
            Headers(stream).seek(stream.tell())


def check_size(size):
    """ReadError where a file is too large for a batch."""
    if not 0 <= size <= MAX_MEMBER:
        raise tarfile.ReadError(f"a file in it is larger than {MAX_MEMBER // 2**20} MB")


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
    if type(pixels) is not np.ndarray or pixels.dtype != np.uint8:
        raise UserError(f"{where} has no array of bytes (uint8) under 'data'")
    if pixels.shape[1:] != (ROW_BYTES,) or not 1 <= len(pixels) <= BATCH_ROWS:
        raise UserError(f"{where} has pixels of shape {pixels.shape}, not ({BATCH_ROWS}, {ROW_BYTES})")
    if type(labels) is not list or any(type(label) is not int for label in labels) or len(labels) != len(pixels):
        raise UserError(f"{where} has no list of {len(pixels)} whole numbers, one an image, under 'labels'")
    if not all(0 <= label < len(CLASSES) for label in labels):
        raise UserError(f"{where} has a label outside of 0 to {len(CLASSES) - 1}, which CIFAR-10 has")
    return np.ascontiguousarray(pixels).reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def check_classes(content, where):
    """UserError where the archive's class names are not CIFAR-10's, in its order."""
    names = content.get("label_names", content.get(b"label_names"))
    if names not in (list(CLASSES), [name.encode() for name in CLASSES]):
        raise UserError(f"{where} names other classes than CIFAR-10's")
