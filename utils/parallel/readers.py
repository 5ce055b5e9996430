"""Pictures read on all cores, by threads: Pillow decodes most formats, and resizes all, outside Python's lock."""
import contextlib
import os
from multiprocessing.pool import ThreadPool

from utils.errors import UserError
from utils.image_file import read_pixels
from utils.parallel import launch

MEMORY = 1000  # MB that one picture may take


def thread_count():
    """How many pictures are read at a time: one on each core, as long as they fit into the memory."""
    return max(1, min(launch.core_share(), launch.memory_limit() // MEMORY))


def read_each(paths):
    """Read pictures -> an iterator over what `attempt` returns, in order."""
    with ThreadPool(thread_count(), use_all_cores) as pool:
        yield from pool.imap(attempt, paths)


def attempt(path):
    """The picture at `path` as `read_pixels` returns it, or the UserError that it raised."""
    try:
        return read_pixels(path)
    except UserError as error:
        return error


def use_all_cores():
    """In a new thread: run on any core, even where its process is pinned to one."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or a container forbids it
        os.sched_setaffinity(0, launch.usable_cores())
