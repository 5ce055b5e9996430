"""Training runs made as train.py makes them, for the other benchmarks to measure."""
import contextlib
import sys
import tempfile

from utils.parallel import launch


def in_workers(count, measure):
    """Call `measure` in each of `count` workers: this process starts them and ends with them, or is one of them."""
    if count > 1 and not launch.is_worker():
        sys.exit(launch.start(count))
    launch.take_cores()
    measure()


@contextlib.contextmanager
def ready(data_file, change=lambda data: data, **settings):
    """A run of train.py on the CPU whose first batch comes next: (run, interrupts).

    data_file: a CIFAR-10 archive; None for sketches. change: what to make of the data before the run gets it.
    settings: those that differ from train.py's own. What the run saves goes when it is over.
    """
    import train  # prepares the engine, then imports Paddle

    train.paddle.enable_static()
    team, executor = train.workers.from_environment(), train.paddle.static.Executor(train.paddle.CPUPlace())
    team.connect(executor)
    data = train.dataset.load("cifar10" if data_file else "sketches", data_file, say=lambda text: None)
    with tempfile.TemporaryDirectory() as folder, train.Interrupts() as interrupts:
        settings = {**train.DEFAULTS, "seed": 1, "model_dir": folder, **settings}
        run = train.Run(settings, change(data), executor, team, lambda line: None)
        team.copy_state(run.programs.main)
        yield run, interrupts
