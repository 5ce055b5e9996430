"""The right pictures for each choice, and no choice is made in silence."""
import concurrent.futures
import hashlib
import json
import threading
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

import loopback
import small_archives
from small_folders import NAMES, write_classes
from utils.data import archive as reader
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
    """Drawing 12,000 pictures takes a while; a few are enough."""
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
    data = dataset.read(choice, archive, sources=NOWHERE)
    assert data.name == "CIFAR-10"
    assert f"not the official archive: images {data.fingerprint:016x}; " in data.note
    assert "100 + 20 images instead of 50,000 + 10,000" in data.note
    assert data.train_images.shape == (100, 3, 32, 32) and data.test_labels.shape == (20,)
    assert data.classes[3:6] == ("cat", "deer", "dog")


def test_named_archive_goes_before_the_cache(archive, cache, tmp_path):
    cached = small_archives.write(tmp_path / "cached.tar.gz", small_archives.contents(rows=7))
    cache.mkdir()
    cached.rename(cache / "cifar-10-python.tar.gz")
    official = md5_of(cache / "cifar-10-python.tar.gz")
    assert len(dataset.read("cifar10", archive, md5=official).train_labels) == 100
    assert len(dataset.read("cifar10", md5=official).train_labels) == 35


def test_real_archive_is_cifar10(cifar10_archive):
    data = dataset.read("cifar10", cifar10_archive)
    assert data.name == "CIFAR-10" and data.train_images.dtype == np.uint8
    assert len(data.train_labels) == 5 * len(data.test_labels)
    assert np.unique(data.test_labels).tolist() == list(range(10))


def test_download_goes_to_the_cache_and_is_not_repeated(archive, cache):
    content, md5 = archive.read_bytes(), md5_of(archive)
    with loopback.running() as server:
        gone = server.serve("/gone", loopback.status(404))
        sources = [gone, server.serve("/file", loopback.whole(content))]
        first = dataset.read("auto", say=lambda line: None, sources=sources, md5=md5)
        second = dataset.read("cifar10", say=lambda line: None, sources=sources, md5=md5)
        assert len(server.asked) == 2
    assert sorted(path.name for path in cache.iterdir()) == ["cifar-10-python.tar.gz", f"cifar10-{md5}.npy"]
    np.testing.assert_array_equal(first.train_images, second.train_images)
    assert first.name == "CIFAR-10"


def test_a_damaged_archive_in_the_cache_is_left_alone_and_another_one_fetched(archive, cache):
    cache.mkdir()
    (cache / "cifar-10-python.tar.gz").write_bytes(archive.read_bytes()[:5000])
    lines = []
    with loopback.running() as server:
        source = server.serve("/file", loopback.whole(archive.read_bytes()))
        data = dataset.read("auto", say=lines.append, sources=[source], md5=md5_of(archive))
    assert data.name == "CIFAR-10" and any("is not the official CIFAR-10" in line for line in lines)
    assert (cache / "cifar-10-python.tar.gz").stat().st_size == 5000
    assert md5_of(cache / "cifar-10-python-official.tar.gz") == md5_of(archive)


def test_cifar10_that_is_nowhere_is_an_error_that_says_what_to_do(cache):
    with pytest.raises(UserError) as caught:
        dataset.read("cifar10", say=lambda line: None, sources=NOWHERE)
    line = str(caught.value)
    assert "\n" not in line
    for part in (NOWHERE[0], "--data-file", str(cache / "cifar-10-python.tar.gz")):
        assert part in line


def test_auto_says_loudly_that_it_takes_sketches(few_sketches):
    lines = []
    data = dataset.read("auto", say=lines.append, sources=NOWHERE)
    assert data.name == "sketches"
    framed = lines[-1].splitlines()
    assert len(framed) >= 5 and set(framed[0]) == set(framed[-1]) == {"="}
    assert "SKETCHES" in framed[1] and "--data-file" in lines[-1] and "127.0.0.1" in lines[-1]


@pytest.mark.parametrize("behavior", [loopback.stalled(b"x" * 50_000, 20_000), loopback.status(429)])
def test_auto_does_not_take_sketches_where_a_source_is_only_slow(behavior, few_sketches, monkeypatch):
    """It was reached and stalled, or it answers that it is asked too often: the line says to start again."""
    for name, seconds in {"SILENCE": 0.4, "TRIAL": 0.2, "PAUSES": ()}.items():
        monkeypatch.setattr(f"utils.data.download.{name}", seconds)
    with loopback.running() as server:
        source = server.serve("/file", behavior)
        with pytest.raises(UserError, match="start again to go on with the download.*--dataset sketches"):
            dataset.read("auto", say=lambda line: None, sources=[source, *NOWHERE])


def test_sketches_need_no_network_and_no_notice(few_sketches, cache):
    data = dataset.read("sketches", say=pytest.fail)
    assert data.name == "sketches" and data.note == "" and data.classes == cifar10.CLASSES
    assert data.train_images.shape == (40, 3, 32, 32) and data.train_images.dtype == np.uint8
    assert data.test_images.shape == (20, 3, 32, 32) and data.test_labels.dtype == np.int64
    assert data.choice == "sketches"
    assert [path.name[:9] for path in cache.iterdir()] == ["sketches-"]


def test_sketches_to_test_on_are_not_those_to_train_on(few_sketches):
    data = dataset.read("sketches", say=pytest.fail)
    train = {picture.tobytes() for picture in data.train_images}
    assert not any(picture.tobytes() in train for picture in data.test_images)


def test_default_sketches():
    (train, train_seed), (test, test_seed) = dataset.SKETCHES["train"], dataset.SKETCHES["test"]
    assert (train, test) == (10_000, 2_000) and train_seed != test_seed


def test_file_does_not_go_with_sketches(archive):
    with pytest.raises(UserError, match="--data-file"):
        dataset.read("sketches", archive)


@pytest.mark.parametrize("choice", ["auto", "cifar10"])
def test_named_file_that_is_wrong_is_never_replaced_in_silence(tmp_path, choice):
    path = tmp_path / "page.tar.gz"
    path.write_text("<html>")
    with pytest.raises(UserError, match="not a whole"):
        dataset.read(choice, path, say=pytest.fail, sources=NOWHERE)
    with pytest.raises(UserError, match="does not exist"):
        dataset.read(choice, tmp_path / "none.tar.gz", say=pytest.fail, sources=NOWHERE)


# ---------------------------------------------------------------- the cache


def unpacked(folder):
    """The one file of unpacked pictures in a cache folder."""
    (path,) = folder.glob("*.npy")
    return path


def assert_same(one, other):
    for left, right in zip(one[1:5], other[1:5]):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


def test_pictures_are_unpacked_once_and_mapped_afterwards(archive, cache, monkeypatch):
    plain = reader.read(archive)
    first = dataset.read("cifar10", archive, say=pytest.fail)
    before = unpacked(cache).stat()
    monkeypatch.setattr(reader, "read", lambda path: pytest.fail("it was unpacked again"))
    second = dataset.read("cifar10", archive, say=pytest.fail)
    assert unpacked(cache).name == f"cifar10-{md5_of(archive)}.npy" and unpacked(cache).stat() == before
    assert first.note == second.note and f"{first.fingerprint:016x}" in first.note
    for data in (first, second):
        assert_same(data, ("", *plain))
        assert not data.train_images.flags.writeable and not data.test_labels.flags.writeable
    assert sorted(archive.parent.glob("*.npy")) == []  # nothing next to a file that the user names


def test_sketches_are_drawn_once(few_sketches, monkeypatch):
    from utils.data import sketches

    first = dataset.read("sketches")
    assert_same(first, ("", *sketches.draw(40, 1), *sketches.draw(20, 2)))
    monkeypatch.setattr(sketches, "draw", lambda *_: pytest.fail("they were drawn again"))
    assert_same(dataset.read("sketches"), first)
    monkeypatch.setattr(dataset, "SKETCHES", {"train": (40, 1), "test": (20, 3)})
    with pytest.raises(pytest.fail.Exception):
        dataset.read("sketches")


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.write_bytes(b"x" * 1000), lambda path: np.save(path, np.zeros(7)),
    lambda path: np.save(path, np.array([None, {}]), allow_pickle=True),
    lambda path: np.save(path, np.load(path)[:0]), lambda path: (path.unlink(), path.mkdir()),
], ids=["empty", "cut off", "no array", "another array", "a pickle", "no record", "a folder"])
def test_a_file_that_does_not_fit_is_not_used(archive, cache, damage):
    first = dataset.read("cifar10", archive)
    copy = [np.array(each) for each in first[1:5]]
    path = unpacked(cache)
    np.save(cache / "copy.npy", np.load(path))  # the map of `first` is of the file that is damaged
    (cache / "copy.npy").replace(path)
    damage(path)
    assert_same(dataset.read("cifar10", archive, say=lambda line: None), ("", *copy))


def test_without_a_folder_that_can_be_written_the_process_reads_for_itself(archive, tmp_path, monkeypatch):
    file, lines = tmp_path / "file", []
    file.touch()
    monkeypatch.setattr(dataset.cifar10, "cache_folders", lambda: [file / "a", file / "b"])
    assert_same(dataset.read("cifar10", archive, say=lines.append), ("", *reader.read(archive)))
    assert len(lines) == 1 and "not kept" in lines[0] and str(file / "b") in lines[0]


def test_a_full_disk_leaves_no_half_of_a_file(archive, cache):
    """A limit on the size of files stands for it."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        data = dataset.read("cifar10", archive, say=lambda line: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(data.train_labels) == 100 and list(cache.iterdir()) == []


def test_the_fingerprint_is_the_checkpoints(archive):
    data = dataset.read("cifar10", archive)
    content = small_archives.contents()
    train = [content[f"data_batch_{number}"] for number in range(1, 6)]
    pixels = b"".join(batch[b"data"].tobytes() for batch in train)
    labels = np.array([label for batch in train for label in batch[b"labels"]], "<i8")
    assert data.fingerprint % 2**32 == zlib.crc32(pixels + labels.tobytes())


def test_the_fingerprint_is_of_all_four_arrays_and_the_classes(archive):
    data = dataset.read("cifar10", archive)
    others = [data._replace(classes=("plane", *data.classes[1:]))]
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        array = np.array(getattr(data, field))
        array.reshape(-1)[-1] ^= 1
        others.append(data._replace(**{field: array}))
    assert len({each.fingerprint for each in (data, *others)}) == 6
    assert dataset.read("cifar10", archive).fingerprint == data.fingerprint


# ---------------------------------------------------------------- several workers


class Team:
    """Workers in threads of this process, and what they say."""

    def __init__(self, places):
        """places: the machine of each rank."""
        self.world, self.lines, self.errors = len(places), [], []
        self.wall, self.value = threading.Barrier(self.world, timeout=20), None
        self.members = [Member(self, rank, places.index(place) == rank) for rank, place in enumerate(places)]

    def load(self, *settings):
        """What `dataset.load` gives to each; settings: for all, or one for each. The first error ends all."""
        def load(mine, member):
            try:
                return dataset.load(mine, member)
            except BaseException as error:
                self.errors.append(error)
                self.wall.abort()

        with concurrent.futures.ThreadPoolExecutor(self.world) as pool:
            loaded = list(pool.map(load, settings * (self.world // len(settings)), self.members))
        if self.errors:
            raise self.errors[0]
        return loaded


class Member:
    """One worker, as `dataset.load` knows it."""

    def __init__(self, team, rank, is_first_here):
        self.team, self.rank, self.is_first_here = team, rank, is_first_here

    def log(self, text):
        if self.rank == 0:
            self.team.lines.append(text)

    def broadcast(self, value=None):
        if self.rank == 0:
            self.team.value = json.dumps(value)
        else:
            assert value is None
        self.team.wall.wait()
        return json.loads(self.team.value)

    def barrier(self):
        self.team.wall.wait()


def settings(choice="auto", data_file=None, data_dir=None):
    return SimpleNamespace(dataset=choice, data_file=data_file, data_dir=data_dir)


@pytest.fixture
def readers(monkeypatch):
    """The threads that unpack an archive, one entry each time."""
    threads, read = [], reader.read
    monkeypatch.setattr(reader, "read",
                        lambda path: [threads.append(threading.get_ident()), read(path)][1])
    return threads


@pytest.mark.parametrize("places", ["a", "aaa", "aabb"])
def test_one_worker_unpacks_and_all_have_the_same(archive, cache, readers, places):
    plain = reader.read(archive)
    readers.clear()
    loaded = Team(places).load(settings("auto", archive))
    assert len(readers) == 1 and unpacked(cache).exists()
    for data in loaded:
        assert_same(data, ("", *plain))
        assert (data.name, data.choice) == ("CIFAR-10", "cifar10")
        assert f"{data.fingerprint:016x}" in data.note and data.classes == cifar10.CLASSES


def test_what_rank_0_chose_is_what_all_take_and_is_said_once(few_sketches, monkeypatch):
    """`auto` finds nothing; no other worker looks for it."""
    asked = []

    def find(*_):
        asked.append(0)
        raise cifar10.NotFound(["no network"], "fetch it")

    monkeypatch.setattr(reader, "find", find)
    team = Team("aab")
    assert [data.choice for data in team.load(settings())] == ["sketches"] * 3
    assert len(asked) == 1 and len(team.lines) == 1 and "SKETCHES" in team.lines[0]


def test_own_pictures_are_read_once_and_warned_of_once(tmp_path, monkeypatch):
    from utils.data import folder

    read, attempt = [], folder.attempt
    monkeypatch.setattr(folder, "attempt", lambda path: [read.append(path), attempt(path)][1])
    root = write_classes(tmp_path / "pets", cat=NAMES, dog=NAMES)
    (root / "cat" / "notes.txt").write_text("no picture")
    team = Team("aab")
    loaded = team.load(settings("auto", data_dir=root))
    assert len([path for path in read if path.endswith(".png")]) == 36
    assert len(team.lines) == 2 and "notes.txt" in team.lines[0] and team.lines[1].startswith("Classes: ")
    for data in loaded:
        assert data.choice == "auto" and data.name == "the folder pets" and len(data.train_labels) == 26
        assert_same(data, loaded[0])


def test_a_machine_with_another_file_is_an_error(archive, tmp_path, monkeypatch):
    """Neither can write a cache, so the second reads its own."""
    other = small_archives.write(tmp_path / "other.tar.gz", small_archives.contents(rows=7))
    monkeypatch.setattr(dataset.cifar10, "cache_folders", lambda: [archive / "no folder"])
    with pytest.raises(UserError, match="worker 1 has other images than rank 0"):
        Team("ab").load(settings("cifar10", archive), settings("cifar10", other))
