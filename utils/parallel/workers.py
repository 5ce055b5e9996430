"""Several processes that train one network: who each one is, what they exchange, and the sums over all of them.

launch.py starts the processes of one machine, which share memory (shared_memory.py). Paddle's own launcher,
`python -m paddle.distributed.launch`, starts them for GPUs and on several machines; then Paddle's store brings them
together, and its operator `all_reduce` sums inside the static program, over gloo between CPUs and NCCL between GPUs.
"""
import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import time
from multiprocessing.pool import ThreadPool

import numpy as np
import paddle
import psutil
from paddle.base import core

from utils import progress
from utils.errors import STOP_SIGNALS, Stopped, UserError, hold_signals
from utils.parallel import launch
from utils.parallel.shared_memory import LostWorkers, SharedBlock
from utils.storage import program_state

PATIENCE, SILENCE = 3600, 5  # seconds of waiting for workers on other machines, and until rank 0 says so
SIGNALS = (*STOP_SIGNALS, getattr(signal, "SIGPIPE", 13))  # when one worker receives one, all stop
SIGNS_OF_LOSS = ("std::exception", "TCP", "NCCL", "gloo")  # in Paddle's errors, when another worker has gone


class Workers:
    """This process among the `world` processes of a run: `with Workers() as workers:`; rank 0 speaks and saves for all.

    Each trains on its share of every batch, and all end each step with the same weights. Alone, no method changes
    anything. Errors: UserError where the workers cannot meet; LostWorkers where another one has gone.
    """

    def __init__(self, environment=os.environ):
        """Read from the launcher's variables which worker this is; without any, it is alone.

        file: descriptor of the memory that launch.py's workers share, or 0. Without one, meeting_point: (host, port) of
        rank 0, as `paddle.distributed.launch` of 2.6 and 3.3 sets it. Errors: UserError for missing or wrong variables.
        """
        number = functools.partial(launch.number_in, environment)
        self.rank, self.world = number("PADDLE_TRAINER_ID", 0), number("PADDLE_TRAINERS_NUM", 1)
        self.is_first_here = number("PADDLE_LOCAL_RANK", 0) == 0
        self.file = number(launch.MEMORY_FILE, 0)
        if self.world > 1 and not self.file:
            first_endpoint = environment.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")[0]
            host, _, port = (environment.get("PADDLE_MASTER") or first_endpoint).rpartition(":")
            if not host or not port.isdigit():
                raise UserError("PADDLE_TRAINERS_NUM is set, but neither PADDLE_MASTER nor PADDLE_TRAINER_ENDPOINTS "
                                "says where rank 0 is: unset it, or start with python -m paddle.distributed.launch")
            self.meeting_point = host, int(port)
        self.interrupts = launch.Interrupts()
        self.place = self.executor = self.store = self.total = self.block = None
        self.meetings, self.weight = 0, 1.0  # weight: of this worker's share in the step's sums
        self.wants_to_save = lambda: False  # asked in each step
        self.requests = np.zeros(len(SIGNALS) + 1, np.float32)  # of all workers, as the last step summed them

    def __enter__(self):
        launch.pin_to_cores()
        with contextlib.ExitStack() as stack:
            stack.enter_context(launch.signals_to(self.interrupts.hear))
            stack.enter_context(self.losses_in_one_line())
            if self.world > 1 and self.file:
                self.block = SharedBlock(self.rank, self.world, self.file, self.log)
            elif self.world > 1:
                if launch.LIBC:
                    launch.end_with_parent(os.getppid())  # as launch.py's own workers end with it
                self.helper = ThreadPool(1, hold_signals, (STOP_SIGNALS, True))
                self.store = self.ask(core.TCPStore, *self.meeting_point, self.rank == 0, 1, 60)
            self.barrier()  # from here on they can broadcast and wait for each other
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    @contextlib.contextmanager
    def losses_in_one_line(self):
        """In the block, turn a Paddle error that means that another worker has gone into LostWorkers."""
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:  # it may only say "std::exception"
            if self.block and self.block.failure:  # on its way through Paddle
                raise self.block.failure from error
            if not self.store or not any(sign in str(error) for sign in SIGNS_OF_LOSS):
                raise
            raise LostWorkers("lost the other workers: one has ended (its own message says why), or did not answer for "
                              "30 s") from error

    def ask(self, question, *arguments):
        """Call what waits for other machines in a thread that signals do not disturb, while this one hears them.

        Errors: the call's; Stopped after a signal, since a call of Paddle's may never end; UserError after PATIENCE.
        """
        answer = self.helper.apply_async(question, arguments)
        others = "the other workers, which meet at {}:{}".format(*self.meeting_point)
        for waited in range(PATIENCE):
            answer.wait(1)
            if answer.ready():
                return answer.get()
            if waited == SILENCE:
                self.log(f"Waiting for {others}")
            if waited > SILENCE and self.interrupts.signal is not None:
                raise Stopped(self.interrupts.signal, f"Stopped while waiting for {others}")
        raise UserError(f"waited {PATIENCE} s for {others}: is each started, and no firewall in the way?")

    def connect(self, place):
        """Make sums possible for programs on this place: through shared memory, gloo or NCCL."""
        if self.world == 1:
            return
        self.place, self.executor = place, paddle.static.Executor(place)
        if self.block is None:
            self.ask(self.join_paddle, place)
            program = paddle.static.Program()
            with paddle.static.program_guard(program, paddle.static.Program()):
                self.total = program, all_reduce_op(paddle.static.data("numbers", [None], "float64"))

    def join_paddle(self, place):
        """Connect the workers for Paddle's operator all_reduce: over NCCL between GPUs, else over gloo."""
        (host, port), arguments = self.meeting_point, (self.store, "0", self.rank, self.world)
        if isinstance(place, paddle.CUDAPlace):
            core.CommContextManager.set_device_id(place.get_device_id())
            core.CommContextManager.create_nccl_comm_context(*arguments, f"{host}:{port}")
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((host, port))  # sends nothing: it asks for the route
                address = probe.getsockname()[0]
            for name, entries in psutil.net_if_addrs().items():  # on its own, gloo takes the useless one of 127.0.1.1
                if any(entry.address == address for entry in entries):
                    os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            core.CommContextManager.create_gloo_comm_context(*arguments)

    def log(self, text):
        """Print a line, on rank 0 alone; where nobody can read it any more, the run stops after its batch."""
        try:
            if self.rank == 0:
                progress.write(text)
        except (Stopped, UserError):
            if not self.interrupts.holds:
                raise
            self.interrupts.hear(signal.SIGPIPE)

    def share_of(self, batch):
        """The indices of a batch that this worker trains on; all together train on each index once.

        The sum needs everybody: one for which nothing is left trains on the first index, with weight 0.
        """
        part = batch[len(batch) * self.rank // self.world:len(batch) * (self.rank + 1) // self.world]
        self.weight = len(part) / len(batch)
        return part if len(part) else batch[:1]

    def part_of(self, count):
        """Which of `count` test images are this worker's to test: int64 [n]."""
        return np.arange(count)[self.rank::self.world]

    def sum(self, gradients, metrics):
        """Gradients and metrics of the whole batch, from those of the shares, each weighted by its size.

        One sum for everything, since sixty small ones would each wait for the slowest worker.
        gradients: pairs (parameter, gradient); metrics: float32 variables of one number -> the same
        """
        if self.world == 1:
            return gradients, metrics
        metrics = [paddle.reshape(metric, [1]) for metric in metrics]
        parts = [gradient for _, gradient in gradients] + metrics
        sizes = [int(np.prod(part.shape)) for part in parts]
        if self.block:  # one operator; joining, cutting and shaping for all_reduce takes two hundred
            paddle.static.py_func(lambda *tensors: self.sum_tensors(tensors, sizes), parts, parts)
            return gradients, metrics
        own = parts[0].block.create_var(shape=[1 + len(self.requests)], dtype="float32", stop_gradient=True)
        paddle.static.py_func(lambda: np.float32([self.weight, *self.own_requests()]), [], own)
        weight, requests = paddle.split(own, [1, len(self.requests)])
        joined = paddle.concat([paddle.reshape(part, [-1]) for part in parts]) * weight  # [sum of sizes]
        *pieces, requests = paddle.split(all_reduce_op(paddle.concat([joined, requests])), [*sizes, len(self.requests)])
        paddle.static.py_func(lambda x: np.copyto(self.requests, x), requests, None)  # for a method Paddle counts self
        sums = [paddle.reshape(piece, part.shape) for piece, part in zip(pieces, parts)]
        return [(parameter, total) for (parameter, _), total in zip(gradients, sums)], sums[len(gradients):]

    def sum_tensors(self, tensors, sizes):
        """Sum float32 tensors of these sizes over all workers on this machine, each in its place; returns them."""
        tensors = [self.in_plain_order(each) if each._layout() == "ONEDNN" else each for each in tensors]
        arrays = [np.frombuffer((ctypes.c_float * size).from_address(each._ptr()), np.float32)
                  for each, size in zip(tensors, sizes)]  # the tensors' own memory: np.asarray copies it
        self.requests = self.own_requests()
        self.block.sum([*arrays, self.requests], [self.weight] * len(arrays) + [1])
        return tensors

    def in_plain_order(self, tensor):
        """A copy of a tensor that oneDNN has in an order of its own; Paddle puts it right when it is fetched."""
        program, x = program_of_nothing(len(tensor.shape()))
        array, = self.executor.run(program, feed={"x": tensor}, fetch_list=[x])
        tensor = type(tensor)()
        tensor.set(array, self.place)
        return tensor

    def own_requests(self):
        """What this worker asks all to do after the step, 1 for yes: stop for each signal, and save; float32 [n]."""
        return np.float32([self.interrupts.signal == number for number in SIGNALS] + [self.wants_to_save()])

    def agreement(self):
        """What all workers do after this step: (the signal to stop for or None, whether to save)."""
        requests = self.own_requests() if self.world == 1 else self.requests
        *stops, save = requests > 0
        return next((number for number, is_asked in zip(SIGNALS, stops) if is_asked), None), bool(save)

    def all_reduce(self, numbers):
        """Sum numbers over all workers: float64 [...] -> float64 [...]."""
        numbers = np.asarray(numbers, np.float64)
        if self.world == 1 or not numbers.size:
            return numbers
        flat = numbers.reshape(-1).copy()
        if self.block:
            self.block.sum([flat])
        else:
            program, total = self.total
            flat, = self.executor.run(program, feed={"numbers": flat}, fetch_list=[total])
        return flat.reshape(numbers.shape)

    def average_statistics(self, program):
        """Average batch normalization's running means and variances, which alone differ, over the workers."""
        for each in program_state.running_statistics(program) if self.world > 1 else ():
            each.set((self.all_reduce(each) / self.world).astype(np.float32), self.place)

    def gather_statistics(self, program):
        """The running means and variances of all workers: float64 [world, n]."""
        own = np.concatenate([np.zeros(0), *map(np.ravel, program_state.running_statistics(program))])
        return self.all_reduce(np.where(np.arange(self.world)[:, None] == self.rank, own, 0))

    def put_statistics(self, program, rows):
        """Give each worker its own row of rank 0's `rows`, which `gather_statistics` returned; None changes nothing."""
        rows = self.broadcast(None if rows is None else rows.tolist())
        first = 0
        for each in program_state.running_statistics(program) if rows else ():
            own = rows[self.rank][first:first + int(np.prod(each.shape()))]
            each.set(np.float32(own).reshape(each.shape()), self.place)
            first += len(own)

    def broadcast_state(self, program):
        """Give every worker rank 0's weights and optimizer state: the program's persistable variables."""
        if self.world == 1:
            return
        for name, array in program_state.take(program).items():
            total = self.all_reduce(array if self.rank == 0 else np.zeros_like(array))  # float64 loses no bit
            program_state.tensor(name).set(total.astype(array.dtype), self.place)

    def broadcast(self, value=None):
        """Give every worker rank 0's value, which JSON can hold; all wait for each other."""
        if self.world == 1:
            return value
        text = json.dumps(value) if self.rank == 0 else ""
        if self.block:
            size = int(self.all_reduce(len(text)))
            letters = self.all_reduce(np.frombuffer(text.encode() or bytes(size), np.uint8))
            return json.loads(letters.astype(np.uint8).tobytes())
        name = f"value {self.meetings}"
        if self.rank == 0:
            self.ask(self.store.set, name, text)
        self.barrier()
        return json.loads(self.ask(self.store.get, name))

    def barrier(self):
        """Hold each worker here until all have come, however long one was busy alone; signals are heard meanwhile."""
        if self.block:
            self.block.barrier()
        elif self.store:
            self.meetings += 1
            self.ask(self.wait_in_store, f"barrier {self.meetings}")

    def wait_in_store(self, name):
        """Wait until all workers have counted themselves under this name."""
        here = self.store.add(name, 1)
        while here < self.world:
            time.sleep(0.02)  # each question costs rank 0 some of its core
            here = self.store.add(name, 0)


def all_reduce_op(x):
    """The sum of x over all workers, as an operator in the program that x belongs to.

    Set by hand, since `paddle.distributed.all_reduce` fails in a static program of 3.3, and takes an older one in 2.6.
    """
    total = x.block.create_var(shape=x.shape, dtype=x.dtype)
    x.block.append_op(type="all_reduce", inputs={"x": [x]}, outputs={"out": [total]},
                      attrs={"ring_id": 0, "reduce_type": 0})  # ring 0: everybody; type 0: sum
    return total


@functools.cache
def program_of_nothing(dimensions):
    """A program without an operator, and its float32 input of so many dimensions."""
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        return program, paddle.static.data("x", [None] * dimensions, "float32")
