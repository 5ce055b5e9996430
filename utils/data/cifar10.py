"""What CIFAR-10 is, and where this program keeps it; archive.py finds, fetches and reads it, at the first start."""
import hashlib
import os
import tempfile
from pathlib import Path

from utils.errors import UserError
from utils.storage.files import md5_of

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

ARCHIVE = "cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
FOLDER = "cifar-10-batches-py"  # in the archive
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
FOLDER_MD5 = "3e7f702b20246354ed5e48a0be410009"  # of the official batches; see `md5_of_copy`
SOURCES = ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
           "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz")
CACHE_VARIABLE = "IMAGE_CLASSIFICATION_DATA"
PADDLES = "~/.cache/paddle/dataset/cifar"  # where Paddle keeps its copy


class NotFound(UserError):
    """CIFAR-10 is not here and cannot be fetched; is_slow: a source was reached, so a new start may resume."""

    def __init__(self, reasons, advice, is_slow=False):
        if is_slow:
            advice = f"start again to go on with the download; or {advice}; or take --dataset sketches"
        super().__init__(f"CIFAR-10 is not here ({'; '.join(reasons)}): {advice}")
        self.reasons, self.advice, self.is_slow = reasons, advice, is_slow


def cache_folders():
    """Where the archive may be, best first: the folder the user names or Paddle's own, then spare ones."""
    name, owner = "image_classification_data", os.getuid() if hasattr(os, "getuid") else "user"
    named = os.path.expanduser(os.environ.get(CACHE_VARIABLE) or PADDLES)
    spare = [Path(tempfile.gettempdir(), f"{name}_{owner}"), Path(name)]
    return spare if named.startswith("~") else [Path(named), *spare]  # ~: a user without a home, as in a container


def md5_of_copy(path):
    """MD5 of an archive; of an extracted folder, of the MD5s of its batches, or MD5 where they are the official ones.

    Errors: UserError where one cannot be read.
    """
    path = Path(path)
    try:
        found = [md5_of(file) for file in ([path / name for name in BATCHES] if path.is_dir() else [path])]
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror}; --data-file takes the path of a "
                        f"{ARCHIVE}, or of the folder {FOLDER} from it") from error
    whole = hashlib.md5("".join(found).encode(), usedforsecurity=False).hexdigest() if found[1:] else found[0]
    return MD5 if whole == FOLDER_MD5 else whole
