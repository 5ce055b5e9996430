"""What a script does before Paddle is imported: answer signals, check what is installed, set flags.

On several cores, train.py starts a worker for each and watches them; the watching process never imports Paddle.
"""
import importlib.util
import math
import sys
from pathlib import Path

from utils import errors, flags, place
from utils.errors import UserError
from utils.parallel import launch

PACKAGES = {"paddle": "Paddle", "numpy": "numpy", "PIL": "Pillow", "psutil": "psutil", "tqdm": "tqdm"}  # by modules
SESSIONS = "IPython", "idlelib"  # modules of programs that run a script in their own process, and outlive it
OLDEST, NEWEST = (3, 9), (3, 13)  # of the Pythons that Paddle has wheels for
TRAIN = Path(__file__).resolve().parent.parent / "train.py"
MEMORY = {"vgg": (1040, 8), "googlenet": (800, 12), "airbench": (670, 3.5)}  # MB for each worker, and for each image
OUT_OF_MEMORY = launch.OUT_OF_MEMORY


def prepare(name):
    """Call this before anything that pip installs is imported; name: the script's `__name__`."""
    begin(name)
    flags.set_flags()


def begin(name):
    """`prepare` without Paddle's flags, which in train.py depend on the command line -> whether this runs as a script.

    Where packages are missing, a script ends with one line about them. It may restart itself, as the same process.
    Errors: ImportError with that line, where the script is imported, or run in a session.
    """
    is_script = name == "__main__" and not sys.flags.interactive and not any(map(sys.modules.get, SESSIONS))
    if is_script:
        errors.end_at_once_on_signals()  # from the first moment on: the next imports take a while
    line = missing_packages()
    if not line and "paddle" in sys.modules and not flags.are_set:  # crashes 2.6, and 3.3 builds other programs
        line = "Paddle was imported before this program, which sets its flags first: import this program before paddle"
    if line and not is_script:
        raise ImportError(line)
    if line:
        errors.complain(Path(sys.argv[0]).name, line)
        sys.exit(errors.UserError.status)
    if is_script and flags.has_driver():
        from utils import gpu

        gpu.restart_where_needed()
    if is_script and hasattr(sys.stdout, "reconfigure"):  # not where the shell has closed it, or another reads it
        sys.stdout.reconfigure(errors="backslashreplace")  # names may hold letters that the terminal lacks
    return is_script


def missing_packages(version=sys.version_info[:2]):
    """One line that says what is not installed for this Python, and what to do; None where nothing is missing."""
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
    line = f"{names} {'is' if len(missing) == 1 else 'are'} not installed for this Python"
    if "Paddle" in missing and not OLDEST <= version <= NEWEST:
        this, oldest, newest = (".".join(map(str, each)) for each in (version, OLDEST, NEWEST))
        return (f"{line} {this}, and Paddle has wheels only for Python {oldest} to {newest}: take one of those, then "
                "python -m pip install -r requirements.txt")
    return (f"{line} ({sys.executable}): python -m pip install -r requirements.txt, or, smaller, requirements-cpu.txt "
            "where there is no NVIDIA GPU")


def one_process_per_core(name):
    """In a script: read the command line, and where several workers share the run, start them, wait, and exit.

    A worker, or the only process of a run, comes back from here with Paddle's flags set. So does an imported module,
    which trains in the process that calls it. name: the `__name__` of train.py
    """
    if not begin(name):
        flags.set_flags()
    elif (status := begin_run(sys.argv[1:])) is not None:
        sys.exit(status)


@errors.exit_status(OUT_OF_MEMORY, "train.py")
def begin_run(arguments):
    """Start the workers that share the run, and wait for them -> its status; None if this process is to train."""
    from utils.settings import parse, pass_on, unfinished  # needs numpy, which may not be installed

    settings = parse(arguments)
    pass_on(settings)
    count = 1 if launch.is_worker() else count_of_workers(settings)
    if count > 1:
        resume, nothing = f"; resume with: {settings.resume_command()}", "; there is nothing to resume"
        return launch.start_workers([sys.executable, str(TRAIN), *arguments], count,
                                    lambda: resume if unfinished(settings) else nothing)
    flags.set_flags(settings.plain)
    place.import_paddle()
    return None


def count_of_workers(settings):
    """How many processes share the run: what the user or the checkpoint says, else 1 on a GPU, and on a CPU its cores.

    Errors: UserError for more than this machine or a batch can take.
    """
    count, batch_size = settings.workers, settings.batch_size
    if count is not None:
        if count > 1 and sys.platform == "win32":
            raise UserError(f"--workers {count}: on Windows one process trains; omit it")
        most = min(launch.MOST_PER_CORE * len(launch.usable_cores()), batch_size)
        if count > most:
            raise UserError(f"--workers {count}: at most {most} here ({launch.MOST_PER_CORE} per core, and an image of "
                            f"each batch of {batch_size} for each)")
        if count > 1 and is_for_gpu(settings):
            raise UserError(f"--workers {count} shares a CPU: for several GPUs use python -m "
                            f"paddle.distributed.launch --nproc_per_node {count} train.py, or --device cpu")
        return count
    memory = MEMORY.get(settings.model) or (160 + 9.7 * settings.depth, 0.28 * settings.depth)  # of a ResNet
    count = launch.default_worker_count(batch_size, *memory)
    steps = settings.epochs * settings.steps_per_epoch(settings.pictures)
    # The time to the end is near workers * start + steps * step / workers, and so least near the root of the steps.
    count = min(count, max(2, round(math.sqrt(steps))))
    return 1 if count == 1 or is_for_gpu(settings) else count


def is_for_gpu(settings):
    """Whether the run takes a GPU. What `auto` finds out here the workers inherit."""
    return settings.device == "gpu" or settings.device == "auto" and flags.has_driver() and not place.cuda_failure()
