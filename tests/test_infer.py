"""infer.py: which model answers, which picture is meant, and what is printed."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import infer
import small_models
from utils import answers
from utils.errors import UserError

ROOT = Path(infer.__file__).resolve().parent
ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals and files")


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


def command(*arguments, **options):
    """`python infer.py ...` on the CPU, as a shell would run it -> the ended process, its output as text."""
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run([sys.executable, ROOT / "infer.py", *arguments, "--device", "cpu"], env=environment,
                          **{"capture_output": True, "text": True, "timeout": 60, **options})


def test_one_picture_prints_the_books_line_and_the_best_classes(model_dir, pictures, capsys):
    assert ask("red.png", "--model-dir", model_dir) == 0
    out, err = capsys.readouterr()
    assert err == ""
    model, place, *rest = out.splitlines()
    assert "colors trained on three colors" in model and "0.7500" in model and "CPU" in place
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
    assert found["model"]["dataset"] == "three colors"
    blue, nowhere = found["results"]
    assert blue["label"] == "blue"
    assert blue["best"][0] == {"class": "blue", "probability": pytest.approx(0.964664, abs=2e-6)}
    assert nowhere["picture"] == "nowhere.png" and "No such file" in nowhere["error"]


def test_json_answers_each_name_in_the_order_given_also_twice(model_dir, pictures, capsys):
    names = ["blue.png", "nowhere.png", "red.png", "blue.png", "nowhere.png"]
    assert ask(*names, "--json", "--model-dir", model_dir) == 2
    out, err = capsys.readouterr()
    results = json.loads(out)["results"]
    assert [entry["picture"] for entry in results] == names
    assert [entry.get("label") for entry in results] == ["blue", None, "red", "blue", None]
    assert [entry.get("error") for entry in results[1::3]] == ["nowhere.png: No such file or directory"] * 2
    assert err.count("\n") == 2


def test_json_of_pictures_that_all_fail(model_dir, pictures, capsys):
    assert ask("nowhere.png", "--json", "--model-dir", model_dir) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["model"] == "colors" and list(found["results"][0]) == ["picture", "error"]


def test_json_tells_of_a_model_or_a_device_that_cannot_be_used(model_dir, pictures, capsys, monkeypatch):
    assert ask("red.png", "--json", "--model-dir", "nowhere") == 2
    out, err = capsys.readouterr()
    assert list(json.loads(out)) == ["error"] and "no model in nowhere" in json.loads(out)["error"]
    assert err == f"infer.py: error: {json.loads(out)['error']}\n"

    def no_device(device):
        raise UserError("--device gpu: no CUDA device")

    monkeypatch.setattr(infer, "choose_place", no_device)
    assert infer.main(["red.png", "--json", "--model-dir", str(model_dir), "--device", "gpu"]) == 2
    assert json.loads(capsys.readouterr().out) == {"error": "--device gpu: no CUDA device"}


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


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + "/dog.png", "empty", "*.jpg", "", "https://example.org/dog.png"])
def test_an_odd_name_of_a_picture_is_one_line(name, model_dir, pictures, capsys):
    (pictures / "empty").mkdir()
    assert ask(name, "--model-dir", model_dir) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"infer.py: error: {name or 'argument PICTURE: the name is empty'}")


def test_a_link_to_nowhere_is_no_picture_of_the_chapter(model_dir, pictures, capsys):
    (pictures / "cat.png").symlink_to(pictures / "nowhere.png")
    assert ask("cat.png", "--model-dir", model_dir) == 2
    assert capsys.readouterr() == ("", "infer.py: error: cat.png: No such file or directory\n")


def test_that_a_picture_is_the_chapters_own_is_said(model_dir, pictures, capsys):
    assert ask("cat.png", "red.png", "--model-dir", model_dir) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "cat.png" in line)
    assert line == "Not found here, so the chapter's own picture: cat.png"
    assert ask("cat.png", "red.png", "--json", "--model-dir", model_dir) == 0
    cat, red = json.loads(capsys.readouterr().out)["results"]
    assert cat["file"] == str(ROOT / "image" / "cat.png") and "file" not in red


@pytest.mark.parametrize("name", [".", "*.png", "[br]*"])
def test_a_folder_means_its_pictures_and_a_pattern_what_fits_it(name, model_dir, pictures, capsys):
    (pictures / "notes.txt").write_text("no picture")
    (pictures / "folder.png").mkdir()
    assert ask(name, "--json", "--model-dir", model_dir) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [os.path.basename(entry["picture"]) for entry in results] == ["blue.png", "red.png"]
    Image.new("RGB", (8, 8), "lime").save("*.png")  # a file of this very name comes first
    assert ask("*.png", "--json", "--model-dir", model_dir) == 0
    assert [entry["label"] for entry in json.loads(capsys.readouterr().out)["results"]] == ["green"]


def test_a_picture_whose_name_begins_with_a_dash_is_no_option(model_dir, pictures, capsys):
    """As a shell makes it of *.png; an option stays one whatever files there are."""
    for name in ("-1.png", "--json.png", "--json"):
        shutil.copy("red.png", name)
    assert ask("--json.png", "-1.png", "--model-dir", model_dir, "--json") == 0
    assert [each["label"] for each in json.loads(capsys.readouterr().out)["results"]] == ["red", "red"]


@pytest.mark.parametrize("count, named", [(12, 12), (13, 12), (11, 11)])
def test_as_many_classes_are_named_as_are_asked_for_and_there(count, named, tmp_path, pictures, capsys):
    small_models.save_colors(tmp_path / "model", classes=12)
    small_models.redescribe(tmp_path / "model", classes=[f"kind {number}" for number in range(12)])
    assert ask("red.png", "--top-k", count, "--json", "--model-dir", tmp_path / "model") == 0
    assert len(json.loads(capsys.readouterr().out)["results"][0]["best"]) == named


@pytest.mark.parametrize("name, problem", [
    ("", "--model-dir: the name is empty"), ("a" * 300, "File name too long"),
    ("red.png", "red.png is a file: name the folder"), ("my model", "python train.py --model-dir 'my model'"),
    ("red\n\x1b[31m", "no model in red\\n\\x1b[31m ")])
def test_an_odd_name_of_a_model_is_one_line(name, problem, pictures, capsys):
    assert ask("red.png", "--model-dir", name) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and problem in err and err[:-1].isprintable()


def test_the_newest_model_here_answers_else_the_supplied_one(model_dir, pictures, monkeypatch):
    monkeypatch.setattr(infer, "SHIPPED", pictures / "shipped")
    (pictures / "image_classification_resnet.inference.model").mkdir()  # training has not saved yet
    shutil.copytree(model_dir, infer.SHIPPED)
    assert answers.choose_model(None, infer.SHIPPED) == infer.SHIPPED
    assert "supplied" in answers.introduce(infer.SHIPPED, small_models.describe(), infer.SHIPPED)
    for name, written in (("resnet", 1000), ("vgg", 3000), ("googlenet", 2000)):
        path = pictures / f"image_classification_{name}.inference.model" / "description.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        os.utime(path, (written, written))
    assert answers.choose_model(None, infer.SHIPPED) == Path("image_classification_vgg.inference.model")


def test_a_model_of_drawings_says_so():
    line = answers.introduce("m", small_models.describe(model="resnet", depth=32, dataset="sketches"), infer.SHIPPED)
    assert "resnet-32 trained on sketches (drawings" in line and "not photographs" in line


@pytest.mark.parametrize("arguments", [[], ["a.png", "--top-k", "0"], ["a.png", "--device", "tpu"],
                                       ["a.png", "--top", "1"], ["a.png", "--model", "m"]])
def test_a_wrong_command_line_is_one_line_and_json_where_that_is_asked_for(arguments, capsys):
    assert infer.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("infer.py: error: ") and err.count("\n") == 1
    assert infer.main([*arguments, "--json"]) == 2
    out, again = capsys.readouterr()
    assert f"infer.py: error: {json.loads(out)['error']}\n" == again == err


AFTERWARDS = """
import runpy, signal, sys, types
sys.path.insert(0, sys.argv[1])
sys.modules["IPython"] = types.ModuleType("IPython")
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
sys.argv = sys.argv[2:]
for _ in range(2):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        print(end.code, before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])
signal.raise_signal(signal.SIGINT)
"""


@ON_POSIX
@pytest.mark.parametrize("script, argument", [("infer.py", "nowhere.png"), ("train.py", "--resume")])
def test_signals_are_the_interpreters_again_afterwards(script, argument, pictures):
    """As in IPython after %run, twice: Ctrl-C is a KeyboardInterrupt again."""
    done = subprocess.run([sys.executable, "-c", AFTERWARDS, ROOT, ROOT / script, argument], capture_output=True,
                          text=True)
    assert done.stdout == "2 True\n2 True\n" and done.stderr.endswith("KeyboardInterrupt\n"), done.stderr


def test_mistakes_are_answered_without_paddle_and_training(model_dir, pictures):
    program = ("import sys, infer\n"
               f"codes = infer.main(['nowhere.png', '--model-dir', {str(model_dir)!r}]), "
               f"infer.main(['red.png', '--model-dir', 'nowhere'])\n"
               "print(*codes, 'paddle' in sys.modules, 'train' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)},
                          text=True, capture_output=True, timeout=60)
    assert done.stdout == "2 2 False False\n"
    assert done.stderr.count("\n") == 2 and done.stderr.count("infer.py: error: ") == 2


def test_letters_that_the_terminal_lacks_are_written_out(model_dir, pictures):
    shutil.copy("red.png", "größe.png")
    shutil.copytree(model_dir, "modèle")
    done = command("größe.png", "blau.png", "--model-dir", "modèle", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2 and "gr\\xf6\\xdfe.png\ninfer results: red" in done.stdout
    assert done.stdout.startswith("Model: mod\\xe8le, ") and done.stderr.count("\n") == 1


@ON_POSIX
@pytest.mark.parametrize("stdout, status, lines", [("| head -0", 141, 0), (">&-", 0, 0), (">/dev/full", 2, 1)])
def test_output_that_nobody_takes_ends_quietly(stdout, status, lines, model_dir, pictures):
    if "/dev/full" in stdout and not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    line = f"set -o pipefail; '{sys.executable}' '{ROOT / 'infer.py'}' red.png --device cpu --model-dir '{model_dir}'"
    done = subprocess.run(["bash", "-c", f"{line} {stdout}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == status and done.stdout == "" and done.stderr.count("\n") == lines, done.stderr


# infer.py as a script, once it is known that Python itself has started.
START = "import runpy, sys; sys.argv.pop(0); sys.path.insert(0, sys.argv[0].rpartition('/')[0]); " \
        "print('started', flush=True); runpy.run_path(sys.argv[0], run_name='__main__')"


@ON_POSIX
@pytest.mark.parametrize("number, everyone, seconds", [
    *((signal.SIGINT, True, seconds) for seconds in (0.2, 0.5, 0.8)),
    *((signal.SIGTERM, everyone, seconds) for everyone in (False, True) for seconds in (0.2, 0.5))])
def test_a_signal_at_any_moment_ends_it_at_once_and_quietly(number, everyone, seconds, model_dir, pictures):
    process = subprocess.Popen([sys.executable, "-c", START, ROOT / "infer.py", "red.png", "--device", "cpu",
                                "--model-dir", model_dir], text=True, start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "started\n"
    time.sleep(seconds)
    begin = time.monotonic()
    (os.killpg if everyone else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=60)  # until all processes that hold the pipes have ended
    assert err == ""
    if out:  # it had answered
        assert "infer results: red" in out and process.returncode in (0, 128 + number, -number)
    else:
        assert process.returncode == -number  # which a shell calls 128 + number
        assert time.monotonic() - begin < (1 if number == signal.SIGINT else 10)  # SIGTERM waits for Paddle's import
    for _ in range(100):  # nobody is left
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process is left behind")
