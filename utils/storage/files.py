"""Files that are written whole or not at all, and folders that one run holds at a time."""
import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from utils.errors import UserError

LOCKED_BYTE = 2**31 - 2  # on Windows a locked byte cannot be read: one beyond the end of any file that is locked here


@contextlib.contextmanager
def whole_file(path):
    """Give a temporary path beside `path`; what is written there takes its place at once when the block ends well.

    A block that fails, or a process that is killed inside it, leaves the file that was there before.
    Errors: UserError where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial" + path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _flush(temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are the owner's alone
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; what was there before is kept") from error
    finally:
        if temporary is not None and temporary.exists():
            temporary.unlink()


def _flush(path):
    """Ask the system to bring a file, or a folder's list of names, to the disk before going on."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask():
    """The permissions that new files leave out; the system tells them only by setting them."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


class FolderLock:
    """Holds a folder for one run: `with FolderLock(folder): ...`; the system releases it when the process ends.

    Errors: UserError that names the process which holds the folder, or says why the folder cannot be used.
    """

    def __init__(self, folder):
        self.path = Path(folder) / ".run.lock"
        self.file = None

    def __enter__(self):
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "a+b", buffering=0)
            if lock(self.file):
                remove_partial(folder)
                self.file.truncate(0)
                self.file.write(f"process {os.getpid()}\n".encode())
                return self
            self.file.seek(0)
            holder = self.file.read().decode(errors="replace").strip() or "another process"
        except OSError as error:
            raise UserError(f"cannot use the folder {folder}: {error.strerror or error}; "
                            "choose another with --model-dir") from error
        self.file.close()
        raise UserError(f"{folder} is in use by {holder}: wait for it, or choose another --model-dir")

    def __exit__(self, *_):
        self.file.truncate(0)  # the file stays: a run that removed it would take it from under the next one's lock
        self.file.close()


def remove_partial(folder):
    """Remove the temporary files that a killed process left in a folder which this one holds."""
    for path in Path(folder).glob(".*.partial*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def lock(file):
    """Take the system's lock on an open file, until the file is closed; False where another process has it."""
    try:
        if os.name == "nt":
            import msvcrt
            file.seek(LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def md5_of(path):
    """MD5 of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
