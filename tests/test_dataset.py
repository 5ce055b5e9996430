"""The right pictures for each choice, and no choice is made in silence."""
import hashlib

import numpy as np
import pytest

import loopback
import small_archives
from utils.data import cifar10, dataset
from utils.errors import UserError

NOWHERE = ("http://127.0.0.1:9/cifar-10-python.tar.gz",)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, no_proxies):
    """An empty cache, and no proxy."""
    monkeypatch.setenv("IMAGE_CLASSIFICATION_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def few_sketches(monkeypatch):
    """Drawing 12,000 pictures takes a while; some will do."""
    monkeypatch.setattr(dataset, "SKETCHES", {"train": (40, 1), "test": (20, 2)})


@pytest.fixture
def archive(tmp_path):
    """A small archive in CIFAR-10's layout."""
    return small_archives.write(tmp_path / "own.tar.gz", small_archives.contents())


def md5_of(path):
    """MD5 of a file, in hexadecimal."""
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("choice", ["auto", "cifar10"])
def test_named_archive_and_its_note(archive, choice):
    data = dataset.load(choice, archive, sources=NOWHERE)
    assert data.name == "CIFAR-10"
    assert md5_of(archive) in data.note and "not the official one" in data.note
    assert "100 + 20 images instead of 50,000 + 10,000" in data.note
    assert data.train_images.shape == (100, 3, 32, 32) and data.test_labels.shape == (20,)
    assert data.classes[3:6] == ("cat", "deer", "dog")


def test_real_archive_is_cifar10(cifar10_archive):
    data = dataset.load("cifar10", cifar10_archive)
    assert data.name == "CIFAR-10" and data.train_images.dtype == np.uint8
    assert len(data.train_labels) == 5 * len(data.test_labels)
    assert np.unique(data.test_labels).tolist() == list(range(10))


def test_download_goes_to_the_cache_and_is_not_repeated(archive, cache):
    content, md5 = archive.read_bytes(), md5_of(archive)
    with loopback.running() as server:
        gone = server.serve("/gone", loopback.status(404))
        sources = [gone, server.serve("/file", loopback.whole(content))]
        first = dataset.load("auto", say=lambda line: None, sources=sources, md5=md5)
        second = dataset.load("cifar10", say=lambda line: None, sources=sources, md5=md5)
        assert len(server.asked) == 2
    assert [path.name for path in cache.iterdir()] == ["cifar-10-python.tar.gz"]
    np.testing.assert_array_equal(first.train_images, second.train_images)
    assert first.name == "CIFAR-10"


def test_damaged_cache_is_fetched_again(archive, cache):
    cache.mkdir()
    (cache / "cifar-10-python.tar.gz").write_bytes(archive.read_bytes()[:5000])
    lines = []
    with loopback.running() as server:
        source = server.serve("/file", loopback.whole(archive.read_bytes()))
        data = dataset.load("auto", say=lines.append, sources=[source], md5=md5_of(archive))
    assert data.name == "CIFAR-10" and any("deleted" in line for line in lines)
    assert md5_of(cache / "cifar-10-python.tar.gz") == md5_of(archive)


def test_cifar10_that_is_nowhere_is_an_error_that_says_what_to_do(cache):
    with pytest.raises(UserError) as caught:
        dataset.load("cifar10", say=lambda line: None, sources=NOWHERE)
    line = str(caught.value)
    assert "\n" not in line
    for part in (NOWHERE[0], "--data-file", str(cache / "cifar-10-python.tar.gz")):
        assert part in line


def test_auto_says_loudly_that_it_takes_sketches(few_sketches):
    lines = []
    data = dataset.load("auto", say=lines.append, sources=NOWHERE)
    assert data.name == "sketches"
    framed = lines[-1].splitlines()
    assert len(framed) >= 5 and set(framed[0]) == set(framed[-1]) == {"="}
    assert "SKETCHES" in framed[1] and "--data-file" in lines[-1] and "127.0.0.1" in lines[-1]


def test_sketches_need_no_network_and_no_notice(few_sketches, cache):
    data = dataset.load("sketches", say=pytest.fail)
    assert data.name == "sketches" and data.note == "" and data.classes == cifar10.CLASSES
    assert data.train_images.shape == (40, 3, 32, 32) and data.train_images.dtype == np.uint8
    assert data.test_images.shape == (20, 3, 32, 32) and data.test_labels.dtype == np.int64
    assert not cache.exists()


def test_sketches_to_test_on_are_not_those_to_train_on(few_sketches):
    data = dataset.load("sketches", say=pytest.fail)
    train = {picture.tobytes() for picture in data.train_images}
    assert not any(picture.tobytes() in train for picture in data.test_images)


def test_default_sketches():
    (train, train_seed), (test, test_seed) = dataset.SKETCHES["train"], dataset.SKETCHES["test"]
    assert (train, test) == (10_000, 2_000) and train_seed != test_seed


def test_file_does_not_go_with_sketches(archive):
    with pytest.raises(UserError, match="--data-file"):
        dataset.load("sketches", archive)


@pytest.mark.parametrize("choice", ["auto", "cifar10"])
def test_named_file_that_is_wrong_is_never_replaced_in_silence(tmp_path, choice):
    path = tmp_path / "page.tar.gz"
    path.write_text("<html>")
    with pytest.raises(UserError, match="not a whole"):
        dataset.load(choice, path, say=pytest.fail, sources=NOWHERE)
    with pytest.raises(UserError, match="does not exist"):
        dataset.load(choice, tmp_path / "none.tar.gz", say=pytest.fail, sources=NOWHERE)


def test_unknown_choice():
    with pytest.raises(ValueError, match="cifar100"):
        dataset.load("cifar100")
