"""Pictures read on several cores and kept as bytes: the same as Pillow reads one by one, and never those of before."""
import io
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import PIL
import pytest
from PIL import Image

from conftest import ROOT
from small_folders import NAMES
from utils.data import folder
from utils.errors import UserError
from utils.parallel import launch


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and a machine of two cores."""
    for name, value in (("core_share", lambda: 2), ("memory_limit", lambda: 8 << 10), ("before_pinning", [])):
        monkeypatch.setattr(launch, name, value)
    monkeypatch.setenv("IMAGE_CLASSIFICATION_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spare"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def pets(tmp_path):
    """Two classes of 18 noisy pictures of different sizes, as BMP: files of one size have the same length."""
    rng = np.random.default_rng(5)
    for kind in ("cat", "dog"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for number, name in enumerate(NAMES):
            noise(rng, 40 + number // 2, tmp_path / "pets" / kind / name.replace("png", "bmp"))
    return tmp_path / "pets"


def noise(rng, side, path):
    """Write a picture of random pixels."""
    Image.fromarray(rng.integers(0, 256, (side, 2 * side, 3)).astype(np.uint8)).save(path)


def read(root, **more):
    """The images and labels that folder.read returns, and the lines that it says."""
    lines = []
    *arrays, _, _ = folder.read(root, lines.append, **more)
    return arrays, [line for line in lines if not line.startswith("Classes: ")]


def by_pillow(root):
    """All pictures of the folder, class by class, those to train on first, read and reduced by Pillow alone."""
    files = sorted(root.glob("*/*"))
    sides = [[file for file in files if folder.is_held_out(file.name) == side] for side in (False, True)]
    return [np.stack([np.asarray(Image.open(file).resize((32, 32), Image.LANCZOS)).transpose(2, 0, 1)
                      for file in side]) for side in sides]


def assert_read(root, **more):
    """That what is read is what Pillow reads; returns the lines said."""
    (train, _, test, _), lines = read(root, **more)
    for found, expected in zip((train, test), by_pillow(root)):
        np.testing.assert_array_equal(found, expected)
    return lines


@pytest.fixture
def seen(monkeypatch):
    """The names of the pictures that are read."""
    names = []
    attempt = folder.attempt
    monkeypatch.setattr(folder, "attempt", lambda path: [names.append(os.path.basename(path)), attempt(path)][1])
    return names


def test_two_threads_read_what_pillow_reads(pets, monkeypatch):
    """Each waits until the other has a picture too."""
    both, attempt = threading.Barrier(2, timeout=20), folder.attempt
    monkeypatch.setattr(folder, "attempt", lambda path: [both.wait(), attempt(path)][1])
    assert assert_read(pets) == []


def test_there_is_a_thread_for_each_core_where_the_memory_suffices(monkeypatch):
    assert folder.thread_count() == 2
    monkeypatch.setattr(launch, "core_share", lambda: 64)
    assert folder.thread_count() == 8  # of 1 GB at most
    monkeypatch.setattr(launch, "memory_limit", lambda: 512)
    assert folder.thread_count() == 1


def test_a_second_start_reads_nothing(pets, seen):
    assert_read(pets)
    assert len(seen) == 36
    assert_read(pets)
    assert len(read(pets, is_split=False)[0][2]) == 36  # as evaluate.py reads the folder of another model
    assert len(seen) == 36


def test_an_unreadable_picture_is_tried_again_and_named_again(pets, seen):
    (pets / "cat" / "1.bmp").write_bytes(b"no picture")
    first, second = read(pets), read(pets)
    assert first[1] == second[1] and len(first[1]) == 1 and f"(1): {pets / 'cat' / '1.bmp'} is not" in first[1][0]
    for before, after in zip(first[0], second[0]):
        np.testing.assert_array_equal(before, after)
    assert len(seen) == 37 and seen[-1] == "1.bmp"


def swap(path, other):
    """Write the other picture's bytes over a file."""
    path.write_bytes(other.read_bytes())


def swap_with_its_time(path, other):
    """Put another file of the same size and time at its place, as mv does."""
    status, new = path.stat(), path.with_name("new")
    new.write_bytes(other.read_bytes())
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.replace(path)


@pytest.mark.parametrize("change", [swap, swap_with_its_time])
@pytest.mark.parametrize("other", ["1.bmp", "y.bmp"])
def test_a_changed_file_is_read_again(pets, seen, change, other):
    """By one of the same length, or of another one."""
    assert_read(pets)
    path, other = pets / "cat" / "0.bmp", pets / "dog" / other
    assert (path.stat().st_size == other.stat().st_size) == (other.name == "1.bmp")
    change(path, other)
    (train, _, test, _), _ = read(pets)
    for found, expected in zip((train, test), by_pillow(pets)):
        np.testing.assert_array_equal(found, expected)
    assert seen[36:] == ["0.bmp"]


def test_the_time_alone_tells_of_a_change(pets, seen):
    assert_read(pets)
    status = (pets / "cat" / "0.bmp").stat()
    os.utime(pets / "cat" / "0.bmp", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert_read(pets)
    assert seen[36:] == ["0.bmp"]


def test_removed_pictures_drop_out_and_added_ones_are_read(pets, cache, seen):
    assert_read(pets)
    file, = cache.iterdir()
    whole = file.stat().st_size
    (pets / "cat" / "0.bmp").unlink()
    assert_read(pets)
    assert len(seen) == 36 and file.stat().st_size == whole - 3072 - 16
    noise(np.random.default_rng(1), 50, pets / "dog" / "new.bmp")
    assert_read(pets)
    assert seen[36:] == ["new.bmp"] and [*cache.iterdir()] == [file] and file.stat().st_size == whole


def test_pictures_are_read_again_by_another_pillow(pets, seen, monkeypatch):
    assert_read(pets)
    monkeypatch.setattr(PIL, "__version__", "0.1")
    assert_read(pets)
    assert len(seen) == 72


@pytest.mark.parametrize("damage", [
    lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"abc"),
    lambda file: file.write_bytes(file.read_bytes()[:-1]), lambda file: file.write_bytes(file.read_bytes()[:-3088]),
    lambda file: file.write_bytes(bytes(file.stat().st_size)),
], ids=["empty", "short", "a byte less", "a picture less", "zeros"])
def test_a_damaged_cache_is_made_again(pets, cache, seen, damage):
    assert_read(pets)
    file, = cache.iterdir()
    whole = file.read_bytes()
    damage(file)
    assert assert_read(pets) == [] and len(seen) == 72
    assert file.read_bytes() == whole


def test_where_nothing_can_be_kept_a_line_says_so(pets, tmp_path, monkeypatch, seen):
    for name in ("no folder", "spare", "image_classification_data"):
        (tmp_path / name).write_text("")
    monkeypatch.setenv("IMAGE_CLASSIFICATION_DATA", str(tmp_path / "no folder"))
    for _ in range(2):
        line, = assert_read(pets)
        assert line.startswith("The pictures are not kept for the next start: cannot write ")
    assert len(seen) == 72


def test_a_folder_in_the_caches_place_is_no_error(pets, cache, seen):
    assert_read(pets)
    file, = cache.iterdir()
    file.unlink()
    file.mkdir()
    assert assert_read(pets) == [] and assert_read(pets) == []
    assert len(seen) == 72  # a spare folder has it


def test_longer_reading_is_said_where_no_bar_is_shown(pets, monkeypatch):
    monkeypatch.setattr(folder, "MANY", 1)
    assert assert_read(pets) == [f"Reading 36 pictures of {pets}, 2 at a time"]
    assert assert_read(pets) == []  # they are kept
    noise(np.random.default_rng(2), 40, pets / "cat" / "new.bmp")
    monkeypatch.setattr(launch, "core_share", lambda: 1)
    assert assert_read(pets) == [f"Reading 1 pictures of {pets}, 1 at a time"]


def test_a_terminal_shows_a_bar_instead(pets, monkeypatch):
    monkeypatch.setattr(folder, "MANY", 1)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert assert_read(pets) == []
    assert "Reading:" in terminal.getvalue() and "/36" in terminal.getvalue()


def test_the_first_unreadable_ones_are_named_in_order(pets):
    names = [name for name in sorted(os.listdir(pets / "dog")) if not folder.is_held_out(name)]
    for name in names[:5]:
        (pets / "dog" / name).write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        read(pets)
    bad = "; ".join(f"{pets / 'dog' / name} is not a picture that Pillow can read" for name in names[:3])
    assert str(caught.value) == f"more than a tenth of the pictures cannot be read: {bad}; remove or repair them"


PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from utils import errors
from utils.data import folder
from utils.parallel import launch
errors.end_at_once_on_signals()

@errors.exit_status("")
def main(arguments):
    with launch.signals_to(launch.Interrupts().hear):
        for _ in folder.read_each(sys.argv[2:] * 10000):
            print("read", flush=True)

if sys.argv[1] == "answers":
    sys.exit(main([]))
for _ in folder.read_each(sys.argv[2:] * 10000):
    print("read", flush=True)
"""


@pytest.mark.parametrize("how", ["answers", "ends at once"])
def test_a_signal_ends_the_reading(pets, how):
    """As train.py answers it, and as evaluate.py does."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, how, *sorted(map(str, pets.glob("*/*")))],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "read\n"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=15)
    assert time.monotonic() - began < 10
    assert process.returncode == (130 if how == "answers" else -signal.SIGINT)
    assert err == ("Stopped before training began\n" if how == "answers" else "")


@pytest.mark.skipif(len(launch.usable_cores()) < 2, reason="one core")
def test_a_pinned_workers_threads_have_all_cores(monkeypatch):
    cores = launch.usable_cores()
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "2")
    monkeypatch.setattr(folder, "attempt", lambda path: os.sched_getaffinity(0))
    try:
        launch.pin_to_cores()
        assert len(os.sched_getaffinity(0)) < len(cores) == len(launch.usable_cores())
        assert [*folder.read_each("ab")] == [{*cores}] * 2
        assert len(os.sched_getaffinity(0)) < len(cores)
    finally:
        os.sched_setaffinity(0, cores)
