"""What has to happen before Paddle is imported: its flags are set, and on several cores the workers are started.

So the process that starts and watches the workers never imports Paddle, and stays small.
"""
import subprocess
import sys
from pathlib import Path

from utils import errors, place
from utils.parallel import launch
from utils.settings import parse, plan
from utils.speed import cpu

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
OUT_OF_MEMORY = "try a smaller --batch-size, or fewer --workers"
ASK_PADDLE = "import sys; sys.path.insert(0, sys.argv[1]); from utils import start; sys.exit(not start.paddle_takes_cuda())"


def start(name):
    """Set the flags that Paddle reads while it is imported -> what was chosen for speed, in words.

    name: the `__name__` of train.py. Run as a script it sets them as the command line asks; and where several workers
    share the run, it becomes the process that starts and watches them, and exits with their status.
    """
    if name != "__main__":
        return cpu.set_flags()
    errors.end_at_once_on_signals()
    sys.stdout.reconfigure(errors="backslashreplace")  # folders' names may hold letters that the terminal lacks
    try:
        given = parse(sys.argv[1:])
        if launch.is_worker():
            return cpu.set_flags(given.get("plain", False))
        status = run_in_other_processes(given, sys.argv[1:])
        if status is not None:
            sys.exit(status)
        return cpu.set_flags(plan(given)[0].plain)
    except Exception as error:
        sys.exit(errors.report(TRAIN.name, error, OUT_OF_MEMORY))


def run_in_other_processes(given, arguments=None):
    """Where several workers share the run, or it needs flags that this process has not: run train.py in others.

    given: what utils.settings.parse has read from `arguments`, the command line's where None is given.
    Returns the exit status, or None where this process is to train itself. A script or a notebook that calls
    train.main is not run again: the other processes run train.py.
    """
    if launch.is_worker():
        return None
    settings, arguments = plan(given)[0], sys.argv[1:] if arguments is None else arguments
    count = count_of_workers(settings)
    needs_flags = settings.plain and not cpu.is_plain_process()
    if count == 1 and not needs_flags:
        return None
    plain = ["--plain"] if settings.plain and "--plain" not in arguments else []  # where a checkpoint says so
    return launch.start([sys.executable, str(TRAIN), *arguments, *plain], count,
                        without=cpu.flags_set_for_speed() if settings.plain else ())


def count_of_workers(settings):
    """How many processes share the run: one per GPU process, on a CPU what the user or the checkpoint says, else cores.

    Errors: UserError for more than this machine or a batch can take.
    """
    if settings.workers is not None:
        launch.check_count(settings.workers, settings.batch_size)
        return settings.workers
    count = launch.default_count(settings.batch_size)
    return 1 if count == 1 or settings.device == "gpu" or (settings.device == "auto" and cuda_works()) else count


def cuda_works():
    """Whether `--device auto` takes a GPU; where this process has not imported Paddle, another one asks it."""
    if not place.has_driver():
        return False
    if "paddle" in sys.modules:
        return paddle_takes_cuda()
    done = subprocess.run([sys.executable, "-c", ASK_PADDLE, str(TRAIN.parent)], stdout=subprocess.DEVNULL)
    return done.returncode == 0


def paddle_takes_cuda():
    """Whether this Paddle can use the GPU here."""
    cpu.set_flags()
    import paddle

    return place.cuda_problem(paddle) is None
