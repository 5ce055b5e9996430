"""Files that are written whole or not at all, and folders that one run holds at a time."""
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from pathlib import Path

from utils.errors import UserError

LOCKED_BYTE = 2**31 - 2  # on Windows a locked byte cannot be read: one beyond the end of any file that is locked here
LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)  # any other error only means that the file system has no fsync


@contextlib.contextmanager
def whole_file(path):
    """Yield a temporary path; what is written there takes the place of `path` at once when the block ends well.

    A block that fails, or a process that is killed inside it, leaves the file that was there before.
    Errors: UserError where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            try:
                os.fsync(file.fileno())
            except OSError as error:
                if error.errno in LOST:
                    raise
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; what was there before is kept") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_lock(folder):
    """Hold a folder for one run in the block; the system releases it when the process ends.

    First a killed process's temporary files are removed, and a file is written and replaced just as a save does it.
    Errors: UserError that names the process which holds the folder, or says why the folder cannot be used.
    """
    folder = Path(folder)
    path, trial = folder / ".run.lock", folder / ".trial"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path, "a+b", buffering=0))  # it stays: the next run may wait for its lock
            if not lock(file):
                holder = path.read_text(errors="replace").strip() or "another process"
                raise UserError(f"{folder} is in use by {holder}: wait for it, or choose another --model-dir")
            file.truncate(0)
            file.write(f"process {os.getpid()}\n".encode())
            for left in folder.glob(".*.partial*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            for _ in range(2):
                with whole_file(trial) as temporary:
                    temporary.write_bytes(b"trial")
            trial.unlink()
        except OSError as error:
            raise UserError(f"cannot use the folder {folder}: {error.strerror or error}; "
                            "choose another with --model-dir") from error
        yield


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
    """MD5 of a file, in hexadecimal. Errors: OSError where it cannot be read, or is none."""
    if not os.path.isfile(path):  # a pipe would be waited for
        raise FileNotFoundError(errno.ENOENT, "it does not exist, or is not a file", str(path))
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
