"""The drawn flowers: the same for everybody, each another, and of near-twins whose colors do not tell them apart."""
import json

import numpy as np
import pytest
from PIL import Image

from book import flowers
from utils.data import folder

EACH = 80


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with some flowers."""
    target = tmp_path_factory.mktemp("drawn") / "flowers"
    assert flowers.main([str(target), "--each", str(EACH)]) == 0
    return target


def test_a_folder_for_each_kind_of_figure_2(drawn):
    from book.figures.draw import FLOWERS

    assert sorted(path.name for path in drawn.iterdir()) == sorted(json.loads(FLOWERS.read_text(encoding="utf-8")))
    assert all(len(list(path.glob("*.jpg"))) == EACH for path in drawn.iterdir())
    with Image.open(drawn / "daisy" / "0000.jpg") as picture:
        assert picture.format == "JPEG" and picture.size == (128, 128)


def test_the_same_flowers_each_time_and_no_two_alike(drawn, tmp_path):
    assert flowers.main([str(tmp_path), "--each", "3"]) == 0
    for path in tmp_path.rglob("*.jpg"):
        assert path.read_bytes() == (drawn / path.relative_to(tmp_path)).read_bytes()
    contents = [path.read_bytes() for path in drawn.rglob("*.jpg")]
    assert len(set(contents)) == len(contents) == 6 * EACH


def colors(images):
    """How often each of 64 colors occurs in each image, and 1: [N, 65]."""
    steps = (images // 64).astype(int)
    codes = (steps[:, 0] * 16 + steps[:, 1] * 4 + steps[:, 2]).reshape(len(images), -1)
    return np.stack([np.append(np.bincount(code, minlength=64) / code.size, 1) for code in codes])


def no_warning(line):
    """Nothing is amiss with the flowers."""
    assert not line.startswith("Warning")


def test_colors_tell_pairs_from_each_other_but_not_twins(drawn):
    """Least squares on the colors of half of the pictures, tried on the other half."""
    train_images, train_labels, test_images, test_labels, _, classes = folder.read(drawn, no_warning)
    images, labels = np.concatenate([train_images, test_images]), np.concatenate([train_labels, test_labels])
    features, half = colors(images), np.arange(len(labels)) % 2 == 0

    def accuracy(one, other):
        """Of telling one kind from the other."""
        chosen = np.isin(labels, [classes.index(one), classes.index(other)])
        answers = np.where(labels == classes.index(one), 1.0, -1.0)
        know, ask = features[chosen & half], features[chosen & ~half]
        ridge = 1e-3 * np.eye(know.shape[1])
        weights = np.linalg.solve(know.T @ know + ridge, know.T @ answers[chosen & half])
        return ((ask @ weights > 0) == (answers[chosen & ~half] > 0)).mean()

    for one, other in zip(flowers.KINDS[::2], flowers.KINDS[1::2]):
        assert accuracy(one.name, other.name) < 0.72
    assert accuracy("daisy", "sunflower") > 0.9


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capfd):
    (tmp_path / "file").write_text("in the way")
    assert flowers.main([str(tmp_path / "file"), "--each", "1"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "cannot write to" in err and "another folder" in err
