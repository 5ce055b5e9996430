"""Small runs of train.py for the tests: their command line, what they leave, and interruptions at a chosen moment.

`python small_runs.py ARGUMENT...` is train.py with these arguments, except for what the environment asks for:
CHECKPOINT_SECONDS between checkpoints; DISTURB="rank step signal", which that worker sends itself before that step,
counted from 0; WRITE_SECONDS, which a checkpoint takes at least.
"""
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICK = ["--depth", "8", "--epochs", "2", "--batch-size", "32", "--max-batches", "3", "--workers", "1",
         "--device", "cpu"]
FULL = ["--depth", "8", "--epochs", "1", "--batch-size", "16", "--workers", "1", "--device", "cpu"]


def command(*arguments):
    """The command line that runs this file."""
    return [sys.executable, str(Path(__file__).resolve()), *map(str, arguments)]


def state(folder):
    """The checkpoint in a run's folder."""
    from utils.storage import checkpoint

    return checkpoint.read(folder / "checkpoint.npz")


def contents(folder):
    """Every file in a folder but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def loss_and_accuracy(folder, archive):
    """By NumPy, from a saved model's answers on an archive's test images."""
    import numpy as np

    import infer
    from utils.data import dataset

    data = dataset.read("cifar10", archive, say=lambda text: None)
    model, _ = infer.load_model(folder, "cpu")
    answers = infer.infer(model, data.test_images.astype(np.float32) / 255)
    right = answers[np.arange(len(answers)), data.test_labels]
    return -np.log(right).mean(), (answers.argmax(1) == data.test_labels).mean()


def assert_same_run(one, other):
    """Bit for bit: weights, optimizer state, curves."""
    assert set(one.arrays) == set(other.arrays)
    for name, array in one.arrays.items():
        assert (array == other.arrays[name]).all(), name
    assert one.progress["history"] == other.progress["history"]


def before_each_step(monkeypatch, do):
    """Have something done before each training step of a run in this process."""
    import train

    feed = train.training_feed

    def do_and_feed(*arguments):
        do()
        return feed(*arguments)

    monkeypatch.setattr(train, "training_feed", do_and_feed)


def have_costs_of(monkeypatch, number, stop=None):
    """Have each step of a run in this process cost `number`; `stop`: the signal that comes during the step, or None."""
    from utils.checkpoints import Checkpoints

    after_batch = Checkpoints.after_batch

    def after_costly_batch(self, epoch, batch, _cost, _accuracy):
        self.workers.interrupts.signal = stop
        after_batch(self, epoch, batch, number, 0.1)

    monkeypatch.setattr(Checkpoints, "after_batch", after_costly_batch)


def have_curves_fail(monkeypatch, fail):
    """Have `fail` called in the place of drawing the curves of a run in this process."""
    from utils import figures

    monkeypatch.setattr(figures, "draw_curves", fail)


def have_few_sketches(monkeypatch):
    """Have a set of sketches hold 60 pictures instead of 12,000 in this process."""
    from utils.data import dataset

    monkeypatch.setattr(dataset, "SKETCHES", {"train": (40, 1), "test": (20, 2)})


def disturb(train, checkpoints):
    """Change train.py and utils/checkpoints.py as the environment asks."""
    rank, step, number = map(int, os.environ.get("DISTURB", "-1 -1 0").split())
    own_rank = int(os.environ.get("PADDLE_TRAINER_ID", 0))
    feed, write, steps = train.training_feed, checkpoints.checkpoint.write, []

    def feed_or_end(*arguments):
        steps.append(0)
        if (own_rank, len(steps) - 1) == (rank, step):
            os.kill(os.getpid(), signal.Signals(number))
        return feed(*arguments)

    def write_slowly(*arguments):
        write(*arguments)
        time.sleep(float(os.environ.get("WRITE_SECONDS", 0)))

    train.training_feed, checkpoints.checkpoint.write = feed_or_end, write_slowly
    checkpoints.CHECKPOINT_SECONDS = float(os.environ.get("CHECKPOINT_SECONDS", checkpoints.CHECKPOINT_SECONDS))


def main(arguments):
    """Train, in as many workers as `--workers` says."""
    sys.path.insert(0, str(ROOT))
    from utils import errors
    from utils.parallel import launch

    count = int(arguments[-1 - arguments[::-1].index("--workers") + 1])  # the last one counts
    if count > 1 and not launch.is_worker():
        return launch.start_workers(command(*arguments), count)
    errors.end_at_once_on_signals()
    import train
    from utils import checkpoints

    disturb(train, checkpoints)
    return train.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
