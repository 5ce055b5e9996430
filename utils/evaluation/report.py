"""What evaluate.py does around its steps: its command line, which data it takes, and what it prints and draws."""
import argparse
import functools
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from utils import answers
from utils.data import dataset
from utils.errors import UserError, say, shown
from utils.evaluation.metrics import BINS, class_errors, most_confused
from utils.settings import folder

NAMES = {"CIFAR-10": "cifar10", "sketches": "sketches"}  # of data sets: in a description, and to choose by
MOST_COLUMNS = 20  # classes: beyond, the matrix is too wide for a terminal
MOST_PAIRS = 10  # listed instead of it
LONGEST = 16  # letters of a class's name in a table
NOTE = functools.partial(print, file=sys.stderr, flush=True)  # the output may be JSON


def parse(arguments):
    """Read the command line of evaluate.py."""
    parser = argparse.ArgumentParser(prog="evaluate.py", description="Judge a trained model on test images: errors, "
                                     "confusion matrix, calibration, worst mistakes.", allow_abbrev=False)
    parser.add_argument("--model-dir", help="a folder that train.py wrote (default: the newest one here)")
    data = parser.add_mutually_exclusive_group()  # default: what the model was trained on
    data.add_argument("--data-file", metavar="ARCHIVE", help="your cifar-10-python.tar.gz")
    data.add_argument("--dataset", choices=("cifar10", "sketches"), help="default: what the model was trained on")
    data.add_argument("--data-dir", metavar="FOLDER", help="your pictures: a folder for each class")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--output", type=folder, metavar="FOLDER",
                        help="where the two pictures go (default: evaluation/ and the name of the model's folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def load_data(options, description):
    """The data set that the command line names, else the one that the model was trained on.

    Errors: UserError where it is unavailable, and where the model was trained on a folder of pictures.
    """
    if options.data_dir is not None:
        return dataset.read_folder(options.data_dir, NOTE)
    choice = options.dataset or ("cifar10" if options.data_file is not None else NAMES.get(description["dataset"]))
    if choice is None:
        raise UserError(f"the model was trained on {shown(description['dataset'])}: name that, or other pictures of "
                        "its classes, with --data-dir")
    return dataset.read(choice, options.data_file, NOTE)


def labels_for(data, classes):
    """The test images' labels as numbers of the model's `classes`, which may be more, and in another order.

    Errors: UserError where the data has a class that the model does not know.
    """
    if not set(data.classes) <= set(classes):
        raise UserError(f"the model names {_some(classes)}, and {shown(data.name)} shows {_some(data.classes)}: name "
                        "data of the model's classes with --data-dir, or another model with --model-dir")
    return np.array([classes.index(name) for name in data.classes])[data.test_labels]


def _some(names):
    """The first few names, and how many there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return shown(", ".join(names[:3])) + more


def make_output(output, model_dir):
    """The folder for the pictures, made where it is missing. Errors: UserError where it cannot be written."""
    target = Path(output or Path("evaluation", Path(os.path.abspath(model_dir)).name))
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            return target
    except OSError as error:
        raise UserError(f"cannot write {shown(target)}: {error.strerror or error}; name another folder with "
                        "--output") from error


def opening(model_dir, description, shipped, data):
    """Two lines: which model is judged, on what."""
    note = f" ({data.note})" if data.note else ""
    return (f"Model: {answers.introduce(model_dir, description, shipped)}\n"
            f"Data: {shown(data.name)}, {len(data.test_labels):,} test images{shown(note)}")


def draw(target, metrics, mistakes, data):
    """Draw both pictures into the folder `target` -> {what is on it: path}."""
    from utils import figures

    wrong, count = round(metrics["error"] * metrics["pictures"]), metrics["pictures"]
    files = {"confusion": target / "confusion.png", "mistakes": target / "mistakes.png"}
    figures.draw_confusion(files["confusion"], metrics,
                           f"{data.name}: error {metrics['error']:.2%} on {count:,} images")
    which = f"the {len(mistakes)} worst of {wrong:,} mistakes" if mistakes else "no mistakes"
    figures.draw_mistakes(files["mistakes"], data.test_images, mistakes, f"{data.name}: {which} on {count:,} images")
    return files


def text(metrics):
    """What was measured, as tables for a terminal."""
    return "\n".join([f"Error {metrics['error']:.2%} on {metrics['pictures']:,} images, cost {metrics['cost']:.4f}", "",
                      *_matrix(metrics), "", *_calibration(metrics)])


def where(files):
    """One line that says where the drawings are."""
    return f"The matrix is drawn in {shown(files['confusion'])}, the worst mistakes in {shown(files['mistakes'])}"


def _matrix(metrics):
    """Lines: each class with its error, and how often it was classified as each, where there is room."""
    counts, classes = metrics["confusion"], [name[:LONGEST] for name in metrics["classes"]]
    longest, width = max(map(len, classes)), max(5, *(len(f" {count}") for row in counts for count in row))
    has_room = len(classes) <= MOST_COLUMNS
    head = f"{'is':<{longest + 4}} images   error"
    lines = [f"{'':{len(head)}}{'named':>{width + 1}}"] if has_room else []
    lines.append(head + "".join(f"{number:{width}}" for number in range(1, len(classes) + 1) if has_room))
    for number, (name, row, error) in enumerate(zip(classes, counts, class_errors(counts)), start=1):
        share = "none" if error is None else f"{error:.2%}"
        lines.append(f"{number:3} {name:<{longest}}{sum(row):7,}{share:>8}"
                     + "".join(f"{count:{width}}" for count in row if has_room))
    if not has_room:
        lines += ["", "confused most often:", *(f"  {right}, named {named}: {times:,}" for right, named, times in
                                                most_confused(counts, classes, MOST_PAIRS))]
    return lines


def _calibration(metrics):
    """Lines: how often answers of some probability are right."""
    lines = [f"Expected calibration error {metrics['calibration_error']:.4f} ({BINS} intervals)",
             "answers of       images  probability    right"]
    for number, (count, mean, share) in enumerate(metrics["reliability"]):
        if count:
            interval = f"{number / BINS:.2f} to {(number + 1) / BINS:.2f}"
            lines.append(f"{interval:<15}{count:8,}{mean:13.4f}{share:9.2%}")
    return lines


def print_json(metrics, mistakes, files, description, data):
    """Print one JSON object: the model, the data, all that was measured, and where the pictures are."""
    errors = dict(zip(metrics["classes"], class_errors(metrics["confusion"])))
    say(json.dumps({"model": {key: description.get(key) for key in answers.FACTS},
                    "data": {"name": data.name, "note": data.note}, **metrics, "class_errors": errors,
                    "mistakes": mistakes, "files": {what: str(path) for what, path in files.items()}}, indent=2))
