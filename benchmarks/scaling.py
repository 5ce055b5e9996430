"""Images a second of this program and of PyTorch on more and more cores of one machine.

    python -m benchmarks.scaling --cores 2,4,8,16 --torch-python PYTHON --output OUT.json --figure OUT.png

For each number of cores, these sides take turns on the same ones: train.py's own loop and test pass with a worker for
each core and with fewer workers, and PyTorch's bare steps and forward passes with a thread for each core, as fast as
they come (the sides of benchmarks.throughput, in bfloat16 too where the processor is made for it). All are started
first and wait while they are not asked. The images are noise: a step takes as long on any. A ratio is this program's
speed over that of PyTorch's best side of the same precision in the same round.
"""
import argparse
import contextlib
import functools
import itertools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import runs
from benchmarks.throughput import TORCH_SIDES, environment, measurable, precision_of
from utils.errors import UserError, exit_status
from utils.parallel import launch
from utils.storage.files import whole_file

ROOT = Path(__file__).resolve().parent.parent
BATCH, IMAGES = 128, (50_000, 10_000)  # as CIFAR-10: to train, to test in each pass
WARM_UP = 3  # steps
REST = 0.3  # seconds between two sides, in which the threads of the first stop spinning


# -- A side, in processes of its own

def serve(folder, act, is_over=lambda: False):
    """Do what is asked for in this folder's files 0, 1, 2, ... one after another, and print each answer."""
    for number in itertools.count():
        while not (folder / str(number)).exists():
            time.sleep(0.005)  # each worker looks for itself: a wait for rank 0 would keep the cores busy
            if is_over():
                return
        answer = act(**json.loads((folder / str(number)).read_text(encoding="utf-8")))
        if answer is not None:
            print(json.dumps(answer), flush=True)


def noise():
    """As many images as CIFAR-10 has, which take no time to draw."""
    import numpy as np

    from utils.data.dataset import Dataset

    chance, arrays = np.random.default_rng(1), []
    for count in IMAGES:
        arrays += [chance.integers(0, 256, (count, 3, 32, 32), np.uint8), chance.integers(0, 10, count)]
    return Dataset("noise", *arrays)


def serve_paddle(given):
    """Be one of the workers of a run of train.py."""
    from utils import flags

    flags.set_flags()
    import train

    with runs.ready(None, lambda data: noise(), batch_size=BATCH, precision=given.precision) as run:
        images, labels = run.data.test_images, run.data.test_labels

        def act(work, count):
            run.workers.all_reduce([0])  # start together
            begin = time.perf_counter()
            if work == "train":
                runs.train_steps(run, count)
            elif work == "test":
                train.test(run._replace(data=run.data._replace(test_images=images[:count], test_labels=labels[:count])))
            seconds = time.perf_counter() - begin
            memory = run.workers.all_reduce(memory_of_this_process()).tolist()
            return {"seconds": seconds, "memory": memory} if run.workers.rank == 0 else None

        serve(Path(given.folder), act, lambda: run.workers.interrupts.signal is not None)


def memory_of_this_process():
    """[the most memory that was resident, MB; what is now, MB, where a page that n processes share counts 1/n]."""
    import resource

    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    now = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, now / 1024]


def serve_torch(given):
    """Be PyTorch's side, under a Python that has it."""
    import torch

    from benchmarks import torch_side

    torch.set_num_threads(len(launch.usable_cores()))
    sides = {name: torch_side.Side(name, "resnet", BATCH) for name in measurable(TORCH_SIDES)}

    def act(side, work, count):
        return {"seconds": sides[side].run(work, count if work == "train" else count // BATCH)}

    serve(Path(given.folder), act)


# -- The benchmark, which starts the sides and asks them

class Side:
    """What is measured: processes that `serve`, and one kind of work of theirs."""

    def __init__(self, name, process, folder, notes, **more):
        self.name, self.process, self.folder, self.notes, self.more = name, process, folder, notes, more
        self.counts, self.speeds, self.memory = {}, {"train": [], "test": []}, None

    def ask(self, work, count):
        """Have the side work -> seconds. Errors: UserError with its last words, where it has ended."""
        number = len(list(self.folder.iterdir()))
        with whole_file(self.folder / str(number)) as temporary:
            temporary.write_text(json.dumps({**self.more, "work": work, "count": count}), encoding="utf-8")
        line = " "
        while line and not line.startswith("{"):
            line = self.process.stdout.readline()
        if not line:
            self.notes.seek(0)
            last = (self.notes.read().decode(errors="replace").strip() or "without a word").splitlines()[-1]
            raise UserError(f"{self.name} ended with status {self.process.wait()}: {last}")
        answer = json.loads(line)
        self.memory = answer.get("memory")
        return answer["seconds"]

    def warm_up(self, seconds):
        """Find how many training steps take about so many seconds; a test is always of all images."""
        self.ask("train", WARM_UP)
        self.counts = {"train": max(2, round(seconds * WARM_UP / self.ask("train", WARM_UP))),
                       "test": IMAGES[1] // BATCH * BATCH}
        self.ask("test", self.counts["test"])

    def measure(self):
        """One turn: keep the images a second of training and of a test."""
        for work, count in self.counts.items():
            time.sleep(REST)
            self.speeds[work].append(count * (BATCH if work == "train" else 1) / self.ask(work, count))


def begin(held, python, cores, options, threads=None):
    """Start a `serve` on these cores -> what Side needs; when `held` closes, it ends with all of its workers.

    threads: of each worker; None for as many as the program itself takes.
    """
    folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
    notes, parent = held.enter_context(tempfile.TemporaryFile()), os.getpid()  # noqa: SIM115  held closes it
    variables = {**environment(), **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}

    def prepare():
        os.sched_setaffinity(0, cores)
        launch.end_with_parent(parent, signal.SIGKILL)

    process = subprocess.Popen([python, "-m", "benchmarks.scaling", "--folder", str(folder), *options], cwd=ROOT,
                               env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=notes,
                               text=True, start_new_session=True, preexec_fn=prepare)

    def end():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()

    held.callback(end)
    return process, folder, notes


def sides_of(held, given, cores, is_largest):
    """Start every side on these cores -> list of Side."""
    count, sides = len(cores), []
    teams = [(count // share, "") for share in (1, 2, 4)[:3 if is_largest else 2] if count >= share]
    if given.compare_pinning and is_largest and count > 1:
        teams.insert(1, (count, ", not pinned"))
    for workers, more in teams + [(count, more) for more in measurable([", bfloat16"])]:
        each = count // workers
        name = f"{workers} worker{'s' * (workers > 1)}, {each} thread{'s' * (each > 1)} each{more}"
        options = ["--serve", "paddle", "--workers", str(workers), *["--unpinned"] * (more == ", not pinned"),
                   "--precision", precision_of(name)]
        sides.append(Side(name, *begin(held, sys.executable, cores, options, each)))
    if given.torch_python:
        parts = begin(held, given.torch_python, cores, ["--serve", "torch"])
        sides += [Side(name, *parts, side=name) for name in measurable(TORCH_SIDES)]
    return sides


def measure(given, cores, is_largest):
    """Measure all sides in turns on these cores -> rows of the table."""
    with contextlib.ExitStack() as held:
        sides = sides_of(held, given, cores, is_largest)
        for side in sides:
            side.warm_up(given.seconds)
        for number in range(given.rounds):
            for side in sides[::1 if number % 2 else -1]:
                side.measure()
        return [{"cores": len(cores), "side": side.name, **side.speeds, "memory_mb": side.memory} for side in sides]


def with_ratios(rows):
    """Rows of one number of cores, with the ratios over PyTorch's best of the same precision in each round."""
    for row in rows:
        torch = [other for other in rows if other["side"] in TORCH_SIDES
                 and precision_of(other["side"]) == precision_of(row["side"])]
        if torch and row["side"] not in TORCH_SIDES:
            row["ratios"] = {work: [mine / max(others) for mine, *others in
                                    zip(row[work], *(other[work] for other in torch))] for work in ("train", "test")}
    return rows


def table(rows):
    """Rows as text."""
    lines = [f"cores  {'side':40}" + "".join(f"{work + '/s':>8}  {'over PyTorch':19}" for work in ("train", "test"))
             + "  memory"]
    for row in rows:
        line = f"{row['cores']:5}  {row['side']:40}"
        for work in ("train", "test"):
            ratios = row.get("ratios", {}).get(work)
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
            line += f"{statistics.median(row[work]):8.0f}  {spread:19}"
        peak = row["memory_mb"]
        lines.append((line + (f"  {peak[0]:.0f} MB, shared once {peak[1]:.0f}" if peak else "")).rstrip())
    return "\n".join(lines)


def best(rows, work):
    """The better of some sides for each number of cores: {cores: images a second}."""
    found = {}
    for row in rows:
        found[row["cores"]] = max(found.get(row["cores"], 0), statistics.median(row[work]))
    return found


def draw(rows, path):
    """Speed in float32 against cores, of this program's best number of workers and PyTorch's best side, into a PNG.

    Both in multiples of PyTorch's speed on the fewest cores, or of this program's where PyTorch was not measured.
    """
    from book.figures import parts

    figure, axes = parts.card(370)
    rows = [row for row in rows if precision_of(row["side"]) == "float32"]
    sides = [("conv", "this program", [row for row in rows if row["side"] not in TORCH_SIDES]),
             ("pool", "PyTorch", [row for row in rows if row["side"] in TORCH_SIDES])]
    sides = [side for side in sides if side[2]]
    counts = sorted({row["cores"] for row in rows})
    for left, work in ((70, "train"), (490, "test")):
        plot, unit = parts.chart(figure, left, 84, 316, 220), best(sides[-1][2], work)[counts[0]]
        for kind, _, some in sides:
            speeds = best(some, work)
            plot.plot(counts, [speeds[count] / unit for count in counts], color=parts.KINDS[kind][1],
                      linewidth=parts.LINE * 1.2, marker="o", markersize=4)
        plot.set_xticks(counts)
        plot.set_xlim(left=0)
        plot.set_ylim(bottom=0)
        cores = f"{counts[0]} core{'s' * (counts[0] > 1)}"
        parts.write(axes, left, 66, f"{work}ing, in multiples of {sides[-1][1]}'s speed on {cores}", size=12,
                    align="left", color=parts.QUIET)
        parts.write(axes, left + 158, 344, "cores", color=parts.QUIET)
    parts.write(axes, 24, 26, f"ResNet-32, batch {BATCH}", size=15, align="left", bold=True)
    parts.legend(axes, 560, 26, [(kind, name) for kind, name, _ in sides])
    with whole_file(path) as temporary:
        parts.save(figure, temporary)


def numbers(text):
    """A reader of "2,4,8"."""
    return sorted({int(number) for number in text.split(",")})


def run(given):
    """Measure as the command line asks -> what is written to the JSON file."""
    if not hasattr(os, "sched_setaffinity"):
        raise UserError("this system does not let a process choose its cores (sched_setaffinity, which Linux has): "
                        "benchmarks.throughput measures on all of them")
    have = launch.usable_cores()
    counts = given.cores or [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= len(have)]
    if not 0 < counts[0] <= counts[-1] <= len(have):
        raise UserError(f"--cores {','.join(map(str, counts))}: this process may use 1 to {len(have)}")
    told = {"batch": BATCH, "rounds": given.rounds, "machine": platform.machine(), "cores": len(have), "rows": []}
    for count in counts:
        rows = with_ratios(measure(given, have[:count], count == counts[-1]))
        print(table(rows) if count == counts[0] else table(rows).split("\n", 1)[1], flush=True)
        told["rows"] += rows
    return told


@exit_status(out_of_memory="measure fewer --cores, or on a larger machine")
def main(arguments=None):
    """Read the command line and measure, or draw what was measured -> exit status."""
    parser = argparse.ArgumentParser(description="Images a second on more and more cores, compared with PyTorch.")
    add = parser.add_argument
    add("--cores", type=numbers, help="numbers of cores, such as 2,4,8,16 (default: those that this machine has)")
    add("--torch-python", help="a Python that has PyTorch; without one this program is measured alone")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=1.2, help="of training, each side and round (default: 1.2)")
    add("--compare-pinning", action="store_true", help="on most cores, also a worker for each that may run on any")
    add("--output", type=Path, help="write every figure to this JSON file")
    add("--read", type=Path, help="draw what an earlier --output has, and measure nothing")
    add("--figure", type=Path, help="draw speed against cores into this PNG")
    add("--serve", choices=("paddle", "torch"), help=argparse.SUPPRESS)  # be one side
    add("--folder", help=argparse.SUPPRESS)
    add("--workers", type=int, help=argparse.SUPPRESS)
    add("--unpinned", action="store_true", help=argparse.SUPPRESS)
    add("--precision", default="float32", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.unpinned:
        launch.pin_to_cores = lambda: None
    if given.serve == "paddle":
        runs.in_workers(given.workers, functools.partial(serve_paddle, given))
    if given.serve == "torch":
        serve_torch(given)
    if given.serve:
        return 0
    told = json.loads(given.read.read_text(encoding="utf-8")) if given.read else run(given)
    if given.output:
        given.output.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if given.figure:
        draw(told["rows"], given.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
