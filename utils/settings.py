"""What a run is asked to be: the command line of train.py, the defaults, and what a checkpoint already settles.

Nothing here imports Paddle: the process that only starts workers and watches them reads its settings here.
"""
import argparse
import math
import os
import secrets
import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Optional

from utils.errors import UserError
from utils.storage import checkpoint
from utils.storage.earlier import holds_finished_model

NETWORKS = {"resnet": "ResNet", "vgg": "VGG with batch normalization and dropout", "googlenet": "GoogLeNet"}
RATES = {"quick": 0.004, "book": 0.001, "strong": 0.2}  # learning rate of each recipe, or its peak
DATASETS = ("auto", "cifar10", "sketches")
DEVICES = ("auto", "cpu", "gpu")
MOST_SEED = 2 ** 63 - 1  # what Paddle's generator takes
LOOK = ".look"  # the ending of the folder in which a quick look leaves a finished model alone
FREE_ON_RESUME = ("model_dir", "data_file", "dataset", "device", "epochs")  # what may differ from the checkpoint


@dataclass(frozen=True)
class Settings:
    """What a run is asked to be; None stands for what is decided later, or by the network or the recipe."""
    model: str = "resnet"
    depth: Optional[int] = None
    epochs: int = 2
    batch_size: int = 128
    learning_rate: Optional[float] = None
    recipe: str = "quick"
    dataset: str = "auto"
    data_file: Optional[str] = None
    device: str = "auto"
    seed: Optional[int] = None
    model_dir: Optional[str] = None
    max_batches: Optional[int] = None
    workers: Optional[int] = None
    plain: bool = False
    data: Optional[int] = None  # fingerprint of the images

    @property
    def folder(self):
        """The folder that the run writes everything into."""
        return Path(self.model_dir or f"image_classification_{self.model}.inference.model")

    @property
    def checkpoint_path(self):
        """Where the run's checkpoint lies."""
        return self.folder / "checkpoint.npz"

    @property
    def network_depth(self):
        """The network's depth where it comes in several, else None."""
        return (self.depth or 32) if self.model == "resnet" else None

    @property
    def is_look_aside(self):
        """Whether the run is a quick look that leaves a finished model beside its folder alone."""
        return bool(self.max_batches) and self.folder.name.endswith(LOOK)

    @property
    def title(self):
        """The network's name as the papers write it."""
        return NETWORKS[self.model] + (f"-{self.network_depth}" if self.network_depth else "")

    def description(self):
        """What a reader of the saved model is told about the run."""
        return {"model": self.model, "depth": self.network_depth, "recipe": self.recipe, "seed": self.seed}

    def infer_command(self):
        """The command that labels an image with this run's model."""
        return command("infer.py", "dog.png", *self._folder_flag())

    def resume_command(self, *more):
        """The command that resumes this run; the checkpoint knows the rest."""
        model = [] if self.model_dir or self.model == Settings.model else ["--model", self.model]
        return command("train.py", "--resume", *model, *self._folder_flag(), *more)

    def _folder_flag(self):
        return ["--model-dir", self.model_dir] if self.model_dir else []


def command(script, *arguments):
    """A command line that a shell takes as it is printed."""
    return shlex.join(["python", script, *arguments])


def parse(arguments):
    """Read the command line -> the settings that were given, and "resume" where that was.

    Errors: SystemExit with status 2 and argparse's line for a value that cannot be.
    """
    parser = argparse.ArgumentParser(prog="train.py", description="Train a CIFAR-10 classifier (chapter 3).",
                                     argument_default=argparse.SUPPRESS, allow_abbrev=False)
    add = parser.add_argument
    add("--model", choices=sorted(NETWORKS), help="the network (default: resnet)")
    add("--depth", type=int, help="layers of a ResNet: 6n+2 (default: 32)")
    add("--epochs", type=above_zero(int), help="passes over the training images (default: 2)")
    add("--batch-size", type=above_zero(int), help="images per step (default: 128)")
    add("--learning-rate", type=above_zero(float), help="the rate, or the recipe's peak (default: {quick:g}, {book:g}, "
        "{strong:g} for quick, book, strong)".format_map(RATES))
    add("--recipe", choices=RATES, help="quick: Adam, the rate rises and falls (default); book: Adam at a constant "
        "rate, as in the original; strong: momentum, one cycle, crop and flip, for a better model in many passes")
    add("--dataset", choices=DATASETS, help="auto: CIFAR-10, or drawings where it is unavailable (default)")
    add("--data-file", type=os.path.abspath, help="a cifar-10-python.tar.gz of yours")
    add("--device", choices=DEVICES, help="auto: CUDA where it works, else the CPU (default)")
    add("--seed", type=seed, help="the same seed, the same numbers (default: a new one for each run)")
    add("--model-dir", type=folder, help="where to save (default: image_classification_<model>.inference.model)")
    add("--max-batches", type=above_zero(int), help="end each pass after so many batches, for a quick look")
    add("--workers", type=above_zero(int), help="processes that share each batch on a CPU (default: one per core, as "
        "long as each has 32 images)")
    add("--resume", action="store_true", help="resume the unfinished run in the model's folder")
    add("--plain", action="store_true", help="use Paddle as it comes, without the fast path")
    return vars(parser.parse_args(arguments))


def above_zero(kind):
    """A reader of command-line values that must be above zero."""
    def number(text):
        value = kind(text)
        if not (value > 0 and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value
    return number


def seed(text):
    """A reader of seeds: whole numbers that Paddle's generator takes."""
    if not 0 <= int(text) <= MOST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2**63 - 1")
    return int(text)


def folder(text):
    """A reader of folder names, which cannot be empty."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def plan(given):
    """What this run is to be, and where it resumes -> (Settings, the checkpoint's head or None).

    Settings are what was given, else what the checkpoint has, else the defaults.
    Errors: UserError where command line and checkpoint differ, and where an unfinished run would be started over.
    """
    given = dict(given)
    resume = given.pop("resume", False)
    settings = Settings(**given)
    head = checkpoint.read_head(settings.checkpoint_path, missing_is_error=resume)
    if resume:
        settings = settings_resumed(given, settings, head)
    elif head is not None and not head.progress["finished"]:
        raise UserError(f"{settings.folder} holds an unfinished run (pass {head.progress['epoch']}, batch "
                        f"{head.progress['batch']}): resume it with {settings.resume_command()}, or remove "
                        f"{settings.checkpoint_path} to start anew")
    elif settings.max_batches and holds_finished_model(settings.folder, head):
        return plan({**given, "model_dir": f"{settings.folder}{LOOK}"})
    if settings.seed is None:
        settings = replace(settings, seed=secrets.randbits(32))
    return settings, head if resume else None


def settings_resumed(given, settings, head):
    """The checkpoint's settings, changed as the command line asks where that changes no number.

    Errors: UserError that names what differs; for a finished run, how to give it more passes.
    """
    path = settings.checkpoint_path
    saved = settings_saved(path, head.settings)
    differing = [f"{name} {getattr(saved, name)} -> {value}" for name, value in given.items()
                 if name not in FREE_ON_RESUME and getattr(saved, name) != value]
    if differing:
        raise UserError(f"--resume: the checkpoint was made with other settings ({'; '.join(differing)}): omit them, "
                        "or start anew in another --model-dir")
    epochs, done = given.get("epochs", saved.epochs), head.progress["epoch"]
    if epochs != saved.epochs and saved.recipe != "book":
        raise UserError(f"--resume --epochs {epochs}: the learning rate of the {saved.recipe} recipe is laid out for "
                        f"{saved.epochs} passes and ends near 0: start anew in another --model-dir with "
                        f"--recipe {saved.recipe} --epochs {epochs}")
    if epochs <= done:
        more = f"; more passes: {settings.resume_command('--epochs', str(done + 2))}" * (saved.recipe == "book")
        raise UserError(f"the run in {path.parent} is finished after {done} passes: nothing to resume{more}")
    free = {name: value for name, value in given.items() if name in FREE_ON_RESUME}
    return replace(saved, **{**free, "model_dir": settings.model_dir})


def settings_saved(path, saved):
    """Settings as a checkpoint has them, of an earlier version of this program too.

    Errors: UserError where they are not what train.py writes.
    """
    saved = dict(saved)
    place = saved.pop("place", None)  # of the version that kept "auto" beside what it had turned out to be
    saved = {**saved, "device": place} if place else saved
    kinds = {field.name: field.type for field in fields(Settings)}
    types = {str: (str,), int: (int,), bool: (bool,), Optional[int]: (int, type(None)),
             Optional[str]: (str, type(None)), Optional[float]: (int, float, type(None))}
    choices = {"model": NETWORKS, "recipe": RATES, "dataset": DATASETS, "device": DEVICES}
    for name, value in saved.items():
        if name not in kinds or type(value) not in types[kinds[name]] or value not in choices.get(name, [value]):
            raise UserError(f"the checkpoint {path} is damaged (its settings say {value!r} for {name}); remove it "
                            "and start anew")
    return Settings(**saved)
