"""Sums through shared memory: order, weights, full rows, processes that end or keep silent, and what is missing.

Processes are threads here where that makes no difference: each has a SharedBlock of its own.
"""
import errno
import functools
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from conftest import ROOT
from utils.errors import UserError
from utils.parallel import shared_memory
from utils.parallel.shared_memory import LostWorkers, SharedBlock

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files in memory are Linux's")

OTHER = """
import sys, time
from utils.parallel.shared_memory import SharedBlock
block = SharedBlock(1, 2, int(sys.argv[1]))
print("here", flush=True)
if sys.argv[2] == "comes":
    block.barrier()
elif sys.argv[2] == "sleeps":
    time.sleep(60)
"""


def blocks_of(world):
    """The blocks of as many processes."""
    file = os.memfd_create("sums")
    return [SharedBlock(rank, world, file) for rank in range(world)]


def sum_all(blocks, *lists):
    """Have each block sum its list of arrays, all at the same time; lists: arrays, and weights."""
    with ThreadPoolExecutor(len(blocks)) as pool:
        list(pool.map(SharedBlock.sum, blocks, *lists))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_sums_are_numpys_in_the_order_of_ranks(monkeypatch, world, kind):
    monkeypatch.setattr(shared_memory, "ROW", 512)
    random, sizes = np.random.default_rng(world), (1, 700, 3, 0, 64, 64, 130)
    blocks = blocks_of(world)
    for _ in range(3):  # the rows are used again
        arrays = [[(random.normal(size=size) * 10 ** random.uniform(-4, 4)).astype(kind) for size in sizes]
                  for _ in range(world)]
        expected = [functools.reduce(np.add, column) for column in zip(*arrays)]
        backwards = [functools.reduce(np.add, column[::-1]) for column in zip(*arrays)]
        sum_all(blocks, arrays)
        assert all(a.tobytes() == b.tobytes() for one in arrays for a, b in zip(one, expected))
    assert world < 3 or any(a.tobytes() != b.tobytes() for a, b in zip(expected, backwards))  # the order does matter


def test_numbers_that_have_diverged_are_summed_without_a_word():
    arrays = [[np.float32([3e38, np.inf, np.nan, 1])], [np.float32([3e38, -np.inf, 1, 1])]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sum_all(blocks_of(2), arrays)
    np.testing.assert_array_equal(arrays[0][0], [np.inf, np.nan, np.nan, 2])


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_each_process_weighs_its_arrays_before_the_sum(monkeypatch, kind):
    """To the bit as products that numpy makes in the arrays' own type; a weight of 1 changes nothing."""
    monkeypatch.setattr(shared_memory, "ROW", 512)
    random, blocks = np.random.default_rng(4), blocks_of(3)
    arrays = [[random.normal(size=size).astype(kind) for size in (300, 5, 64)] for _ in blocks]
    weights = [[48 / 128, 1, 0.1], np.array([1 / 3, 1, 0.0]), [np.float32(0.7), 1, 3]]
    products = [[array * np.array(weight, kind) for array, weight in zip(*pair)] for pair in zip(arrays, weights)]
    sums = [a + b + c for a, b, c in zip(*products)]
    unweighted = functools.reduce(np.add, [row[1] for row in arrays])
    sum_all(blocks, arrays, weights)
    for row in arrays:
        assert [array.tobytes() for array in row] == [array.tobytes() for array in sums]
    assert arrays[0][1].tobytes() == unweighted.tobytes()


def test_nobody_waits_with_a_busy_core():
    first, second = blocks_of(2)
    thread = threading.Thread(target=lambda: (time.sleep(1), second.barrier()))
    thread.start()
    before = time.thread_time()
    first.barrier()
    assert time.thread_time() - before < 0.3  # AWAKE is 0.1, the rest of the second goes by in naps
    thread.join()


@pytest.fixture
def block():
    """That of worker 0 of 2."""
    file = os.memfd_create("sums")
    block = SharedBlock(0, 2, file)
    block.file = file
    return block


def begin(block, does):
    """Another process, which is worker 1 of 2."""
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(block.file), does], cwd=ROOT, stdout=subprocess.PIPE,
                             pass_fds=[block.file])
    assert other.stdout.readline() == b"here\n"
    return other


def test_a_process_that_has_ended_is_noticed_at_once(block):
    """Without a word, which the watching process has."""
    begin(block, "ends").wait(20)
    began = time.monotonic()
    with pytest.raises(LostWorkers, match="^$"):
        block.barrier()
    assert time.monotonic() - began < 2 and isinstance(block.failure, LostWorkers)


def test_a_process_that_came_before_it_ended_is_not_missed(block):
    with ThreadPoolExecutor(1) as pool:
        meeting = pool.submit(block.barrier)
        begin(block, "comes").wait(20)
        meeting.result(20)
    with pytest.raises(LostWorkers):
        block.barrier()


def test_a_signal_is_heard_while_waiting(block):
    other = begin(block, "sleeps")

    def hear(number, _frame):
        raise InterruptedError(number)

    before = signal.signal(signal.SIGUSR1, hear)
    timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(InterruptedError):
            block.barrier()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
        other.kill()
        other.wait(20)


def test_a_process_that_keeps_silent_is_named_once_and_waited_for(block, monkeypatch):
    """Until it is gone, or for an hour."""
    monkeypatch.setattr(shared_memory, "SILENCE", 0.3)
    other, said = begin(block, "sleeps"), []
    block.say = said.append
    timer = threading.Timer(1.2, other.kill)
    timer.start()
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(block.barrier)
            other.wait(20)  # as the watching process does; until then it is a zombie
            with pytest.raises(LostWorkers):
                waiting.result(20)
    finally:
        timer.join()
    assert time.monotonic() - began > 1
    assert said == ["Still waiting: worker 1 did not answer for 0.3 s (stopped, or busy with something else)"]


@pytest.mark.parametrize("what", ["an hour has passed", "the launcher is gone"])
def test_waiting_has_an_end(what, block, monkeypatch):
    other = begin(block, "sleeps")
    if what == "an hour has passed":
        monkeypatch.setattr(shared_memory, "PATIENCE", 0.3)
    else:
        monkeypatch.setattr(shared_memory, "SILENCE", 0.3)
        block.launcher = 1 - os.getppid()
    try:
        with pytest.raises(UserError, match="worker 1 did not answer for 0.3 s" if "hour" in what else "^$"):
            block.barrier()
    finally:
        other.kill()
        other.wait(20)


def test_the_order_of_reads_and_writes_is_kept_on_both_sides_of_a_turn(monkeypatch):
    """As Arm needs it: between the row and the turn that announces it, and between the last turn and the others' rows.
    """
    order, (first, second) = [], blocks_of(2)

    class Turns:
        def __init__(self, turns):
            self.turns = turns

        def __setitem__(self, *item):
            order.append("announced")
            self.turns.__setitem__(*item)

        def __lt__(self, turn):
            order.append("looked")
            return self.turns < turn

    first.turns, keep_order = Turns(first.turns), first.keep_order
    monkeypatch.setattr(first, "keep_order", lambda: (keep_order(), order.append("fence")))
    second.turns[1] = 1
    first.barrier()
    assert order == ["fence", "announced", "looked", "fence"]


def test_memory_that_is_short_is_an_error_at_once(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"no memory for 2 workers \(No space left.*fewer --workers"):
        SharedBlock(0, 2, os.memfd_create("sums"))
    monkeypatch.delattr(os, "posix_fallocate")  # macOS has none
    assert SharedBlock(0, 2, os.memfd_create("sums")).rows.shape == (3, shared_memory.ROW)
