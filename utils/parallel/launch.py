"""Start the workers of one training run on this machine, watch them, and end them together.

`python -m paddle.distributed.launch` does this too, and is the way to GPUs and several machines. On CPUs of one machine
this is better to watch: rank 0 keeps the terminal, Ctrl-C ends with one exit status, one line says which worker failed,
and nothing listens on a port. Nothing here imports Paddle, so the watching process stays small.
"""
import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from utils.errors import STOP_SIGNALS, Stopped, UserError, complain, hold_signals, print_error

MEMORY_FILE = "IMAGE_CLASSIFICATION_MEMORY"  # environment variable: descriptor of the file that workers share
SMALLEST_SHARE = 8  # images per worker, below which starting another gains nothing
MOST_PER_CORE = 8  # workers
MEMORY, FOR_AN_IMAGE = 470, 9  # MB that ResNet-32 takes in each worker, and for each image of a batch
MOST_MEMORY = 3 / 4  # of the machine's
LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"  # of a container, on Linux
CPU_SHARES = (("/sys/fs/cgroup/cpu.max",),  # the same: cores' CPU time per period, and the period, in microseconds
              ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
OUT_OF_MEMORY = "try a smaller --batch-size, or fewer --workers"
SETTLING = 1  # seconds after a failure, in which the others notice it, or fail for the same reason
STOPPING = 10  # seconds for the other workers to end, once one that was asked to has ended
GRACE = 2  # seconds until the others are asked to end, and again until they are killed
TWICE = 1  # seconds within which a second signal is the same one: launchers pass on what the terminal sends to all
LOST = 3  # status of a worker that ended because another had gone
STOPPED = tuple(128 + number for number in (*STOP_SIGNALS, getattr(signal, "SIGPIPE", 13)))  # of workers asked to stop
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
before_pinning = []  # numbers of the cores that all workers here share, once this one is pinned to its own


def is_worker():
    """Whether a launcher has started this process."""
    return "PADDLE_TRAINER_ID" in os.environ


def number_in(environment, name, default):
    """A whole number of the environment, or the default. Errors: UserError where the variable holds something else."""
    text = environment.get(name) or str(default)
    if not text.isdecimal():
        raise UserError(f"the environment variable {name} is {text!r}, not a number: unset it")
    return int(text)


def usable_cores():
    """Numbers of the CPU cores that this run may use on this machine."""
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return before_pinning or sorted(own)


def core_share():
    """How many cores' time this run may use: of those that it may run on, or a container's share of them."""
    share = len(usable_cores())
    for paths in CPU_SHARES:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            quota, period = map(int, " ".join(Path(path).read_text(encoding="ascii") for path in paths).split())
            share = min(share, max(1, quota // period)) if quota > 0 else share  # -1: no limit
    return share


def default_worker_count(batch_size, memory=MEMORY, for_an_image=FOR_AN_IMAGE):
    """One worker per core, as long as each has a fair share of the batch, and all fit into MOST_MEMORY.

    memory: MB that each takes, and `for_an_image` MB more for each image of its share. How much is free does not
    count, so that a command always starts as many.
    """
    if not hasattr(os, "sched_setaffinity"):
        return 1  # not Linux: not tried
    fitting = (memory_limit() * MOST_MEMORY - batch_size * for_an_image) // memory
    return max(1, min(core_share(), batch_size // SMALLEST_SHARE, int(fitting)))


def memory_limit():
    """MB of memory of this machine, or of the container that this process is in."""
    import psutil  # after start.py has checked that it is installed

    limits = [psutil.virtual_memory().total]
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(path).read_text(encoding="ascii")))
    return min(limits) >> 20


def pin_to_cores():
    """Keep this worker on its own cores: equal runs of neighbors, or equally many workers on each core."""
    rank, world = number_in(os.environ, "PADDLE_LOCAL_RANK", 0), number_in(os.environ, "PADDLE_LOCAL_SIZE", 1)
    if world > 1 and hasattr(os, "sched_setaffinity"):
        before_pinning[:] = cores = usable_cores()
        first, end = len(cores) * rank // world, len(cores) * (rank + 1) // world
        with contextlib.suppress(OSError):  # a container may forbid it: the system chooses
            os.sched_setaffinity(0, cores[first:max(end, first + 1)])


def start_workers(command, count, advice=lambda: ""):
    """Run a command, a program and its arguments, as `count` workers; returns the run's exit status.

    Rank 0 has the terminal. What another worker prints goes to a file, and is shown if it is the first to fail.
    advice: returns what a line about a failed worker ends with.
    """
    while os.open(os.devnull, os.O_RDWR) < 3:
        pass  # where the shell has closed a standard stream, no file below may take its number
    watch = Watch()
    with contextlib.ExitStack() as stack:
        try:
            memory, *outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
            if hasattr(os, "memfd_create"):  # not on macOS
                memory = stack.enter_context(open(os.memfd_create("sums"), "rb+"))
        except OSError as error:
            raise UserError(f"cannot write a temporary file ({error.strerror or error}): set TMPDIR to a folder that "
                            "can be written, or use --workers 1") from error
        stack.enter_context(signals_to(lambda number, _: watch.signals.append((number, time.monotonic()))))
        stack.callback(lambda: [worker.kill() for worker in watch.workers])  # of no effect on those that have ended
        before_exec = functools.partial(_begin_worker, os.getpid()) if sys.platform == "linux" else None
        for rank, output in enumerate([None, *outputs]):
            ours = {"PADDLE_TRAINER_ID": str(rank), "PADDLE_TRAINERS_NUM": str(count), "PADDLE_LOCAL_RANK": str(rank),
                    "PADDLE_LOCAL_SIZE": str(count), MEMORY_FILE: str(memory.fileno())}  # names of Paddle's launcher
            watch.workers.append(subprocess.Popen(
                command, env={"OMP_NUM_THREADS": "1", **os.environ, **ours},  # a second thread gains nothing
                pass_fds=[memory.fileno()], preexec_fn=before_exec,
                stdin=subprocess.DEVNULL if rank else None, stdout=output, stderr=output))
        cause, status = watch.outcome()
        if status and status not in STOPPED:
            program = next(os.path.basename(word) for word in command[1:] if not word.startswith("-"))
            _report(program, cause, status, [None, *outputs][cause], advice())
        watch.end()
        return status


class Watch:
    """The workers of a run, as seen by the process that started them."""

    def __init__(self):
        self.workers, self.signals, self.passed_on = [], [], 0  # signals: (number, seconds) of each that was heard

    def statuses(self):
        """Exit statuses as a shell gives them, 128 + n after signal n; None for those that still run."""
        return [status if status is None or status >= 0 else 128 - status
                for status in map(subprocess.Popen.poll, self.workers)]

    def outcome(self):
        """Wait for all to end, for one to fail or for a second signal -> (rank of the cause, the run's status)."""
        self.wait(float("inf"), lambda: any(self.statuses()))
        self.wait(STOPPING if {*STOPPED} & {*self.statuses()} else SETTLING)
        statuses = self.statuses()
        cause = min(range(len(statuses)), key=lambda rank: (
            not statuses[rank], statuses[rank] == LOST, statuses[rank] in STOPPED))  # False comes first
        return cause, 128 + self.signals[0][0] if statuses[cause] is None else statuses[cause]

    def wait(self, seconds, is_over=lambda: False):
        """Wait until all have ended, it is over, the time is up or a second signal came; pass signals on."""
        end = time.monotonic() + seconds
        while None in self.statuses() and not is_over() and time.monotonic() < end:
            for number, now in self.signals[self.passed_on:]:
                self.passed_on += 1
                for worker in self.workers:
                    worker.send_signal(number)
                    worker.send_signal(signal.SIGCONT)  # one that was stopped takes part in the saving
                if now - self.signals[0][1] > TWICE:
                    return
            time.sleep(0.05)

    def end(self):
        """Give those that still run some time to end, ask them to, and then end them."""
        for end in (subprocess.Popen.terminate, subprocess.Popen.kill):
            self.wait(GRACE)
            for worker in self.workers:
                end(worker)


def _report(program, rank, status, output, advice):
    """Say on the terminal which worker failed and how."""
    if output:
        output.seek(0)
        for line in output.read().decode(errors="replace").splitlines()[-20:]:
            print_error(line)
    how = {128 + number: f"was ended by signal {number:d}, {number.name}" for number in signal.Signals}.get(status)
    if status == 128 + signal.SIGKILL:
        how += f", perhaps because memory ran out (then {OUT_OF_MEMORY})"
    if rank or how or status == LOST:  # else rank 0 has said itself what went wrong
        complain(program, f"worker {rank} {how or f'failed (exit status {status})'}, so the run ends{advice}")


def _begin_worker(parent):
    """In a worker, before it becomes Python: signals wait until end_at_once_on_signals; it ends with its watcher."""
    hold_signals(STOP_SIGNALS, True)
    end_with_parent(parent)


def end_with_parent(parent, number=signal.SIGTERM):
    """In a child process, on Linux: have the kernel send it a signal when its parent is killed."""
    LIBC.prctl(1, int(number))  # 1: PR_SET_PDEATHSIG
    if os.getppid() != parent:  # killed before this call
        os._exit(128 + number)


@contextlib.contextmanager
def signals_to(handle):
    """In the block, `handle(number, frame)` gets the signals that ask a process to stop, if it is the main thread."""
    before = {}
    for number in STOP_SIGNALS if threading.current_thread() is threading.main_thread() else ():
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:  # nohup stays nohup
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """`with signals_to(interrupts.hear):` a signal raises Stopped, or, while `holds`, only sets `signal`."""

    def __init__(self):
        self.signal, self.since, self.holds = None, 0.0, False

    def hear(self, number, _frame=None):
        """Remember the first signal, or raise Stopped; leave at the second."""
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
            if not self.holds:
                raise Stopped(number, "Stopped before training began")
        elif time.monotonic() - self.since > TWICE:  # at once, since files are whole at any moment (storage/files.py)
            os._exit(128 + number)
