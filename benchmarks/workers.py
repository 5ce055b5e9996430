"""How much faster workers that share each batch train than one process, and what their sum and their waiting cost.

    python -m benchmarks.workers [--workers 2] [--rounds 3] [--steps 12]

Each round measures, one after the other: `one` process with the whole batch; the `workers` with a share of it each;
and workers `apart`, which train on their shares at the same time without a sum. What workers take longer than apart is
the sum and the waiting for the slowest.
Trust the ratios, not the times, and run nothing else on the machine.
"""
import argparse
import json
import statistics
import subprocess
import sys

from benchmarks import runs
from utils import flags
from utils.parallel import launch

BATCH = 128
WARM_UP = 3  # steps
NAMES = ("one", "workers", "apart")


def measure(name, steps):
    """Train ResNet-32 as one of the workers; returns the mean seconds of a step, which a whole epoch would feel."""
    from utils.parallel import workers

    if name == "apart":
        workers.Workers.sum = lambda self, gradients, metrics: (gradients, metrics)
    with runs.ready(None, batch_size=BATCH) as run:
        runs.train_steps(run, WARM_UP)
        seconds = runs.train_steps(run, steps) / steps
        return run.workers.all_reduce([seconds])[0] / run.workers.world


def run(name, given):
    """Measure in processes of their own; returns seconds a step."""
    command = [sys.executable, "-m", "benchmarks.workers", "--measure", name, "--steps", str(given.steps),
               "--workers", str(given.workers)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(said.splitlines()[-1])


def compare(given):
    """Print each round's times and ratios, then the medians of the ratios."""
    ratios = {"speed-up": [], "sum and waiting, share of a step": []}
    for number in range(1, given.rounds + 1):
        seconds = {name: run(name, given) for name in NAMES[::1 if number % 2 else -1]}
        shared = seconds["workers"]
        for kept, ratio in zip(ratios.values(), (seconds["one"] / shared, 1 - seconds["apart"] / shared)):
            kept.append(ratio)
        print(f"Round {number}: " + ", ".join(f"{name} {1000 * seconds[name]:.0f} ms a step "
                                              f"({BATCH / seconds[name]:.0f} images/s)" for name in NAMES), flush=True)
    print(f"Median of {given.rounds}, {given.workers} workers on {len(launch.usable_cores())} cores: "
          + ", ".join(f"{name} {statistics.median(values):.2f}" for name, values in ratios.items()))


def main():
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="Workers against one process, ResNet-32, batch 128.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="timed steps of each process")
    parser.add_argument("--measure", choices=NAMES, help="measure one case; used by the benchmark itself")
    given = parser.parse_args()
    if given.measure is None:
        compare(given)
    else:
        flags.set_flags()
        runs.in_workers(1 if given.measure == "one" else given.workers,
                        lambda: print(json.dumps(measure(given.measure, given.steps))))


if __name__ == "__main__":
    main()
