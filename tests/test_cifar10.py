"""The archive is found where it is, and fetched where it is missing."""
import hashlib
import os
from pathlib import Path

import pytest

import loopback
from utils.data import cifar10
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
        cifar10.md5_of_named(tmp_path / "x")


def test_md5_of_a_named_archive(tmp_path):
    path = tmp_path / "own.tar.gz"
    path.write_bytes(b"own")
    assert cifar10.md5_of_named(path) == md5(b"own")


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
    assert cifar10.find(md5=md5(b"whole"), sources=()) == path


def test_cache_named_by_the_environment(tmp_path, home, monkeypatch):
    monkeypatch.setenv("IMAGE_CLASSIFICATION_DATA", str(tmp_path / "mine"))
    path = tmp_path / "mine" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    path.write_bytes(b"whole")
    cached(home, b"of the home")
    assert cifar10.find(md5=md5(b"whole"), sources=()) == path


@pytest.mark.skipif(os.name == "nt", reason="Windows finds the home elsewhere")
def test_another_file_in_the_cache_is_named_and_left_alone(home):
    """The official archive is then fetched to another name, and found there."""
    path, lines, content = cached(home, b"another"), [], b"\x1f\x8bwhole"
    official = path.with_name("cifar-10-python-official.tar.gz")
    with loopback.running() as server:
        source = server.serve("/file", loopback.whole(content))
        first, again = (cifar10.find(md5=md5(content), sources=(source,), say=lines.append) for _ in range(2))
        assert len(server.asked) == 1
    assert first == again == official and official.read_bytes() == content
    assert path.read_bytes() == b"another"
    assert [str(path) in line and md5(b"another") in line for line in lines] == [True, False, False, True]


@pytest.mark.skipif(os.name == "nt", reason="Windows finds the home elsewhere")
def test_the_next_folder_is_looked_into_after_another_file(tmp_path, home, monkeypatch):
    """Paddle's folder has another file; the archive is in the spare one."""
    cached(home, b"another")
    spare = cifar10.cache_folders()[1] / "cifar-10-python.tar.gz"
    spare.parent.mkdir()
    spare.write_bytes(b"whole")
    assert cifar10.find(md5=md5(b"whole"), sources=(), say=lambda line: None) == spare


def test_user_without_a_home(home, monkeypatch):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert len(cifar10.cache_folders()) == 2
    assert not any("~" in str(folder) for folder in cifar10.cache_folders())


def test_home_that_cannot_be_written(tmp_path, home):
    home.write_text("a file where the folder should be: not even root can write into it")
    target = cifar10.place_for_archive(cifar10.cache_folders())
    assert target.parent.is_dir() and target.parent.parent == tmp_path


def test_no_folder_can_be_written(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(cifar10.NotFound, match="cannot write .*IMAGE_CLASSIFICATION_DATA"):
        cifar10.place_for_archive([file / "a", file / "b"])


def test_no_folder_for_temporary_files_costs_a_place_to_look_in_and_no_more(monkeypatch):
    def no_folder():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    usual = cifar10.cache_folders()
    monkeypatch.setattr(cifar10.tempfile, "gettempdir", no_folder)
    assert cifar10.cache_folders() == [usual[0], usual[2]]
