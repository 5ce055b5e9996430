"""Your own pictures: a folder with a folder for each class, read once and kept as bytes, 3 KB a picture.

FOLDER/train and FOLDER/test, or val, may have the class folders; where they do not, a fifth of each class is held out
to test on. Which pictures those are follows from their names alone, so pictures added later move none to the other
side.
"""
import hashlib
import os
import unicodedata

import numpy as np

from utils.errors import UserError, shown
from utils.image_file import SIDE, read_pixels
from utils.progress import progress

TEST_SHARE = 0.2  # of each class
MOST_UNREADABLE = 0.1  # of all files
MOST_CLASSES, LONGEST_NAME = 1000, 100  # what a saved model's description takes
MOST_NAMES = 10  # in a line
IGNORED = ("thumbs.db", "desktop.ini", "__macosx", "#recycle", "$recycle.bin", "lost+found", "thumbs", "thumbnails",
           "system volume information")  # and .names and @names: systems put them
OF_EVALUATION = {"confusion.png", "mistakes.png"}  # what evaluate.py writes
TEST_SIDES = ("test", "val", "valid", "validation")
SIDES = ("train", "training", "testing", *TEST_SIDES)  # never meant as classes
NEARLY_EQUAL = 2  # levels of 255 between two pictures reduced to 8 x 8; another size or compression makes about 1


def read(folder, say, is_seen=True, is_split=True):
    """Read the pictures of all classes, by name; returns what a Dataset has after its name.

    say: takes each line about them; is_seen: whether a progress bar may be shown.
    is_split: whether some of the pictures are to train on; otherwise all, or those in FOLDER/test, are to test on.
    Errors: UserError where the folder is not laid out as the module says, or more than a tenth is unreadable.
    """
    left_out, unreadable = [], []
    try:
        train, test, note = find(folder, left_out, say, is_split)
    except OSError as error:
        raise UserError(f"--data-dir: cannot read {shown(error.filename or folder)}: {error.strerror}") from error
    warn("Left out, as a system's, a program's or a run's own files", left_out, say)
    classes, count = check_classes(folder, train, test, 1 + is_split), sum(map(len, [*train.values(), *test.values()]))
    with progress(total=count, unit=" pictures", desc="Reading", shown=is_seen) as bar:
        train, test = (read_files([(path, label) for label, name in enumerate(classes) for path in side[name]],
                                  unreadable, MOST_UNREADABLE * count, bar) for side in (train, test))
    if unreadable:
        note += f", {len(unreadable):,} unreadable"
        warn(f"Warning: files that cannot be read are left out, of {count:,}", unreadable, say)
    trained, tested = (np.bincount(labels, minlength=len(classes)) for _, labels, _ in (train, test))
    side = "train" if is_split and not trained.all() else "test" if not tested.any() else ""
    if side:
        names = [name for name, number in zip(classes, trained if side == "train" else tested) if not number]
        raise UserError(f"{shown(folder)} has no picture to {side} on of {', '.join(names[:MOST_NAMES])}: put more "
                        "pictures there")
    counts = [f"{name} {number:,}" for name, number in zip(classes, trained + tested)]
    say(f"Classes: {', '.join(counts[:MOST_NAMES])}{', ...' if len(counts) > MOST_NAMES else ''}")
    untested = [name for name, number in zip(classes, tested) if not number]
    warn("Warning: classes have no picture to test on, since they have so few", untested, say)
    warn_of_twins(train, test, say)
    return *train[:2], *test[:2], note, classes


def find(folder, left_out, say, is_split):
    """The files to train on and those to test on, each {class: paths}, and a note. Errors: UserError, OSError."""
    names = entries(folder, [])[0]
    side = next((name for name in TEST_SIDES if name in names), None)
    if side and "train" in names:
        if side != "test":
            say(f"The pictures in {side}/ are those to test on")
        warn(f"Warning: folders other than train and {side} are not read", sorted({*names} - {"train", side}), say)
        train, test = (classes_in(os.path.join(folder, each), left_out) for each in ("train", side))
        return train if is_split else dict.fromkeys(test, ()), test, f"{len(test)} classes"
    if names and all(name.lower() in SIDES for name in names):
        raise UserError(f"--data-dir: {shown(folder)} holds {shown(' and '.join(names))}: call two folders "
                        "train and test, both with class folders, or name a folder that holds class folders itself")
    classes = classes_in(folder, left_out)
    if not is_split:
        return dict.fromkeys(classes, ()), classes, f"{len(classes)} classes"
    test = {name: [path for path in paths if is_held_out(os.path.basename(path))] for name, paths in classes.items()}
    train = {name: sorted({*paths} - {*test[name]}) for name, paths in classes.items()}
    return train, test, f"{len(train)} classes, a fifth held out by name"


def classes_in(folder, left_out):
    """The classes of a folder, sorted: {name: paths of the files in it}. Errors: OSError, UserError."""
    classes = {}
    for name in entries(folder, left_out)[0]:
        path, before = os.path.join(folder, name), len(left_out)
        inside, files = entries(path, left_out)
        if not inside + files and any(map(os.path.isdir, left_out[before:])):
            continue  # such as build/ or evaluation/, in which are a program's own folders
        inside = [each for each in inside if os.listdir(os.path.join(path, each))]
        if inside:
            raise UserError(f"--data-dir: {shown(path)} should hold pictures of one class, and holds folders, "
                            f"{shown(', '.join(inside[:3]))}: where those are the classes, name {shown(path)}, or call "
                            f"two such folders train and test; otherwise move their pictures into {shown(name)}")
        classes.setdefault(shown(unicodedata.normalize("NFC", name)), []).extend(os.path.join(path, f) for f in files)
    return dict(sorted(classes.items()))


def entries(folder, left_out):
    """The names of the folders and of the files in a folder, sorted; left_out: takes the paths of what is not meant."""
    found = [], []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        is_folder = os.path.isdir(path)
        is_meant = name[0] not in ".@" and name.lower() not in IGNORED
        inside = {*os.listdir(path)} if is_meant and is_folder else {}
        is_model = "description.json" in inside and any(file.endswith(".pdiparams") for file in inside)
        if is_meant and not (is_model or ".run.lock" in inside or OF_EVALUATION.issubset(inside)):
            found[not is_folder].append(name)
        else:
            left_out.append(path)
    return found


def check_classes(folder, train, test, least):
    """The classes to train and to test on; UserError where they differ, are too few, or too many for a saved model."""
    if set(train) != set(test):
        raise UserError(f"{shown(folder)}: train and test need the same class folders, and only one of them has "
                        f"{', '.join(sorted(set(train) ^ set(test))[:MOST_NAMES])}")
    if not least <= len(train) <= MOST_CLASSES or max(map(len, train)) > LONGEST_NAME:
        raise UserError(f"{shown(folder)} holds {', '.join([f'{len(train):,} class folders', *train][:MOST_NAMES])}: "
                        f"put the pictures of each class into a folder there, named after it: {least} to "
                        f"{MOST_CLASSES:,} of them, with names of at most {LONGEST_NAME} letters")
    return tuple(train)


def is_held_out(name):
    """Whether the picture of this name, relative to its class folder, is one to test on: a fifth of all names are."""
    letters = unicodedata.normalize("NFC", name.replace(os.sep, "/")).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(letters).digest()[:8], "big") < TEST_SHARE * 2 ** 64


def read_files(files, unreadable, most, bar):
    """Read pictures, pairs (path, label) -> images uint8 [n, 3, 32, 32], labels int64 [n], paths of the readable ones.

    unreadable: takes a line about each other one. Errors: UserError above `most` of them.
    """
    images, readable = np.empty((len(files), 3, SIDE, SIDE), np.uint8), []
    for path, label in files:
        try:
            images[len(readable)] = read_pixels(path)
            readable.append((path, label))
        except UserError as error:
            unreadable.append(str(error))
            if len(unreadable) > most:
                raise UserError(f"more than a tenth of the pictures cannot be read: {'; '.join(unreadable[:3])}; "
                                "remove or repair them") from error
        bar.update(1)
    labels = np.array([label for _, label in readable], np.int64)
    return images[:len(readable)], labels, [path for path, _ in readable]


def warn_of_twins(train, test, say):
    """Warn of pictures that are on both sides, or in two classes: by their content, whatever their names."""
    both = [test[2][number] for number in twins(train[0], test[0])]
    warn("Warning: pictures to test on are among those to train on too, in some size, which makes the test too easy",
         both, say)
    seen, classes = {}, []
    for side in (train, test):
        for image, label, path in zip(*side):
            if seen.setdefault(hashlib.sha256(image).digest(), label) != label:
                classes.append(path)
    warn("Warning: pictures are in another class too", classes, say)


def twins(train, test):
    """Which images of `test` nearly equal one of `train`, both uint8 [N, 3, 32, 32]: a list of numbers."""
    train, test = (each.reshape(-1, 3, 8, 4, 8, 4).mean((3, 5), np.float32).astype(np.uint8) for each in (train, test))
    gray, test_gray = (each.mean(1, np.float32).reshape(-1, 64) for each in (train, test))
    half, found = (gray ** 2).sum(1)[:, None] / 2, []
    for first in range(0, len(test) if len(train) else 0, 64):
        nearest = (half - gray @ test_gray[first:first + 64].T).argmin(0)  # by the squared distance, from |a - b|^2
        difference = np.abs(np.subtract(train[nearest], test[first:first + 64], dtype=np.int16)).mean((1, 2, 3))
        found += [first + number for number in np.flatnonzero(difference < NEARLY_EQUAL)]
    return found


def warn(text, names, say):
    """Say something about some things, if there are any: how many, and the first of their names."""
    if names:
        more = f", and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
        say(f"{text} ({len(names):,}): {', '.join(map(shown, names[:MOST_NAMES]))}{more}")
