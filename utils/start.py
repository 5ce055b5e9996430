"""What train.py does before Paddle is imported: on several cores it starts itself once for each, and watches these.

So the process that starts and watches the workers never imports Paddle, and stays small.
"""
import functools
import math
import sys
from pathlib import Path

from utils import errors, flags, place, prepare
from utils.errors import UserError
from utils.parallel import launch

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
MEMORY = {"vgg": 1100, "googlenet": 900, "airbench": 700}  # MB of a worker, with few images
OUT_OF_MEMORY = launch.OUT_OF_MEMORY


def one_process_per_core(name):
    """In a script: read the command line, and where several workers share the run, start them, wait, and exit.

    A worker, or the only process of a run, comes back from here with Paddle's flags set. So does an imported module,
    which trains in the process that calls it. name: the `__name__` of train.py
    """
    if not prepare.begin(name):
        flags.set_flags()
    elif (status := begin_run(sys.argv[1:])) is not None:
        sys.exit(status)


@errors.exit_status(OUT_OF_MEMORY, "train.py")
def begin_run(arguments):
    """Start the workers that share the run, and wait for them -> its status; None where this process trains itself."""
    from utils.settings import parse, pass_on  # needs numpy, which may not be installed

    settings = parse(arguments)
    pass_on(settings)
    count = 1 if launch.is_worker() else count_of_workers(settings)
    if count > 1:
        return launch.start_workers([sys.executable, str(TRAIN), *arguments], count,
                                    functools.partial(advice_for, settings))
    flags.set_flags(settings.plain)
    place.import_paddle()
    return None


def count_of_workers(settings):
    """How many processes share the run: what the user or the checkpoint says, else 1 on a GPU, and on a CPU its cores.

    Errors: UserError for more than this machine or a batch can take.
    """
    count, batch_size = settings.workers, settings.batch_size
    if count is not None:
        most = min(launch.MOST_PER_CORE * len(launch.usable_cores()), batch_size)
        if count > most:
            raise UserError(f"--workers {count}: at most {most} here ({launch.MOST_PER_CORE} per core, and an image of "
                            f"each batch of {batch_size} for each)")
        if count > 1 and is_for_gpu(settings):
            raise UserError(f"--workers {count} shares a CPU: for several GPUs use python -m "
                            f"paddle.distributed.launch --nproc_per_node {count} train.py, or --device cpu")
        return count
    memory = MEMORY.get(settings.model) or 200 + 11 * settings.depth  # ResNets take more the deeper
    count = launch.default_worker_count(batch_size, memory)
    steps = settings.epochs * settings.steps_per_epoch(settings.pictures)
    # The time to the end is near workers * start + steps * step / workers, and so least near the root of the steps.
    count = min(count, max(2, round(math.sqrt(steps))))
    return 1 if count == 1 or is_for_gpu(settings) else count


def advice_for(settings):
    """What a line about a failed worker ends with: how to go on."""
    from utils.settings import unfinished

    return f"; resume with: {settings.resume_command()}" if unfinished(settings) else "; there is nothing to resume"


def is_for_gpu(settings):
    """Whether the run takes a GPU. What `auto` finds out here the workers inherit."""
    return settings.device == "gpu" or settings.device == "auto" and flags.has_driver() and not place.cuda_failure()
