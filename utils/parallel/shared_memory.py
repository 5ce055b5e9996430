"""Memory that the workers of one machine share: they add up numbers in it, and wait there for each other.

For a sum each process copies its numbers into a row of a block. When all have, each sums a slice of the rows, in the
order of ranks; when all have, each copies the sums out. The block is a file without a name that launch.py opens and the
workers inherit; it is gone with the last of them, however that ends.
"""
import mmap
import os
import threading
import time

import numpy as np
import psutil

from utils.errors import UserError
from utils.parallel.launch import LOST

ROW = 2 << 20  # bytes; ResNet-32's gradients fill one, more numbers are summed a row at a time
LINE = 64  # bytes of a cache line: each process has one, where only it writes
AWAKE = 0.1  # seconds of looking for the others before sleeping: a core that has slept is slow for a while
NAP, LONGEST_NAP = 0.001, 0.02  # seconds of a sleep, which grows with the waiting
CHECK = 0.1  # seconds between checks that the others still run
SILENCE = 30  # seconds of waiting before rank 0 says for whom it waits
PATIENCE = 3600  # seconds of waiting for a process that still runs: it may be suspended, or reading, fetching, saving


class LostWorkers(UserError):
    """Another worker has gone; without a text where launch.py says which."""
    status = LOST  # which tells the watcher to look for the cause elsewhere


class SharedBlock:
    """This process's view of the block: `file` is open in all; `say` gets a line about waiting. Errors: UserError."""

    def __init__(self, rank, world, file, say=lambda text: None):
        self.rank, self.world, self.turn, self.say = rank, world, 0, say
        size = world * LINE + (world + 1) * ROW  # a row for each process, and one for the sums
        allocate = getattr(os, "posix_fallocate", lambda file, _, size: os.ftruncate(file, size))  # the other on macOS
        try:
            allocate(file, 0, size)  # an error now and not a crash later
            memory = mmap.mmap(file, size)
        except OSError as error:
            raise UserError(f"no memory for {world} workers ({error.strerror}): try fewer --workers") from error
        lines = np.frombuffer(memory, np.uint32, world * LINE // 4).reshape(world, -1)
        self.turns, self.processes = lines[:, 0], lines[:, 1]  # how often each has come to `barrier`; process numbers
        self.rows = np.frombuffer(memory, np.uint8, offset=world * LINE).reshape(world + 1, ROW)
        self.processes[rank] = os.getpid()
        self.launcher, self.order, self.failure = os.getppid(), threading.Lock(), None  # failure: why waiting ended
        self.order.acquire()

    def sum(self, arrays, weights=()):
        """Replace each array by its sum over all processes, ((a0 + a1) + a2) + ..., the same to the bit on all.

        arrays: flat, of one type and of the same sizes on all processes.
        weights: a number for each array, by which this process multiplies it first; none: all are 1.
        """
        for array, weight in zip(arrays, weights):
            np.multiply(array, array.dtype.type(weight), out=array)
        rows, joined = self.rows.view(arrays[0].dtype), np.concatenate(arrays)
        for part in np.split(joined, range(rows.shape[1], joined.size, rows.shape[1])):  # a row at a time
            rows[self.rank, :part.size] = part
            self.barrier()
            mine = slice(part.size * self.rank // self.world, part.size * (self.rank + 1) // self.world)
            total = rows[self.world, mine]
            total[:] = rows[0, mine]
            with np.errstate(all="ignore"):  # of gradients that have diverged; the loss shows it
                for row in rows[1:self.world, mine]:
                    total += row
            self.barrier()
            part[:] = rows[self.world, :part.size]
        for array, total in zip(arrays, np.split(joined, np.cumsum([array.size for array in arrays]))):
            array[:] = total

    def barrier(self):
        """Wait until every process has come here as often as this one; after SILENCE, say once which have not.

        Errors, also kept in `failure`: LostWorkers; UserError after PATIENCE.
        """
        self.turn += 1
        self.keep_order()
        self.turns[self.rank] = self.turn
        end, waited, looked = time.monotonic() + AWAKE, 0.0, 0.0
        while (self.turns < self.turn).any():
            if time.monotonic() < end:
                os.sched_yield()  # to whoever else has work for this core
                continue
            nap = min(max(NAP, waited / 50), LONGEST_NAP)
            time.sleep(nap)
            waited += nap  # not by the clock: a run may have been suspended
            if waited - looked <= CHECK:
                continue
            ended = [rank for rank, process in enumerate(self.processes.tolist())
                     if process and not psutil.pid_exists(process)]  # 0: it has not opened the block yet
            missing = (self.turns < self.turn).nonzero()[0].tolist()  # after `ended`: one may have come meanwhile
            text = f"worker {' and '.join(map(str, missing))} did not answer for"
            if set(missing) & set(ended) or waited >= SILENCE and os.getppid() != self.launcher:
                self.failure = LostWorkers()
            elif missing and waited >= PATIENCE:
                self.failure = UserError(f"{text} {PATIENCE} s: ending")
            if self.failure:
                raise self.failure
            if looked < SILENCE <= waited:
                self.say(f"Still waiting: {text} {SILENCE:g} s (stopped, or busy with something else)")
            looked = waited
        self.keep_order()

    def keep_order(self):
        """A memory fence, which Arm needs: a lock that is released and acquired again orders what is around it."""
        self.order.release()
        self.order.acquire()
