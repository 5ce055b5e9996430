"""Training runs made as train.py makes them, for the other benchmarks to measure."""
import contextlib
import sys
import tempfile
import time

from utils import errors
from utils.parallel import launch
from utils.settings import Settings, with_defaults


def in_workers(count, measure):
    """Call `measure` in each of `count` workers: this process starts them and ends with them, or is one of them."""
    if count > 1 and not launch.is_worker():
        command = getattr(sys, "orig_argv", [sys.executable, *sys.argv])[1:]  # from Python 3.10 on
        sys.exit(launch.start_workers([sys.executable, *command], count))
    errors.end_at_once_on_signals()
    launch.pin_to_cores()
    measure()


@contextlib.contextmanager
def ready(data_file, change=lambda data: data, **settings):
    """A run of train.py on the CPU whose first batch comes next.

    data_file: a CIFAR-10 archive; None for sketches. change: what to make of the data before the run gets it.
    settings: those that differ from train.py's own. What the run saves is removed when it is over.
    """
    import train  # sets Paddle's flags, then imports it

    train.paddle.enable_static()
    load = train.load
    with tempfile.TemporaryDirectory() as folder:
        where = {"dataset": "cifar10", "data_file": data_file} if data_file else {"dataset": "sketches"}
        settings = with_defaults(Settings(**{"seed": 1, "model_dir": folder, "device": "cpu", **where, **settings}))
        with train.Workers() as workers, train.Checkpoints(settings, workers) as checkpoints:
            workers.log = lambda text: None
            train.load = lambda *arguments: change(load(*arguments))
            try:
                yield train.set_up(checkpoints.settings, workers, checkpoints)
            finally:
                train.load = load


def train_steps(run, steps):
    """Train on the first batches of an epoch, by train.py's own loop -> seconds."""
    import train

    run.checkpoints.progress["batch"] = 0
    run.checkpoints.last_drawn = run.checkpoints.last_save = time.monotonic()  # neither falls into these few seconds
    run.workers.all_reduce([0])  # start together
    begin = time.perf_counter()
    train.train_epoch(run._replace(settings=run.settings._replace(max_batches=steps)), 0)
    return time.perf_counter() - begin
