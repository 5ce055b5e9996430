"""Sums through shared memory: their order, rows that are full, processes that end or keep silent, and what is missing.

Processes are threads here where that makes no difference: each has a SharedBlock of its own.
"""
import errno
import functools
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from conftest import ROOT
from utils.parallel import shared_memory
from utils.parallel.shared_memory import LostWorkers, SharedBlock, in_rows

pytestmark = pytest.mark.skipif(not shared_memory.is_possible(), reason="memory is shared on Linux on x86-64")

OTHER = """
import sys, time
from utils.parallel.shared_memory import SharedBlock
block = SharedBlock(1, 2, sys.argv[1])
print("here", flush=True)
if sys.argv[2] == "meets":
    block.meet()
elif sys.argv[2] == "sleeps":
    time.sleep(60)
"""


def blocks_of(world):
    """The blocks of as many processes."""
    first = SharedBlock(0, world)
    return [first] + [SharedBlock(rank, world, first.path) for rank in range(1, world)]


def add_up(blocks, arrays):
    """Have each block add up its list of arrays, all at the same time."""
    with ThreadPoolExecutor(len(blocks)) as pool:
        list(pool.map(lambda pair: pair[0].add_up(pair[1]), zip(blocks, arrays)))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_sums_are_numpys_in_the_order_of_ranks(monkeypatch, world, kind):
    monkeypatch.setattr(shared_memory, "ROW", 512)
    chance, sizes = np.random.default_rng(world), (1, 700, 3, 0, 64, 64, 130)
    blocks = blocks_of(world)
    for _ in range(3):  # the rows are used again
        arrays = [[(chance.normal(size=size) * 10 ** chance.uniform(-4, 4)).astype(kind) for size in sizes]
                  for _ in range(world)]
        wanted = [functools.reduce(np.add, column) for column in zip(*arrays)]
        backwards = [functools.reduce(np.add, column[::-1]) for column in zip(*arrays)]
        add_up(blocks, arrays)
        assert all(a.tobytes() == b.tobytes() for one in arrays for a, b in zip(one, wanted))
    assert world < 3 or any(a.tobytes() != b.tobytes() for a, b in zip(wanted, backwards))  # the order does matter


def test_numbers_that_have_diverged_are_summed_without_a_word():
    arrays = [[np.float32([3e38, np.inf, np.nan, 1])], [np.float32([3e38, -np.inf, 1, 1])]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add_up(blocks_of(2), arrays)
    np.testing.assert_array_equal(arrays[0][0], [np.inf, np.nan, np.nan, 2])


def test_numbers_are_cut_into_rows():
    cut = list(in_rows([np.arange(3), np.arange(3, 10), np.arange(10, 12)], 5))
    assert [np.concatenate(row).tolist() for row in cut] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert [len(row) for row in in_rows([np.zeros(5)], 5)] == [1]


def test_nobody_waits_with_a_busy_core():
    first, second = blocks_of(2)
    thread = threading.Thread(target=lambda: (time.sleep(0.5), second.meet()))
    thread.start()
    before = time.thread_time()
    first.meet()
    assert time.thread_time() - before < 0.1
    thread.join()


def begin(block, does):
    """Another process, which is worker 1 of 2."""
    other = subprocess.Popen([sys.executable, "-c", OTHER, block.path, does], cwd=ROOT, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"here\n"
    return other


def test_a_process_that_has_ended_is_named():
    block = SharedBlock(0, 2)
    begin(block, "ends").wait(20)
    began = time.monotonic()
    with pytest.raises(LostWorkers, match="worker 0 of 2 lost the others: worker 1 has ended"):
        block.meet()
    assert time.monotonic() - began < 2


def test_a_process_that_came_before_it_ended_is_not_missed():
    block = SharedBlock(0, 2)
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(block.meet)
        begin(block, "meets").wait(20)
        meeting.result(20)
    with pytest.raises(LostWorkers):
        block.meet()


def test_a_process_that_keeps_silent_is_named(monkeypatch):
    monkeypatch.setattr(shared_memory, "PATIENCE", 0.3)
    block = SharedBlock(0, 2)
    other = begin(block, "sleeps")
    try:
        with pytest.raises(LostWorkers, match=r"worker 1 did not answer for 0\.3 s"):
            block.meet()
    finally:
        other.kill()
        other.wait(20)


def test_memory_that_is_short_is_an_error_at_once(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        SharedBlock(0, 2)


ARRAYS = [np.arange(6, dtype=np.uint8).reshape(1, 2, 3), np.int64([7, -8]), np.zeros((0, 3), np.float32), np.float32(9)]


def test_another_process_reads_arrays_and_nobody_changes_them(monkeypatch):
    monkeypatch.setattr(shared_memory.platform, "machine", lambda: "aarch64")  # sums are another matter
    file, told, mine = shared_memory.put(ARRAYS)
    code = ("import sys, json\nfrom utils.parallel import shared_memory\n"
            "arrays = shared_memory.take(*json.loads(sys.argv[1]))\n"
            "print([a.tolist() for a in arrays], *(a.dtype for a in arrays), any(a.flags.writeable for a in arrays))")
    read = subprocess.run([sys.executable, "-c", code, json.dumps(told)], cwd=ROOT, capture_output=True, text=True)
    assert read.stderr == ""
    assert read.stdout == "[[[[0, 1, 2], [3, 4, 5]]], [7, -8], [], 9.0] uint8 int64 float32 float32 False\n"
    os.close(file)
    for array, given in zip(mine, ARRAYS):  # which are there after the file is closed
        np.testing.assert_array_equal(array, given)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(OSError):
        shared_memory.take(*told)


def test_arrays_that_find_no_room_leave_no_file_behind(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="No space left"):
        shared_memory.put(ARRAYS)
    assert os.listdir("/proc/self/fd") == before
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(OSError, match="in memory"):
        shared_memory.put(ARRAYS)


def test_elsewhere_it_is_not_tried(monkeypatch):
    assert shared_memory.is_possible()
    monkeypatch.delattr(os, "memfd_create")
    assert not shared_memory.is_possible()
    monkeypatch.undo()
    monkeypatch.setattr(shared_memory.platform, "machine", lambda: "aarch64")
    assert not shared_memory.is_possible()
