"""CIFAR-10 on this machine: its archive, or the folder that was extracted from it; fetched where it is missing.

It is read with care: nothing is written, no code called.
"""
import codecs
import contextlib
import errno
import hashlib
import io
import os
import pickle
import posixpath
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from utils.errors import Stopped, UserError, shown
from utils.storage.files import md5_of

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

ARCHIVE = "cifar-10-python.tar.gz"
OFFICIAL = "cifar-10-python-official.tar.gz"  # its name where another file has that one
MD5 = "c58f30108f718f92721af3b95e74349a"
FOLDER = "cifar-10-batches-py"  # in the archive
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
META = "batches.meta"
BATCH_ROWS, ROW_BYTES = 10_000, 3 * 32 * 32
FOLDER_MD5 = "3e7f702b20246354ed5e48a0be410009"  # of the official batches; see `md5_of_copy`
SOURCES = ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
           "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz")
CACHE_VARIABLE = "IMAGE_CLASSIFICATION_DATA"
PADDLES, KERAS, TORCHVISION = "~/.cache/paddle/dataset/cifar", "~/.keras/datasets", "data"  # where they keep a copy


class NotFound(UserError):
    """CIFAR-10 is not on this machine and cannot be fetched: `reasons` says why, `advice` what to do.

    is_slow: whether a source was reached, and another start may go on with the download.
    """

    def __init__(self, reasons, advice, is_slow=False):
        super().__init__(f"CIFAR-10 is not here ({'; '.join(reasons)}): {advice}")
        self.reasons, self.advice, self.is_slow = reasons, advice, is_slow


def cache_folders():
    """Where the archive may be, best first: the folder the user names or Paddle's own, then spare ones."""
    name, owner = "image_classification_data", os.getuid() if hasattr(os, "getuid") else "user"
    named = os.path.expanduser(os.environ.get(CACHE_VARIABLE) or PADDLES)
    spare = [Path(tempfile.gettempdir(), f"{name}_{owner}"), Path(name)]
    return spare if named.startswith("~") else [Path(named), *spare]  # ~: a user without a home, as in a container


def copies(folders):
    """The archives and extracted folders in these folders, then where Paddle, Keras and torchvision keep theirs."""
    others = [Path(os.path.expanduser(each)) for each in (TORCHVISION, PADDLES, KERAS)]
    for folder in dict.fromkeys([*folders, *others]):
        for pattern in ("cifar-10-*gz", FOLDER, f"*/{FOLDER}"):
            with contextlib.suppress(PermissionError):  # of another user
                yield from sorted(folder.glob(pattern))


def md5_of_copy(path):
    """MD5 of an archive; of an extracted folder, of the MD5s of its batches, or MD5 where they are the official ones.

    Errors: OSError where one cannot be read.
    """
    files = [path / name for name in BATCHES] if path.is_dir() else [path]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(errno.ENOENT, "it does not exist, or is not a file", str(file))
    found = [md5_of(file) for file in files]
    whole = hashlib.md5("".join(found).encode(), usedforsecurity=False).hexdigest() if found[1:] else found[0]
    return MD5 if whole == FOLDER_MD5 else whole


def md5_of_named(data_file):
    """`md5_of_copy` of what the user names; UserError where it cannot be read."""
    try:
        return md5_of_copy(Path(data_file))
    except OSError as error:
        raise UserError(f"cannot read {error.filename or data_file}: {error.strerror}; --data-file takes the path of "
                        f"a {ARCHIVE}, or of the folder {FOLDER} from it") from error


def official_copy(folders, md5=MD5, say=print):
    """The path of the first official copy, or None; another file is named, and left alone."""
    for path in copies(folders):
        try:
            found = md5_of_copy(path)
        except OSError as error:
            say(f"cannot use {error.filename or path}: {error.strerror}")
            continue
        if found == md5:
            if path.parent not in folders:
                say(f"CIFAR-10 is taken from {path}")
            return path
        say(f"{path} is not the official CIFAR-10 (MD5 {found}): not used; to train on it, name it with --data-file")
    return None


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
    raise NotFound(reasons, f"set {CACHE_VARIABLE} to a folder with room for 170 MB")


def find(say=print, sources=SOURCES, md5=MD5):
    """The path of a copy on this machine, or of a new download; NotFound where it cannot be fetched."""
    from utils.data.download import DownloadFailed, download  # what most starts can do without

    folders = cache_folders()
    path = official_copy(folders, md5, say)
    if path is None:
        path = place_for_archive(folders)
        say(f"CIFAR-10 is not on this machine: fetching it (170 MB) to {path}")
        try:
            download(sources, path, md5, say)
        except DownloadFailed as failure:
            advice = f"fetch {sources[0]} and name it with --data-file, or put it at {path}"
            if failure.is_slow:
                advice = f"start again to go on with the download; or {advice}; or take --dataset sketches"
            raise NotFound(failure.reasons, advice, failure.is_slow) from failure
    return path


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


def check_classes(content, where):
    """UserError where the archive's class names are not CIFAR-10's, in its order."""
    names = content.get("label_names", content.get(b"label_names"))
    if names not in (list(CLASSES), [name.encode() for name in CLASSES]):
        raise UserError(f"{where} names other classes than CIFAR-10's")
