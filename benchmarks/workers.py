"""How much faster two workers on two cores train than one process, and what their sum and their waiting cost.

    python -m benchmarks.workers [--rounds 3] [--steps 12]

Each round measures, one after the other: `one` process with the whole batch; `two` workers with half of it
each; and two workers `apart`, which train on their halves at the same time without a sum. The speed-up is
one/two; what two take longer than apart is the all-reduce and the waiting for the slower worker. Trust the
ratios, not the times, and give it the machine for itself.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

from benchmarks import runs
from utils.parallel import launch
from utils.speed import cpu

BATCH = 128
WARM_UP = 3  # steps
NAMES = ("one", "two", "apart")


def measure(name, steps):
    """Train ResNet-32 on random images as one of the workers; returns the seconds of each step."""
    import numpy as np
    import paddle

    import train  # Paddle's flags were set in main
    from utils.parallel.workers import Workers, from_environment
    from utils.settings import Settings

    paddle.enable_static()
    everybody = from_environment()
    team = Workers() if name == "apart" else everybody
    executor = paddle.static.Executor(paddle.CPUPlace())
    everybody.meet()
    everybody.join(executor)
    programs = train.build_programs(Settings(), WARM_UP + steps, team)
    cpu.accelerate(programs.main)
    executor.run(programs.startup)
    mine, share = everybody.share_of(np.arange(BATCH))
    rng = np.random.default_rng(everybody.rank)
    images, labels = rng.random((len(mine), 3, 32, 32), "float32"), rng.integers(0, 10, (len(mine), 1))
    feed = team.feed({"pixel": images, "label": labels}, share, (None, False))
    seconds = []
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            everybody.add_up([0])  # start together
        began = time.perf_counter()
        executor.run(programs.main, feed=feed, fetch_list=programs.metrics)
        seconds.append(time.perf_counter() - began)
    return seconds[WARM_UP:]


def run(name, steps):
    """Measure in processes of their own; returns seconds a step, the mean that a whole epoch would feel."""
    command = [sys.executable, "-m", "benchmarks.workers", "--measure", name, "--steps", str(steps)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return statistics.mean(json.loads(said.splitlines()[-1]))


def compare(rounds, steps):
    """Print each round's times and ratios, then the medians of the ratios."""
    speed_ups, costs = [], []
    for number in range(1, rounds + 1):
        one, two, apart = (run(name, steps) for name in NAMES)
        speed_ups.append(one / two)
        costs.append(1 - apart / two)
        print(f"Round {number}: one {one:.3f} s a step ({BATCH / one:.0f} pictures/s), two {two:.3f} s "
              f"({BATCH / two:.0f}), apart {apart:.3f} s: speed-up {one / two:.2f}, "
              f"sum and waiting {1 - apart / two:.1%} of a step", flush=True)
    print(f"Median of {rounds}: speed-up {statistics.median(speed_ups):.2f} (bar: 1.70), sum and waiting "
          f"{statistics.median(costs):.1%} (bar: 10%); {len(launch.usable_cores())} cores")


def main():
    parser = argparse.ArgumentParser(description="Two workers against one process, ResNet-32, batch 128.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="timed steps of each process")
    parser.add_argument("--measure", choices=NAMES, help="measure one case; used by the benchmark itself")
    given = parser.parse_args()
    if given.measure is None:
        compare(given.rounds, given.steps)
    else:
        cpu.set_flags()
        runs.in_workers(1 if given.measure == "one" else 2,
                        lambda: print(json.dumps(measure(given.measure, given.steps))))


if __name__ == "__main__":
    main()
