"""Start the workers of one training run on this machine, watch them, and end them together.

`python -m paddle.distributed.launch` does this too, and is the way to several machines. On one machine this is better
to watch: rank 0 keeps the terminal, Ctrl-C ends with one exit status, and one line says which worker failed. Nothing
here imports Paddle, so the watching process stays small.
"""
import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from utils import errors
from utils.errors import STOP_SIGNALS, UserError
from utils.parallel.interrupts import signals_to

SMALLEST_SHARE = 8  # images per worker, below which starting another gains nothing
MOST_PER_CORE = 8  # workers
MEMORY = 550  # MB that a worker takes which trains ResNet-32 on such a share
LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"  # of a container, on Linux
SETTLING = 1  # seconds after a failure, in which the others notice it, or fail of the same cause
STOPPING = 10  # seconds for the last workers to end after the first one that was asked to
GRACE = 2  # seconds until the others are asked to end, and again until they are killed
LOST = 3  # status of a worker that ended because another had gone
STOPPED = tuple(128 + number for number in (*STOP_SIGNALS, getattr(signal, "SIGPIPE", 13)))  # of workers asked to stop
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def is_worker():
    """Whether a launcher has started this process."""
    return "PADDLE_TRAINER_ID" in os.environ


def usable_cores():
    """Numbers of the CPU cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def default_worker_count(batch_size, memory=MEMORY):
    """One worker per core, as long as each has a fair share of the batch, and all fit into half of the memory.

    memory: MB that each takes. What is free just now does not count: the same command trains the same.
    """
    if not hasattr(os, "sched_setaffinity"):
        return 1  # not Linux: not tried
    return max(1, min(len(usable_cores()), batch_size // SMALLEST_SHARE, memory_limit() // 2 // memory))


def memory_limit():
    """MB of memory of this machine, or of the container that this process is in."""
    import psutil  # after prepare.py has checked that it is installed

    limits = [psutil.virtual_memory().total]
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(path).read_text(encoding="ascii")))
    return min(limits) >> 20


def check_worker_count(count, batch_size):
    """UserError where so many workers would take the memory, or be without an image."""
    most = min(MOST_PER_CORE * len(usable_cores()), batch_size)
    if count > most:
        raise UserError(f"--workers {count}: at most {most} here ({MOST_PER_CORE} per core, and an image of each batch "
                        f"of {batch_size} for each)")


def pin_to_cores():
    """Keep this worker on its own cores: equal runs of neighbors, or equally many workers on each core."""
    rank, world = int(os.environ.get("PADDLE_LOCAL_RANK", 0)), int(os.environ.get("PADDLE_LOCAL_SIZE", 1))
    if world > 1 and hasattr(os, "sched_setaffinity"):
        cores = usable_cores()
        first, end = len(cores) * rank // world, len(cores) * (rank + 1) // world
        os.sched_setaffinity(0, cores[first:max(end, first + 1)])


def start_workers(command, count):
    """Run a command, a program and its arguments, as `count` workers; returns the run's exit status.

    Rank 0 has the terminal. What another worker prints goes to a file, and is shown if it is the first to fail.
    """
    address, workers, signals = f"127.0.0.1:{free_port()}", [], []
    with contextlib.ExitStack() as stack:
        outputs = [None] + [stack.enter_context(temporary_file()) for _ in range(count - 1)]
        stack.enter_context(signals_to(lambda number, _frame: signals.append(number)))
        stack.callback(lambda: [worker.kill() for worker in workers])  # of no effect on those that have ended
        before_exec = functools.partial(_begin_worker, os.getpid()) if sys.platform == "linux" else None
        for rank, output in enumerate(outputs):
            workers.append(subprocess.Popen(
                command, env=worker_environment(rank, count, address), preexec_fn=before_exec,
                stdin=subprocess.DEVNULL if rank else None, stdout=output, stderr=output))
        program = next(os.path.basename(word) for word in command[1:] if not word.startswith("-"))
        return _watch(workers, outputs, signals, program)


def temporary_file():
    """A file without a name. Errors: UserError where no folder takes one."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise UserError(f"cannot write a temporary file ({error.strerror or error}): set TMPDIR to a folder that can "
                        "be written, or use --workers 1") from error


def worker_environment(rank, count, address):
    """The variables that `paddle.distributed.launch` sets, and one thread for ops.

    A second thread costs more than it brings: RESULTS.md, "Several workers".
    """
    ours = {"PADDLE_MASTER": address, "PADDLE_TRAINER_ID": str(rank), "PADDLE_TRAINERS_NUM": str(count),
            "PADDLE_LOCAL_RANK": str(rank), "PADDLE_LOCAL_SIZE": str(count)}
    return {"OMP_NUM_THREADS": "1", **os.environ, **ours}


def _watch(workers, outputs, signals, program):
    """Wait for all workers to end -> 0, or the status of the one that failed, after a line that names it."""
    _wait(workers, signals, float("inf"), lambda: any(_statuses(workers)))
    _wait(workers, signals, STOPPING if {*STOPPED} & {*_statuses(workers)} else SETTLING)
    statuses = _statuses(workers)
    cause = min(range(len(workers)), key=lambda rank: (
        not statuses[rank], statuses[rank] == LOST, statuses[rank] in STOPPED))  # False comes first
    status = statuses[cause]
    if status and status not in STOPPED:
        _report(program, cause, status, outputs[cause])
    for end in (subprocess.Popen.terminate, subprocess.Popen.kill):
        _wait(workers, signals, GRACE)
        for worker in workers:
            end(worker)
    return status


def _wait(workers, signals, seconds, is_over=lambda: False):
    """Wait until all workers have ended, it is over or the time is up; meanwhile pass signals on to the workers."""
    end = time.monotonic() + seconds
    while None in _statuses(workers) and not is_over() and time.monotonic() < end:
        while signals:
            number = signals.pop(0)
            for worker in workers:
                with contextlib.suppress(ValueError):  # Windows itself sends Ctrl-C to all of a console
                    worker.send_signal(number)
        time.sleep(0.05)


def _statuses(workers):
    """Exit statuses as a shell gives them, 128 + n after signal n; None for workers that still run."""
    return [status if status is None or status >= 0 else 128 - status for status in map(subprocess.Popen.poll, workers)]


def _report(program, rank, status, output):
    """Say on the terminal which worker failed and how."""
    killed = {128 + number: f"ended by signal {number:d}, {number.name}" for number in signal.Signals}.get(status)
    if output:
        output.seek(0)
        sys.stderr.write("\n".join(output.read().decode(errors="replace").splitlines()[-20:]) + "\n")
    if rank or killed:  # rank 0 has said itself what went wrong, unless it was killed
        errors.complain(program, f"worker {rank} failed ({killed or f'exit status {status}'}), so the run ends")


def _begin_worker(parent):
    """In a worker, before it becomes Python: signals wait until end_at_once_on_signals; it ends with its watcher."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    end_with_parent(parent)


def end_with_parent(parent, number=signal.SIGTERM):
    """In a child process, on Linux: have the kernel send it a signal when its parent is killed."""
    LIBC.prctl(1, int(number))  # 1: PR_SET_PDEATHSIG
    if os.getppid() != parent:  # killed before this call
        os._exit(128 + number)


def free_port():
    """A port on this machine that nobody listens on now. Errors: UserError where this machine does not reach itself."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return port
    except OSError as error:
        raise UserError(f"the workers cannot reach each other at 127.0.0.1 ({error.strerror or error}): is the "
                        "loopback interface down, or a firewall on it? --workers 1 runs without") from error
