"""What evaluate.py does around its steps: its command line, which data it takes, and what it prints and draws."""
import contextlib
import json
import os
from pathlib import Path

import numpy as np

from utils.answers import FACTS
from utils.data import dataset
from utils.errors import Parser, UserError, complain, name, print_error, say, shown
from utils.evaluation import drawings
from utils.evaluation.metrics import BINS, interval_words
from utils.figures import refuse_to_replace
from utils.storage import checkpoint

NAMES = {"CIFAR-10": "cifar10", "sketches": "sketches"}  # of data sets: in a description, and to choose by
MOST_COLUMNS = 20  # classes: beyond, the matrix is too wide for a terminal
LONGEST = 16  # letters of a class's name in a table


def parse(arguments):
    """Read the command line of evaluate.py."""
    parser = Parser(prog="evaluate.py", description="Judge a trained model on test images: errors, confusion matrix, "
                    "calibration, worst mistakes.", allow_abbrev=False)
    parser.add_argument("--model-dir", type=name, help="a folder that train.py wrote (default: the newest one here)")
    add_data = parser.add_mutually_exclusive_group().add_argument  # default: what the model was trained on
    add_data("--data-file", type=name, metavar="ARCHIVE", help="your cifar-10-python.tar.gz, or its extracted folder")
    add_data("--dataset", choices=("cifar10", "sketches"), help="default: what the model was trained on")
    add_data("--data-dir", type=name, metavar="FOLDER", help="your pictures: a folder for each class; all of them "
             "count, but of the folder that the model was trained on those held out")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--output", type=name, metavar="FOLDER", help="for two pictures (default: in evaluation/)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def load_data(options, description, model_dir):
    """The data set that the command line names, else the one that the model was trained on.

    Errors: UserError where it is unavailable.
    """
    run, folder, archive, choice = {}, options.data_dir, options.data_file, options.dataset
    with contextlib.suppress(UserError):  # no checkpoint, as in a model that was handed on, or a damaged one
        run = checkpoint.read(Path(model_dir) / "checkpoint.npz", whole=False).settings
    if (folder, archive, choice) == (None, None, None):
        choice = NAMES.get(description["dataset"])
        folder = run.get("data_dir") if choice is None else None
        archive = run.get("data_file") if choice == "cifar10" else None
    if folder:  # the model's own: of the same name, and the folder of its run, if that is known and still there
        before = run.get("data_dir") or folder
        is_own = os.path.realpath(before) == os.path.realpath(folder) or not os.path.isdir(before)
        is_own = is_own and description["dataset"] == dataset.name_of(folder)
        return dataset.read_folder(folder, print_error, is_split=is_own)  # not say: the output may be JSON
    if choice is None and archive is None:
        raise UserError(f"the model was trained on {shown(description['dataset'])}: name that, or other pictures of "
                        "its classes, with --data-dir")
    return dataset.read(choice or "cifar10", archive, print_error)


def labels_for(data, classes):
    """The test images' labels as numbers of the model's `classes`, which may be more, and in another order.

    Errors: UserError where the data has a class that the model does not know.
    """
    unknown = [each for each in data.classes if each not in classes]
    if unknown:
        raise UserError(f"{shown(data.name)} shows {shown(', '.join(unknown[:3]))}, and the model names only "
                        f"{shown(', '.join(classes[:10]))}: name another --data-dir or --model-dir")
    return np.array([classes.index(each) for each in data.classes])[data.test_labels]


def choose_files(output, model_dir):
    """Paths for both pictures: {what is on it: path}. Errors: UserError where others of their names are there."""
    whole, here = Path(os.path.abspath(model_dir)), Path.cwd()
    parts = whole.relative_to(here if here in whole.parents else whole.anchor).parts  # many models are named model
    folder = Path(output or Path("evaluation", "-".join(parts)))
    files = {what: folder / f"{what}.png" for what in ("confusion", "mistakes")}
    for path in files.values():
        refuse_to_replace(path, drawings.JUDGED)
    return files


def draw(files, metrics, mistakes, data, is_quiet):
    """Draw both pictures -> exit status: 0, or 2 after a line about one that cannot be drawn."""
    error, count = metrics["error"], metrics["pictures"]
    which = f"the {len(mistakes)} worst of {round(error * count):,} mistakes" if mistakes else "no mistakes"
    try:
        drawings.draw_confusion(files["confusion"], metrics, f"{data.name}: error {error:.2%} on {count:,} images")
        drawings.draw_mistakes(files["mistakes"], data.test_images, mistakes,
                               f"{data.name}: {which} on {count:,} images")
    except UserError as error:
        complain("evaluate.py", error)
        return UserError.status
    if not is_quiet:
        say(f"\nThe matrix is drawn in {shown(files['confusion'])}, the worst mistakes in {shown(files['mistakes'])}")
    return 0


def scores(counts):
    """Of each class {"precision", "recall", "f1"}, from 0 to 1; None where there is nothing to divide by."""
    rows = []
    for number, (row, column) in enumerate(zip(counts, zip(*counts))):
        images, named, right = sum(row), sum(column), row[number]
        parts = {"precision": (right, named), "recall": (right, images), "f1": (2 * right, named + images)}
        rows.append({name: part / whole if whole else None for name, (part, whole) in parts.items()})
    return rows


def text(metrics):
    """What was measured, as tables for a terminal."""
    count, share = metrics["pictures"], 1 - metrics["error"]
    accuracy = [f"Accuracy {share:.4f}{interval_words(share, count)}"] if interval_words(share, count) else []
    lines = [f"Error {metrics['error']:.2%} on {count:,} images, cost {metrics['cost']:.4f}", *accuracy, "",
             *_matrix(metrics), "",
             f"Expected calibration error {metrics['calibration_error']:.4f} ({BINS} intervals)",
             "answers of       images  probability    right"]
    for number, (count, mean, share) in enumerate(metrics["reliability"]):
        if count:
            interval = f"{number / BINS:.2f} to {(number + 1) / BINS:.2f}"
            lines.append(f"{interval:<15}{count:8,}{mean:13.4f}{share:9.2%}")
    lines += ["", f"{'':{LONGEST}}  precision     recall         F1"]
    for each, row in zip(metrics["classes"], scores(metrics["confusion"])):
        values = ("none" if value is None else f"{value:.4f}" for value in row.values())
        lines.append(f"{each[:LONGEST]:{LONGEST}}" + "".join(f"{value:>11}" for value in values))
    return "\n".join(lines)


def _matrix(metrics):
    """Lines: each class with its error, and how often it was classified as each, where there is room."""
    counts, classes = metrics["confusion"], [each[:LONGEST] for each in metrics["classes"]]
    longest, width = max(map(len, classes)), max(5, *(len(f" {count}") for row in counts for count in row))
    has_room = len(classes) <= MOST_COLUMNS
    head = f"{'is':<{longest + 4}} images   error"
    lines = [f"{'':{len(head)}}{'named':>{width + 1}}"] if has_room else []
    lines.append(head + "".join(f"{number:{width}}" for number in range(1, len(classes) + 1) if has_room))
    for number, (each, row, score) in enumerate(zip(classes, counts, scores(counts)), start=1):
        error = "none" if score["recall"] is None else f"{1 - score['recall']:.2%}"
        lines.append(f"{number:3} {each:<{longest}}{sum(row):7,}{error:>8}"
                     + "".join(f"{count:{width}}" for count in row if has_room))
    return lines


def as_json(metrics, mistakes, files, description, data):
    """One JSON object: the model, the data, all that was measured, and where the pictures will be."""
    return json.dumps({"model": {key: description.get(key) for key in FACTS},
                       "data": {"name": data.name, "note": data.note}, **metrics,
                       "by_class": dict(zip(metrics["classes"], scores(metrics["confusion"]))),
                       "mistakes": mistakes, "files": {what: str(path) for what, path in files.items()}}, indent=2)
