"""The archive is found where it is, and fetched where it is missing."""
import hashlib
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

import loopback
import small_archives
from utils.data import archive, cifar10, dataset
from utils.errors import UserError


@pytest.fixture
def home(tmp_path, monkeypatch, no_proxies):
    """A home, a temporary and a current folder of the test's own, and no cache named by the environment."""
    monkeypatch.delenv(cifar10.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


KINDS = [(lambda path: None, "does not exist"), (Path.mkdir, "is not a file")]
if hasattr(os, "mkfifo"):
    KINDS.append((os.mkfifo, "is not a file"))


@pytest.mark.parametrize("make, word", KINDS)
def test_named_file_that_is_none(tmp_path, make, word):
    make(tmp_path / "x")
    with pytest.raises(UserError, match=word):
        cifar10.md5_of_copy(tmp_path / "x")


def test_md5_of_a_named_archive(tmp_path):
    path = tmp_path / "own.tar.gz"
    path.write_bytes(b"own")
    assert cifar10.md5_of_copy(path) == md5(b"own")


def md5(content):
    """MD5 of bytes, in hexadecimal."""
    return hashlib.md5(content).hexdigest()


def cached(folder, content):
    """Put a file where Paddle caches CIFAR-10 under this home; returns its path."""
    path = folder / ".cache" / "paddle" / "dataset" / "cifar" / "cifar-10-python.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.skipif(os.name == "nt", reason="Windows finds the home elsewhere")
def test_cache_is_paddles_own(home):
    path = cached(home, b"whole")
    assert archive.find(md5=md5(b"whole"), sources=()) == path


def test_cache_named_by_the_environment(tmp_path, home, monkeypatch):
    monkeypatch.setenv("IMAGE_CLASSIFICATION_DATA", str(tmp_path / "mine"))
    path = tmp_path / "mine" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    path.write_bytes(b"whole")
    cached(home, b"of the home")
    assert archive.find(md5=md5(b"whole"), sources=()) == path


@pytest.mark.skipif(os.name == "nt", reason="Windows finds the home elsewhere")
def test_another_file_in_the_cache_is_named_and_left_alone(home):
    """The official archive is then fetched to another name, and found there."""
    path, lines, content = cached(home, b"another"), [], b"\x1f\x8bwhole"
    official = path.with_name("cifar-10-python-official.tar.gz")
    with loopback.running() as server:
        source = server.serve("/file", loopback.whole(content))
        first, again = (archive.find(md5=md5(content), sources=(source,), say=lines.append) for _ in range(2))
        assert len(server.asked) == 1
    assert first == again == official and official.read_bytes() == content
    assert path.read_bytes() == b"another"
    assert [str(path) in line and md5(b"another") in line for line in lines].count(True) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows finds the home elsewhere")
def test_the_next_folder_is_looked_into_after_another_file(tmp_path, home, monkeypatch):
    """Paddle's folder has another file; the archive is in the spare one."""
    cached(home, b"another")
    spare = cifar10.cache_folders()[1] / "cifar-10-python.tar.gz"
    spare.parent.mkdir()
    spare.write_bytes(b"whole")
    assert archive.find(md5=md5(b"whole"), sources=(), say=lambda line: None) == spare


def test_home_that_cannot_be_written(tmp_path, home):
    home.write_text("a file where the folder should be: not even root can write into it")
    target = archive.place_for_archive(cifar10.cache_folders())
    assert target.parent.is_dir() and target.parent.parent == tmp_path


def test_no_folder_can_be_written(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(cifar10.NotFound, match="cannot write .*IMAGE_CLASSIFICATION_DATA"):
        archive.place_for_archive([file / "a", file / "b"])


# ---------------------------------------------------------------- copies of other programs


def extracted(folder, rows=20):
    """A folder cifar-10-batches-py, as tar leaves it in this one -> (its path, the MD5 that it is known by)."""
    small_archives.write(folder / "x.tar.gz", small_archives.contents(rows))
    with tarfile.open(folder / "x.tar.gz") as archive:
        archive.extractall(folder)
    (folder / "x.tar.gz").unlink()
    path = folder / "cifar-10-batches-py"
    return path, md5("".join(md5((path / name).read_bytes()) for name in small_archives.BATCHES).encode())


def test_official_batches_are_known_by_the_md5s_that_torchvision_publishes():
    published = ("c99cafc152244af753f735de768cd75f", "d4bba439e000b95fd0a9bffe97cbabec",
                 "54ebc095f3ab1f0389bbae665268c751", "634d18415352ddfa80567beed471001a",
                 "482c414d41f54cd18b22e5b47cb7c3cb", "40351d587109b95175f43aff81a1287e")
    assert md5("".join(published).encode()) == cifar10.FOLDER_MD5
    assert tuple(small_archives.BATCHES) == cifar10.BATCHES


@pytest.mark.parametrize("place", ["home/.keras/datasets", "home/.keras/datasets/cifar-10-batches-py-target", "data",
                                   "home/.cache/paddle/dataset/cifar"])
@pytest.mark.parametrize("kind", ["archive", "folder"])
@pytest.mark.skipif(os.name == "nt", reason="Windows finds the home elsewhere")
def test_a_copy_of_another_program_is_found_and_named(tmp_path, home, monkeypatch, place, kind):
    monkeypatch.setenv("IMAGE_CLASSIFICATION_DATA", str(tmp_path / "mine"))
    if (kind, place) == ("archive", "home/.keras/datasets/cifar-10-batches-py-target"):
        place = "home/.keras/datasets"
    (tmp_path / place).mkdir(parents=True)
    lines, (path, found) = [], extracted(tmp_path / place)
    if kind == "archive":
        path, found = path.with_name("cifar-10-batches-py.tar.gz"), md5(b"whole")
        path.write_bytes(b"whole")
    assert os.path.samefile(archive.find(say=lines.append, sources=(), md5=found), path)
    assert lines[-1].startswith("CIFAR-10 is taken from ") and path.name in lines[-1]


@pytest.mark.skipif(os.name == "nt", reason="Windows finds the home elsewhere")
def test_a_foreign_copy_of_another_program_is_named_and_left_alone(tmp_path, home):
    (tmp_path / "data").mkdir()
    (path, found), lines = extracted(tmp_path / "data"), []
    before = {each.name: each.read_bytes() for each in path.iterdir()}
    with pytest.raises(cifar10.NotFound):
        archive.find(say=lines.append, sources=("http://127.0.0.1:9/x",), md5=md5(b"official"))
    assert any("data/cifar-10-batches-py" in line and found in line and "not used" in line for line in lines)
    assert before == {each.name: each.read_bytes() for each in path.iterdir()}


def test_an_extracted_folder_that_the_user_names(tmp_path, home):
    path, _ = extracted(tmp_path)
    data = dataset.read("auto", path, say=pytest.fail)
    small_archives.write(tmp_path / "same.tar.gz", small_archives.contents())
    for one, other in zip(data[1:5], archive.read(tmp_path / "same.tar.gz")):
        np.testing.assert_array_equal(one, other)
    assert f"{data.fingerprint:016x}" in data.note and data.name == "CIFAR-10"
    (path / "data_batch_3").unlink()
    with pytest.raises(UserError, match="data_batch_3.*does not exist"):
        dataset.read("auto", path, say=pytest.fail)


def test_a_named_folder_is_read_as_carefully_as_an_archive(tmp_path, home):
    path, _ = extracted(tmp_path)
    (path / "data_batch_2").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(UserError, match="data_batch_2.*asks for os.system"):
        dataset.read("auto", path, say=pytest.fail)
    assert not (tmp_path / "hacked").exists()


def test_a_user_without_a_home_has_the_spare_folders(monkeypatch):
    """As in a container that runs with a number that no user has."""
    monkeypatch.delenv(cifar10.CACHE_VARIABLE, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    folders = cifar10.cache_folders()
    assert len(folders) == 2 and not any(str(folder).startswith("~") for folder in folders)
    assert list(archive.copies([])) == []
