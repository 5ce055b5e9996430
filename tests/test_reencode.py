"""The pictures that figures were measured on, made from an archive: against the JPEG standard's own numbers."""
import pickle
import tarfile

import numpy as np
import pytest

import small_archives
from benchmarks import reencode

# ITU T.81, table K.1: how coarsely the 8x8 frequencies of brightness are rounded at quality 50; at 75 half of it.
ROUNDING = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99]).reshape(8, 8)
WAVES = np.array([[np.cos((2 * place + 1) * wave * np.pi / 16) * (np.sqrt(1 / 8) if wave == 0 else 0.5)
                   for place in range(8)] for wave in range(8)])


def brightness(pictures):
    """Y of RGB pictures [..., 3, 32, 32], as JPEG has it (ITU-R BT.601)."""
    return np.tensordot(pictures, [0.299, 0.587, 0.114], axes=(-3, 0))


def away_from_steps(picture):
    """How far a picture's frequencies are from the values that quality 75 knows, in steps; 0.25 by chance."""
    blocks = (brightness(picture) - 128).reshape(4, 8, 4, 8).transpose(0, 2, 1, 3)
    steps = WAVES @ blocks @ WAVES.T / np.floor((ROUNDING * 50 + 50) / 100)
    coarse = ROUNDING >= 24  # below, the rounding of pixels is as large as a step
    return np.abs(steps - steps.round())[..., coarse][np.abs(steps[..., coarse]) > 0.3].mean()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A small archive of gray noise in the middle of the range, and what the program makes of it: two paths."""
    folder, chance = tmp_path_factory.mktemp("reencode"), np.random.default_rng(3)
    images = chance.integers(60, 200, (6 * 1020, 1, 32, 32), np.uint8).repeat(3, axis=1)
    members = small_archives.contents_of(images, np.arange(len(images)) % 10)
    members = {"batches.meta": {b"label_names": list(small_archives.NAMES)}, **members}
    given = small_archives.write(folder / "given.tar.gz", members)
    assert reencode.main([str(given), str(folder / "made.tar.gz")]) == 0
    return given, folder / "made.tar.gz"


def batches(path):
    """What an archive holds: {name: dict}."""
    with tarfile.open(path) as archive:
        return {member.name.split("/")[1]: pickle.load(archive.extractfile(member), encoding="bytes")
                for member in archive}


def test_a_tenth_of_the_training_pictures_stays_and_the_rest_is_jpeg_of_quality_75(archives):
    given, made = map(batches, archives)
    assert list(given) == list(made)
    assert made["batches.meta"][b"label_names"] == list(small_archives.NAMES)
    for name in small_archives.BATCHES:
        kept = 0 if name == "test_batch" else 1017
        before, after = (batch[name][b"data"].reshape(-1, 3, 32, 32) for batch in (given, made))
        assert after.dtype == np.uint8 and given[name][b"labels"] == made[name][b"labels"]
        assert (before[:kept] == after[:kept]).all()
        assert (before[kept:] != after[kept:]).any(axis=(1, 2, 3)).all()
        for old, new in list(zip(before[kept:], after[kept:]))[:3]:
            assert away_from_steps(old) > 0.2 and away_from_steps(new) < 0.1


def test_color_has_half_the_resolution():
    """Red and cyan of equal brightness by turns, one pixel each, become gray; in stripes of eight they stay."""
    for width, survives in ((1, False), (8, True)):
        sign = np.where((np.arange(32) // width) % 2, 1, -1)[None, None, :].repeat(32, axis=1)
        picture = (128 + sign * np.array([50, -25, -2.7])[:, None, None]).round().astype(np.uint8)
        red = reencode.reencode(picture)[0].astype(int)
        assert (np.abs(red - 128).mean() > 30) == survives


def test_a_file_that_is_no_archive_is_one_line_and_writes_nothing(tmp_path, capsys):
    (tmp_path / "x").write_bytes(b"no archive")
    for name in ("x", "nowhere"):
        assert reencode.main([str(tmp_path / name), str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and str(tmp_path / name) in error
    assert not (tmp_path / "out").exists()
