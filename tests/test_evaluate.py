"""evaluate.py: what it counts, against numbers made by hand for a model that names colors; what it says and draws."""
import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from PIL import Image

import evaluate
import small_models
from utils.data import dataset
from utils.data.cifar10 import CLASSES
from utils.evaluation import drawings, metrics, report
from utils.storage import checkpoint, saved_model

ROOT = Path(evaluate.__file__).resolve().parent
SURE = math.exp(4) / (math.exp(4) + 2)  # what the color model says to a picture of one pure color
UNSURE = 1 / (math.exp(4) + 2)
# Of 4 + 2 + 2 test pictures one is in the wrong folder: a blue one among the red.
TEST = {"red": ("red", "red", "red", "blue"), "green": ("lime", "lime"), "blue": ("blue", "blue")}
TRAIN = {"red": ("maroon",), "green": ("green",), "blue": ("navy",)}


def write_folder(folder, **sides):
    """Pictures of one color each, in FOLDER/SIDE/CLASS."""
    for side, classes in sides.items():
        for name, colors in classes.items():
            (folder / side / name).mkdir(parents=True)
            for number, color in enumerate(colors):
                Image.new("RGB", (40, 40), color).save(folder / side / name / f"{number}.png")
    return folder


@pytest.fixture
def colors(tmp_path, monkeypatch):
    """The folder with the color pictures; the current one is next to it."""
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "colors", train=TRAIN, test=TEST)


def judge(*arguments):
    """The command line on the CPU -> exit status."""
    return evaluate.main([*map(str, arguments), "--device", "cpu"])


def share_of(color, path):
    """The share of a PNG's pixels that have this color."""
    with Image.open(path) as picture:
        return float((np.asarray(picture.convert("RGB")) == color).all(2).mean())


def test_numbers_are_those_counted_by_hand(model_dir, colors, capsys):
    assert judge("--model-dir", model_dir, "--data-dir", colors, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["classes"] == ["red", "green", "blue"] and said["pictures"] == 8
    assert said["confusion"] == [[3, 0, 1], [0, 2, 0], [0, 0, 2]]
    assert said["error"] == 1 / 8 and [said["by_class"][each]["recall"] for each in said["classes"]] == [3 / 4, 1, 1]
    assert said["by_class"]["red"] == {"precision": 1, "recall": 3 / 4, "f1": 6 / 7}
    assert said["cost"] == pytest.approx(-(7 * math.log(SURE) + math.log(UNSURE)) / 8, abs=1e-5)
    assert said["calibration_error"] == pytest.approx(SURE - 7 / 8, abs=1e-6)
    assert [row for row in said["reliability"] if row[0]] == [[8, pytest.approx(SURE), 7 / 8]]
    assert said["mistakes"] == [{"image": said["mistakes"][0]["image"], "named": "blue", "is": "red",
                                 "probability": pytest.approx(SURE), "probability_of_right": pytest.approx(UNSURE)}]
    assert said["model"]["dataset"] == "three colors" and "colors" in said["data"]["name"]


def test_a_model_is_read_once_and_a_damaged_one_is_one_line(model_dir, colors, capsys, monkeypatch):
    check, read = saved_model.check, []
    monkeypatch.setattr(saved_model, "check", lambda folder: read.append(folder) or check(folder))
    assert judge("--model-dir", model_dir, "--data-dir", colors) == 0 and len(read) == 1
    damaged = shutil.copytree(model_dir, colors.parent / "damaged")
    next(damaged.glob("*.pdiparams")).write_bytes(b"")
    capsys.readouterr()
    assert judge("--model-dir", damaged, "--data-dir", colors) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("evaluate.py: error: ")


def test_the_interval_is_where_the_accuracy_would_be_its_limit(model_dir, colors, capsys):
    """Wilson 1927: the shares p that 7 of 8 is 1.96 standard errors from, (p - 7/8)^2 = z^2 p (1 - p) / 8."""
    assert judge("--model-dir", model_dir, "--data-dir", colors, "--json") == 0
    square = NormalDist().inv_cdf(0.975) ** 2 / 8
    roots = np.roots([1 + square, -(2 * 7 / 8 + square), (7 / 8) ** 2])
    assert json.loads(capsys.readouterr().out)["accuracy_interval"] == pytest.approx(sorted(roots), abs=1e-6)


def test_the_command_prints_tables_and_says_where_the_pictures_are(model_dir, colors):
    """As a user runs it: in a fresh process, from another folder than the program's."""
    done = subprocess.run([sys.executable, ROOT / "evaluate.py", "--model-dir", model_dir, "--data-dir", colors,
                           "--device", "cpu"], capture_output=True, text=True, cwd=colors.parent, timeout=60)
    assert done.returncode == 0 and done.stderr.count("\nWarning") == 1
    assert "Warning" in done.stderr and "another class" in done.stderr  # the blue picture is there twice
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Model: ") and "colors trained on three colors" in lines[0]
    assert lines[1].startswith("Data: the folder colors, 8 test images") and lines[2] == "Place: CPU, as asked"
    assert "Error 12.50% on 8 images, cost 0.5360" in lines
    assert "is        images   error    1    2    3" in lines
    assert "  1 red        4  25.00%    3    0    1" in lines and "  3 blue       2   0.00%    0    0    2" in lines
    assert "Expected calibration error 0.0897 (15 intervals)" in lines
    assert "0.93 to 1.00          8       0.9647   87.50%" in lines
    target = Path("evaluation", "-".join(model_dir.parts[1:]))
    assert f"{'':16}  precision     recall         F1" in lines
    assert f"{'red':16}     1.0000     0.7500     0.8571" in lines
    assert lines[-1] == f"The matrix is drawn in {target / 'confusion.png'}, the worst mistakes in " \
                        f"{target / 'mistakes.png'}"
    assert sorted(path.name for path in (colors.parent / target).iterdir()) == ["confusion.png", "mistakes.png"]


def test_the_pictures_of_two_models_of_one_name_lie_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = [report.choose_files(None, model_dir)["confusion"] for model_dir in
             ("model", tmp_path / "model", "a/model", "b/model", tmp_path.parent / "model")]
    assert named[0] == named[1] == Path("evaluation", "model", "confusion.png")
    assert len(set(named)) == 4 and all(len(path.parts) == 3 for path in named)


def test_the_sheet_shows_the_mistakes_and_only_them(model_dir, colors, tmp_path, capsys):
    assert judge("--model-dir", model_dir, "--data-dir", colors, "--output", tmp_path / "out") == 0
    assert share_of((0, 0, 255), tmp_path / "out" / "mistakes.png") > 0.03
    assert share_of((255, 0, 0), tmp_path / "out" / "mistakes.png") == 0
    (colors / "test" / "red" / "3.png").unlink()
    assert judge("--model-dir", model_dir, "--data-dir", colors, "--output", tmp_path / "out") == 0
    assert share_of((0, 0, 255), tmp_path / "out" / "mistakes.png") == 0
    assert "Error 0.00% on 7 images" in capsys.readouterr().out


def test_a_mistake_stands_with_its_own_image(tmp_path):
    images = np.zeros((3, 3, 32, 32), np.uint8)  # black, black, and one that is yellow
    images[2, :2] = 255
    mistake = {"image": 2, "named": "a", "probability": 0.9, "is": "b", "probability_of_right": 0.1}
    drawings.draw_mistakes(tmp_path / "sheet.png", images, [mistake], "title")
    assert share_of((255, 255, 0), tmp_path / "sheet.png") > 0.03


def test_data_may_lack_classes_of_the_model_and_number_them_otherwise(model_dir, tmp_path, capsys):
    """In a folder "blue" comes before "red"; the model has red, green, blue."""
    train, test = ({name: side[name] for name in ("red", "blue")} for side in (TRAIN, TEST))
    folder = write_folder(tmp_path / "two", train=train, test=test)
    assert judge("--model-dir", model_dir, "--data-dir", folder, "--output", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  1 red        4  25.00%    3    0    1" in lines and "  2 green      0    none    0    0    0" in lines
    assert "  3 blue       2   0.00%    0    0    2" in lines


def test_without_a_choice_the_data_is_what_the_model_was_trained_on(tmp_path, monkeypatch, capsys):
    """A model of the ten classes that says the first three by color alone; what it names is worked out in numpy."""
    small_models.save_colors(tmp_path / "model", classes=10)
    small_models.redescribe(tmp_path / "model", dataset="sketches", classes=list(CLASSES))
    monkeypatch.setattr(dataset, "SKETCHES", {"train": (10, 1), "test": (60, 2)})
    assert judge("--model-dir", tmp_path / "model", "--output", tmp_path / "out", "--json") == 0
    said, data = json.loads(capsys.readouterr().out), dataset.draw_sketches()
    named = data.test_images.astype(float).mean((2, 3)).argmax(1)
    assert said["data"]["name"] == "sketches" and said["error"] == (named != data.test_labels).mean()


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """A folder with a folder for each of two classes, with 20 pictures each."""
    monkeypatch.chdir(tmp_path)
    for color, name in (("red", "red"), ("blue", "blue")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (32, 32), color).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def judged(capsys, *arguments):
    """How many pictures are judged, and what is said of the data."""
    assert judge(*arguments, "--json") == 0
    out, err = capsys.readouterr()
    assert "train" not in err.replace("those to train on too", "")  # the note on near-copies
    return json.loads(out)["pictures"], json.loads(out)["data"]


def test_all_of_a_test_folder_is_judged(model_dir, pets, capsys):
    assert judged(capsys, "--model-dir", model_dir, "--data-dir", pets) == (
        40, {"name": "the folder pets", "note": "2 classes"})


def test_of_the_folder_that_the_model_was_trained_on_what_was_held_out_is_judged(tmp_path, pets, capsys):
    """Known by the path in the run's checkpoint; by the folder's name alone where there is none."""
    model = tmp_path / "model"
    small_models.save_colors(model)
    small_models.redescribe(model, dataset="the folder pets")
    part, data = judged(capsys, "--model-dir", model, "--data-dir", pets)
    assert 0 < part < 20 and data["note"] == "2 classes, a fifth held out by name"
    checkpoint.write(model / "checkpoint.npz", checkpoint.Checkpoint({}, {"data_dir": str(pets)}, {}))
    assert judged(capsys, "--model-dir", model)[0] == part, "without --data-dir"
    shutil.copytree(pets, tmp_path / "other" / "pets")
    assert judged(capsys, "--model-dir", model, "--data-dir", tmp_path / "other" / "pets")[0] == 40
    shutil.rmtree(pets)
    assert judged(capsys, "--model-dir", model, "--data-dir", tmp_path / "other" / "pets")[0] == part, "moved"


def test_without_a_choice_the_archive_is_the_runs_own(tmp_path, tiny_archive, capsys):
    model = tmp_path / "model"
    small_models.save_colors(model, classes=10)
    small_models.redescribe(model, dataset="CIFAR-10", classes=list(CLASSES))
    checkpoint.write(model / "checkpoint.npz", checkpoint.Checkpoint({}, {"data_file": str(tiny_archive)}, {}))
    count, data = judged(capsys, "--model-dir", model, "--output", tmp_path / "out")
    assert count == 8 and "instead of" in data["note"]
    checkpoint.write(model / "checkpoint.npz", checkpoint.Checkpoint({}, {"data_file": "gone.tar.gz"}, {}))
    assert "gone.tar.gz: it does not exist" in failed(capsys, "--model-dir", model)


def failed(capsys, *arguments):
    """The one line that a mistake on the command line ends in."""
    assert judge(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("evaluate.py: error: ") and told.err.count("\n") == 1
    return told.err


def test_data_with_other_classes_is_one_line(model_dir, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "SKETCHES", {"train": (1, 1), "test": (1, 2)})
    line = failed(capsys, "--model-dir", model_dir, "--dataset", "sketches", "--output", tmp_path)
    assert "sketches shows airplane, automobile, bird, and the model names only red, green, blue" in line
    assert "--data-dir" in line and "--model-dir" in line


def test_a_model_of_pictures_that_are_not_named_is_one_line(model_dir, tmp_path, capsys):
    line = failed(capsys, "--model-dir", model_dir, "--output", tmp_path)
    assert "was trained on three colors" in line and "--data-dir" in line


def test_what_is_not_there_is_one_line(model_dir, tmp_path, capsys):
    assert "nowhere.tar.gz: it does not exist" in failed(capsys, "--data-file", tmp_path / "nowhere.tar.gz",
                                                     "--output", tmp_path)
    assert "nowhere: No such file" in failed(capsys, "--data-dir", tmp_path / "nowhere", "--output", tmp_path)
    assert "no model in" in failed(capsys, "--model-dir", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["confusion.png", "mistakes.png"])
def test_a_picture_that_evaluate_did_not_draw_is_not_replaced(name, model_dir, tmp_path, capsys, monkeypatch):
    Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    monkeypatch.setattr(report, "load_data", lambda *_: pytest.fail("data was loaded"))
    line = failed(capsys, "--model-dir", model_dir, "--output", tmp_path)
    assert f"{name} is there already and was not written by evaluate.py" in line
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_numbers_are_said_whatever_is_wrong_with_drawing(json_too, model_dir, colors, tmp_path, capsys, monkeypatch):
    """An output that cannot be written, then no matplotlib: the numbers, one line, status 2."""
    (tmp_path / "file").write_text("")
    for output, hidden in ((tmp_path / "file", {}), (tmp_path / "out", {"matplotlib": None})):
        for module, value in hidden.items():
            monkeypatch.setitem(sys.modules, module, value)
        assert judge("--model-dir", model_dir, "--data-dir", colors, "--output", output, *json_too) == 2
        out, err = capsys.readouterr()
        assert json.loads(out)["error"] == 1 / 8 if json_too else "Error 12.50% on 8 images" in out
        assert err.splitlines()[-1].startswith("evaluate.py: error: cannot ") and err.count("evaluate.py") == 1


def test_an_error_is_json_where_json_is_asked_for(tmp_path, capsys):
    assert judge("--model-dir", tmp_path / "nowhere", "--json") == 2
    assert "no model in" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("arguments, words", [
    (("--dataset", "sketches", "--data-dir", "folder"), "not allowed with"), (("--output", ""), "the name is empty")])
def test_arguments_that_cannot_be_are_refused(arguments, words, capsys):
    assert words in failed(capsys, *arguments)


def test_without_any_package_it_is_one_line():
    """`python -S` knows of no installed package."""
    done = subprocess.run([sys.executable, "-S", ROOT / "evaluate.py"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("evaluate.py: error: Paddle, numpy, Pillow, psutil and tqdm are not installed")


def test_worst_is_what_cost_most():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.9, 0.09, 0.01]])
    labels = np.array([0, 2, 0, 2, 2])
    worst = metrics.worst_mistakes(probabilities, labels, ["a", "b", "c"], 2)
    assert worst == [{"image": 4, "named": "a", "probability": 0.9, "is": "c", "probability_of_right": 0.01},
                     {"image": 2, "named": "b", "probability": 0.7, "is": "a", "probability_of_right": 0.2}]


def counted(classes, counts):
    """What `metrics.measure` returns for answers of probability 1 with this confusion matrix."""
    pairs = [(i, j) for i, row in enumerate(counts) for j, count in enumerate(row) for _ in range(count)]
    labels, named = np.array(pairs).T
    return metrics.measure(np.eye(len(classes))[named], labels, classes)


def test_of_many_classes_the_matrix_is_only_drawn():
    counts = 9 * np.eye(30, dtype=int)
    counts[4, 7] = 5
    lines = report.text(counted([f"kind {number}" for number in range(30)], counts.tolist())).splitlines()
    assert "  5 kind 4      14  35.71%" in lines and max(map(len, lines)) < 60


def test_precision_recall_and_f1_are_those_counted_by_hand():
    """Of four classes c is never named, d has no images, and nothing is either for e."""
    counts = [[3, 1, 0, 0, 0], [0, 4, 0, 2, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    none = {"precision": None, "recall": None, "f1": None}
    assert report.scores(counts) == [
        {"precision": 3 / 4, "recall": 3 / 4, "f1": 3 / 4}, {"precision": 4 / 5, "recall": 4 / 6, "f1": 8 / 11},
        {**none, "recall": 0, "f1": 0}, {**none, "precision": 0, "f1": 0}, none]
    lines = report.text(counted(list("abcde"), counts)).splitlines()
    assert [line.split() for line in lines[-5:-2]] == [["a", "0.7500", "0.7500", "0.7500"],
                                                       ["b", "0.8000", "0.6667", "0.7273"],
                                                       ["c", "none", "0.0000", "0.0000"]]


@pytest.mark.parametrize("count", [2, 30, 120])
def test_the_matrix_is_drawn_for_few_and_many_classes_with_any_names(count, tmp_path):
    names = ["$x", "\u732b"] + [f"a class with a long name {number}" for number in range(count - 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawings.draw_confusion(tmp_path / "matrix.png", counted(names, np.eye(count, dtype=int).tolist()), "$title")
    with Image.open(tmp_path / "matrix.png") as picture:
        assert 300 < picture.width < 2000 and 300 < picture.height < 2000


def test_the_matrix_is_dark_where_a_class_was_named(tmp_path):
    """Three cells of nine, then one: three times as many pixels of the darkest blue."""
    shares = []
    for rows in (np.eye(3, dtype=int), np.diag([1, 0, 0])):
        drawings.draw_confusion(tmp_path / "matrix.png", counted(["a", "b", "c"], rows.tolist()), "title")
        shares.append(share_of((8, 48, 107), tmp_path / "matrix.png"))
    assert 0.05 < shares[1] < 0.15 and shares[0] == pytest.approx(3 * shares[1], rel=0.05)


def test_help_does_not_wait_for_paddle():
    program = "import evaluate, sys\ntry:\n    evaluate.main(['--help'])\nfinally:\n    print('paddle' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
                           env={**os.environ, "COLUMNS": "80"})
    assert asked.stdout.endswith("\nFalse\n")
    assert asked.returncode == 0 and asked.stdout.startswith("usage: evaluate.py") and asked.stderr == ""
