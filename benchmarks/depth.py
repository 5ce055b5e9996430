"""What depth costs: `python -m benchmarks.depth` begins to train residual networks of 20 to 1,202 layers.

Each in a process of its own, as train.py does it on one core: seconds that Paddle takes to build the programs, that the
training program takes to be rewritten for speed and the test program to be folded, and that the first step takes;
milliseconds a picture in the steps after it; and the process's peak memory. Seconds are processor time, which does not
count other jobs on the machine.
"""
import argparse
import json
import os
import sys
import time

from benchmarks import runs
from benchmarks.throughput import peak_memory, said_by
from utils.data.cifar10 import md5_of_copy
from utils.errors import exit_status

DEPTHS = (20, 32, 56, 110, 302, 1202)
ROW = "{depth:>6} {ops:>8,} {build:>8.1f} {rewrite:>8.2f} {fold:>8.2f} {first_step:>11.1f} {picture_ms:>11.1f} " \
      "{peak_mb:>8,.0f}"


def timed(owner, name, seconds, key):
    """Have a function, an attribute of `owner`, write down how long each call of it takes."""
    function = getattr(owner, name)

    def call(*arguments, **options):
        begin = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            seconds[key] = time.process_time() - begin

    setattr(owner, name, call)


def measure(given, depth):
    """Set a run up as train.py does, and train a few steps; returns what to tell."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before Paddle is imported
    import train
    from utils.speed import executor, fold_batch_norm

    told = {"depth": depth}
    timed(train, "build_programs", told, "build")
    timed(executor, "accelerate", told, "rewrite")
    timed(fold_batch_norm, "fold", told, "fold")
    timed(train, "train_epoch", told, "steps")
    with runs.ready(given.data_file, model="resnet", depth=depth, batch_size=given.batch_size, workers=1) as run:
        def seconds(steps):
            runs.train_steps(run, steps)
            return told.pop("steps")

        told["first_step"] = seconds(1) - told["rewrite"]
        told["ops"] = len(run.programs.main.global_block().ops)  # rewritten by now
        seconds(1)  # the second step still takes memory for the first time
        told["picture_ms"] = 1000 * seconds(given.steps) / (given.steps * given.batch_size)
        train.test(run._replace(data=run.data._replace(test_labels=run.data.test_labels[:1])))
    return {**told, "peak_mb": peak_memory()}


@exit_status(out_of_memory="measure on a larger machine, or with fewer --depths")
def main(arguments=None):
    """Read the command line and measure -> exit status."""
    parser = argparse.ArgumentParser(description="What depth costs: residual networks of more and more layers.")
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS, help="layers: 2 more than a multiple of 6")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each depth (default: 5)")
    parser.add_argument("--data-file", help="a CIFAR-10 archive; without one the pictures are drawn")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # one depth, for itself
    given = parser.parse_args(arguments)
    if given.data_file:
        md5_of_copy(given.data_file)  # a mistake is told before anything is started
    if given.measure:
        print(json.dumps(measure(given, *given.depths)))
        return 0
    print(" depth      ops    build  rewrite     fold  first step  ms/picture  peak MB")
    for depth in given.depths:
        command = [sys.executable, "-m", "benchmarks.depth", "--measure", "--depths", str(depth), "--batch-size",
                   str(given.batch_size), "--steps", str(given.steps)]
        command += ["--data-file", given.data_file] if given.data_file else []
        print(ROW.format(**said_by(command)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
