"""Your own pictures: a folder with a folder for each class, read once and kept as bytes, 3 KB a picture.

FOLDER/train and FOLDER/test may have the class folders; where they do not, a fifth of each class is held out to test
on. Which pictures those are follows from their names alone, so pictures added later move none to the other side.
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
MOST_NAMES = 10  # in a warning
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # and hidden files: systems leave them everywhere
SIDES = ("train", "training", "test", "testing", "val", "valid", "validation")  # never meant as classes


def read(folder, say, is_seen=True):
    """Read the pictures of all classes, which are in the order of their names.

    say: takes each warning; is_seen: whether a progress bar may be shown.
    Returns what a Dataset has after its name.
    Errors: UserError where the folder is not laid out as the module says, or more than a tenth is unreadable.
    """
    try:
        classes, train, test, note = find(folder, say)
    except OSError as error:
        raise UserError(f"cannot read {shown(error.filename or folder)}: {error.strerror or error}") from error
    unreadable, count = [], len(train) + len(test)
    with progress(total=count, unit=" pictures", desc="Reading", shown=is_seen) as bar:
        train_images, train = read_files(train, unreadable, MOST_UNREADABLE * count, bar)
        test_images, test = read_files(test, unreadable, MOST_UNREADABLE * count, bar)
    if unreadable:
        note += f", {len(unreadable):,} unreadable"
        say(warning(f"files that cannot be read are left out, of {count:,}", unreadable))
    check_sizes(folder, classes, train, test, say)
    warn_of_twins(train_images, train, test_images, test, say)
    labels = [np.array([label for _, label in files], np.int64) for files in (train, test)]
    return train_images, labels[0], test_images, labels[1], note, classes


# -- Which files


def find(folder, say):
    """What there is to read: the classes, the files to train and to test on, pairs (path, label), and a note.

    Errors: UserError for a folder that is laid out otherwise; OSError.
    """
    if not os.path.isdir(folder):
        problem = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise UserError(f"--data-dir: {shown(folder)} {problem}: name a folder that holds a folder for each class")
    links = []  # to folders: one may lead out, or in a circle
    try:
        sides, note = sides_of(folder, links, say)
    finally:
        if links:
            say(warning("links to folders are not followed", [shown(path) for path in links]))
    files = [[(path, label) for label, name in enumerate(side) for path, _ in side[name]] for side in sides]
    return tuple(sides[0]), *files, note


def sides_of(folder, links, say):
    """([classes to train on, classes to test on], note); each side as from `classes_in`."""
    _, names, _ = next(walk(folder, []))
    if {"train", "test"} <= set(names):
        sides = [classes_in(os.path.join(folder, side), links) for side in ("train", "test")]
        check_same_classes(folder, *map(set, sides))
        if len(names) > 2:
            others = [shown(name) for name in names if name not in ("train", "test")]
            say(warning("folders beside train and test are not read", others))
        return sides, f"{len(sides[0])} classes"
    if names and all(name.lower() in SIDES for name in names):
        raise UserError(f"--data-dir: {shown(folder)} holds {shown(' and '.join(names))}: call two folders "
                        "train and test, both with class folders, or name a folder that holds class folders itself")
    classes = classes_in(folder, links)
    sides = [{name: [file for file in files if is_held_out(file[1]) == side] for name, files in classes.items()}
             for side in (False, True)]
    return sides, f"{len(classes)} classes, a fifth held out by name"


def classes_in(folder, links):
    """The classes of a folder, sorted: {name: its files, pairs (path, name relative to the class folder)}.

    Errors: UserError where there are fewer than two, or one is empty or has a name that a model cannot store.
    """
    classes = {}
    for name in next(walk(folder, links))[1]:
        path, name = os.path.join(folder, name), shown(unicodedata.normalize("NFC", name))
        if name in classes or len(name) > LONGEST_NAME:
            problem = "twice" if name in classes else f"with more than {LONGEST_NAME} letters"
            raise UserError(f"{shown(folder)} has a class folder {name} {problem}: give it another name")
        files = [os.path.join(here, file) for here, _, files in walk(path, links) for file in files]
        classes[name] = [(file, os.path.relpath(file, path).replace(os.sep, "/")) for file in sorted(files)]
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


def walk(folder, links):
    """os.walk, by name, without what systems leave in folders; links: takes the links to folders. Errors: OSError."""
    def fail(error):
        raise error

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:], files = ([name for name in sorted(names) if name[0] != "." and name.lower() not in IGNORED]
                             for names in (folders, files))
        links += [os.path.join(here, name) for name in folders if os.path.islink(os.path.join(here, name))]
        folders[:] = [name for name in folders if os.path.join(here, name) not in links]
        yield here, folders, files


def check_same_classes(folder, train, test):
    """UserError where the classes to train and to test on are not the same."""
    if train == test:
        return
    lacks = [f"{shown(folder)}/{side} has no {', '.join(sorted(names)[:MOST_NAMES])}"
             for side, names in (("train", test - train), ("test", train - test)) if names]
    raise UserError(f"train and test need the same class folders: {'; '.join(lacks)}")


def is_held_out(name):
    """Whether the picture of this name, relative to its class folder, is one to test on: a fifth of all names are."""
    letters = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(letters).digest()[:8], "big") < TEST_SHARE * 2 ** 64


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
                                "remove or repair them") from error
        bar.update(1)
    return images[:len(readable)], readable


def check_sizes(folder, classes, train, test, say):
    """UserError where a class has nothing to train on, or there is nothing to test on; a warning for less."""
    counts = [np.bincount([label for _, label in files], minlength=len(classes)) for files in (train, test)]
    without = [[name for name, count in zip(classes, side) if count == 0] for side in counts]
    if without[0]:
        raise UserError(f"{shown(folder)} has no picture to train on of {', '.join(without[0][:MOST_NAMES])}: put more "
                        "pictures there")
    if not test:
        raise UserError(f"{shown(folder)} has no picture to test on among {len(train)}: put more pictures there, or "
                        "make two folders in it, train and test, both with class folders")
    if without[1]:
        say(warning("classes have no picture to test on, since they have so few", without[1]))


def warn_of_twins(train_images, train, test_images, test, say):
    """Warn of pictures that are on both sides, or in two classes: by their content, whatever their names."""
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
        say(warning("pictures are in another class too", classes))


def warning(text, names):
    """A warning about some things: how many there are, and the first of their names."""
    more = f", and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"Warning: {text} ({len(names):,}): {', '.join(names[:MOST_NAMES])}{more}"
