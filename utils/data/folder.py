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


def read(folder, say, is_seen=True, is_split=True):
    """Read the pictures of all classes, by name; returns what a Dataset has after its name.

    say: takes each warning; is_seen: whether a progress bar may be shown.
    is_split: whether some of the pictures are to train on; otherwise all, or those in FOLDER/test, are to test on.
    Errors: UserError where the folder is not laid out as the module says, or more than a tenth is unreadable.
    """
    links, unreadable = [], []
    try:
        train, test, note = find(folder, links, say, is_split)
    except OSError as error:
        raise UserError(f"--data-dir: cannot read {shown(error.filename or folder)}: {error.strerror}") from error
    finally:
        warn("links to folders are not followed", links, say)
    classes, count = check_classes(folder, train, test), sum(map(len, [*train.values(), *test.values()]))
    with progress(total=count, unit=" pictures", desc="Reading", shown=is_seen) as bar:
        train, test = (read_files([(path, label) for label, name in enumerate(classes) for path in side[name]],
                                  unreadable, MOST_UNREADABLE * count, bar) for side in (train, test))
    if unreadable:
        note += f", {len(unreadable):,} unreadable"
        warn(f"files that cannot be read are left out, of {count:,}", unreadable, say)
    untrained, untested = ([name for label, name in enumerate(classes) if label not in labels]
                           for _, labels, _ in (train, test))
    if untrained and is_split or len(untested) == len(classes):
        side, names = ("train", untrained) if untrained and is_split else ("test", untested)
        raise UserError(f"{shown(folder)} has no picture to {side} on of {', '.join(names[:MOST_NAMES])}: put more "
                        "pictures there")
    warn("classes have no picture to test on, since they have so few", untested, say)
    warn_of_twins(train, test, say)
    return *train[:2], *test[:2], note, classes


def find(folder, links, say, is_split=True):
    """The files to train on and those to test on, each {class: paths}, and a note. Errors: UserError, OSError."""
    names = next(walk(folder, []))[1]
    if {"train", "test"} <= set(names):
        warn("folders beside train and test are not read", sorted({*names} - {"train", "test"}), say)
        train, test = (classes_in(os.path.join(folder, side), links) for side in ("train", "test"))
        return train if is_split else dict.fromkeys(test, ()), test, f"{len(test)} classes"
    if names and all(name.lower() in SIDES for name in names):
        raise UserError(f"--data-dir: {shown(folder)} holds {shown(' and '.join(names))}: call two folders "
                        "train and test, both with class folders, or name a folder that holds class folders itself")
    classes = classes_in(folder, links)
    if not is_split:
        return dict.fromkeys(classes, ()), classes, f"{len(classes)} classes"
    test = {name: [path for path in paths if is_held_out(os.path.relpath(path, folder).split(os.sep, 1)[1])]
            for name, paths in classes.items()}
    train = {name: sorted(set(paths) - set(test[name])) for name, paths in classes.items()}
    return train, test, f"{len(train)} classes, a fifth held out by name"


def classes_in(folder, links):
    """The classes of a folder, sorted: {name: paths of the files in it}; links: takes the links to folders."""
    classes = {}
    for name in next(walk(folder, links))[1]:
        files = [os.path.join(here, file) for here, _, files in walk(os.path.join(folder, name), links)
                 for file in files]
        classes.setdefault(shown(unicodedata.normalize("NFC", name)), []).extend(sorted(files))
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


def check_classes(folder, train, test):
    """The classes to train and to test on; UserError where they differ, or a saved model cannot take them."""
    if set(train) != set(test):
        raise UserError(f"{shown(folder)}: train and test need the same class folders, and only one of them has "
                        f"{', '.join(sorted(set(train) ^ set(test))[:MOST_NAMES])}")
    if not 2 <= len(train) <= MOST_CLASSES or max(map(len, train)) > LONGEST_NAME:
        raise UserError(f"{shown(folder)} holds {len(train):,} class folders, {', '.join([*train][:MOST_NAMES])}: put "
                        f"the pictures of each class into a folder there, named after it, 2 to "
                        f"{MOST_CLASSES:,} of them with names of at most {LONGEST_NAME} letters")
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
    seen, both, classes = {}, [], []
    for side in (train, test):
        for image, label, path in zip(*side):
            first_side, first_label = seen.setdefault(hashlib.sha256(image).digest(), (side, label))
            if side is not first_side:
                both.append(path)
            if label != first_label:
                classes.append(path)
    warn("pictures to test on are among those to train on too, which makes the test too easy", both, say)
    warn("pictures are in another class too", classes, say)


def warn(text, names, say):
    """Say a warning about some things, if there are any: how many, and the first of their names."""
    if names:
        more = f", and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
        say(f"Warning: {text} ({len(names):,}): {', '.join(map(shown, names[:MOST_NAMES]))}{more}")
