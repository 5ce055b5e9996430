"""Several processes that train one network: who each one is, what each step exchanges, and the sums over all of them.

Paddle does most of the work: its store brings the processes together, its operator `all_reduce` sums inside the
static program, over gloo between CPUs of several machines and NCCL between GPUs. On one machine CPUs sum through
shared memory instead (shared_memory.py). `python -m paddle.distributed.launch` starts the processes, on one machine
or several; launch.py does on one.
"""
import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import time

import numpy as np
import paddle
import psutil
from paddle.base import core

from utils.errors import STOP_SIGNALS, UserError, say
from utils.parallel import shared_memory
from utils.parallel.shared_memory import LostWorkers, SharedBlock
from utils.storage import program_state

PATIENCE = 3600  # seconds to wait for workers on other machines, and for those that read, fetch or save
LOCAL_PATIENCE = 60  # seconds until all workers on one machine have met
SILENCE = 5  # seconds of waiting for the others until that is said
SIGNALS = (*STOP_SIGNALS, getattr(signal, "SIGPIPE", 13))  # any one worker that has had one stops all


def share_of(batch, rank, world):
    """The part of a batch that one worker trains on, and its weight: (indices, fraction of the whole batch).

    All parts together are the batch, each index once. A worker for which nothing is left (in a last batch of
    less than `world`) takes the first index with weight 0, because the sum needs everybody.
    """
    part = batch[len(batch) * rank // world:len(batch) * (rank + 1) // world]
    return (part, len(part) / len(batch)) if len(part) else (batch[:1], 0.0)


def all_reduce(x):
    """The sum of x over all workers, as an operator in the program that x belongs to.

    The operator is set by hand, as Paddle's own passes do: `paddle.distributed.all_reduce` fails in a static
    program of 3.3 (it names the operator after an object), and in 2.6 takes an older operator that 3.3 lacks.
    """
    block = x.block
    total = block.create_var(shape=x.shape, dtype=x.dtype)
    block.append_op(type="all_reduce", inputs={"x": [x]}, outputs={"out": [total]},
                    attrs={"ring_id": 0, "reduce_type": 0})  # ring 0: everybody; type 0: sum
    return total


@functools.cache
def program_of_nothing(dimensions):
    """A program without an operator, and its float32 input of so many dimensions."""
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        return program, paddle.static.data("x", [None] * dimensions, "float32")


class Workers:
    """This process among the `world` processes of a run; rank 0 speaks, draws and saves for all.

    With a world of 1 each sum is the number itself, and nothing is connected.
    """

    def __init__(self, rank=0, world=1, meeting_point=None, here=1):
        """meeting_point: (host, port) of rank 0; here: how many of them are on this machine."""
        self.rank, self.world, self.meeting_point, self.here = rank, world, meeting_point, here
        self.executor = self.store = self.sum = self.block = None
        self.meetings = 0

    def meet(self):
        """Wait for all workers; from then on they can `tell` and wait for each other.

        Errors: UserError where the port of the meeting point is taken, or workers stay away.
        """
        if self.world == 1:
            return
        host, port = self.meeting_point
        patience = LOCAL_PATIENCE if is_loopback(host) else PATIENCE
        if self.rank == 0:
            check_free(port)
        else:
            wait_for_listener(host, port, patience)
        with self.together(), undisturbed():  # the threads that are made here never hear signals
            self.store = core.TCPStore(host, port, self.rank == 0, 1, 60)
        self.count("arrived", 1)
        self.wait_until("arrived", self.world, patience)

    def join(self, executor):
        """Join the workers that have met, for sums: call it before any program with sums runs."""
        self.executor = executor
        if self.here == self.world > 1 and isinstance(executor.place, paddle.CPUPlace):
            self.block = self.share_memory()
        if self.world > 1 and self.block is None:
            self.connect()

    def share_memory(self):
        """The memory that all workers share, who are on this machine; None where it cannot be had."""
        block = path = None
        with contextlib.suppress(OSError):
            if self.rank == 0 and shared_memory.is_possible():
                block = SharedBlock(0, self.world)
                path = block.path
        path = self.tell("shared memory", path)
        with contextlib.suppress(OSError):
            if self.rank > 0 and path:
                block = SharedBlock(self.rank, self.world, path)
        self.count("have memory", int(block is not None))
        self.wait_for_all("asked for memory")
        return block if self.count("have memory", 0) == self.world else None

    def connect(self):
        """Connect the workers for Paddle's sums: over NCCL between GPUs, else over gloo."""
        executor, (host, port) = self.executor, self.meeting_point
        with self.together(), undisturbed():
            if isinstance(executor.place, paddle.CUDAPlace):
                core.CommContextManager.set_device_id(executor.place.get_device_id())
                join, key = core.CommContextManager.create_nccl_comm_context, [f"{host}:{port}"]
            else:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", interface_towards(host, port))
                join, key = core.CommContextManager.create_gloo_comm_context, []
            join(self.store, "0", self.rank, self.world, *key)
        program = paddle.static.Program()
        with paddle.static.program_guard(program, paddle.static.Program()):
            total = all_reduce(paddle.static.data("numbers", [None], "float64"))
        self.sum = program, total

    def minimize(self, optimizer, loss, accuracy):
        """`optimizer.minimize(loss)`, with gradients summed over the workers' shares of the batch.

        Returns what a step fetches: [loss, accuracy], of the whole batch; with several workers also what they ask for
        (see `feed`), summed.
        """
        if self.world == 1:
            optimizer.minimize(loss)
            return [loss, accuracy]
        share = paddle.static.data("share", [1], "float32")
        asks = paddle.static.data("asks", [len(SIGNALS) + 1], "float32")
        gradients = optimizer.backward(loss * share)
        gradients, metrics = self.add_gradients(gradients, [loss * share, accuracy * share, asks])
        optimizer.apply_gradients(gradients)
        return metrics

    def feed(self, feed, share, asks):
        """A step's feed, completed with this worker's share of the batch, from 0 to 1, and what it asks all to do.

        asks: (the signal after which to stop or None, whether to save), once the step is done.
        """
        number, save = asks
        flags = [number == each for each in SIGNALS] + [save]
        return feed if self.world == 1 else {**feed, "share": np.float32([share]), "asks": np.float32(flags)}

    def read(self, metrics, asks):
        """What a step gave, the same on all workers -> (loss, accuracy, what any worker asked for, as for `feed`)."""
        loss, accuracy, *flags = metrics
        if flags:
            *stops, save = flags[0] > 0
            asks = next((number for number, is_asked in zip(SIGNALS, stops) if is_asked), None), bool(save)
        return loss.item(), accuracy.item(), asks

    def share_of(self, batch):
        """The part of a batch that this worker trains on, and its weight; see `share_of` below."""
        return share_of(batch, self.rank, self.world)

    def share_of_test(self, count):
        """Which of `count` test images are this worker's to judge."""
        return np.arange(count)[self.rank::self.world]

    def add_gradients(self, params_grads, metrics):
        """Sum gradients and metrics over all workers: between `backward(loss * share)` and `apply_gradients`.

        metrics: float32 variables of a few elements. One sum for everything, since sixty small ones would each
        wait for the slowest worker. Returns (params_grads, metrics), the same on every worker.
        """
        parts = [gradient for _, gradient in params_grads] + list(metrics)
        sizes = [int(np.prod(part.shape)) for part in parts]
        if self.block:  # one operator; joining, cutting and shaping for all_reduce takes two hundred
            paddle.static.py_func(lambda *tensors: self.add_tensors(tensors, sizes), parts, parts)
            return params_grads, list(metrics)
        joined = paddle.concat([paddle.reshape(part, [-1]) for part in parts])  # [sum of sizes]
        pieces = paddle.split(all_reduce(joined), sizes)
        sums = [paddle.reshape(piece, part.shape) for piece, part in zip(pieces, parts)]
        count = len(params_grads)
        return [(parameter, total) for (parameter, _), total in zip(params_grads, sums)], sums[count:]

    def add_tensors(self, tensors, sizes):
        """Sum float32 tensors of these sizes over all workers on this machine, each in its place; returns them."""
        tensors = [self.in_plain_order(t) if t._layout() == "ONEDNN" else t for t in tensors]
        self.block.sum([np.frombuffer((ctypes.c_float * size).from_address(tensor._ptr()), np.float32)
                           for tensor, size in zip(tensors, sizes)])  # the tensors' own memory: np.asarray copies it
        return tensors

    def in_plain_order(self, tensor):
        """A copy of a tensor that oneDNN has in an order of its own; Paddle puts it right when it is fetched."""
        program, x = program_of_nothing(len(tensor.shape()))
        array, = self.executor.run(program, feed={"x": tensor}, fetch_list=[x])
        tensor = type(tensor)()
        tensor.set(array, self.executor.place)
        return tensor

    def add_up(self, numbers):
        """Sum numbers over all workers, outside of any program: float64 [n] -> float64 [n]."""
        numbers = np.asarray(numbers, np.float64)
        if self.world == 1:
            return numbers
        if self.block:
            sums = numbers.reshape(-1).copy()
            self.block.sum([sums])
            return sums.reshape(numbers.shape)
        program, total = self.sum
        with self.together():
            sums, = self.executor.run(program, feed={"numbers": numbers.reshape(-1)}, fetch_list=[total])
        return sums.reshape(numbers.shape)

    def copy_state(self, program, scope):
        """Give every worker rank 0's weights and optimizer state: the program's persistable variables."""
        if self.world == 1:
            return
        for name, array in program_state.take(program, scope).items():
            total = self.add_up(array if self.rank == 0 else np.zeros_like(array))  # float64 loses no bit
            scope.find_var(name).get_tensor().set(total.astype(array.dtype), self.executor.place)

    def gather_statistics(self, program, scope):
        """Batch normalization's running means and variances of all workers: float64 [world, n].

        Within a step each worker normalizes with its own share's statistics, as is usual, so the running ones
        differ between workers, and nothing else does.
        """
        own = program_state.running_statistics(program, scope)
        rows = np.zeros((self.world, own.size))
        rows[self.rank] = own
        return self.add_up(rows) if own.size else rows

    def put_statistics(self, program, scope, rows):
        """Give each worker its own of what `gather_statistics` returned; `rows` is read on rank 0, the others' is None.

        Errors: UserError where they are another network's.
        """
        size = program_state.running_statistics(program, scope).size
        if self.rank == 0 and rows.shape != (self.world, size):
            raise UserError("the checkpoint does not fit this network: its running statistics are another's")
        rows = self.add_up(rows if self.rank == 0 else np.zeros((self.world, size)))
        program_state.put_running_statistics(program, scope, self.executor.place, rows[self.rank])

    def average_statistics(self, program, scope):
        """Average the running means and variances over the workers, before a test."""
        own = program_state.running_statistics(program, scope)
        if self.world > 1 and own.size:
            mean = self.add_up(own) / self.world
            program_state.put_running_statistics(program, scope, self.executor.place, mean)

    def tell(self, name, value=None):
        """Give every worker what rank 0 says, under a name that is used once: anything that JSON can hold."""
        if self.world == 1:
            return value
        with self.together(), undisturbed():
            if self.rank == 0:
                self.store.set(f"tell {name}", json.dumps(value))
        self.wait_for_rank_0()
        with self.together(), undisturbed():
            return json.loads(self.store.get(f"tell {name}"))

    def wait_for_rank_0(self):
        """Hold the other workers here until rank 0 comes, however long it was busy alone (saving, drawing).

        A sum waits for the slowest worker 30 s at most: this stands after whatever rank 0 does alone.
        """
        self.meetings += 1
        if self.world > 1:
            if self.rank == 0:
                self.count("meetings", 1)
            else:
                self.wait_until("meetings", self.meetings)

    def wait_for_all(self, name):
        """Hold each worker here until all have come, under a name that is used once: after what each does for long."""
        if self.world > 1:
            self.count(name, 1)
            self.wait_until(name, self.world)

    def count(self, name, more):
        """Add to a number in the store; returns it."""
        with self.together(), undisturbed():
            return self.store.add(name, more)

    def wait_until(self, name, count, patience=PATIENCE):
        """Wait until a number in the store has grown to `count`; Ctrl-C and signals are heard meanwhile."""
        begin, is_said = time.monotonic(), name != "arrived" or self.rank > 0
        while self.count(name, 0) < count:
            waited = time.monotonic() - begin
            if waited > patience:
                raise UserError(f"worker {self.rank} of {self.world} waited {patience} s for the others: ending")
            if waited > SILENCE and not is_said:
                is_said = True
                say(f"Waiting for the other workers: {self.count(name, 0)} of {count} are here")
            time.sleep(min(0.02, 0.002 + waited / 10))  # each question costs rank 0 some of its core

    @contextlib.contextmanager
    def together(self):
        """Say in one line that another worker has gone, where Paddle's errors only say "std::exception"."""
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:
            text = str(error)
            if self.world == 1 or not any(sign in text for sign in ("std::exception", "TCP", "NCCL", "gloo")):
                raise
            raise LostWorkers(f"worker {self.rank} of {self.world} lost the others: one has ended (its own "
                              "message says why), or did not answer for 30 s") from error


@contextlib.contextmanager
def undisturbed():
    """Keep signals away from this thread meanwhile: Paddle's store takes an interrupted call for a lost worker.

    They are heard right after; another thread of this process may take them and tell Python.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def from_environment(environment=None):
    """The Workers that the launcher's environment variables tell of; a world of 1 where there are none.

    Source: `paddle.distributed.launch` of 2.6 and 3.3 (PADDLE_TRAINER_ID, PADDLE_TRAINERS_NUM, PADDLE_MASTER;
    where 2.6 gives no PADDLE_MASTER, the first of PADDLE_TRAINER_ENDPOINTS, which is rank 0's).
    """
    environment = os.environ if environment is None else environment
    world = int(environment.get("PADDLE_TRAINERS_NUM", 1))
    if world == 1:
        return Workers()
    endpoints = environment.get("PADDLE_TRAINER_ENDPOINTS", "")
    host, _, port = (environment.get("PADDLE_MASTER") or endpoints.split(",")[0]).rpartition(":")
    if not host or not port.isdigit():
        raise UserError("PADDLE_TRAINERS_NUM is set, but neither PADDLE_MASTER nor PADDLE_TRAINER_ENDPOINTS "
                        "says where rank 0 is: unset it, or start with python -m paddle.distributed.launch")
    here = int(environment.get("PADDLE_LOCAL_SIZE", 1))
    return Workers(int(environment["PADDLE_TRAINER_ID"]), world, (host, int(port)), here)


def check_free(port):
    """UserError where another program listens on this port of ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(f"port {port}, where the workers were to meet, is not free ({error.strerror}): "
                            "start again, or end the program that holds it") from error


def wait_for_listener(host, port, patience):
    """Wait until rank 0 listens; UserError when it does not in `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(f"rank 0 does not answer at {host}:{port} ({error.strerror or error}): is it "
                                "started, and does a firewall stand in between?") from error
            time.sleep(0.1)


def interface_towards(host, port):
    """Name of the network interface that leads to a host, such as "eth0"; "" where none is known.

    Left alone gloo takes the address of this machine's own name, often 127.0.1.1, which nobody else reaches.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))  # sends nothing: it asks for the route
        address = probe.getsockname()[0]
    return next((name for name, entries in psutil.net_if_addrs().items()
                 if any(entry.address == address for entry in entries)), "")


def is_loopback(host):
    """Whether a host is this machine itself, by an address of its loopback interface."""
    return host == "localhost" or host.startswith("127.")
