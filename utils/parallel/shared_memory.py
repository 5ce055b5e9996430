"""Memory that the processes of one machine share: sums over all of them, and arrays that all read.

For a sum each process copies its numbers into a row of a block. When all have, each adds up a slice of the rows, in the
order of ranks; when all have, each copies the sums out. A process that waits looks out for the others for a moment, and
then sleeps in the kernel (futex) until it is woken. What is shared is a file without a name, so it needs no /dev/shm
and is gone with the last process, however that ends.

Sums are for Linux on x86-64 alone: there one process's writes are seen by another in the order in which they were made,
which elsewhere takes an instruction that Python has no word for.
"""
import ctypes
import errno
import mmap
import os
import platform
import sys
import time

import numpy as np

from utils.errors import UserError
from utils.parallel.launch import LOST

ROW = 2 << 20  # bytes; ResNet-32's gradients fill one, more numbers are summed a row at a time
LINE = 64  # bytes of a cache line: one for each process, which alone writes there
PATIENCE = 30.0  # seconds of waiting for another process, as long as gloo's
AWAKE = 0.1  # seconds of looking out for the others before sleeping: a core that has slept is slow for a while
TICK = 0.1  # seconds of sleep until the other process is looked after
FUTEX, WAIT, WAKE = 202, 0, 1  # number of the system call on x86-64, and what it is to do
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class LostWorkers(UserError):
    """Another worker has gone. The exit status tells the watcher to look for the cause elsewhere."""
    status = LOST


class Time(ctypes.Structure):
    """C's timespec."""
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def is_possible():
    """Whether processes can share memory here as sums need it."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and hasattr(os, "memfd_create")


def put(arrays):
    """Copy arrays to where other processes of this machine can read them.

    Returns (a file to close when all have them, what `take` has to be told, the arrays there, which nobody can change).
    Errors: OSError as from `room_for`.
    """
    file, told = room_for([(array.dtype.str, array.shape) for array in arrays])
    try:
        for there, array in zip(take(*told, to_write=True), arrays):
            there[...] = array
        return file, told, take(*told)
    except OSError:
        os.close(file)
        raise


def room_for(kinds):
    """Room for arrays of these kinds, (type, shape), where other processes of this machine reach it.

    Returns (a file to close when all have the arrays, what `take` has to be told).
    Errors: OSError where the system or its memory does not allow it.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, "this system has no files without a name in memory")
    file = os.memfd_create("arrays")
    try:
        os.posix_fallocate(file, 0, max(1, sum(map(bytes_of, kinds))))
    except OSError:
        os.close(file)
        raise
    return file, (f"/proc/{os.getpid()}/fd/{file}", kinds)


def take(path, kinds, to_write=False):
    """The arrays for which a process has made room there. Errors: OSError where they are out of reach."""
    with open(path, "r+b" if to_write else "rb") as file:
        may = mmap.PROT_READ | (mmap.PROT_WRITE if to_write else 0)
        return arrays_in(mmap.mmap(file.fileno(), 0, prot=may), kinds)


def arrays_in(memory, kinds):
    """Arrays of these kinds, (type, shape), one after the other in memory."""
    arrays, start = [], 0
    for kind, shape in kinds:
        arrays.append(np.ndarray(tuple(shape), kind, memory, start))
        start += bytes_of((kind, shape))
    return arrays


def bytes_of(kind):
    """How many bytes an array of this type and shape takes, and up to the next one's place."""
    return -(-np.dtype(kind[0]).itemsize * int(np.prod(kind[1])) // LINE) * LINE


class SharedBlock:
    """This process's part of the block: made by one process, which tells the others its `path`.

    Errors: OSError where memory, rights or the path do not allow it.
    """

    def __init__(self, rank, world, path=None):
        self.rank, self.world, self.turn = rank, world, 0
        size = world * LINE + (world + 1) * ROW  # a row for each process, and one for the sums
        self.file = os.memfd_create("sums") if path is None else os.open(path, os.O_RDWR)
        if path is None:
            os.posix_fallocate(self.file, 0, size)  # an error now, where memory is short, and not a crash later
        memory = mmap.mmap(self.file, size)
        self.path = f"/proc/{os.getpid()}/fd/{self.file}"
        heads = np.frombuffer(memory, np.uint32, world * LINE // 4).reshape(world, -1)
        self.turns, self.processes = heads[:, 0], heads[:, 1]  # how often each has come to `meet`; process numbers
        self.rows = np.frombuffer(memory, np.uint8, offset=world * LINE).reshape(world + 1, ROW)
        self.processes[rank] = os.getpid()

    def add_up(self, arrays):
        """Put in each array's place its sum over all processes, ((a0 + a1) + a2) + ..., the same to the bit on all.

        arrays: flat, of one type and of the same sizes on all processes.
        """
        rows = self.rows.view(arrays[0].dtype)
        for parts in in_rows(arrays, rows.shape[1]):
            count = sum(part.size for part in parts)
            np.concatenate(parts, out=rows[self.rank, :count])
            self.meet()
            mine = slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)
            total = rows[self.world, mine]
            total[:] = rows[0, mine]
            with np.errstate(all="ignore"):  # of gradients that have diverged; the loss will tell
                for row in rows[1:self.world, mine]:
                    total += row
            self.meet()
            start = 0
            for part in parts:
                part[:] = rows[self.world, start:start + part.size]
                start += part.size

    def meet(self):
        """Wait until every process has come here as often as this one. Errors: LostWorkers."""
        self.turn += 1
        self.turns[self.rank] = self.turn
        self.futex(self.rank, WAKE, self.world)
        over = time.monotonic() + AWAKE
        while (self.turns < self.turn).any() and time.monotonic() < over:
            os.sched_yield()  # to whoever else has work for this core
        for other in range(self.world):
            self.wait_for(other)

    def wait_for(self, other):
        """Sleep until one process has come to `meet`; signals are heard meanwhile. Errors: LostWorkers."""
        waited, is_gone = 0.0, False
        while True:
            seen = int(self.turns[other])
            if seen >= self.turn:
                return
            if is_gone or waited >= PATIENCE:  # and has not come in its last moments either
                how = "has ended (its own message says why)" if is_gone else f"did not answer for {PATIENCE:g} s"
                raise LostWorkers(f"worker {self.rank} of {self.world} lost the others: worker {other} {how}")
            if self.futex(other, WAIT, seen, TICK) == errno.ETIMEDOUT:
                waited += TICK  # not by the clock: a run may have been suspended
                is_gone = not is_alive(int(self.processes[other]))

    def futex(self, rank, operation, number, seconds=0.0):
        """Have the kernel wait for a change of `turns[rank]`, or wake those that do -> 0, or the error's number."""
        address, time = self.turns[rank:].ctypes.data, Time(0, int(seconds * 1e9))
        done = LIBC.syscall(FUTEX, ctypes.c_void_p(address), operation, ctypes.c_uint32(number), ctypes.byref(time))
        return ctypes.get_errno() if done < 0 else 0


def in_rows(arrays, most):
    """Cut a list of flat arrays into lists of `most` numbers together, the last of fewer."""
    parts, room = [], most
    for array in arrays:
        while array.size > room:
            yield [*parts, array[:room]]
            parts, array, room = [], array[room:], most
        parts.append(array)
        room -= array.size
    yield parts


def is_alive(process):
    """Whether a process of ours of this number runs."""
    try:
        os.kill(process, 0)
    except OSError:  # there is none, or the number is another user's by now
        return False
    return True
