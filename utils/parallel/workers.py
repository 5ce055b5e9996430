"""Several processes that train one network: who each one is, and the sums over all of them.

Paddle does the work: its store brings the processes together, its operator `all_reduce` sums inside the
static program, over gloo between CPUs and NCCL between GPUs. `python -m paddle.distributed.launch` starts the
processes, on one machine or several; utils/launch.py does on one.
"""
import contextlib
import json
import os
import signal
import socket
import struct
import time

import numpy as np
import paddle
from paddle.base import core

from utils.errors import UserError
from utils.parallel.launch import LOST

PATIENCE = 3600  # seconds to wait for workers that read, fetch or save; in a sum gloo's own limit holds, 30 s


class LostWorkers(UserError):
    """Another worker has gone. The exit status tells the watcher to look for the cause elsewhere."""
    status = LOST


def share_of(batch, rank, world):
    """The part of a batch that one worker trains on, and its weight: (indices, fraction of the whole batch).

    All parts together are the batch, each index once. A worker for which nothing is left (in a last batch of
    less than `world`) takes the first index with weight 0, because the sum needs everybody.
    """
    part = batch[len(batch) * rank // world:len(batch) * (rank + 1) // world]
    return (part, len(part) / len(batch)) if len(part) else (batch[:1], 0.0)


def all_reduce(x):
    """The sum of x over all workers, as an operator in the program that is being built.

    The operator is set by hand, as Paddle's own passes do: `paddle.distributed.all_reduce` fails in a static
    program of 3.3 (it names the operator after an object), and in 2.6 takes an older operator that 3.3 lacks.
    """
    block = paddle.static.default_main_program().current_block()
    total = block.create_var(shape=x.shape, dtype=x.dtype)
    block.append_op(type="all_reduce", inputs={"x": [x]}, outputs={"out": [total]},
                    attrs={"ring_id": 0, "reduce_type": 0})  # ring 0: everybody; type 0: sum
    return total


class Workers:
    """This process among the `world` processes of a run; rank 0 speaks, draws and saves for all.

    With a world of 1 each sum is the number itself, and nothing is connected.
    """

    def __init__(self, rank=0, world=1, meeting_point=None):  # meeting_point: (host, port) of rank 0
        self.rank, self.world, self.meeting_point = rank, world, meeting_point
        self.executor = self.store = self.sum = None
        self.meetings = 0

    def connect(self, executor):
        """Wait for all workers and join them; call it before any program with sums runs.

        Errors: UserError where the port of the meeting point is taken, or workers stay away.
        """
        self.executor = executor
        if self.world == 1:
            return
        host, port = self.meeting_point
        if self.rank == 0:
            check_free(port)
        else:
            wait_for_listener(host, port, PATIENCE)
        with self.together(), undisturbed():  # the threads that are made here never hear signals
            self.store = core.TCPStore(host, port, self.rank == 0, 1, 60)
        self.count("arrived", 1)
        self.wait_until("arrived", self.world)
        with self.together(), undisturbed():
            if isinstance(executor.place, paddle.CUDAPlace):
                core.CommContextManager.set_device_id(executor.place.get_device_id())
                join, key = core.CommContextManager.create_nccl_comm_context, [f"{host}:{port}"]
            else:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", interface_towards(host, port))
                join, key = core.CommContextManager.create_gloo_comm_context, []
            join(self.store, "0", self.rank, self.world, *key)
        with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
            total = all_reduce(paddle.static.data("numbers", [None], "float64"))
            self.sum = paddle.static.default_main_program(), total

    def add_gradients(self, params_grads, figures):
        """Sum gradients and figures over all workers: between `backward(loss * share)` and `apply_gradients`.

        figures: float32 variables of one element each. One all-reduce for everything, since sixty small ones
        would each wait for the slowest worker. Returns (params_grads, figures), the same on every worker.
        """
        if self.world == 1:
            return params_grads, figures
        parts = [gradient for _, gradient in params_grads] + list(figures)
        sizes = [int(np.prod(part.shape)) for part in parts]
        joined = paddle.concat([paddle.reshape(part, [-1]) for part in parts])  # [sum of sizes]
        pieces = paddle.split(all_reduce(joined), sizes)
        sums = [paddle.reshape(piece, part.shape) for piece, part in zip(pieces, parts)]
        count = len(params_grads)
        return [(parameter, total) for (parameter, _), total in zip(params_grads, sums)], sums[count:]

    def add_up(self, numbers):
        """Sum numbers over all workers, outside of any program: float64 [n] -> float64 [n]."""
        numbers = np.asarray(numbers, np.float64)
        if self.world == 1:
            return numbers
        program, total = self.sum
        with self.together():
            sums, = self.executor.run(program, feed={"numbers": numbers.reshape(-1)}, fetch_list=[total])
        return sums.reshape(numbers.shape)

    def copy_state(self, program, scope=None):
        """Give every worker rank 0's weights and optimizer state: the program's persistable variables."""
        scope = scope or paddle.static.global_scope()
        names = [v.name for v in program.list_vars() if v.persistable and v.name not in ("feed", "fetch")]
        for name in sorted(names):
            variable = scope.find_var(name)
            if self.world > 1 and variable is not None and variable.get_tensor()._is_initialized():
                array = np.array(variable.get_tensor())
                total = self.add_up(array if self.rank == 0 else np.zeros_like(array))  # float64 loses no bit
                variable.get_tensor().set(total.astype(array.dtype), self.executor.place)

    def average_statistics(self, program, scope=None):
        """Average batch normalization's running means and variances over the workers, before tests and saves.

        Within a step each worker normalizes with its own share's statistics, as is usual, so the running ones
        differ between workers, and nothing else does.
        """
        scope = scope or paddle.static.global_scope()
        names = [name for op in program.global_block().ops if op.type == "batch_norm"
                 for slot in ("Mean", "Variance") for name in op.input(slot)]
        if self.world == 1 or not names:
            return
        tensors = [scope.find_var(name).get_tensor() for name in names]
        arrays = [np.array(tensor) for tensor in tensors]
        joined = self.add_up(np.concatenate([array.ravel() for array in arrays])) / self.world
        means = np.split(joined, np.cumsum([array.size for array in arrays])[:-1])
        for tensor, array, mean in zip(tensors, arrays, means):
            tensor.set(mean.reshape(array.shape).astype(array.dtype), self.executor.place)

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

    def count(self, name, more):
        """Add to a number in the store; returns it."""
        with self.together(), undisturbed():
            return self.store.add(name, more)

    def wait_until(self, name, count):
        """Wait until a number in the store has grown to `count`; Ctrl-C and signals are heard meanwhile."""
        end = time.monotonic() + PATIENCE
        while self.count(name, 0) < count:
            if time.monotonic() > end:
                raise UserError(f"worker {self.rank} of {self.world} waited {PATIENCE} s for others: ending")
            time.sleep(0.02)

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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
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
    return Workers(int(environment["PADDLE_TRAINER_ID"]), world, (host, int(port)))


def check_free(port):
    """UserError where another program listens on this port of ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(f"port {port}, where the workers were to meet, cannot be had ({error.strerror}): "
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
                                "started, and does a firewall stand between?") from error
            time.sleep(0.1)


def interface_towards(host, port):
    """Name of the network interface that leads to a host, such as "eth0"; "" where it cannot be told.

    Left alone gloo takes the address of this machine's own name, often 127.0.1.1, which nobody else reaches.
    """
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))  # sends nothing: it asks for the route
        address = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an IPv4 address
                reply = fcntl.ioctl(probe, 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR of Linux
                if socket.inet_ntoa(reply[20:24]) == address:
                    return name
    return ""
