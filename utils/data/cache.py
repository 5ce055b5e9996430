"""Pictures unpacked or drawn once, in a file that every process maps: the page cache is the memory that they share.

A later start has nothing to unpack. Where no folder can be written, each process gets the pictures for itself.
"""
import numpy as np

from utils.data.cifar10 import cache_folders
from utils.errors import UserError
from utils.storage.files import whole_file


def layout(train, test):
    """The file's one record, for these numbers of pictures: images [N, 3, 32, 32] and labels [N] of both sides."""
    return np.dtype([("train_images", "u1", (train, 3, 32, 32)), ("train_labels", "<i8", (train,)),
                     ("test_images", "u1", (test, 3, 32, 32)), ("test_labels", "<i8", (test,))])


def pictures(name, make, say):
    """The arrays of this name, as read-only maps of their file; the first time, what `make()` returns is written.

    Returns train_images, train_labels, test_images, test_labels. say: takes a line where no folder can be written.
    """
    arrays = read(name)
    if arrays is not None:
        return arrays
    arrays = make()
    write(name, arrays, say)
    return read(name) or arrays


def read(name):
    """The arrays in the first cache folder that has them whole; None where there is none."""
    for folder in cache_folders():
        try:
            record = np.lib.format.open_memmap(folder / f"{name}.npy", mode="r")  # it never unpickles
            arrays = [np.asarray(record[field][0]) for field in layout(0, 0).names]
            if record.shape == (1,) and record.dtype == layout(len(arrays[1]), len(arrays[3])):
                return arrays
        except (OSError, ValueError, TypeError, IndexError):  # no file, or not what `write` leaves
            continue
    return None


def write(name, arrays, say):
    """Write a file for `read` into the first folder that has room for it."""
    kind = layout(len(arrays[1]), len(arrays[3]))
    head = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (1,)}
    for folder in cache_folders():
        try:
            # Not through a map: where the disk is full, that would end the process.
            with whole_file(folder / f"{name}.npy") as temporary, open(temporary, "wb") as file:
                np.lib.format.write_array_header_1_0(file, head)
                for array in arrays:
                    file.write(np.ascontiguousarray(array))
            return
        except UserError as error:
            problem = error
    say(f"The pictures are not kept for the next start: {problem}")
