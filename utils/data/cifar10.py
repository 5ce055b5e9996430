"""CIFAR-10 on this machine: find the archive, fetch it where it is missing, read it without trusting it."""
import gzip
import hashlib
import io
import os
import pickle
import posixpath
import reprlib
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data.download import DownloadFailed, Patience, download
from utils.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

ARCHIVE = "cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
SOURCES = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
)
CACHE_VARIABLE = "IMAGE_CLASSIFICATION_DATA"

FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
META = "batches.meta"
BATCH_ROWS = 10_000
ROW_BYTES = 3 * 32 * 32

# The real archive unpacks to about 180 MB, or 270 MB where Python 3 pickled it. More than this is a bomb.
MOST_UNPACKED = 512 * 2**20
MOST_IN_BATCH = 128 * 2**20

SHORT = reprlib.Repr()  # what a hostile file holds, in a message of one line
SHORT.maxstring = SHORT.maxother = 80


class NotFound(UserError):
    """CIFAR-10 is neither on this machine nor within reach: reasons says why not, advice what to do."""

    def __init__(self, reasons, advice):
        super().__init__(f"CIFAR-10 is not here ({'; '.join(reasons)}): {advice}")
        self.reasons, self.advice = reasons, advice


class Archive(NamedTuple):
    """Where the archive lies, and the MD5 of its bytes."""

    path: Path
    md5: str


class Pictures(NamedTuple):
    """All pictures of an archive: images uint8 [N, 3, 32, 32] (RGB), labels int64 [N]."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


# ---------------------------------------------------------------- find

def cache_folders():
    """Where the archive may lie, best first: the folder the user names or Paddle's own, then spare ones."""
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    name = "image_classification_data"
    spare = [Path(tempfile.gettempdir()) / f"{name}_{owner}", Path(name)]
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return [Path(os.path.expanduser(named)), *spare]
    try:
        return [Path.home() / ".cache" / "paddle" / "dataset" / "cifar", *spare]
    except RuntimeError:  # a container's user without a home
        return spare


def md5_of(path):
    """MD5 of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def named_archive(data_file):
    """The archive the user names; UserError where it cannot be read."""
    path = Path(data_file)
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise UserError(f"{path} {problem}: --data-file takes the path of a {ARCHIVE}")
    try:
        return Archive(path, md5_of(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; name a file you may read") from error


def cached_archive(folders, md5=MD5, say=print):
    """The first whole archive in the folders, or None; one with another MD5 is deleted."""
    for folder in folders:
        path = folder / ARCHIVE
        try:
            found = md5_of(path)
            if found == md5:
                return Archive(path, found)
            say(f"{path} is not the official archive (MD5 {found}): deleted; --data-file takes any other")
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            say(f"cannot use {path}: {error.strerror}")
    return None


def writable_folder(folders, say=print):
    """The first folder that can be written, made where it is missing; NotFound where there is none."""
    reasons = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            reasons.append(f"cannot write {folder}: {error.strerror}")
            say(reasons[-1])
    raise NotFound(reasons, f"set {CACHE_VARIABLE} to a folder with room for 170 MB")


def find(data_file=None, say=print, sources=SOURCES, md5=MD5, patience=Patience()):
    """The archive the user names, the one in the cache, or a fresh download, in this order.

    Errors: UserError for a named file that cannot be read, NotFound where there is no archive to be had.
    """
    if data_file is not None:
        return named_archive(data_file)
    folders = cache_folders()
    found = cached_archive(folders, md5, say)
    if found:
        return found
    target = writable_folder(folders, say) / ARCHIVE
    say(f"CIFAR-10 is not in the cache: fetching it (170 MB) to {target}")
    try:
        download(sources, target, md5, say, patience)
    except DownloadFailed as failure:
        advice = f"fetch {sources[0]} and name it with --data-file, or put it at {target}"
        raise NotFound(failure.reasons, advice) from failure
    return Archive(target, md5)


# ---------------------------------------------------------------- read

class PickledArray:
    """Stands for a numpy array while a batch is unpickled: it keeps the array's state and runs nothing."""

    def __init__(self, *arguments):
        self.state = None

    def __setstate__(self, state):
        self.state = state


class PickledDtype:
    """Stands for a numpy dtype while a batch is unpickled."""

    def __init__(self, name, *arguments):
        self.name = name

    def __setstate__(self, state):
        """Byte order and alignment say nothing about single bytes."""


def pickled_bytes(text, encoding):
    """Stands for _codecs.encode, by which Python 3 writes bytes in protocol 2."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


class BatchUnpickler(pickle.Unpickler):
    """Unpickles what a CIFAR batch holds; every other name is refused, and none is imported."""

    STAND_INS = {
        "numpy.core.multiarray._reconstruct": PickledArray,
        "numpy._core.multiarray._reconstruct": PickledArray,  # as numpy 2 writes it
        "numpy.ndarray": PickledArray,
        "numpy.dtype": PickledDtype,
        "_codecs.encode": pickled_bytes,
    }

    def find_class(self, module, name):
        try:
            return self.STAND_INS[f"{module}.{name}"]
        except KeyError:
            asked = SHORT.repr(f"{module}.{name}")
            raise pickle.UnpicklingError(f"it asks for {asked}, which no batch needs") from None


class BoundedReader:
    """A stream that stops giving once it has given too much."""

    def __init__(self, stream, most):
        self.stream = stream
        self.left = most

    def read(self, size):
        block = self.stream.read(min(size, self.left + 1))
        self.left -= len(block)
        if self.left < 0:
            raise tarfile.ReadError(f"it unpacks to more than {MOST_UNPACKED // 2**20} MB")
        return block


def unpickle(blob, where):
    """The dict in a pickled batch, its keys as str; UserError where it is anything else."""
    try:
        content = BatchUnpickler(io.BytesIO(blob), encoding="bytes").load()
    except Exception as error:  # a damaged pickle may raise anything at all
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where} is not a pickled CIFAR-10 batch: {reason}") from error
    if not isinstance(content, dict):
        raise UserError(f"{where} is not a pickled CIFAR-10 batch: it holds no dict")
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}


def batch_pixels(array, where):
    """The pixels of a batch, uint8 [rows, 3072], without a copy; UserError where they are anything else."""
    state = getattr(array, "state", None)
    if not isinstance(state, tuple) or len(state) != 5:
        raise UserError(f"{where} has no array of pixels under 'data'")
    _, shape, dtype, fortran_order, raw = state
    kind = getattr(dtype, "name", None)
    if kind not in ("u1", b"u1") or fortran_order or not isinstance(raw, bytes):
        raise UserError(f"{where} has pixels of type {SHORT.repr(kind)}; CIFAR-10 has 'u1' (uint8)")
    rows = len(raw) // ROW_BYTES
    if shape != (rows, ROW_BYTES) or len(raw) != rows * ROW_BYTES or not 1 <= rows <= BATCH_ROWS:
        raise UserError(f"{where} has pixels of shape {SHORT.repr(shape)}, not ({BATCH_ROWS}, {ROW_BYTES})")
    return np.frombuffer(raw, np.uint8).reshape(rows, ROW_BYTES)


def batch_labels(labels, rows, where):
    """The labels of a batch, int64 [rows]; UserError where they are anything else."""
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise UserError(f"{where} has no list of whole numbers under 'labels'")
    if len(labels) != rows:
        raise UserError(f"{where} has {len(labels)} labels for {rows} pictures")
    if min(labels) < 0 or max(labels) >= len(CLASSES):
        wrong = next(label for label in labels if not 0 <= label < len(CLASSES))
        raise UserError(f"{where} has a label {SHORT.repr(wrong)}; CIFAR-10 has 0 to {len(CLASSES) - 1}")
    return np.array(labels, np.int64)


def check_classes(content, where):
    """UserError where the archive's class names are not CIFAR-10's, in its order."""
    names = content.get("label_names")
    if names not in (list(CLASSES), [name.encode() for name in CLASSES]):
        raise UserError(f"{where} names other classes than CIFAR-10's: {SHORT.repr(names)}")


def members(path):
    """Yield (name, bytes) of the CIFAR-10 files in the archive, in one pass; nothing is written to the disk.

    A name outside of cifar-10-batches-py is passed over, wherever it points. The end is read too:
    gzip's check sum stands there.
    """
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAIN_BATCHES, TEST_BATCH, META)}
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = BoundedReader(gzip.GzipFile(fileobj=raw) if zipped else raw, MOST_UNPACKED)
        with tarfile.open(fileobj=stream, mode="r|", bufsize=2**20) as archive:
            for member in archive:
                name = wanted.pop(posixpath.normpath(member.name), None)
                if name is None or not member.isreg():
                    continue
                if member.size > MOST_IN_BATCH:
                    raise tarfile.ReadError(f"{name} is larger than {MOST_IN_BATCH // 2**20} MB")
                yield name, archive.extractfile(member).read()
        while stream.read(2**20):
            continue


def read(path):
    """All pictures of an archive in the official layout; UserError says what is wrong with any other file."""
    slots = np.empty((len(TRAIN_BATCHES) + 1, BATCH_ROWS, ROW_BYTES), np.uint8)  # filled in place, not copied
    labels = {}
    try:
        for name, blob in members(path):
            where = f"{path}: {name}"
            content = unpickle(blob, where)
            if name == META:
                check_classes(content, where)
                continue
            pixels = batch_pixels(content.get("data"), where)
            labels[name] = batch_labels(content.get("labels"), len(pixels), where)
            slots[(*TRAIN_BATCHES, TEST_BATCH).index(name), :len(pixels)] = pixels
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, MemoryError) as error:
        raise UserError(f"{path} is not a whole {ARCHIVE} ({error}): fetch it again") from error
    missing = [name for name in (*TRAIN_BATCHES, TEST_BATCH) if name not in labels]
    if missing:
        raise UserError(f"{path} is not a whole {ARCHIVE}: {FOLDER}/{missing[0]} is missing")
    return assemble(slots, labels)


def assemble(slots, labels):
    """Pictures from the filled slots [6, 10000, 3072]: a view of full batches, a copy of smaller ones."""
    parts = [slots[number, :len(labels[name])] for number, name in enumerate(TRAIN_BATCHES)]
    full = all(len(part) == BATCH_ROWS for part in parts)
    train = slots[:-1] if full else np.concatenate(parts)
    test = slots[-1, :len(labels[TEST_BATCH])]
    return Pictures(
        train.reshape(-1, 3, 32, 32), np.concatenate([labels[name] for name in TRAIN_BATCHES]),
        test.reshape(-1, 3, 32, 32), labels[TEST_BATCH],
    )
