"""A saved model as ONNX: the page's own command converts it, and onnxruntime answers as Paddle does."""
import doctest
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("paddle2onnx", reason="paddle2onnx is not installed; requirements-dev.txt has it up to Python 3.12")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; requirements-dev.txt has it up to Python 3.12")

import onnxruntime
from PIL import Image

import infer
import small_models
from utils.data.cifar10 import CLASSES

ROOT = Path(infer.__file__).resolve().parent
PAGE = (ROOT / "book" / "running.md").read_text(encoding="utf-8").split("\n## The model elsewhere: ONNX\n")[1].split(
    "\n## ")[0]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the page's command is for a POSIX shell")


def block_of(language, words):
    """The page's one block of a language with these words in it."""
    blocks = [part.split("\n```")[0] for part in PAGE.split(f"```{language}\n")[1:]]
    block, = [block for block in blocks if words in block]
    return block + "\n"


def convert(folder, model_dir):
    """Run the page's command for the model in `model_dir`, in an empty folder -> the ONNX file."""
    (folder / "models").mkdir(parents=True)
    (folder / "models" / infer.SHIPPED.name).symlink_to(model_dir)
    (folder / "image").symlink_to(ROOT / "image")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(["bash", "-ec", block_of("bash", "--save_file")], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "model.onnx"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The supplied model, converted."""
    return convert(tmp_path_factory.mktemp("onnx") / "shipped", infer.SHIPPED)


def answers_of(path, pixels):
    """What onnxruntime answers: probabilities [N, classes]."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"pixel": pixels})[0]


def test_onnxruntime_gives_the_probabilities_that_paddle_gives(converted):
    """For the ten pictures, all in one batch and one at a time."""
    pixels = np.concatenate([infer.load_image(f"{name}.png") for name in CLASSES])
    expected = infer.infer(infer.load_model(infer.SHIPPED, "cpu")[0], pixels)
    assert len(set(expected.argmax(1))) >= 8  # so that these are answers about the pictures
    assert np.abs(answers_of(converted, pixels) - expected).max() < 1e-5
    assert np.abs(answers_of(converted, pixels[3:4]) - expected[3]).max() < 1e-5


def test_the_pages_session_is_what_python_prints(converted, monkeypatch):
    """Its lines do not need Paddle."""
    monkeypatch.chdir(converted.parents[1])
    session = doctest.DocTestParser().get_doctest(block_of("pycon", ">>> "), {}, "running.md", None, 0)
    told = []
    doctest.DocTestRunner().run(session, out=told.append)
    assert told == [] and len(session.examples) >= 5 and session.examples[-1].want


def page_says(path):
    """Probabilities and answer of the page's session for the picture at `path` instead of its own."""
    text = block_of("pycon", ">>> ").replace("image/dog.png", str(path))
    names = {}
    *lines, last = [each.source for each in doctest.DocTestParser().get_examples(text)]
    exec("".join(lines), names)
    return names["probabilities"][0], eval(last, names)


def test_the_pages_session_reads_pictures_as_infer_does(converted, monkeypatch, tmp_path):
    """A phone's, which lies on its side, and a gray one of 16 bits: read otherwise, they are a cat and an airplane."""
    monkeypatch.chdir(converted.parents[1])
    dog = Image.open(ROOT / "image" / "dog.png").convert("RGB")
    turned = Image.Exif()
    turned[274] = 6  # Orientation: turn it by 90 degrees
    dog.rotate(90, expand=True).save(tmp_path / "phone.jpg", exif=turned)
    Image.fromarray(np.asarray(dog.convert("L")).astype(np.uint16) * 257).save(tmp_path / "gray.png")
    model = infer.load_model(infer.SHIPPED, "cpu")[0]
    for name in ("phone.jpg", "gray.png"):
        probabilities, answer = page_says(tmp_path / name)
        assert answer == "dog"
        assert np.abs(probabilities - infer.infer(model, infer.load_image(tmp_path / name))[0]).max() < 1e-5


def test_the_newest_model_that_this_paddle_saved_converts_too(tmp_path):
    """Its probabilities are known by hand: softmax of four times the mean color (small_models.py)."""
    pixels = np.zeros((2, 3, 32, 32), np.float32)
    pixels[0, 0] = pixels[1, 2] = 1  # red, blue
    best, other = math.exp(4) / (math.exp(4) + 2), 1 / (math.exp(4) + 2)
    for sharpness in (2.0, 4.0):  # the second save keeps the first one's files
        small_models.save_colors(tmp_path / "model", sharpness=sharpness)
    answers = answers_of(convert(tmp_path / "here", tmp_path / "model"), pixels)
    assert answers == pytest.approx(np.array([[best, other, other], [other, other, best]]), abs=1e-5)


def test_what_the_page_installs_is_what_is_tested():
    pins = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    named = [word for word in block_of("bash", "pip install").split() if "==" in word]
    assert len(named) == 2 and all(f"\n{word} " in pins for word in named)


def test_the_classes_are_in_the_description():
    """The page's session reads them there."""
    description = json.loads((infer.SHIPPED / "description.json").read_text(encoding="utf-8"))
    assert sorted(description["classes"]) == sorted(CLASSES)
