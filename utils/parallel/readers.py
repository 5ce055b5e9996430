"""Processes that read pictures, one for each core. Threads would share Pillow's settings, which reading one changes."""
import contextlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

from utils import errors
from utils.image_file import read_pixels
from utils.parallel import launch

WORTH = 1  # seconds of work, for which a process is started
MEMORY = 1000  # MB that one picture may take
ROOT = Path(__file__).resolve().parent.parent.parent
READER = ("import sys; sys.path = [sys.argv[1], *filter(None, sys.path)]; from utils.parallel import readers; "
          "readers.main(*map(int, sys.argv[2:]))")  # without '', the folder that the user is in


def count_for(seconds):
    """How many processes read what takes one so long: one for each core, where each has a second's work.

    Only the first worker of a machine starts any; the others read alone what it could not keep for them.
    """
    if launch.number_in(os.environ, "PADDLE_LOCAL_RANK", 0):
        return 1
    return max(1, min(launch.core_share(), launch.memory_limit() // MEMORY, int(seconds / WORTH)))


def read_each(paths, count):
    """Read pictures in `count` processes, or in this one -> an iterator over what `attempt` returns, in order.

    Errors: UserError where a process ends too soon.
    """
    readers = []
    try:
        if count > 1:
            start(readers, count)
        for number, reader in enumerate(readers):
            with contextlib.suppress(OSError):  # it has ended, which `answer` says
                pickle.dump(paths[number::len(readers)], reader.stdin)
                reader.stdin.close()
        for number, path in enumerate(paths):
            yield answer(readers[number % len(readers)], path) if readers else attempt(path)
    finally:
        for reader in readers:
            reader.kill()
        for reader in readers:
            reader.wait()
            for pipe in (reader.stdin, reader.stdout):
                with contextlib.suppress(OSError):  # what was not sent
                    pipe.close()


def start(readers, count):
    """Add processes that read pictures to the list; fewer than `count` where the system starts no more."""
    errors.hold_signals(errors.STOP_SIGNALS, True)  # until `main` lets them end it
    try:
        with contextlib.suppress(OSError):
            while len(readers) < count:
                readers.append(subprocess.Popen(
                    [sys.executable, "-c", READER, ROOT, str(os.getpid()), *map(str, launch.usable_cores())],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    finally:
        errors.hold_signals(errors.STOP_SIGNALS, False)


def attempt(path):
    """The picture at `path` as `read_pixels` returns it, or the exception that it raised."""
    try:
        return read_pixels(path)
    except Exception as error:
        return error


def answer(reader, path):
    """What a process says about its next picture. Errors: UserError where it has ended."""
    try:
        return pickle.load(reader.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        reader.stdout.close()
        how = launch.how_it_ended(reader.wait(), "make it smaller, or end other programs")
        raise errors.UserError(f"the process that read {errors.shown(path)} {how}") from error


def main(parent, *cores):
    """In a process that `read_each` has started: answer about each picture on standard output."""
    errors.end_at_once_on_signals()
    if launch.LIBC:
        launch.end_with_parent(parent, signal.SIGKILL)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # elsewhere it ends here with its parent
    launch.run_on(cores)  # its parent may be pinned to one
    for path in pickle.load(sys.stdin.buffer):
        pickle.dump(attempt(path), sys.stdout.buffer)
        sys.stdout.buffer.flush()
