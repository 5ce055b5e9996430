"""Memory that the processes of one machine share, for sums over all of them.

For a sum each process copies its numbers into a row of a block. When all have, each sums a slice of the rows, in the
order of ranks; when all have, each copies the sums out. The block is a file without a name, so it needs no /dev/shm and
is gone with the last process, however that ends.
Linux on x86-64 only: other processors need a memory fence to see writes in their order, and Python offers none.
"""
import mmap
import os
import platform
import sys
import time

import numpy as np
import psutil

from utils.errors import UserError
from utils.parallel.launch import LOST

ROW = 2 << 20  # bytes; ResNet-32's gradients fill one, more numbers are summed a row at a time
LINE = 64  # bytes of a cache line: each process has one, where only it writes
AWAKE = 0.1  # seconds of looking for the others before sleeping: a core that has slept is slow for a while
NAP, CHECK = 0.001, 0.1  # seconds of one sleep, and between two looks at whether the others still run
PATIENCE = 30.0  # seconds of waiting for another process, as long as gloo's


class LostWorkers(UserError):
    """Another worker has gone."""
    status = LOST  # which tells the watcher to look for the cause elsewhere


def is_possible():
    """Whether processes can share memory here as sums need it."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and hasattr(os, "memfd_create")


class SharedBlock:
    """This process's view of the block, which rank 0 makes and the others open by its `path`. Errors: OSError."""

    def __init__(self, rank, world, path=None):
        self.rank, self.world, self.turn = rank, world, 0
        size = world * LINE + (world + 1) * ROW  # a row for each process, and one for the sums
        file = os.memfd_create("sums") if path is None else os.open(path, os.O_RDWR)
        if path is None:
            os.posix_fallocate(file, 0, size)  # where memory is short, an error now and not a crash later
        memory = mmap.mmap(file, size)
        self.path = f"/proc/{os.getpid()}/fd/{file}"
        lines = np.frombuffer(memory, np.uint32, world * LINE // 4).reshape(world, -1)
        self.turns, self.processes = lines[:, 0], lines[:, 1]  # how often each has come to `barrier`; process numbers
        self.rows = np.frombuffer(memory, np.uint8, offset=world * LINE).reshape(world + 1, ROW)
        self.processes[rank] = os.getpid()

    def sum(self, arrays, weights=None):
        """Replace each array by its sum over all processes, ((a0 + a1) + a2) + ..., the same to the bit on all.

        arrays: flat, of one type and of the same sizes on all processes.
        weights: a number for each array, by which this process multiplies it first; None: all are 1.
        """
        rows, weights = self.rows.view(arrays[0].dtype), () if weights is None else weights
        for array, weight in zip(arrays, weights):  # in place: as quick as on the way into the row
            np.multiply(array, array.dtype.type(weight), out=array)
        for parts in in_rows(arrays, rows.shape[1]):
            count = sum(part.size for part in parts)
            np.concatenate(parts, out=rows[self.rank, :count])
            self.barrier()
            mine = slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)
            total = rows[self.world, mine]
            total[:] = rows[0, mine]
            with np.errstate(all="ignore"):  # of gradients that have diverged; the loss shows it
                for row in rows[1:self.world, mine]:
                    total += row
            self.barrier()
            start = 0
            for part in parts:
                part[:] = rows[self.world, start:start + part.size]
                start += part.size

    def barrier(self):
        """Wait until every process has come here as often as this one. Errors: LostWorkers."""
        self.turn += 1
        self.turns[self.rank] = self.turn
        end, naps = time.monotonic() + AWAKE, 0
        while (self.turns < self.turn).any():
            if time.monotonic() < end:
                os.sched_yield()  # to whoever else has work for this core
                continue
            time.sleep(NAP)
            naps += 1
            if naps % round(CHECK / NAP) == 0:
                self.look_for_lost(naps * NAP)  # not by the clock: a run may have been suspended

    def look_for_lost(self, waited):
        """Errors: LostWorkers where a process has ended without coming, or has not come for PATIENCE seconds."""
        ended = [rank for rank, process in enumerate(self.processes.tolist())
                 if process and not psutil.pid_exists(process)]  # 0: it has not opened the block yet
        for rank in (self.turns < self.turn).nonzero()[0]:  # after `ended`: one may have come in its last moments
            if rank in ended or waited >= PATIENCE:
                how = "has ended (its own message says why)" if rank in ended else f"did not answer for {PATIENCE:g} s"
                raise LostWorkers(f"worker {self.rank} of {self.world} lost the others: worker {rank} {how}")


def in_rows(arrays, size):
    """Cut a list of flat arrays into lists of `size` numbers together, the last of fewer."""
    parts, room = [], size
    for array in arrays:
        while array.size > room:
            yield [*parts, array[:room]]
            parts, array, room = [], array[room:], size
        parts.append(array)
        room -= array.size
    yield parts
