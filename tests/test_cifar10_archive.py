"""The archive is read right, and every wrong one gets its one clear line."""
import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import warnings
from typing import NamedTuple

import numpy as np
import pytest

import small_archives
from conftest import ROOT
from utils.data import archive as reader
from utils.data.cifar10 import CLASSES
from utils.errors import Stopped, UserError

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")


class Images(NamedTuple):
    """What an archive holds, in the order in which it is read."""
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def read(path):
    """All images of an archive."""
    return Images(*reader.read(path))


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """A right archive of 6 x 20 random pictures, gzipped."""
    return small_archives.write(tmp_path_factory.mktemp("right") / "right.tar.gz", small_archives.contents())


@pytest.fixture(scope="module")
def right_tar(tmp_path_factory):
    """The same as a plain tar."""
    return small_archives.write(tmp_path_factory.mktemp("right") / "right.tar", small_archives.contents(), "w:")


def complaint(path):
    """The one line by which reading this file fails."""
    with pytest.raises(UserError) as caught:
        read(path)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 400
    assert str(path) in line
    return line


def changed(tmp_path, name, **entries):
    """A small archive in which entries of one batch are others."""
    members = small_archives.contents()
    members[name] = {**members[name], **{key.encode(): value for key, value in entries.items()}}
    return small_archives.write(tmp_path / "wrong.tar.gz", members)


# ---------------------------------------------------------------- reading right archives

def test_small_archive_comes_back_as_it_was_written(tmp_path):
    members = small_archives.contents(rows=7)
    pictures = read(small_archives.write(tmp_path / "a.tar.gz", members))
    train = [members[f"data_batch_{number}"] for number in range(1, 6)]
    assert pictures.train_images.dtype == np.uint8 and pictures.train_labels.dtype == np.int64
    pixels = np.vstack([content[b"data"] for content in train])
    np.testing.assert_array_equal(pictures.train_images.reshape(35, 3072), pixels)
    np.testing.assert_array_equal(pictures.train_labels, sum((content[b"labels"] for content in train), []))
    np.testing.assert_array_equal(pictures.test_images.reshape(7, 3072), members["test_batch"][b"data"])
    np.testing.assert_array_equal(pictures.test_labels, members["test_batch"][b"labels"])


def test_rows_are_red_green_blue_planes_of_32_lines(tmp_path):
    members = small_archives.contents(rows=2)
    row = members["test_batch"][b"data"][1]
    pictures = read(small_archives.write(tmp_path / "a.tar.gz", members))
    assert pictures.test_images[1, 2, 5, 9] == row[2 * 1024 + 5 * 32 + 9]


def test_batches_of_different_sizes(tmp_path):
    members = small_archives.contents(rows=3)
    members["data_batch_2"] = small_archives.batch(1, rows=11)
    pictures = read(small_archives.write(tmp_path / "a.tar.gz", members))
    assert pictures.train_images.shape == (23, 3, 32, 32) and pictures.train_labels.shape == (23,)
    second = pictures.train_images[3:14].reshape(11, 3072)
    np.testing.assert_array_equal(second, members["data_batch_2"][b"data"])


def test_pickles_as_python_2_wrote_them(tmp_path, right):
    members = small_archives.contents()
    for name in small_archives.BATCHES:
        content = members[name]
        members[name] = small_archives.python2_pickle(content[b"data"], content[b"labels"])
        with warnings.catch_warnings():  # the oracle: pickle itself reads these bytes as the same batch
            warnings.simplefilter("ignore")
            plain = pickle.loads(members[name], encoding="bytes")
        np.testing.assert_array_equal(plain[b"data"], content[b"data"])
        assert plain[b"labels"] == content[b"labels"]
    as_python_2 = read(small_archives.write(tmp_path / "2.tar.gz", members))
    for left, other in zip(as_python_2, read(right)):
        np.testing.assert_array_equal(left, other)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_pickles_of_either_numpy(tmp_path, module):
    members = small_archives.contents()
    blob = pickle.dumps(members["test_batch"], protocol=2)
    ours = np.zeros(1).__reduce__()[0].__module__
    members["test_batch"] = blob.replace(f"c{ours}\n".encode(), f"c{module}\n".encode())
    pictures = read(small_archives.write(tmp_path / "a.tar.gz", members))
    np.testing.assert_array_equal(pictures.test_labels, small_archives.contents()["test_batch"][b"labels"])


def test_archive_that_a_browser_unzipped(right_tar):
    assert read(right_tar).train_labels.shape == (100,)


@pytest.mark.slow
def test_real_archive_against_plain_pickle(cifar10_archive):
    pictures = read(cifar10_archive)
    with tarfile.open(cifar10_archive) as archive:
        def plain(name):
            return pickle.load(archive.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes")

        assert [name.decode() for name in plain("batches.meta")[b"label_names"]] == list(CLASSES)
        test, last = plain("test_batch"), plain("data_batch_5")
    rows = len(last[b"labels"])
    np.testing.assert_array_equal(pictures.test_images.reshape(-1, 3072), test[b"data"])
    np.testing.assert_array_equal(pictures.test_labels, test[b"labels"])
    np.testing.assert_array_equal(pictures.train_images[-rows:].reshape(-1, 3072), last[b"data"])
    np.testing.assert_array_equal(pictures.train_labels[-rows:], last[b"labels"])
    # What the literature gives for the training set's channels, out of 255.
    mean = pictures.train_images.mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=0.01)
    # The first ten training labels as everyone's tutorials print them: frog, two trucks, deer, two cars, ...
    assert pictures.train_labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert pictures.test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_pixels_in_the_order_of_columns(tmp_path, right):
    members = small_archives.contents()
    for name in small_archives.BATCHES:
        members[name][b"data"] = np.asfortranarray(members[name][b"data"])
    columns = read(small_archives.write(tmp_path / "columns.tar.gz", members))
    for left, other in zip(columns, read(right)):
        np.testing.assert_array_equal(left, other)


READ = """
import re, sys
sys.path.insert(0, sys.argv[1])
from utils.data import archive as reader
from utils.errors import Stopped, UserError
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = peak()
try:
    _, train, _, test = reader.read(sys.argv[2])
    print(len(train), len(test))
except UserError as error:
    print(error)
print(peak() - before)
"""


def read_in_a_process(path):
    """What reading says, in a process of its own, and the bytes by which its peak of memory rises."""
    command = [sys.executable, "-c", READ, str(ROOT), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line, peak = done.stdout.splitlines()
    return line, int(peak)


@LINUX
def test_memory_for_all_images_stays_under_500_mb(tmp_path):
    """60,000 black images, in a process of its own (getrusage would tell a child its parent's peak)."""
    members = {name: {b"data": np.zeros((10_000, 3072), np.uint8), b"labels": [3] * 10_000}
               for name in small_archives.BATCHES}
    line, peak = read_in_a_process(small_archives.write(tmp_path / "full.tar", members, mode="w:"))
    assert line == "50000 10000"
    assert 184e6 < peak < 500e6  # the pixels alone have 184 MB


# ---------------------------------------------------------------- wrong archives

@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_archive(tmp_path, right, share):
    whole = right.read_bytes()
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(whole[:int(share * len(whole))])
    assert "not a whole cifar-10-python.tar.gz" in complaint(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_truncated_plain_tar(tmp_path, right_tar, share):
    whole = right_tar.read_bytes()
    path = tmp_path / "cut.tar"
    path.write_bytes(whole[:int(share * len(whole))])
    assert "not a whole cifar-10-python.tar.gz" in complaint(path)


def test_one_flipped_bit_anywhere_is_noticed(tmp_path, right):
    whole = right.read_bytes()
    path = tmp_path / "flipped.tar.gz"
    for position in np.random.default_rng(0).integers(20, len(whole), 20):
        damaged = bytearray(whole)
        damaged[position] ^= 16
        path.write_bytes(damaged)
        with pytest.raises(UserError):
            read(path)


def test_check_sum_behind_everything_that_is_needed_is_read(tmp_path, right_tar):
    zipped = bytearray(gzip.compress(right_tar.read_bytes() + bytes(3 * 2**20), compresslevel=1))
    path = tmp_path / "padded.tar.gz"
    path.write_bytes(zipped)
    assert read(path).test_labels.shape == (20,)
    zipped[-6] ^= 1
    path.write_bytes(zipped)
    assert "not a whole cifar-10-python.tar.gz" in complaint(path)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>Log in, please</html>" * 50, b"\0" * 20_000,
                                     gzip.compress(b"<html></html>" * 500), b"BZh9" + b"\x55" * 999,
                                     b"PK\3\4" + b"\x55" * 999],
                         ids=["html", "zeros", "zipped html", "bzip2", "zip"])
def test_not_an_archive_at_all(tmp_path, content):
    path = tmp_path / "page.tar.gz"
    path.write_bytes(content)
    assert "not a whole cifar-10-python.tar.gz" in complaint(path)
    assert content[:2] != b"PK" or "or unpack it and name its folder cifar-10-batches-py" in complaint(path)


@pytest.mark.parametrize("name", small_archives.BATCHES)
def test_missing_batch_is_named(tmp_path, name):
    members = small_archives.contents()
    del members[name]
    path = small_archives.write(tmp_path / "wrong.tar.gz", members)
    assert f"cifar-10-batches-py/{name} is missing" in complaint(path)


@pytest.mark.parametrize("label", [-1, 10, 2**70, pytest.param(2**100_000, id="huge")])
def test_label_out_of_range(tmp_path, label):
    line = complaint(changed(tmp_path, "data_batch_3", labels=[1] * 19 + [label]))
    assert "data_batch_3 has no list of 20 whole numbers from 0 to 9" in line


@pytest.mark.parametrize("labels", [[0] * 19, [0] * 21, [], None, "00", [0.0] * 20, ["0"] * 20, [True] * 20,
                                    list(range(10)) + [[]] * 10], ids=repr)
def test_wrong_labels(tmp_path, labels):
    assert "data_batch_5 has " in complaint(changed(tmp_path, "data_batch_5", labels=labels))


@pytest.mark.parametrize("data", [
    np.zeros((20, 3071), np.uint8), np.zeros((20, 32, 32, 3), np.uint8), np.zeros(20 * 3072, np.uint8),
    np.zeros((19, 3073), np.uint8), np.zeros((10_001, 3072), np.uint8), np.zeros((20, 3072), np.float32),
    np.zeros((20, 3072), np.int8), np.asfortranarray(np.zeros((20, 3071), np.uint8)),
    np.array([[None] * 3072] * 20), [[0] * 3072] * 20, None,
], ids=lambda value: getattr(value, "shape", None) and f"{value.dtype}{value.shape}")
def test_wrong_pixels(tmp_path, data):
    line = complaint(changed(tmp_path, "test_batch", data=data))
    assert "test_batch has no bytes (uint8) of shape (10000, 3072)" in line


def test_other_class_names(tmp_path):
    names = list(small_archives.NAMES)
    names[3], names[5] = names[5], names[3]
    assert "names other classes" in complaint(changed(tmp_path, "batches.meta", label_names=names))


@pytest.mark.parametrize("blob", [b"", b"not a pickle", b"\x80\x02]q\x00.", b"\x80\x02}", b"\x80\x09}.",
                                  b"\x80\x02B\xff\xff\xff\x7f"], ids=repr)
def test_member_that_is_no_pickled_batch(tmp_path, blob):
    members = {**small_archives.contents(), "data_batch_2": blob}
    path = small_archives.write(tmp_path / "wrong.tar.gz", members)
    assert "data_batch_2 is damaged" in complaint(path)


class Hostile:
    """Unpickled by pickle itself, this makes a folder."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_code_does_not_run(tmp_path, protocol):
    trap = tmp_path / "trap"
    blob = pickle.dumps({b"data": Hostile(os.mkdir, str(trap)), b"labels": [0]}, protocol=protocol)
    pickle.loads(blob)
    assert trap.is_dir()  # the code is live
    trap.rmdir()
    members = {**small_archives.contents(), "data_batch_1": blob}
    path = small_archives.write(tmp_path / "wrong.tar.gz", members)
    assert "mkdir" in complaint(path)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["builtins\neval", "__builtin__\neval", "os\nsystem", "numpy\nload",
                                  "numpy\nsave", "numpy.core.multiarray\n_reconstruct.__globals__",
                                  "_codecs\nlookup", "numpy.testing\nassert_equal",
                                  "no_such_module_at_all\nx"])
def test_no_other_name_is_looked_up(tmp_path, name):
    blob = b"\x80\x04c" + name.encode() + b"\n."
    members = {**small_archives.contents(), "data_batch_1": blob}
    line = complaint(small_archives.write(tmp_path / "wrong.tar.gz", members))
    assert "which no batch needs" in line
    assert "no_such_module_at_all" not in sys.modules


def test_paths_that_climb_out_write_nothing(tmp_path):
    """Nothing is unpacked to the disk, so such a member is passed over and the right ones are read."""
    path = tmp_path / "deep" / "er" / "climbing.tar.gz"
    path.parent.mkdir(parents=True)
    before = small_archives.contents()
    with tarfile.open(path, "w:gz") as archive:
        outside = str(tmp_path / "escaped")
        for name in ("../escaped", "../../escaped", outside, "cifar-10-batches-py/../../escaped"):
            info = tarfile.TarInfo(name)
            info.size = 5
            archive.addfile(info, io.BytesIO(b"hello"))
        link = tarfile.TarInfo("cifar-10-batches-py/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        archive.addfile(link)
        for name, content in before.items():
            blob = pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(f"./cifar-10-batches-py/{name}")
            info.size = len(blob)
            archive.addfile(info, io.BytesIO(blob))
    assert read(path).train_labels.shape == (100,)
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == ["climbing.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_batch_that_is_a_link_is_a_missing_one(tmp_path, kind):
    members = small_archives.contents()
    del members["test_batch"]
    path = small_archives.write(tmp_path / "wrong.tar", members, mode="w:")
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
    assert "test_batch is missing" in complaint(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_damaged_pickles_never_end_in_a_traceback(tmp_path, protocol):
    """Bytes outside of the pixels are changed, in archives without a checksum."""
    random = np.random.default_rng(protocol)
    members = small_archives.contents(rows=1)
    blob = pickle.dumps({**members["data_batch_1"], b"data": np.zeros((1, 3072), np.uint8)}, protocol)
    places = [place for place in range(len(blob)) if blob[max(0, place - 8):place + 8].strip(b"\0")]
    refused = 0
    for _ in range(300):
        damaged = bytearray(blob)
        for place in random.choice(places, 2):
            damaged[place] = random.integers(256)
        path = small_archives.write(tmp_path / "damaged.tar", {**members, "data_batch_1": bytes(damaged)}, "w:")
        try:
            assert len(read(path).train_labels) == 5
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
            refused += 1
    assert refused > 100


def test_signal_while_a_batch_is_read_is_no_damaged_batch(right, monkeypatch):
    def stop(*_):
        raise Stopped(15)

    monkeypatch.setattr(reader.BatchUnpickler, "find_class", stop)
    with pytest.raises(Stopped):
        read(right)
