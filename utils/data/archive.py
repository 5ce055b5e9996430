"""CIFAR-10's archive, or the folder that was extracted from it: found on this machine or fetched, and read.

It is read with care: nothing is written, no code called.
"""
import codecs
import contextlib
import io
import os
import pickle
import posixpath
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from utils.data import cifar10
from utils.data.cifar10 import ARCHIVE, BATCHES, CLASSES, FOLDER, NotFound
from utils.data.download import download
from utils.errors import Stopped, UserError, shown

OFFICIAL = "cifar-10-python-official.tar.gz"  # the download's name where another file is called ARCHIVE
COPIES = "data", cifar10.PADDLES, "~/.keras/datasets"  # where torchvision, Paddle and Keras keep theirs
META = "batches.meta"  # where the names of the classes are, as text or bytes
LABEL_NAMES = [*CLASSES], [name.encode() for name in CLASSES]
BATCH_ROWS, ROW_BYTES = 10_000, 3 * 32 * 32


def copies(folders):
    """The archives and extracted folders in these folders, then where Paddle, Keras and torchvision keep theirs."""
    for folder in dict.fromkeys([*folders, *(Path(os.path.expanduser(each)) for each in COPIES)]):
        for pattern in ("cifar-10-*gz", FOLDER, f"*/{FOLDER}"):
            with contextlib.suppress(PermissionError):  # of another user
                yield from sorted(folder.glob(pattern))


def find(sources, md5, say=print):
    """The path of an official copy, found here or fetched; another file is named, and left alone. Errors: NotFound."""
    folders = cifar10.cache_folders()
    for path in copies(folders):
        try:
            found = cifar10.md5_of_copy(path)
        except UserError as error:
            say(str(error))
            continue
        if found == md5:
            if path.parent not in folders:
                say(f"CIFAR-10 is taken from {path}")
            return path
        say(f"{path} is not the official CIFAR-10 (MD5 {found}): not used; to train on it, name it with --data-file")
    path = place_for_archive(folders)
    say(f"CIFAR-10 is not on this machine: fetching it (170 MB) to {path}")
    download(sources, path, md5, say)
    return path


def place_for_archive(folders):
    """Where to fetch the archive to, in the first folder that can be written; NotFound where there is none."""
    reasons = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder / (OFFICIAL if (folder / ARCHIVE).exists() else ARCHIVE)
        except OSError as error:
            reasons.append(f"cannot write {folder}: {error.strerror}")
    raise NotFound(reasons, f"set {cifar10.CACHE_VARIABLE} to a folder with room for 170 MB")


def read(path):
    """All images of an archive or folder in the official layout; UserError says what is wrong with any other one.

    Returns train_images, train_labels, test_images, test_labels: uint8 [N, 3, 32, 32] (RGB) and int64 [N].
    """
    batches, where = {}, path
    try:
        for name, blob in members(path):
            where = f"{path}: {name}"
            content = BatchUnpickler(io.BytesIO(blob), encoding="bytes").load()
            if name != META:
                batches[name] = batch_of(content, where)
            elif content.get("label_names", content.get(b"label_names")) not in LABEL_NAMES:
                raise UserError(f"{where} names other classes than CIFAR-10's")
            where = path
    except (UserError, Stopped):
        raise
    except Exception as error:  # a damaged archive may raise anything at all
        reason = shown(" ".join(str(error).split()))[:120] or type(error).__name__
        raise UserError(f"{where} is damaged, or another kind of archive, not a whole {ARCHIVE} ({reason}): fetch it "
                        f"again, or unpack it and name its folder {FOLDER}") from error
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
