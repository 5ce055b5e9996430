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
READER = ("import sys; sys.path = [sys.argv[1], *filter(None, sys.path)]; from utils.parallel import readers; "
          "readers.main(*map(int, sys.argv[2:]))")  # without '', the folder that the user is in


def count_for(seconds):
    """How many processes share what takes one so long; where a worker could keep no pictures the others read alone."""
    if launch.number_in(os.environ, "PADDLE_LOCAL_RANK", 0):
        return 1
    return max(1, min(launch.core_share(), launch.memory_limit() // MEMORY, int(seconds / WORTH)))


def read_each(paths, count):
    """Read pictures in `count` processes, or in this one -> an iterator over what `attempt` returns, in order.

    Errors: UserError where a process has ended too soon.
    """
    readers, numbers = [], map(str, [os.getpid(), *launch.usable_cores()])
    command = [sys.executable, "-c", READER, Path(__file__).resolve().parents[2], *numbers]
    try:
        with contextlib.suppress(OSError):  # the system starts no more
            while len(readers) < count > 1:  # in sessions of their own, which Ctrl-C does not reach
                readers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                start_new_session=True))
        for number, reader in enumerate(readers):
            with contextlib.suppress(OSError):  # it has ended: `answer` says so
                pickle.dump(paths[number::len(readers)], reader.stdin)
                reader.stdin.close()
        for number, path in enumerate(paths):
            yield answer(readers[number % len(readers)], path) if readers else attempt(path)
    finally:
        for reader in readers:
            reader.kill()
        for reader in readers:
            reader.wait()
            for pipe in (reader.stdout, reader.stdin):
                with contextlib.suppress(OSError):  # of paths that were not sent
                    pipe.close()


def attempt(path):
    """The picture at `path` as `read_pixels` returns it, or the UserError that it raised."""
    try:
        return read_pixels(path)
    except errors.UserError as error:
        return error


def answer(reader, path):
    """What a process says about its next picture. Errors: UserError where it has ended."""
    try:
        return pickle.load(reader.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        reader.stdout.close()  # so it ends, if it has not
        raise errors.UserError(f"the process that read {errors.shown(path)} ended (status {reader.wait()}), perhaps "
                               "because memory ran out: end other programs, or make the picture smaller") from error


def main(parent, *cores):
    """In a process that `read_each` has started: answer about each picture on standard output."""
    errors.end_at_once_on_signals()
    if launch.LIBC:
        launch.end_with_parent(parent, signal.SIGKILL)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # where nobody reads its answer any more
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or a container forbids it
        os.sched_setaffinity(0, cores)  # where its parent is pinned to one
    for path in pickle.load(sys.stdin.buffer):
        pickle.dump(attempt(path), sys.stdout.buffer)
        sys.stdout.buffer.flush()
