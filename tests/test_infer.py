"""infer.py: which model answers, which picture is meant, and what is printed."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_models
from PIL import Image

import infer
from utils.errors import UserError

ROOT = Path(infer.__file__).resolve().parent


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The current folder, with red.png and blue.png in it."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 40), "red").save("red.png")
    Image.new("RGB", (50, 40), "blue").save("blue.png")
    return tmp_path


def ask(*arguments):
    """The command line on the CPU -> exit status."""
    return infer.main([*map(str, arguments), "--device", "cpu"])


def test_one_picture_prints_the_books_line_and_the_best_classes(model_dir, pictures, capsys):
    assert ask("red.png", "--model-dir", model_dir) == 0
    out, err = capsys.readouterr()
    assert err == ""
    model, place, *rest = out.splitlines()
    assert "colours trained on three colours" in model and "0.7500" in model and "CPU" in place
    best, other = np.exp(4) / (np.exp(4) + 2), 1 / (np.exp(4) + 2)
    assert rest[0] == "infer results: red"
    assert [line.split() for line in rest[1:]] == [["red", f"{best:.4f}"], ["green", f"{other:.4f}"],
                                                   ["blue", f"{other:.4f}"]]


def test_several_pictures_stand_under_their_names_and_good_ones_are_answered(model_dir, pictures, capsys):
    (pictures / "text.png").write_text("no picture")
    assert ask("red.png", "nowhere.png", "text.png", "blue.png", "--model-dir", model_dir, "--top-k", 1) == 2
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line]
    assert lines[2:] == ["red.png", "infer results: red", "  red         0.9647",
                         "blue.png", "infer results: blue", "  blue        0.9647"]
    assert [line.split(":")[2].split()[0] for line in err.splitlines()] == ["nowhere.png", "text.png"]


def test_json_holds_answers_and_errors(model_dir, pictures, capsys):
    assert ask("blue.png", "nowhere.png", "--json", "--model-dir", model_dir) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["dataset"] == "three colours"
    blue, nowhere = found["results"]
    assert blue["label"] == "blue"
    assert blue["best"][0] == {"class": "blue", "probability": pytest.approx(0.964664, abs=2e-6)}
    assert nowhere["picture"] == "nowhere.png" and "No such file" in nowhere["error"]


def test_more_pictures_than_a_batch_keep_their_order(model_dir, pictures, capsys, monkeypatch):
    monkeypatch.setattr(infer, "BATCH", 2)
    for number in range(5):
        Image.new("RGB", (8, 8), ["red", "lime", "blue"][number % 3]).save(f"{number}.png")
    assert ask(*(f"{number}.png" for number in range(5)), "--json", "--model-dir", model_dir) == 0
    labels = [entry["label"] for entry in json.loads(capsys.readouterr().out)["results"]]
    assert labels == ["red", "green", "blue", "red", "green"]


def test_label_sorts_and_cuts():
    best = infer.label(np.array([0.1, 0.5, 0.05, 0.35], np.float32), ["a", "b", "c", "d"], 2)
    assert [name for name, _ in best] == ["b", "d"]
    np.testing.assert_allclose([p for _, p in best], [0.5, 0.35], rtol=1e-6)


def test_a_bare_name_is_looked_for_here_and_then_among_the_chapters_pictures(pictures):
    drawn = infer.load_image("dog.png")  # not in the current folder
    assert drawn.shape == (1, 3, 32, 32)
    np.testing.assert_array_equal(drawn, infer.load_image(str(ROOT / "image" / "dog.png")))
    Image.new("RGB", (9, 9), "red").save("dog.png")
    np.testing.assert_array_equal(infer.load_image("dog.png"), infer.load_image("red.png"))
    with pytest.raises(UserError, match="elsewhere"):
        infer.load_image("elsewhere/dog.png")


def test_the_newest_model_here_answers_else_the_one_of_the_program(model_dir, pictures, monkeypatch):
    monkeypatch.setattr(infer, "SHIPPED", pictures / "shipped")
    (pictures / "image_classification_resnet.inference.model").mkdir()  # training has not saved yet
    with pytest.raises(UserError, match="python train.py"):
        infer.default_model_dir()
    shutil.copytree(model_dir, infer.SHIPPED)
    assert infer.default_model_dir() == infer.SHIPPED
    assert "comes with the program" in infer.introduce(infer.SHIPPED, small_models.describe())
    for name, time in (("resnet", 1000), ("vgg", 3000), ("googlenet", 2000)):
        path = pictures / f"image_classification_{name}.inference.model" / "description.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        os.utime(path, (time, time))
    assert infer.default_model_dir() == Path("image_classification_vgg.inference.model")


def test_a_model_of_drawings_says_so():
    line = infer.introduce("m", small_models.describe(model="resnet", depth=32, dataset="sketches"))
    assert "resnet-32 trained on sketches (drawings" in line and "not photographs" in line


@pytest.mark.parametrize("arguments", [[], ["a.png", "--top-k", "0"], ["a.png", "--device", "tpu"]])
def test_a_wrong_command_line_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        infer.main(arguments)
    assert left.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_mistakes_are_answered_without_paddle_and_training(model_dir, pictures):
    program = ("import sys, infer\n"
               f"codes = infer.main(['nowhere.png', '--model-dir', {str(model_dir)!r}]), "
               f"infer.main(['red.png', '--model-dir', 'nowhere'])\n"
               "print(*codes, 'paddle' in sys.modules, 'train' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)},
                          text=True, capture_output=True, timeout=60)
    assert done.stdout == "2 2 False False\n"
    assert done.stderr.count("\n") == 2 and done.stderr.count("infer.py: error: ") == 2
