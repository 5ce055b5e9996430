"""Pictures a second of this program against PyTorch, in one run: `python -m benchmarks.throughput --json OUT.json`.

The sides take turns, each in processes of its own: `fast` and `plain` are train.py's own loop and test pass with real
batches, as `python train.py` and `python train.py --plain` would run them here; those of `torch` are bare steps and
bare forward passes of the same network with as many threads as this process has cores, with and without what makes
PyTorch faster. Where the processor has instructions for bfloat16, it is measured on both sides too. Trust the ratios of
one run, not the figures: machines differ, and shared ones differ from minute to minute.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import runs
from utils import flags
from utils.data.cifar10 import md5_of_copy
from utils.errors import exit_status
from utils.parallel import launch
from utils.recipes import recipe_of

WARM_UP = 3  # steps
RECIPES = {"airbench": "strong"}  # where it is not "quick"
PLAIN_TEST = 1000  # test pictures of the plain side, which is slow and has nothing to prepare
OUR_SIDES = ("fast", "plain", "fast bfloat16")
TORCH_SIDES = ("torch", "torch fused", "torch channels last", "torch channels last fused",
               "torch fused bfloat16", "torch channels last fused bfloat16")  # what their words mean: torch_side.Side


def measure(given):
    """Train and test as train.py does, in one of its workers; returns what to tell."""
    flags.set_flags(given.plain)
    import numpy as np
    import paddle

    import train
    from utils import log
    from utils.storage import program_state

    pictures, recipe = PLAIN_TEST if given.plain else given.test_pictures, RECIPES.get(given.model, "quick")

    def repeated(data):
        some = np.arange(pictures) % len(data.test_labels)
        return data._replace(test_images=data.test_images[some], test_labels=data.test_labels[some])

    with runs.ready(given.data_file, repeated, model=given.model, recipe=recipe, plain=given.plain,
                    precision=given.precision) as run:
        first = runs.train_steps(run, 1)
        runs.train_steps(run, WARM_UP)
        training = given.steps * run.settings.batch_size / runs.train_steps(run, given.steps)
        train.test(run)  # the first one makes oneDNN's code; PyTorch's side warms up too
        begin = time.perf_counter()
        train.test(run)
        testing = pictures / (time.perf_counter() - begin)
        return {"train": training, "test": testing, "version": paddle.__version__, "first_step_seconds": first,
                "parameters": program_state.count_parameters(run.programs.main),
                "speed": log.speed_of(run), "workers": run.workers.world,
                "peak_mb": float(run.workers.all_reduce([peak_memory()])[0])}


def batch_of(model):
    """How many images a step of this network takes here: as many as its recipe says."""
    return recipe_of(RECIPES.get(model, "quick"), model, epochs=1).batch_size


def peak_memory():
    """The most memory that this process has had at once, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def precision_of(side):
    """What a side computes in, by its name."""
    return "bfloat16" if side.endswith("bfloat16") else "float32"


def measurable(sides):
    """Those of some sides that this processor is made for."""
    has_bfloat16 = flags.has_bfloat16()
    return [side for side in sides if has_bfloat16 or precision_of(side) == "float32"]


def paddle_side(given, name):
    """Run `measure` in new processes, as many as train.py would start."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--measure", "--model", given.model, "--steps",
               str(given.steps), "--test-pictures", str(given.test_pictures)]
    command += ["--data-file", given.data_file] if given.data_file else []
    return said_by(command + (["--plain"] if name == "plain" else []) + ["--precision", precision_of(name)])


def torch_side(given, name):
    """Run benchmarks/torch_side.py under the Python that has PyTorch."""
    script = Path(__file__).with_name("torch_side.py")
    return said_by([given.torch_python, str(script), "--model", given.model, "--threads",
                    str(len(launch.usable_cores())), "--steps", str(given.steps), "--batch",
                    str(batch_of(given.model)), "--side", name])


def environment():
    """The environment without what train.py or the user has set for speed."""
    set_for_speed = ("OMP_NUM_THREADS", "FLAGS_new_executor", "MKL_DEBUG", "ONEDNN_DEFAULT_FPMATH_MODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(set_for_speed)}


def said_by(command):
    """The JSON in the last line that a side's command prints."""
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def matrix_peak(size=2000, tries=10):
    """Billion operations a second of the best of some float32 matrix products in numpy, on all cores."""
    if flags.processor_says("avx512f"):  # OpenBLAS takes SSE where it does not know a new processor
        os.environ.setdefault("OPENBLAS_CORETYPE", "SKYLAKEX")
    import numpy as np

    a = np.ones((size, size), np.float32)
    best = float("inf")
    for _ in range(tries):
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return 2 * size ** 3 / best / 1e9


def has_torch(python):
    """Whether this Python can import PyTorch."""
    return subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0


def take_turns(given):
    """Measure every side in each round, in turns: {side: [figures of each round]}, and the machine's peak."""
    sides = measurable(OUR_SIDES + TORCH_SIDES * has_torch(given.torch_python))
    sides = [name for name in sides if name in ("fast", *(given.sides or sides))]
    rows, peaks = {name: [] for name in sides}, []
    for number in range(given.rounds):
        peaks.append(matrix_peak())
        for name in sides[::1 if number % 2 else -1]:
            rows[name].append((torch_side if name in TORCH_SIDES else paddle_side)(given, name))
        print(f"Round {number + 1}: " + "; ".join(
            f"{name} {row[-1]['train']:.0f} trained, {row[-1]['test']:.0f} tested" for name, row in rows.items()),
            f"a second; matrix products {peaks[-1]:.0f} GFLOP/s", flush=True)
    return rows, peaks


def ratios(rows, work):
    """This program over every side of the same precision, and over PyTorch's best of them: {name: [each round's]}.

    In bfloat16 also over itself in float32.
    """
    told, measured = {}, {name: [row[work] for row in side] for name, side in rows.items()}
    for mine in [name for name in measured if name.startswith("fast")]:
        others = {name: side for name, side in measured.items()
                  if name != mine and (name == "fast" or precision_of(name) == precision_of(mine))}
        torch = [side for name, side in others.items() if name in TORCH_SIDES]
        if torch:
            others["best torch"] = [max(speeds) for speeds in zip(*torch)]
        for name, side in others.items():
            told[f"{mine} / {name}"] = [own / other for own, other in zip(measured[mine], side)]
    return told


def summary(rows, peaks):
    """The table that is printed, and what goes into the JSON file."""
    lines, told = [], {"rows": rows, "matrix_gflops": peaks, "ratios": {}}
    for work in ("train", "test"):
        for name, side in rows.items():
            figures = [row[work] for row in side]
            lines.append(f"{work:6}{name:52}{statistics.median(figures):8.1f} pictures/s  ({min(figures):.1f} to "
                         f"{max(figures):.1f}), peak {max(row['peak_mb'] for row in side):.0f} MB")
        told["ratios"][work] = ratios(rows, work)
        for name, values in told["ratios"][work].items():
            lines.append(f"{work:6}{name:52}{statistics.median(values):8.2f}  ({min(values):.2f} to {max(values):.2f} "
                         f"in {len(values)} rounds)")
    return "\n".join(lines), told


@exit_status(out_of_memory="measure on a larger machine")
def main(arguments=None):
    """Read the command line and measure -> exit status."""
    parser = argparse.ArgumentParser(description="Pictures a second of this program against PyTorch.")
    parser.add_argument("--model", choices=("resnet", "vgg", "googlenet", "airbench"), default="resnet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each side and round (default: 20)")
    parser.add_argument("--test-pictures", type=int, default=10_000)
    parser.add_argument("--data-file", help="a CIFAR-10 archive; without one the pictures are drawn")
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has PyTorch, if this one has not")
    parser.add_argument("--sides", nargs="+", choices=OUR_SIDES + TORCH_SIDES, metavar="SIDE",
                        help=f"measure only these, and fast: {', '.join(OUR_SIDES[1:] + TORCH_SIDES)}")
    parser.add_argument("--json", help="also write every figure to this file")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # one Paddle side, for itself
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.data_file:
        md5_of_copy(given.data_file)  # a mistake is told before anything is started
    if given.measure:
        runs.in_workers(launch.default_worker_count(batch_of(given.model)), lambda: print(json.dumps(measure(given))))
        return 0
    rows, peaks = take_turns(given)
    table, told = summary(rows, peaks)
    print(f"{given.model}, batch {batch_of(given.model)}, {len(launch.usable_cores())} cores; "
          f"{rows['fast'][0]['speed']}\n{table}")
    if given.json:
        Path(given.json).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
