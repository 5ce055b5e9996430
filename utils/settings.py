"""The settings of a run: train.py's command line, the defaults, and what a checkpoint already settles.

Nothing here imports Paddle: the process that only starts workers and watches them reads its settings here.
"""
import argparse
import json
import os
import secrets
import shlex
from pathlib import Path
from typing import NamedTuple, Optional

from utils.errors import Parser, UserError, above_zero, name
from utils.parallel.launch import SMALLEST_SHARE, is_worker, number_in
from utils.recipes import AIRBENCH, FEW_BATCH, FINE_TUNE, RECIPES, STEPS, for_few, recipe_of
from utils.storage import checkpoint

NETWORKS = {"resnet": "ResNet", "vgg": "VGG with batch normalization and dropout", "googlenet": "GoogLeNet",
            "airbench": "Airbench"}
DEPTH = 32  # of a ResNet
FREE_ON_RESUME = ("resume", "model_dir", "data_file", "data_dir", "dataset", "device")  # may differ
PARSED = "IMAGE_CLASSIFICATION_SETTINGS"  # in the environment: settings that train.py has parsed for its workers


class Settings(NamedTuple):
    """The settings of a run. None: decided later, depending on the machine and the data."""
    model: str = "resnet"
    depth: Optional[int] = None
    epochs: Optional[int] = None
    batch_size: Optional[int] = None
    learning_rate: Optional[float] = None
    recipe: Optional[str] = None
    dataset: str = "auto"
    data_file: Optional[str] = None
    device: str = "auto"
    seed: Optional[int] = None
    model_dir: Optional[str] = None
    max_batches: Optional[int] = None
    workers: Optional[int] = None
    plain: bool = False
    data: Optional[int] = None  # fingerprint of the images, in a resumed run
    data_dir: Optional[str] = None
    start_from: Optional[str] = None
    balance: bool = False
    resume: bool = False
    no_mirror: bool = False
    precision: str = "float32"

    @property
    def folder(self):
        """The folder that the run writes everything into."""
        return Path(self.model_dir or f"image_classification_{self.model}.inference.model")

    @property
    def checkpoint_path(self):
        """Path of the run's checkpoint."""
        return self.folder / "checkpoint.npz"

    @property
    def title(self):
        """The network's name as the papers write it."""
        return NETWORKS[self.model] + (f"-{self.depth}" if self.depth else "")

    @property
    def hyperparameters(self):
        """The recipe's numbers, for this network and so many passes."""
        return recipe_of(self.recipe, self.model, self.epochs, not self.no_mirror)

    @property
    def pictures(self):
        """About how many pictures there are to train on: those in the folder's train/, else four fifths of all."""
        if not self.data_dir:
            return 50_000  # of CIFAR-10
        train = os.path.join(self.data_dir, "train")
        count = sum(len(files) for *_, files in os.walk(train if os.path.isdir(train) else self.data_dir))
        return count if os.path.isdir(train) else round(0.8 * count)

    def steps_per_epoch(self, count):
        """Batches in an epoch of `count` images."""
        batches = -(-count // self.batch_size)
        return min(batches, self.max_batches or batches)

    def description(self):
        """What the saved model says about the run."""
        start = {"start_from": Path(self.start_from).name} if self.start_from else {}
        return {"model": self.model, "depth": self.depth, "recipe": self.recipe, "seed": self.seed, **start}

    def resume_command(self, *more):
        """The command that resumes this run; the checkpoint knows the rest."""
        model = [] if self.model_dir or self.model == "resnet" else ["--model", self.model]
        return self.command("train.py", "--resume", *model, *more)

    def command(self, script, *more):
        """A command line about the run's folder, to be pasted into a shell."""
        if not os.path.exists(script):
            script = str(Path(__file__).resolve().parent.parent / script)
        return shlex.join(["python", script, *more, *(["--model-dir", self.model_dir] if self.model_dir else [])])


def parse(arguments=None, check_network=None):
    """Settings from the command line, the defaults and, with --resume, the checkpoint; in a worker, those passed on.

    check_network: raises ValueError for a network (name, depth) that does not exist; of a process that trains.
    Errors: UserError for a wrong value, or one that does not fit the checkpoint, the workers or an unfinished run.
    """
    parsed = os.environ.pop(PARSED, None)
    settings = Settings(**json.loads(parsed)) if parsed else settle(read_command_line(arguments))
    if check_network:
        try:
            check_network(settings.model, settings.depth)
        except ValueError as error:
            raise UserError(f"--depth: {error}") from error
        world, workers = number_in(os.environ, "PADDLE_TRAINERS_NUM", 1), settings.workers
        if workers not in (None, world):
            raise UserError(f"the run has --workers {workers}, but this start has {world}: start train.py from the "
                            f"command line, or have the launcher start {workers}")
    return settings


def pass_on(settings):
    """Have the next `parse`, here or in a process that this one starts, return these settings."""
    os.environ[PARSED] = json.dumps(settings._asdict())


def read_command_line(arguments):
    """The options that the command line has, by their names in Settings."""
    parser = Parser(prog="train.py", description="Train a CIFAR-10 classifier (chapter 3).",
                    argument_default=argparse.SUPPRESS, allow_abbrev=False)
    add = parser.add_argument
    add("--model", choices=sorted(NETWORKS), help="the network (default: resnet)")
    add("--depth", type=int, help=f"layers of a ResNet: 6n+2 (default: {DEPTH})")
    add("--epochs", type=above_zero(int), help=f"passes over the training images (default: 2; {FINE_TUNE.epochs} "
        f"with --start-from; for --data-dir {STEPS:,} steps)")
    add("--batch-size", type=above_zero(int), help=f"images per step (default: 128; {AIRBENCH.batch_size} for "
        f"airbench with the strong recipe; {FEW_BATCH} for --start-from, few pictures)")
    add("--learning-rate", type=above_zero(float), help="the learning rate, or its peak (default: " +
        ", ".join(f"{recipe.learning_rate:g}" for recipe in RECIPES.values()) + " for " + ", ".join(RECIPES) + ")")
    add("--recipe", choices=RECIPES, help="quick: Adam, the rate rises and falls (default); book: Adam at a constant "
        "rate, as in the original; strong: momentum, one cycle, crop and flip, for a better model in many passes; "
        "fine-tune (default with --start-from): the last layer, then all gently")
    add("--dataset", choices=("auto", "cifar10", "sketches"), help="auto: CIFAR-10, else drawings (default)")
    add("--data-file", type=os.path.abspath, help="your own cifar-10-python.tar.gz, or its extracted folder")
    add("--data-dir", type=os.path.abspath, metavar="FOLDER", help="your own pictures, in a folder for each class")
    add("--balance", action="store_true", help="show each class equally often, however many pictures it has")
    add("--start-from", type=os.path.abspath, metavar="MODEL_DIR", help="begin with this model, but for its last layer")
    add("--no-mirror", action="store_true", help="never mirror pictures: for letters and digits")
    add("--device", choices=("auto", "cpu", "gpu"), help="auto: CUDA where it works, else the CPU (default)")
    add("--seed", type=seed, help="the same seed, the same numbers (default: a new one for each run)")
    add("--model-dir", type=name, help="where to save (default: image_classification_<model>.inference.model)")
    add("--max-batches", type=above_zero(int), help="end each pass after so many batches, for a quick look")
    add("--workers", type=above_zero(int), help="processes that share each batch on a CPU (default: one per core, as "
        f"long as each has {SMALLEST_SHARE} images, and in three quarters of the memory)")
    add("--resume", action="store_true", help="resume the unfinished run in the model's folder")
    add("--precision", choices=("float32", "bfloat16", "auto"), help="bfloat16: round what convolutions multiply, "
        "up to twice as fast where the processor is made for it; auto: only there (default: float32)")
    add("--plain", action="store_true", help="use Paddle unmodified, without the fast path")
    return vars(parser.parse_args(arguments))


def seed(text):
    """A reader of seeds: whole numbers that Paddle's generator takes."""
    if not 0 <= int(text) < 2 ** 63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2**63 - 1")
    return int(text)


def settle(options):
    """Settings from the options of the command line; where each process reads its own, rank 0's apply."""
    if is_worker() and os.environ["PADDLE_TRAINER_ID"] != "0":
        return with_defaults(Settings(**options))
    settings = resumed(options) if options.get("resume") else new_run(options)
    if settings.data_dir and not {"dataset", "data_file"}.isdisjoint(options):
        raise UserError(f"the images come from --data-dir {settings.data_dir}: omit it, or --dataset and --data-file")
    return settings


def new_run(options):
    """Settings of a run that begins. Errors: UserError where it would replace an unfinished one."""
    network = network_started_from(options) if "start_from" in options else {}
    if options.get("recipe") == "fine-tune" and not network:
        raise UserError("--recipe fine-tune changes a trained model: name one with --start-from, or omit it")
    if options.get("plain") and "precision" in options:
        raise UserError("--plain computes in float32: omit it, or --precision")
    settings = with_defaults(Settings(**{**options, **network}))
    refuse_unfinished(settings)
    return settings


def with_defaults(settings):
    """Settings with the recipe's numbers, the network's depth and a seed where the command line has none."""
    settings = settings._replace(recipe=settings.recipe or ("fine-tune" if settings.start_from else "quick"))
    recipe = settings.hyperparameters
    is_open = None in (settings.epochs, settings.batch_size, settings.learning_rate)  # else no folder is walked
    if settings.data_dir and is_open and not recipe.freezes_statistics:
        recipe = for_few(recipe, settings.pictures, settings.batch_size)
    return settings._replace(
        depth=settings.depth or (DEPTH if settings.model == "resnet" else None),
        epochs=settings.epochs or recipe.epochs,
        batch_size=settings.batch_size or recipe.batch_size,
        learning_rate=settings.learning_rate or recipe.learning_rate,
        seed=secrets.randbits(32) if settings.seed is None else settings.seed)


def unfinished(settings):
    """The progress of the unfinished run in the folder; None where there is none."""
    path = settings.checkpoint_path
    progress = checkpoint.read(path, whole=False).progress if os.path.exists(path) else {"finished": True}
    return None if progress["finished"] else progress


def refuse_unfinished(settings):
    """UserError where the folder holds an unfinished run."""
    progress = unfinished(settings)
    if progress:
        raise UserError(f"{settings.folder} holds an unfinished run (pass {progress['epoch']}, batch "
                        f"{progress['batch']}): resume it with {settings.resume_command()}, or remove "
                        f"{settings.checkpoint_path}")


def network_started_from(options):
    """The network of --start-from, as settings. Errors: UserError where the command line names another."""
    from utils.storage import start_from  # which most runs do without

    model, depth, words, _ = start_from.network_of(options["start_from"])
    if model not in NETWORKS:
        raise UserError(f"--start-from: {words} is no network that train.py builds: name another model")
    own = Settings(model, depth)
    other = own._replace(**{key: value for key, value in options.items() if key in ("model", "depth")})
    if own != other:
        raise UserError(f"--start-from is {words}, a {own.title}, not a {other.title}: omit --model and --depth")
    return {"model": model, "depth": depth}


def resumed(options):
    """The checkpoint's settings, changed as the command line asks where that changes no number.

    Errors: UserError that names what differs; for a finished run, how to give it more passes.
    """
    settings = Settings(**options)
    head = checkpoint.read(settings.checkpoint_path, whole=False)
    before = with_defaults(Settings(**head.settings))
    free = {*FREE_ON_RESUME, *(["epochs"] if before.recipe == "book" else [])}  # other recipes' rates end near 0
    differing = [f"{key} {getattr(before, key)} -> {value}" for key, value in options.items()
                 if key not in free and getattr(before, key) != value]
    if differing:
        raise UserError(f"--resume: the checkpoint was made with other settings ({'; '.join(differing)}): omit them, "
                        "or start over in another --model-dir")
    done = head.progress["epoch"]
    if options.get("epochs", before.epochs) <= done:
        more = f"; more passes: {settings.resume_command('--epochs', str(done + 2))}" * ("epochs" in free)
        raise UserError(f"the run in {settings.folder} is finished after {done} pass{'es' * (done != 1)}: nothing to "
                        f"resume{more}")
    return before._replace(**{**options, "model_dir": settings.model_dir})
