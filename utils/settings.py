"""What a run is asked to be: the command line of train.py, the defaults, and what a checkpoint already settles."""
import argparse
import math
import os
from pathlib import Path

import numpy as np

from utils.storage import checkpoint
from utils.errors import UserError

DEFAULTS = {"model": "resnet", "depth": None, "epochs": 2, "batch_size": 128, "learning_rate": None,
            "recipe": "book", "dataset": "auto", "data_file": None, "device": "auto", "seed": None,
            "model_dir": None, "max_batches": None, "workers": None, "plain": False}


def parse(arguments, model_names):
    """Read the command line: (settings that were given, whether to resume)."""
    parser = argparse.ArgumentParser(prog="train.py", description="Train a CIFAR-10 classifier (chapter 3).",
                                     argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--model", choices=model_names, help="the network (default: resnet)")
    add("--depth", type=int, help="layers of a ResNet: 6n+2 (default: 32)")
    add("--epochs", type=positive(int), help="passes over the training pictures (default: 2)")
    add("--batch-size", type=positive(int), help="pictures a step (default: 128)")
    add("--learning-rate", type=positive(float), help="default: 0.001; the peak, 0.2, with --recipe strong")
    add("--recipe", choices=("book", "strong"), help="book: Adam, as in the chapter (default); strong: "
        "momentum, one cycle, crop and flip, for a better model")
    add("--dataset", choices=("auto", "cifar10", "sketches"), help="auto: CIFAR-10, or drawings where it cannot be had "
        "(default)")
    add("--data-file", type=os.path.abspath, help="a cifar-10-python.tar.gz of yours")
    add("--device", choices=("auto", "cpu", "gpu"), help="auto: CUDA where it works, else the CPU (default)")
    add("--seed", type=int, help="the same seed, the same numbers (default: a new one each run)")
    add("--model-dir", help="where to save (default: image_classification_<model>.inference.model)")
    add("--max-batches", type=positive(int), help="end each pass after so many, for a quick look")
    add("--workers", type=positive(int), help="processes that share each batch on a CPU (default: one a core, as long "
        "as each has 32 pictures)")
    add("--resume", action="store_true", default=False, help="go on with the unfinished run in the model's folder")
    add("--plain", action="store_true", default=False, help="use Paddle as it comes, without the fast path")
    given = vars(parser.parse_args(arguments))
    return given, given.pop("resume")


def positive(kind):
    """A reader of command-line values that must be above zero."""
    def read(text):
        value = kind(text)
        if not (value > 0 and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    read.__name__ = "number"
    return read


def plan(given, resume):
    """What this run is to be: (settings, the checkpoint it goes on from or None).

    Settings are what was given, then what the checkpoint has, then the defaults. Errors: UserError where the
    command line and the checkpoint differ, where a run that was cut short would be started over.
    """
    path = folder_of({**DEFAULTS, **given}) / "checkpoint.npz"
    if not resume:
        refuse_unfinished(path)
        settings = {**DEFAULTS, **given}
        if settings["seed"] is None:
            settings["seed"] = int(np.random.SeedSequence().generate_state(1)[0])
        return settings, None
    saved = checkpoint.read(path)
    differing = checkpoint.differences(saved.settings, {k: v for k, v in given.items() if k != "model_dir"})
    if differing:
        raise UserError(f"--resume: the checkpoint was made with other settings ({'; '.join(differing)}): leave them "
                        "away, or start anew in another --model-dir")
    if saved.progress["finished"]:
        raise UserError(f"the run in {path.parent} is finished: nothing to resume")
    return {**DEFAULTS, **saved.settings, **given}, saved


def refuse_unfinished(path):
    """Refuse to start over a run that was cut short."""
    progress = checkpoint.read(path).progress if path.exists() else {"finished": True}
    if not progress["finished"]:
        raise UserError(f"{path.parent} holds an unfinished run (pass {progress['epoch']}, batch {progress['batch']}): "
                        f"go on with --resume, or remove {path} to start anew")


def folder_of(settings):
    """The folder that a run writes everything into."""
    return Path(settings["model_dir"] or f"image_classification_{settings['model']}.inference.model")


def depth_of(settings):
    """The network's depth where it has a choice of one, else None."""
    return (settings["depth"] or 32) if settings["model"] == "resnet" else None


def title_of(settings):
    """The network's name as the papers write it."""
    return {"resnet": f"ResNet-{depth_of(settings)}", "vgg": "VGG with batch normalization and dropout",
            "googlenet": "GoogLeNet"}[settings["model"]]


def infer_command(settings):
    """The command that names a picture with this run's model."""
    chosen = f" --model-dir {settings['model_dir']}" if settings["model_dir"] else ""
    return f"python infer.py dog.png{chosen}"


def resume_command(given):
    """The command that goes on with a run which was stopped."""
    flags = [f" --{name.replace('_', '-')} {given[name]}" for name in ("model", "model_dir") if name in given]
    return f"python train.py --resume{''.join(flags)}"
