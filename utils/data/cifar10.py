"""CIFAR-10's archive on this machine: find it, or fetch it where it is missing."""
import contextlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from utils.data.download import DownloadFailed, Patience, download, md5_of
from utils.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

ARCHIVE = "cifar-10-python.tar.gz"
OFFICIAL = "cifar-10-python-official.tar.gz"  # its name where another file has that one
MD5 = "c58f30108f718f92721af3b95e74349a"
SOURCES = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
)
CACHE_VARIABLE = "IMAGE_CLASSIFICATION_DATA"


class NotFound(UserError):
    """CIFAR-10 is not on this machine and cannot be fetched: `reasons` says why, `advice` what to do."""

    def __init__(self, reasons, advice):
        super().__init__(f"CIFAR-10 is not here ({'; '.join(reasons)}): {advice}")
        self.reasons, self.advice = reasons, advice


class Archive(NamedTuple):
    """Where the archive is, and the MD5 of its bytes."""

    path: Path
    md5: str


def cache_folders():
    """Where the archive may be, best first: the folder the user names or Paddle's own, then spare ones."""
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    name = "image_classification_data"
    spare = [Path(name)]
    with contextlib.suppress(FileNotFoundError):  # there need be no folder for temporary files
        spare.insert(0, Path(tempfile.gettempdir()) / f"{name}_{owner}")
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return [Path(os.path.expanduser(named)), *spare]
    try:
        return [Path.home() / ".cache" / "paddle" / "dataset" / "cifar", *spare]
    except RuntimeError:  # a container's user may have no home
        return spare


def named_archive(data_file):
    """The archive the user names; UserError where it cannot be read."""
    path = Path(data_file)
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            raise UserError(f"{path} {problem}: --data-file takes the path of a {ARCHIVE}")
        return Archive(path, md5_of(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; name a file you may read") from error


def cached_archive(folders, md5=MD5, say=print):
    """The first file in the folders that is the official archive, or None; any other is named and left alone."""
    for path in (folder / name for folder in folders for name in (ARCHIVE, OFFICIAL)):
        try:
            found = md5_of(path)
            if found == md5:
                return Archive(path, found)
            say(f"{path} is not the official archive (MD5 {found}): not used; to train on it, name it with --data-file")
        except FileNotFoundError:
            continue
        except OSError as error:
            say(f"cannot use {path}: {error.strerror}")
    return None


def place_for_archive(folders, say=print):
    """Where to fetch the archive to, in the first folder that can be written; NotFound where there is none."""
    reasons = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder / (OFFICIAL if (folder / ARCHIVE).exists() else ARCHIVE)
        except OSError as error:
            reasons.append(f"cannot write {folder}: {error.strerror}")
            say(reasons[-1])
    raise NotFound(reasons, f"set {CACHE_VARIABLE} to a folder with room for 170 MB")


def find(data_file=None, say=print, sources=SOURCES, md5=MD5, patience=Patience()):
    """The archive the user names, the one in the cache, or a new download, in this order.

    Errors: UserError for a named file that cannot be read, NotFound where none can be fetched.
    """
    if data_file is not None:
        return named_archive(data_file)
    folders = cache_folders()
    archive = cached_archive(folders, md5, say)
    if archive:
        return archive
    target = place_for_archive(folders, say)
    say(f"CIFAR-10 is not in the cache: fetching it (170 MB) to {target}")
    try:
        download(sources, target, md5, say, patience)
    except DownloadFailed as failure:
        advice = f"fetch {sources[0]} and name it with --data-file, or put it at {target}"
        raise NotFound(failure.reasons, advice) from failure
    return Archive(target, md5)
