"""Training runs made as train.py makes them, for the other benchmarks to measure."""
import contextlib
import sys
import tempfile

from utils import errors
from utils.parallel import launch


def in_workers(count, measure):
    """Call `measure` in each of `count` workers: this process starts them and ends with them, or is one of them."""
    if count > 1 and not launch.is_worker():
        command = getattr(sys, "orig_argv", [sys.executable, *sys.argv])[1:]  # from Python 3.10 on
        sys.exit(launch.start_workers([sys.executable, *command], count))
    errors.end_at_once_on_signals()
    launch.pin_to_cores()
    measure()


@contextlib.contextmanager
def ready(data_file, change=lambda data: data, **given):
    """A run of train.py on the CPU whose first batch comes next.

    data_file: a CIFAR-10 archive; None for sketches. change: what to make of the data before the run gets it.
    given: settings that differ from train.py's own. What the run saves is removed when it is over.
    """
    import train  # sets Paddle's flags, then imports it

    train.paddle.enable_static()
    with tempfile.TemporaryDirectory() as folder:
        where = {"dataset": "cifar10", "data_file": data_file} if data_file else {"dataset": "sketches"}
        given = {"seed": 1, "model_dir": folder, "device": "cpu", **where, **given}
        with train.open_run(given, train.models.check) as run:
            load = run.load_data

            def load_and_change():
                load()
                run.data = change(run.data)

            run.load_data, run.log = load_and_change, lambda text: None
            train.set_up(run)
            yield run
