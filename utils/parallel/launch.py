"""Start the workers of one training run on this machine, and end them together.

`python -m paddle.distributed.launch` does this too, and is the way to several machines. On one machine this
is better to watch: rank 0 keeps the terminal (the launcher sends its lines through files under ./log, up to
2 s late, where no progress bar lives), Ctrl-C ends with a single process's status, and a worker's end is said
in one line. Nothing here imports Paddle: the watching process stays small.
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
import threading
import time
from pathlib import Path

from utils import errors
from utils.errors import STOP_SIGNALS, UserError

SMALLEST_SHARE = 8  # images per worker, below which starting another gains nothing
MOST_PER_CORE = 8  # workers
MEMORY = 550  # MB that a worker takes which trains ResNet-32 on such a share
LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"  # of a container, on Linux
GRACE = 2  # seconds after a failure until the others are asked to end, and again until they are made to
STOPPING = 10  # seconds for the last workers to end after the first one that was asked to
CONNECTING = 5  # seconds for this machine to reach itself
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
LOST = 3  # status of a worker that ended because another had gone
STOPPED = tuple(128 + number for number in (*STOP_SIGNALS, getattr(signal, "SIGPIPE", 13)))  # of workers asked to stop


def is_worker():
    """Whether a launcher has started this process."""
    return "PADDLE_TRAINER_ID" in os.environ


def usable_cores():
    """Numbers of the CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def default_count(batch_size, memory=MEMORY):
    """How many workers use this CPU well: one per core, as long as each has a fair share of the batch.

    memory: MB that each takes. Together they take at most half of what is here; not of what is free just now, so that
    the same command on the same machine trains the same.
    """
    if not hasattr(os, "sched_setaffinity"):
        return 1  # not Linux: not tried
    return max(1, min(len(usable_cores()), batch_size // SMALLEST_SHARE, memory_here() // 2 // memory))


def memory_here():
    """MB of memory of this machine, or of the container that this process is in."""
    import psutil  # not before start.py has found out what is installed

    limits = [psutil.virtual_memory().total]
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # none such, or "max"
            limits.append(int(Path(path).read_text(encoding="ascii")))
    return min(limits) >> 20


def check_count(count, batch_size):
    """UserError where so many workers would take the memory, or be without an image."""
    most = min(MOST_PER_CORE * len(usable_cores()), batch_size)
    if count > most:
        raise UserError(f"--workers {count}: at most {most} here ({MOST_PER_CORE} per core, and an image of each batch "
                        f"of {batch_size} for each)")


def cores_of(place, places, cores):
    """The cores of one of `places` workers on this machine: equal runs of neighbors, or equally many on each."""
    first, end = len(cores) * place // places, len(cores) * (place + 1) // places
    return cores[first:max(end, first + 1)]


def take_cores():
    """Keep this worker on its own cores, so that the workers on this machine do not push each other about."""
    place, places = int(os.environ.get("PADDLE_LOCAL_RANK", 0)), int(os.environ.get("PADDLE_LOCAL_SIZE", 1))
    if places > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores_of(place, places, usable_cores()))


def start(command, count, without=()):
    """Run a command as `count` workers; returns the run's exit status.

    command: a program and its arguments; without: environment variables that the workers do not get. Signals go on
    to the workers. When one fails the others are ended within seconds. Rank 0 has the terminal; what another worker
    prints is kept, and shown if it is the first to fail.
    """
    address, workers = f"127.0.0.1:{free_port()}", []
    with contextlib.ExitStack() as held:
        notes = [None] + [held.enter_context(temporary_file()) for _ in range(count - 1)]
        asked = held.enter_context(signals_passed_on(workers))
        held.callback(lambda: [worker.kill() for worker in workers])  # of no effect on those that have ended
        prepare = functools.partial(begin_worker, os.getpid()) if sys.platform == "linux" else None
        for rank, note in enumerate(notes):
            workers.append(subprocess.Popen(
                command, env=environment_of(rank, count, address, without), stdin=subprocess.DEVNULL if rank else None,
                stdout=note, stderr=note, preexec_fn=prepare))
            for number in asked:  # before this one was there
                workers[-1].send_signal(number)
        program = next(os.path.basename(word) for word in command[1:] if not word.startswith("-"))
        return watch(workers, notes, program)


def temporary_file():
    """A file without a name. Errors: UserError where no folder takes one."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise UserError(f"cannot write a temporary file ({error.strerror or error}): set TMPDIR to a folder that can "
                        "be written, or use --workers 1") from error


@contextlib.contextmanager
def signals_passed_on(workers):
    """Meanwhile, pass the signals that ask a run to stop on to the workers; gives the list of those that came."""
    asked = []

    def pass_on(number, _frame):
        asked.append(number)
        for worker in workers:
            worker.send_signal(number)

    if threading.current_thread() is not threading.main_thread():  # Python hears signals there alone
        yield asked
        return
    before = {number: signal.signal(number, pass_on) for number in STOP_SIGNALS
              if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment_of(rank, count, address, without=()):
    """The environment of one worker: the variables that `paddle.distributed.launch` sets, and one thread for its ops.

    A second thread costs more than it brings: RESULTS.md, "Several workers".
    """
    ours = {"PADDLE_MASTER": address, "PADDLE_TRAINER_ID": rank, "PADDLE_TRAINERS_NUM": count,
            "PADDLE_LOCAL_RANK": rank, "PADDLE_LOCAL_SIZE": count}
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return {"OMP_NUM_THREADS": "1", **kept, **{name: str(value) for name, value in ours.items()}}


def watch(workers, notes, program):
    """Wait for all workers to end; returns 0, or the status of the one that failed, having said which."""
    while any(worker.poll() is None for worker in workers) and not failed(workers) and not stopped(workers):
        time.sleep(0.05)
    if stopped(workers):  # rank 0, which may save for long, is not the first to end
        wait(workers, STOPPING)
        if all(status_of(workers[rank]) == LOST for rank in failed(workers)):  # they lost those that stopped
            return status_of(workers[stopped(workers)[0]])
    return end(workers, notes, program) if failed(workers) else 0


def end(workers, notes, program):
    """After a failure: say which worker was the cause, and end those that do not end of themselves."""
    wait(workers, 1)  # seconds, in which the others notice, or fail of the same cause
    cause = max(failed(workers), key=lambda rank: guilt(status_of(workers[rank]), rank))
    report(program, cause, workers[cause], notes[cause])
    for make_end in (subprocess.Popen.terminate, subprocess.Popen.kill):
        wait(workers, GRACE)
        for worker in workers:
            make_end(worker)
    return status_of(workers[cause])


def guilt(status, rank):
    """What to sort failed workers by: one killed first, one that only lost the others last."""
    return status != LOST, status > 128, -rank


def failed(workers):
    """Ranks of the workers that ended otherwise than well or as asked."""
    return [rank for rank, worker in enumerate(workers) if status_of(worker) not in (None, 0, *STOPPED)]


def stopped(workers):
    """Ranks of the workers that ended because they were asked to."""
    return [rank for rank, worker in enumerate(workers) if status_of(worker) in STOPPED]


def wait(workers, seconds):
    """Wait until all workers have ended, or until the time is over."""
    over = time.monotonic() + seconds
    while any(worker.poll() is None for worker in workers) and time.monotonic() < over:
        time.sleep(0.05)


def status_of(worker):
    """Exit status as a shell gives it, 128 + n after signal n; None while the worker runs."""
    status = worker.poll()
    return status if status is None or status >= 0 else 128 - status


def report(program, rank, worker, note):
    """Say on the terminal which worker failed and how."""
    how = f"exit status {worker.returncode}"
    if worker.returncode < 0:
        how = f"ended by signal {-worker.returncode}"
        with contextlib.suppress(ValueError):
            how += f", {signal.Signals(-worker.returncode).name}"
    if note:
        note.seek(0)
        sys.stderr.write("\n".join(note.read().decode(errors="replace").splitlines()[-20:]) + "\n")
    if rank or worker.returncode < 0:  # rank 0 has said itself what went wrong, unless it was killed
        errors.complain(program, f"worker {rank} failed ({how}), so the run ends")


def begin_worker(parent):
    """In a worker, before it becomes Python: it ends with its watcher, and signals wait until it can answer them.

    See errors.end_at_once_on_signals.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    end_with_parent(parent)


def end_with_parent(parent, number=signal.SIGTERM):
    """In a child process, on Linux: have the kernel send it a signal when its parent is killed."""
    LIBC.prctl(1, int(number))  # 1: PR_SET_PDEATHSIG
    if os.getppid() != parent:  # killed before this was asked for
        os._exit(128 + number)


def free_port():
    """A port on this machine that nobody listens on now.

    Errors: UserError where this machine does not reach itself, so that the workers would wait for ever.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
            socket.create_connection(("127.0.0.1", port), timeout=CONNECTING).close()
            return port
    except OSError as error:
        raise UserError(f"the workers cannot reach each other at 127.0.0.1 ({error.strerror or error}): is the "
                        "loopback interface down, or a firewall on it? --workers 1 runs without") from error
