"""Pictures of your own: a folder with a folder for each class, read once and kept as bytes, 3 KB a picture.

FOLDER/train and FOLDER/test may hold the class folders; where they do not, a fifth of each class is held out to test
on. Which pictures those are follows from their names alone, so pictures added later move none to the other side.
"""
import hashlib
import os
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.errors import UserError, shown
from utils.image_file import SIDE, read_pixels
from utils.progress import Bar

HELD_OUT = 0.2  # of each class
MOST_UNREADABLE = 0.1  # of all files
MOST_CLASSES, LONGEST_NAME = 1000, 100  # what a saved model's description takes
NAMED = 10  # files that a warning names
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # and hidden files: systems leave them everywhere
SIDES = ("train", "training", "test", "testing", "val", "valid", "validation")  # never meant as classes


class Pictures(NamedTuple):
    """What a folder holds: images uint8 [N, 3, 32, 32] (RGB), labels int64 [N], numbers of classes."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    note: str
    classes: tuple


def read(folder, say, is_seen=True):
    """Read the pictures of all classes, which are in the order of their names.

    say: takes each warning; is_seen: whether a progress bar may be shown.
    Errors: UserError where the folder is not laid out as the module says, or more than a tenth is unreadable.
    """
    try:
        classes, train, test, note = find(folder, say)
    except OSError as error:
        raise UserError(f"cannot read {shown(error.filename or folder)}: {error.strerror or error}") from error
    unreadable, count = [], len(train) + len(test)
    with Bar(count, 0, " pictures", "Reading", is_seen) as bar:
        train_images, train = read_files(train, unreadable, MOST_UNREADABLE * count, bar)
        test_images, test = read_files(test, unreadable, MOST_UNREADABLE * count, bar)
    if unreadable:
        note += f", {len(unreadable):,} unreadable"
        say(warning(f"files that cannot be read are left out, of {count:,}", unreadable))
    check_sizes(folder, classes, train, test, say)
    warn_of_twins(train_images, train, test_images, test, say)
    labels = [np.array([label for _, label in files], np.int64) for files in (train, test)]
    return Pictures(train_images, labels[0], test_images, labels[1], note, classes)


# -- Which files


def find(folder, say):
    """What there is to read: the classes, the files to train and to test on, pairs (path, label), and a note.

    Errors: UserError for a folder that is laid out otherwise; OSError.
    """
    if not os.path.isdir(folder):
        problem = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise UserError(f"--data-dir: {shown(folder)} {problem}: name a folder that holds a folder for each class")
    strays = set()
    try:
        names = {os.path.basename(path) for path in entries(folder, folder, strays) if os.path.isdir(path)}
        if {"train", "test"} <= names:
            return two_sides(folder, names - {"train", "test"}, strays, say)
        if names and all(name.lower() in SIDES for name in names):
            raise UserError(f"--data-dir: {shown(folder)} holds {shown(' and '.join(sorted(names)))}: call two folders "
                            "train and test, both with class folders, or name a folder that holds class folders itself")
        return one_side(folder, strays)
    finally:
        if strays:
            say(warning(f"links that leave {shown(folder)}, or lead to what is read already, are not followed",
                        [shown(path) for path in sorted(strays)]))


def two_sides(folder, others, strays, say):
    """`find` for FOLDER/train and FOLDER/test; others: the names of further folders beside them."""
    train, test = (classes_in(os.path.join(folder, side), folder, strays) for side in ("train", "test"))
    check_same_classes(folder, set(train), set(test))
    if others:
        say(warning("folders beside train and test are not read", [shown(name) for name in sorted(others)]))
    files = [[(path, label) for label, name in enumerate(train) for path, _ in side[name]] for side in (train, test)]
    return tuple(train), *files, f"{len(train)} classes"


def one_side(folder, strays):
    """`find` for a folder that holds class folders."""
    classes = classes_in(folder, folder, strays)
    files = [[(path, label) for label, name in enumerate(classes) for path, inner in classes[name]
              if is_held_out(inner) == side] for side in (False, True)]
    return tuple(classes), *files, f"{len(classes)} classes, a fifth held out by name"


def classes_in(folder, root, strays):
    """The classes of a folder, sorted: {name: its files, pairs (path, name relative to the class folder)}.

    root: the folder that links must not leave; strays: takes those that do, or lead in a circle.
    Errors: UserError where they are no two, or one is empty or has a name that cannot be kept.
    """
    classes, found = {}, entries(folder, root, strays)
    for path in filter(os.path.isdir, found):
        name = shown(unicodedata.normalize("NFC", os.path.basename(path)))
        if name in classes or len(name) > LONGEST_NAME:
            problem = "twice" if name in classes else f"with more than {LONGEST_NAME} letters"
            raise UserError(f"{shown(folder)} has a class folder {name} {problem}: give it another name")
        classes[name] = files_in(path, root, strays)
    if not classes:
        raise UserError(f"{shown(folder)} holds no class folders: put the pictures of each class into a folder there, "
                        "named after the class")
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(f"{shown(folder)} holds {len(classes):,} class folder{'s' * (len(classes) > 1)}"
                        f"{f', {min(classes)}' * (len(classes) == 1)}: training takes 2 to {MOST_CLASSES:,} classes")
    for name, files in classes.items():
        if not files:
            raise UserError(f"the class folder {shown(os.path.join(folder, name))} is empty: put pictures into it, or "
                            "remove it")
    return dict(sorted(classes.items()))


def files_in(folder, root, strays):
    """The files in a class folder and in the folders there, by name: pairs (path, name relative to the folder)."""
    found, left, visited = [], [folder], set()
    while left:
        here = left.pop()
        if os.path.realpath(here) in visited:
            strays.add(here)
            continue
        visited.add(os.path.realpath(here))
        for path in entries(here, root, strays):
            if os.path.isdir(path):
                left.append(path)
            else:
                found.append((path, os.path.relpath(path, folder).replace(os.sep, "/")))
    return sorted(found)


def entries(folder, root, strays):
    """Paths of what is in a folder, by name, but for what systems leave there and for links out of `root`."""
    whole, found = Path(os.path.realpath(root)), []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name.lower() in IGNORED:
            continue
        if entry.is_symlink() and whole not in Path(os.path.realpath(entry.path)).parents:
            strays.add(entry.path)
        else:
            found.append(entry.path)
    return found


def check_same_classes(folder, train, test):
    """UserError where the classes to train and to test on are not the same."""
    if train == test:
        return
    lacks = [f"{shown(folder)}/{side} has no {', '.join(sorted(names)[:NAMED])}"
             for side, names in (("train", test - train), ("test", train - test)) if names]
    raise UserError(f"train and test need the same class folders: {'; '.join(lacks)}")


def is_held_out(name):
    """Whether the picture of this name, relative to its class folder, is one to test on: a fifth of all names are."""
    letters = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(letters).digest()[:8], "big") < HELD_OUT * 2 ** 64


# -- What is in them


def read_files(files, unreadable, most, bar):
    """Read pictures, one at a time -> images uint8 [n, 3, 32, 32], and those of the files that are readable.

    files: pairs (path, label); unreadable: takes a line about each other one. Errors: UserError above `most` of them.
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
                                "remove or mend them") from error
        bar.advance(1)
    return images[:len(readable)], readable


def check_sizes(folder, classes, train, test, say):
    """UserError where a class has nothing to train on, or there is nothing to test on; a warning for less."""
    counts = [np.bincount([label for _, label in files], minlength=len(classes)) for files in (train, test)]
    without = [[name for name, count in zip(classes, side) if count == 0] for side in counts]
    if without[0]:
        raise UserError(f"{shown(folder)} has no picture to train on of {', '.join(without[0][:NAMED])}: put more "
                        "pictures there")
    if not test:
        raise UserError(f"{shown(folder)} has no picture to test on among {len(train)}: put more pictures there, or "
                        "make two folders in it, train and test, both with class folders")
    if without[1]:
        say(warning("classes have no picture to test on, since they have so few", without[1]))


def warn_of_twins(train_images, train, test_images, test, say):
    """Warn of pictures that stand on both sides, or in two classes: by their content, whatever their names."""
    seen, both, classes = {}, [], []
    for images, files, is_test in ((train_images, train, False), (test_images, test, True)):
        for image, (path, label) in zip(images, files):
            content = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            was_test, was_label = seen.setdefault(content, (is_test, label))
            if is_test and not was_test:
                both.append(shown(path))
            if label != was_label:
                classes.append(shown(path))
    if both:
        say(warning("pictures to test on are among those to train on too, which makes the test too easy", both))
    if classes:
        say(warning("pictures stand in another class too", classes))


def warning(text, names):
    """A warning about some things: how many there are, and the first of their names."""
    more = f", and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"Warning: {text} ({len(names):,}): {', '.join(names[:NAMED])}{more}"
