"""CIFAR-10's archive on this machine: find it, or fetch it where it is missing."""
import contextlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError
from utils.storage.files import md5_of

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

ARCHIVE = "cifar-10-python.tar.gz"
OFFICIAL = "cifar-10-python-official.tar.gz"  # its name where another file has that one
MD5 = "c58f30108f718f92721af3b95e74349a"
SOURCES = ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
           "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz")
CACHE_VARIABLE = "IMAGE_CLASSIFICATION_DATA"


class Patience(NamedTuple):
    """How long to wait, in seconds: for a source to answer, for more bytes, and between attempts."""

    answer: float = 15
    stall: float = 30
    pauses: tuple[float, ...] = (1, 3, 9)


PATIENT = Patience()
HURRY = Patience(answer=4, pauses=(1, 2))  # where sketches are waiting, an absent network costs seconds


class NotFound(UserError):
    """CIFAR-10 is not on this machine and cannot be fetched: `reasons` says why, `advice` what to do."""

    def __init__(self, reasons, advice):
        super().__init__(f"CIFAR-10 is not here ({'; '.join(reasons)}): {advice}")
        self.reasons, self.advice = reasons, advice


def cache_folders():
    """Where the archive may be, best first: the folder the user names or Paddle's own, then spare ones."""
    name, owner, folders = "image_classification_data", os.getuid() if hasattr(os, "getuid") else "user", []
    with contextlib.suppress(RuntimeError):  # a container's user may have no home
        named = os.environ.get(CACHE_VARIABLE) or "~/.cache/paddle/dataset/cifar"
        folders.append(Path(named).expanduser())
    with contextlib.suppress(FileNotFoundError):  # there need be no folder for temporary files
        folders.append(Path(tempfile.gettempdir()) / f"{name}_{owner}")
    return [*folders, Path(name)]


def md5_of_named(data_file):
    """MD5 of the archive the user names; UserError where it cannot be read."""
    if not os.path.isfile(data_file):
        raise UserError(f"{data_file} does not exist, or is not a file: --data-file takes the path of a {ARCHIVE}")
    try:
        return md5_of(data_file)
    except OSError as error:
        raise UserError(f"cannot read {data_file}: {error.strerror}; name a file you may read") from error


def cached_archive(folders, md5=MD5, say=print):
    """The path of the official archive in the first folder that has it, or None; another file is left alone."""
    for path in (folder / name for folder in folders for name in (ARCHIVE, OFFICIAL)):
        try:
            found = md5_of(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            say(f"cannot use {path}: {error.strerror}")
            continue
        if found == md5:
            return path
        say(f"{path} is not the official archive (MD5 {found}): not used; to train on it, name it with --data-file")
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


def find(say=print, sources=SOURCES, md5=MD5, patience=PATIENT):
    """The path of the archive in the cache, or of a new download; NotFound where it cannot be fetched."""
    from utils.data.download import DownloadFailed, download  # what most starts can do without

    folders = cache_folders()
    path = cached_archive(folders, md5, say)
    if path is None:
        path = place_for_archive(folders)
        say(f"CIFAR-10 is not in the cache: fetching it (170 MB) to {path}")
        try:
            download(sources, path, md5, say, patience)
        except DownloadFailed as failure:
            advice = f"fetch {sources[0]} and name it with --data-file, or put it at {path}"
            raise NotFound(failure.reasons, advice) from failure
    return path
