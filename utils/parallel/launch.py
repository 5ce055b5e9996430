"""Start the workers of one training run on this machine, and end them together.

`python -m paddle.distributed.launch` does this too, and is the way to several machines. On one machine this
is better to watch: rank 0 keeps the terminal (the launcher sends its lines through files under ./log, up to
2 s late, where no progress bar lives), Ctrl-C ends with a single process's status, and a worker's end is said
in one line. Nothing here imports Paddle: the watching process stays small.
"""
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

SMALLEST_SHARE = 32  # pictures a worker, below which starting another gains nothing
GRACE = 2  # seconds after a failure until the others are asked to end, and again until they are made to
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
LOST = 3  # status of a worker that ended because another had gone
STOPPED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # statuses of a worker that was asked to stop


def is_worker():
    """Whether a launcher has started this process."""
    return "PADDLE_TRAINER_ID" in os.environ


def usable_cores():
    """Numbers of the CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def default_count(batch_size):
    """How many workers use this CPU well: one a core, as long as each has a fair share of the batch."""
    if not hasattr(os, "sched_setaffinity"):
        return 1  # not Linux: not tried
    return max(1, min(len(usable_cores()), batch_size // SMALLEST_SHARE))


def cores_of(place, places, cores):
    """The cores of one of `places` workers on this machine: equal runs of neighbours, at least one each."""
    first, end = len(cores) * place // places, len(cores) * (place + 1) // places
    return cores[first:end] or [cores[place % len(cores)]]


def take_cores():
    """Keep this worker on its own cores, so that the workers on this machine do not push each other about."""
    place, places = int(os.environ.get("PADDLE_LOCAL_RANK", 0)), int(os.environ.get("PADDLE_LOCAL_SIZE", 1))
    if places > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores_of(place, places, usable_cores()))


def start(count):
    """Run this program's own command line again as `count` workers; returns the run's exit status.

    Signals go on to the workers. When one fails the others are ended within seconds. Rank 0 has the terminal;
    what another worker says is kept, and shown if that worker is the first to fail.
    """
    command = [sys.executable, *getattr(sys, "orig_argv", [sys.executable, *sys.argv])[1:]]
    address = f"127.0.0.1:{free_port()}"
    workers, notes = [], [None] + [tempfile.TemporaryFile() for _ in range(count - 1)]

    def pass_on(number, _frame):
        for worker in workers:
            worker.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for rank, note in enumerate(notes):
            workers.append(subprocess.Popen(
                command, env=environment_of(rank, count, address), stdin=subprocess.DEVNULL if rank else None,
                stdout=note, stderr=note, preexec_fn=end_with_parent if sys.platform == "linux" else None))
        return watch(workers, notes)
    finally:
        for worker in workers:
            worker.kill()  # of no effect on those that have ended
        for number, handler in before.items():
            signal.signal(number, handler)


def environment_of(rank, count, address):
    """The environment of one worker: the variables that `paddle.distributed.launch` sets."""
    ours = {"PADDLE_MASTER": address, "PADDLE_TRAINER_ID": rank, "PADDLE_TRAINERS_NUM": count,
            "PADDLE_LOCAL_RANK": rank, "PADDLE_LOCAL_SIZE": count}
    cores = len(cores_of(rank, count, usable_cores()))
    return {"OMP_NUM_THREADS": str(cores), **os.environ, **{name: str(value) for name, value in ours.items()}}


def watch(workers, notes):
    """Wait for all workers to end; returns 0, or the status of the one that failed, having said which."""
    while any(worker.poll() is None for worker in workers) and not failed(workers):
        time.sleep(0.05)
    if failed(workers):
        return end(workers, notes)
    return next((status for status in map(status_of, workers) if status), 0)


def end(workers, notes):
    """After a failure: say which worker was the cause, and end those that do not end of themselves."""
    wait(workers, 1)  # seconds, in which the others notice, or fail of the same cause
    cause = max(failed(workers), key=lambda rank: guilt(status_of(workers[rank]), rank))
    report(cause, workers[cause], notes[cause])
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


def wait(workers, seconds):
    """Wait until all workers have ended, or until the time is over."""
    over = time.monotonic() + seconds
    while any(worker.poll() is None for worker in workers) and time.monotonic() < over:
        time.sleep(0.05)


def status_of(worker):
    """Exit status as a shell gives it, 128 + n after signal n; None while the worker runs."""
    status = worker.poll()
    return status if status is None or status >= 0 else 128 - status


def report(rank, worker, note):
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
        print(f"{os.path.basename(sys.argv[0])}: error: worker {rank} failed ({how}), so the run ends",
              file=sys.stderr, flush=True)


def end_with_parent():
    """In a worker, before it becomes Python: have the kernel end it (SIGTERM) when the watcher is killed."""
    LIBC.prctl(1, int(signal.SIGTERM))  # 1: PR_SET_PDEATHSIG


def free_port():
    """A port on this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
