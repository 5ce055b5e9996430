"""Arrays, such as unpacked or drawn pictures, kept in a file that every process maps: they share its memory."""
import contextlib

import numpy as np

from utils.data import cifar10
from utils.errors import UserError
from utils.storage.files import whole_file


def load(name, fields):
    """These fields of a record that `keep` wrote, as read-only maps; None where no cache folder has a whole one."""
    for folder in cifar10.cache_folders():
        with contextlib.suppress(OSError, ValueError, TypeError, IndexError):  # no file, or not one that `keep` wrote
            record = np.lib.format.open_memmap(folder / f"{name}.npy", mode="r")  # it never unpickles
            return [np.asarray(record[field][0]) for field in fields]
    return None


def keep(name, record, say):
    """Write a structured array of one element, whose fields are arrays, to the first cache folder that takes it."""
    for folder in cifar10.cache_folders():
        try:
            with whole_file(folder / f"{name}.npy") as temporary:
                np.save(temporary, record)  # not through a map: where the disk is full, that would end the process
            return
        except UserError as error:
            problem = error
    say(f"The pictures are not kept for the next start: {problem}")
