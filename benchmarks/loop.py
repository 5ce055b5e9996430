"""What the loop and its checkpoints add to the training program: `python -m benchmarks.loop --data-file ARCHIVE`.

Both sides train on the same batches, in turns: the bare side feeds arrays made in advance to `Executor.run`, the
other side is train.py's own `train_epoch` (shuffle, batches from bytes, seeds, curves, log line, progress).
"""
import argparse
import statistics
import sys
import time

import train  # noqa: F401  sets Paddle's flags, then imports it
from benchmarks import runs
from utils.checkpoints import CHECKPOINT_SECONDS
from utils.data import batches
from utils.errors import exit_status
from utils.storage import checkpoint, program_state


def bare(run, feeds):
    """Seconds that Executor.run alone takes for the batches."""
    begin = time.perf_counter()
    for feed in feeds:
        run.executor.run(run.programs.main, feed=feed, fetch_list=run.programs.metrics)
    return time.perf_counter() - begin


def checkpoint_seconds(run, times=9):
    """Median seconds to write a checkpoint of this run, and to read it and put it back."""
    written, put_back = [], []
    for _ in range(times):
        begin = time.perf_counter()
        run.checkpoints.save()
        written.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        arrays = checkpoint.read(run.settings.checkpoint_path).arrays
        program_state.put(run.programs.main, run.executor.place, arrays)
        put_back.append(time.perf_counter() - begin)
    return statistics.median(written), statistics.median(put_back)


@exit_status(out_of_memory="measure on a larger machine")
def main(arguments=None):
    """Read the command line and measure -> exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-file")
    parser.add_argument("--batches", type=int, default=12, help="a side and turn (default: 12)")
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args(arguments)
    with runs.ready(given.data_file, max_batches=given.batches) as run:
        labels = run.data.train_labels
        plan = batches.batches_of(batches.epoch_order(len(labels), 1, 0), run.settings.batch_size)
        plan = plan[:given.batches]
        feeds = [batches.feed_of(run.data.train_images, labels, part) for part in plan]
        bare(run, feeds)  # the first steps make buffers
        pairs = [(bare(run, feeds), runs.train_steps(run, given.batches)) for _ in range(given.turns)]
        written, put_back = checkpoint_seconds(run)
    pictures = sum(map(len, plan))
    alone, loop = (statistics.median(side) for side in zip(*pairs))
    added = [100 * (b / a - 1) for a, b in pairs]
    print(f"Executor.run alone {pictures / alone:.1f} pictures/s, train.py's loop {pictures / loop:.1f}: the loop adds "
          f"{statistics.median(added):.1f}% (from {min(added):.1f} to {max(added):.1f} in {len(pairs)} turns)")
    between = min(CHECKPOINT_SECONDS, len(labels) * loop / pictures)
    print(f"A checkpoint is written in {written:.3f} s, once in {between:.0f} s: {100 * written / between:.2f}% of the "
          f"time; reading it and putting it back takes {put_back:.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
