"""What has to happen before Paddle is imported: its flags are set, and on several cores the workers are started.

So the process that starts and watches the workers never imports Paddle, and stays small.
"""
import os
import subprocess
import sys
from pathlib import Path

from utils import errors, flags, place, prepare
from utils.errors import UserError
from utils.gpu import libraries
from utils.parallel import launch

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
MEMORY = {"vgg": 1100, "googlenet": 900, "airbench": 700}  # MB that a worker takes, with few images
OUT_OF_MEMORY = "try a smaller --batch-size, or fewer --workers"
ASK_PADDLE = "import sys; sys.path.insert(0, sys.argv[1]); from utils import start; start.print_cuda_failure()"


def start(name):
    """Set the flags that Paddle reads while it is imported -> what was chosen for speed, in words.

    name: the `__name__` of train.py. Run as a script it sets them as the command line asks; and where several workers
    share the run, it becomes the process that starts and watches them, and exits with their status.
    """
    prepare.begin(name)
    if name != "__main__":
        return flags.set_flags()
    from utils.settings import parse, plan  # needs numpy

    try:
        given = parse(sys.argv[1:])
        if launch.is_worker():
            return flags.set_flags(given.get("plain", False))
        status = run_in_other_processes(given, sys.argv[1:])
        if status is not None:
            sys.exit(status)
        return flags.set_flags(plan(given)[0].plain)
    except Exception as error:
        sys.exit(errors.report(TRAIN.name, error, OUT_OF_MEMORY))


def run_in_other_processes(given, arguments=None):
    """Where several workers share the run, or it needs flags that this process has not: run train.py in others.

    given: what utils.settings.parse has read from `arguments`, the command line's where None is given.
    Returns the exit status, or None where this process is to train itself. A script or a notebook that calls
    train.main is not run again: the other processes run train.py.
    """
    from utils.settings import plan

    if launch.is_worker():
        return None
    settings, arguments = plan(given)[0], sys.argv[1:] if arguments is None else arguments
    count = count_of_workers(settings)
    needs_flags = settings.plain and not flags.is_plain_process()
    if count == 1 and not needs_flags:
        return None
    plain = ["--plain"] if settings.plain and "--plain" not in arguments else []  # where a checkpoint says so
    return launch.start_workers([sys.executable, str(TRAIN), *arguments, *plain], count,
                        without=flags.flags_set_for_speed() if settings.plain else ())


def count_of_workers(settings):
    """How many processes share the run: one per GPU process, on a CPU what the user or the checkpoint says, else cores.

    Errors: UserError for more than this machine or a batch can take.
    """
    if settings.workers is not None:
        launch.check_worker_count(settings.workers, settings.batch_size)
        if settings.workers > 1 and (settings.device == "gpu" or settings.device == "auto" and cuda_works()):
            raise UserError(f"--workers {settings.workers} shares a CPU: for several GPUs use python -m "
                            f"paddle.distributed.launch --nproc_per_node {settings.workers} train.py, or --device cpu")
        return settings.workers
    count = launch.default_worker_count(settings.batch_size, memory_of_worker(settings))
    return 1 if count == 1 or settings.device == "gpu" or (settings.device == "auto" and cuda_works()) else count


def memory_of_worker(settings):
    """MB that a worker takes which trains this network on a small share of each batch; ResNets take more the deeper."""
    return MEMORY[settings.model] if settings.model in MEMORY else 200 + 11 * settings.network_depth


def cuda_works():
    """Whether `--device auto` takes a GPU; where this process has not imported Paddle, another one asks it.

    The answer is kept in the environment, so that no worker has to find it out again.
    """
    if not libraries.has_driver():
        return False
    if place.CUDA_FAILURE not in os.environ and "paddle" not in sys.modules:
        asked = subprocess.run([sys.executable, "-c", ASK_PADDLE, str(TRAIN.parent)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
        crash = f"Paddle, asked about it, ended with status {asked.returncode}"
        os.environ[place.CUDA_FAILURE] = crash if asked.returncode else asked.stdout.splitlines()[-1]
    return place.cuda_failure() is None


def print_cuda_failure():
    """In a process that has no more to do: print why CUDA cannot be used here, or nothing, as the last line."""
    errors.end_at_once_on_signals()
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    flags.set_flags()
    print(f"\n{place.cuda_failure() or ''}", flush=True)
