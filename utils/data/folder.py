"""Your own pictures: a folder with a folder for each class, read once and kept as bytes, 3 KB a picture.

FOLDER/train and FOLDER/test, or val, may have the class folders; where they do not, a fifth of each class is held out
to test on. Which pictures those are follows from their names alone, so pictures added later move none to the other
side.
"""
import contextlib
import hashlib
import os
import unicodedata
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import PIL

from utils import image_file
from utils.data import cache
from utils.errors import UserError, shown
from utils.image_file import SIDE, read_pixels
from utils.parallel import launch
from utils.progress import progress

TEST_SHARE = 0.2  # of each class
MOST_UNREADABLE = 0.1  # of all files
MOST_CLASSES, LONGEST_NAME = 1000, 100  # what a saved model's description takes
MOST_NAMES = 10  # in a line
IGNORED = ("thumbs.db", "desktop.ini", "__macosx", "#recycle", "$recycle.bin", "lost+found", "thumbs", "thumbnails",
           "system volume information", "evaluation")  # and .names and @names: left by systems and by evaluate.py
TEST_SIDES = ("test", "val", "valid", "validation")
SIDES = ("train", "training", "testing", *TEST_SIDES)  # never meant as classes
MANY = 100  # pictures: from so many on, the log says that they are read
KEY = 16  # bytes
MEMORY = 1000  # MB that one picture may take while it is read
NEARLY_EQUAL = 2  # levels of 255 between two pictures reduced to 8 x 8; another size or compression makes about 1


def read(folder, say, is_seen=True, is_split=True):
    """Read the pictures of all classes, by name; returns what a Dataset has after its name.

    say: takes each line about them; is_seen: whether a progress bar may be shown.
    is_split: whether some of the pictures are to train on; otherwise all, or those in FOLDER/test, are to test on.
    Errors: UserError where the folder is not laid out as the module says, or more than a tenth is unreadable.
    """
    left_out = []
    try:
        train, test, note = find(folder, left_out, say, is_split)
    except OSError as error:
        raise UserError(f"--data-dir: cannot read {shown(error.filename or folder)}: {error.strerror}") from error
    warn("Left out, as a system's, a program's or a run's own files", left_out, say)
    classes = check_classes(folder, train, test, 1 + is_split)
    files = [(path, label, is_test) for is_test, side in enumerate((train, test)) for label, name in enumerate(classes)
             for path in side[name]]
    images, readable, unreadable = read_files(folder, files, say, is_seen)
    labels, end = np.array([label for _, label, _ in readable], np.int64), sum(not side for *_, side in readable)
    if unreadable:
        note += f", {len(unreadable):,} unreadable"
        warn(f"Warning: files that cannot be read are left out, of {len(files):,}", unreadable, say)
    trained, tested = (np.bincount(part, minlength=len(classes)) for part in np.split(labels, [end]))
    side = "train" if is_split and not trained.all() else "test" if not tested.any() else ""
    if side:
        names = [name for name, number in zip(classes, trained if side == "train" else tested) if not number]
        raise UserError(f"{shown(folder)} has no picture to {side} on of {', '.join(names[:MOST_NAMES])}: put more "
                        "pictures there")
    counts = [f"{name} {number:,}" for name, number in zip(classes, trained + tested)]
    say(f"Classes: {', '.join(counts[:MOST_NAMES])}{', ...' if len(counts) > MOST_NAMES else ''}")
    untested = [name for name, number in zip(classes, tested) if not number]
    warn("Warning: classes have no picture to test on, since they have so few", untested, say)
    warn_of_twins(images, labels, [path for path, *_ in readable], end, say)
    return images[:end], labels[:end], images[end:], labels[end:], note, classes


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
        path = os.path.join(folder, name)
        inside, files = entries(path, left_out)
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
        if name[0] in ".@" or name.lower() in IGNORED or is_folder and any(
                file.endswith((".run.lock", ".pdiparams")) for file in os.listdir(path)):  # a model's folder
            left_out.append(path)
        else:
            found[not is_folder].append(name)
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
    """Whether the picture of this file name is one to test on: a fifth of all names are."""
    letters = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(letters).digest()[:8], "big") < TEST_SHARE * 2 ** 64


def read_files(folder, files, say, is_seen):
    """Read pictures, tuples (path, ...) -> images uint8 [n, 3, 32, 32], the tuples of these, lines about the others.

    What the cache has is not read again. Errors: UserError where more than MOST_UNREADABLE of them cannot be read.
    """
    name, keys = describe([path for path, *_ in files])
    known = {bytes(key): image for key, image in zip(*cache.load(name, ("keys", "images")) or ((), ()))}
    record = np.empty(1, [("keys", f"V{KEY}", (len(files),)), ("images", np.uint8, (len(files), 3, SIDE, SIDE))])
    images, unreadable = record["images"][0], {}
    for number, key in enumerate(keys):
        images[number] = known.get(key, 0)
    new = [number for number, key in enumerate(keys) if key not in known]
    with progress(total=len(new), unit=" pictures", desc="Reading", shown=is_seen) as bar, \
            contextlib.closing(read_each(files[number][0] for number in new)) as pictures:
        if bar.disable and len(new) >= MANY:
            say(f"Reading {len(new):,} pictures of {shown(folder)}, {thread_count()} at a time")
        for number, picture in zip(new, pictures):
            bar.update(1)
            if not isinstance(picture, UserError):
                images[number] = picture
                continue
            unreadable[number], keys[number] = str(picture), bytes(KEY)  # it is tried again at the next start
            if len(unreadable) > MOST_UNREADABLE * len(files):
                raise UserError("more than a tenth of the pictures cannot be read: "
                                f"{'; '.join([*unreadable.values()][:3])}; remove or repair them")
    if known.keys() != {*keys}:
        known.clear()  # Windows replaces no file that is mapped
        record["keys"][0] = keys
        cache.keep(name, record, say)
    if unreadable:
        readable = [number for number in range(len(files)) if number not in unreadable]
        images, files = images[readable], [files[number] for number in readable]
    return images, files, [*unreadable.values()]


def thread_count():
    """How many pictures are read at a time: one on each core, as long as they fit into the memory."""
    return max(1, min(launch.core_share(), launch.memory_limit() // MEMORY))


def read_each(paths):
    """Read pictures -> an iterator over what `attempt` returns, in order.

    In threads: Pillow decodes most formats, and resizes all, outside Python's lock.
    """
    with ThreadPool(thread_count(), use_all_cores) as pool:
        yield from pool.imap(attempt, paths)


def use_all_cores():
    """In a new thread: run on any core, even where its process is pinned to one."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or a container forbids it
        os.sched_setaffinity(0, launch.usable_cores())


def attempt(path):
    """The picture at `path` as `read_pixels` returns it, or the UserError that this raised."""
    try:
        return read_pixels(path)
    except UserError as error:
        return error


def describe(paths):
    """The name of the cache's file for these pictures, and a key of KEY bytes for each.

    The key follows from the picture's place in the folder, its size and times, and the code that reads it.
    """
    code = hashlib.sha256(Path(image_file.__file__).read_bytes() + PIL.__version__.encode()).digest()
    paths, keys = [os.path.abspath(path) for path in paths], []
    root = os.path.commonpath(paths or [""])
    for path in paths:
        details = ()
        with contextlib.suppress(OSError):  # reading it says what is wrong
            status = os.stat(path)
            details = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        keys.append(hashlib.sha256(code + repr((path[len(root):], *details)).encode()).digest()[:KEY])
    return f"pictures-{hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]}", keys


def warn_of_twins(images, labels, paths, end, say):
    """Warn of pictures, by content, that are on both sides (those to test on begin at `end`) or in two classes."""
    both = [paths[end + number] for number in twins(images[:end], images[end:])]
    warn("Warning: pictures to test on are among those to train on too, in some size, which makes the test too easy",
         both, say)
    seen = {}
    classes = [path for image, label, path in zip(images, labels, paths)
               if seen.setdefault(hashlib.sha256(image).digest(), label) != label]
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
    """If there are any names, log the text with their number and the first of them."""
    if names:
        more = f", and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
        say(f"{text} ({len(names):,}): {', '.join(map(shown, names[:MOST_NAMES]))}{more}")
