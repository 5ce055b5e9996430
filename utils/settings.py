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
from utils.parallel.launch import SMALLEST_SHARE
from utils.recipes import AIRBENCH, RECIPES, recipe_of
from utils.storage import checkpoint
from utils.storage.earlier import holds_finished_model

NETWORKS = {"resnet": "ResNet", "vgg": "VGG with batch normalization and dropout", "googlenet": "GoogLeNet",
            "airbench": "Airbench"}
DATASETS = ("auto", "cifar10", "sketches")
DEVICES = ("auto", "cpu", "gpu")
MOST_SEED = 2 ** 63 - 1  # what Paddle's generator takes
LOOK = ".look"  # the ending of the folder in which a quick look leaves a finished model alone
PLACES = ("data_file", "data_dir", "dataset")  # of the images
FREE_ON_RESUME = ("model_dir", *PLACES, "device", "epochs")  # what may differ from the checkpoint


@dataclass(frozen=True)
class Settings:
    """What a run is asked to be; None stands for what is decided later, or by the network or the recipe."""
    model: str = "resnet"
    depth: Optional[int] = None
    epochs: int = 2
    batch_size: Optional[int] = None
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
    data_dir: Optional[str] = None
    start_from: Optional[str] = None
    balance: bool = False

    def __post_init__(self):
        if self.batch_size is None:
            object.__setattr__(self, "batch_size", self.numbers.batch_size)

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

    @property
    def numbers(self):
        """The recipe's numbers, for this network and so many passes."""
        return recipe_of(self.recipe, self.model, self.epochs)

    @property
    def rate(self):
        """The learning rate, or its peak."""
        return self.learning_rate or self.numbers.rate

    def description(self):
        """What a reader of the saved model is told about the run."""
        start = {"start_from": Path(self.start_from).name} if self.start_from else {}
        return {"model": self.model, "depth": self.network_depth, "recipe": self.recipe, "seed": self.seed, **start}

    def infer_command(self):
        """The command that labels an image with this run's model."""
        return command("infer.py", "PICTURE" if self.data_dir else "dog.png", *self._folder_flag())

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
    add("--batch-size", type=above_zero(int), help=f"images per step (default: 128; {AIRBENCH.batch_size} for "
        "airbench with the strong recipe)")
    add("--learning-rate", type=above_zero(float), help="the rate, or the recipe's peak (default: " + ", ".join(
        f"{recipe.rate:g}" for recipe in RECIPES.values()) + " for " + ", ".join(RECIPES) + ")")
    add("--recipe", choices=RECIPES, help="quick: Adam, the rate rises and falls (default); book: Adam at a constant "
        "rate, as in the original; strong: momentum, one cycle, crop and flip, for a better model in many passes")
    add("--dataset", choices=DATASETS, help="auto: CIFAR-10, or drawings where it is unavailable (default)")
    add("--data-file", type=os.path.abspath, help="a cifar-10-python.tar.gz of yours")
    add("--data-dir", type=whole_path, metavar="FOLDER", help="your own pictures, in a folder for each class")
    add("--balance", action="store_true", help="show each class equally often, however many pictures it has")
    add("--start-from", type=whole_path, metavar="MODEL_DIR", help="begin with the weights of a trained model, but for "
        "its last layer")
    add("--device", choices=DEVICES, help="auto: CUDA where it works, else the CPU (default)")
    add("--seed", type=seed, help="the same seed, the same numbers (default: a new one for each run)")
    add("--model-dir", type=folder, help="where to save (default: image_classification_<model>.inference.model)")
    add("--max-batches", type=above_zero(int), help="end each pass after so many batches, for a quick look")
    add("--workers", type=above_zero(int), help="processes that share each batch on a CPU (default: one per core, as "
        f"long as each has {SMALLEST_SHARE} images, and in half of the memory)")
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


def whole_path(text):
    """A reader of folder names that hold wherever the program is started."""
    return os.path.abspath(folder(text))


def plan(given):
    """What this run is to be, and where it resumes -> (Settings, the checkpoint's head or None).

    Settings are what was given, else what the checkpoint has, else the defaults.
    Errors: UserError where command line and checkpoint differ, and where an unfinished run would be started over.
    """
    given = dict(given)
    resume = given.pop("resume", False)
    if "start_from" in given and not resume:  # a resumed run has its weights in the checkpoint
        given.update(network_started_from(given))
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
    if settings.data_dir and not {"dataset", "data_file"}.isdisjoint(given):
        raise UserError(f"the images come from --data-dir {settings.data_dir}: omit it, or --dataset and --data-file")
    if settings.seed is None:
        settings = replace(settings, seed=secrets.randbits(32))
    return settings, head if resume else None


def network_started_from(given):
    """The network of --start-from as settings. Errors: UserError where another is asked for."""
    from utils.storage import start_from  # with Pillow, which the watching process can do without

    model, depth, words = start_from.network_of(given["start_from"])
    if model not in NETWORKS:
        raise UserError(f"--start-from: {words} is no network that train.py builds: name another model")
    found = Settings(model=model, depth=depth)
    asked = Settings(model=given.get("model", model), depth=given.get("depth", depth))
    if found.title != asked.title:
        raise UserError(f"--start-from is {words}, a {found.title}, not a {asked.title}: omit --model and --depth")
    return {"model": model, "depth": depth}


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
    choices = {"model": NETWORKS, "recipe": RECIPES, "dataset": DATASETS, "device": DEVICES}
    for name, value in saved.items():
        if name not in kinds or type(value) not in types[kinds[name]] or value not in choices.get(name, [value]):
            raise UserError(f"the checkpoint {path} is damaged (its settings say {value!r} for {name}); remove it "
                            "and start anew")
    return Settings(**saved)
