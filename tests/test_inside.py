"""book/inside.py against PyTorch (tests/golden) and networks made by hand; its command line and its drawing."""
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

import infer
import models
import small_models
from book import inside
from book.inside import features_of, grad_cam
from conftest import ROOT
from test_models import recipe, set_weights
from utils.errors import UserError
from utils.storage import program_state

GOLDEN = Path(__file__).with_name("golden") / "grad_cam.npz"
COLORS = np.eye(3, dtype=np.float32)


def save(folder, network, weights=None, classes=10, mirrored=False):
    """Save a network as train.py saves, and load it again from its files alone.

    network: image -> probabilities; weights: puts values into (parameters, scope)
    mirrored: the network gets each picture's mirrored copy too, its answers are softened, and the mean of both counts.
    """
    paddle.enable_static()
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        probabilities = network(paddle.concat([image, paddle.flip(image, axis=[3])]) if mirrored else image)
        if mirrored:
            logarithms = program.global_block().create_var(shape=probabilities.shape, dtype="float32")
            program.global_block().append_op(type="log", inputs={"X": [probabilities]}, outputs={"Out": [logarithms]})
            probabilities = paddle.nn.functional.softmax(paddle.scale(logarithms, 1 / 1.5))
            probabilities = paddle.mean(paddle.reshape(probabilities, [2, -1, classes]), axis=0)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup, scope=scope)
    if weights:
        weights(program.all_parameters(), scope)
    names = [f"class {number}" for number in range(classes)]
    small_models.save(folder, executor, program, image, probabilities, small_models.describe(classes=names), scope)
    return infer.load_model(folder, "cpu")[0]


NETWORKS = [pytest.param(name, marks=pytest.mark.slow) if name in ("vgg", "googlenet") else name
            for name in models.MODELS]


def save_golden(folder, name, mirrored=False):
    """One of the chapter's networks with the weights of tests/golden."""
    return save(folder, lambda image: models.build(name, image)[0],
                lambda parameters, scope: set_weights(parameters, scope, name), mirrored=mirrored)


def seer(image):
    """A network that sees red, green and blue, each at its place, and names the color there is most of."""
    same = paddle.ParamAttr(initializer=paddle.nn.initializer.Assign(COLORS[:, :, None, None]))
    maps = paddle.static.nn.conv2d(image, 3, 1, param_attr=same, bias_attr=False, act="relu")
    four = paddle.ParamAttr(initializer=paddle.nn.initializer.Assign(4 * COLORS))
    return paddle.static.nn.fc(paddle.nn.functional.avg_pool2d(maps, 32), 3, weight_attr=four, activation="softmax")


def pooled(image):
    """A network of patches and groups as airbench94 has them: a smooth bend, max pooling, scores divided by 9."""
    layer, functional = paddle.static.nn, paddle.nn.functional

    def bent(x):
        """An activation that is written as a product."""
        return x * functional.hardsigmoid(x)

    x = bent(layer.conv2d(image, 24, 2))  # [N, 24, 31, 31]
    for channels in (16, 32, 32):
        x = functional.max_pool2d(layer.conv2d(x, channels, 3, padding=1, bias_attr=False), 2)
        x = bent(layer.batch_norm(x))
        x = bent(layer.batch_norm(layer.conv2d(x, channels, 3, padding=1, bias_attr=False)))
    x = paddle.flatten(functional.max_pool2d(x, 3), 1)  # [N, 32]
    return functional.softmax(paddle.scale(layer.fc(x, 5, bias_attr=False), 1 / 9))


def averages(image):
    """A network without a fully connected layer: the mean of each map is a class's score."""
    maps = paddle.static.nn.conv2d(image, 3, 1, bias_attr=False)
    return paddle.nn.functional.softmax(paddle.mean(maps, axis=[2, 3]))


def halves():
    """A picture whose left half is dark red and whose right half is blue: [1, 3, 32, 32]."""
    pixels = np.zeros([1, 3, 32, 32], np.float32)
    pixels[0, 0, :, :16], pixels[0, 2, :, 16:] = 0.5, 1
    return pixels


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def seer_dir(tmp_path_factory):
    """The folder of a saved `seer`."""
    folder = tmp_path_factory.mktemp("seer") / "model"
    save(folder, seer, classes=3)
    small_models.redescribe(folder, classes=small_models.COLORS)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with red.png, blue.png and halves.png in it."""
    monkeypatch.chdir(tmp_path)
    for color in ("red", "blue"):
        Image.new("RGB", (32, 32), color).save(f"{color}.png")
    Image.fromarray((halves()[0].transpose(1, 2, 0) * 255).astype(np.uint8)).save("halves.png")
    return tmp_path


def ask(*arguments):
    """The command line -> exit status."""
    return inside.main([*map(str, arguments)])


# The chapter's networks against PyTorch ---------------------------------------------------------------------------

@pytest.mark.parametrize("name, mirrored", [
    ("resnet", False), pytest.param("vgg", False, marks=pytest.mark.slow),
    pytest.param("googlenet", False, marks=pytest.mark.slow), ("airbench", False),
    ("resnet", True), ("airbench", True)])
def test_features_and_heat_maps_are_pytorchs(name, mirrored, tmp_path, golden):
    model, (pixels, _) = save_golden(tmp_path / name, name, mirrored), recipe.batch(name)
    np.testing.assert_allclose(features_of(model, pixels), golden[f"{name}/features"], rtol=0, atol=1e-4)
    heats, expected = grad_cam(model, pixels, golden[f"{name}/classes"]), golden[f"{name}/heats"]
    assert heats.dtype == np.float32 and heats.shape == expected.shape
    largest = expected.max(axis=(2, 3), keepdims=True)
    assert (largest > 0.001).all() and (expected.std(axis=(2, 3)) > 0.1 * largest[:, :, 0, 0]).any()
    np.testing.assert_allclose(heats / largest, expected / largest, rtol=0, atol=1e-4)


LAST = {"resnet": (64, 8), "vgg": (512, 2), "googlenet": (512, 4), "airbench": (256, 3)}  # channels, side of maps


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_maps_and_the_score_are_found(name, tmp_path):
    model = save_golden(tmp_path / name, name)
    opened, (pixels, _) = inside.open_up(model), recipe.batch(name)
    maps, score = opened.run({opened.input: pixels}, [opened.maps, opened.score])
    channels, side = LAST[name]
    assert maps.shape == (len(pixels), channels, side, side) and -0.2 < maps.min() <= 0, "after the activation"
    odds = np.exp(score - score.max(axis=1, keepdims=True))
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), infer.infer(model, pixels), atol=1e-6)


def test_a_heat_map_is_enlarged_as_pytorch_does_it(golden):
    for name in LAST:
        for heat, large in zip(golden[f"{name}/heats"][0], golden[f"{name}/large"][0]):
            np.testing.assert_allclose(inside.enlarge(heat, 32), large, rtol=0, atol=1e-4 * large.max())


# By hand ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mirrored", [False, True])
def test_heat_lies_on_the_half_that_shows_the_class(mirrored, tmp_path):
    """Class c's weight is 4 at its own map and 0 at others, and reaches each place through a mean of 1,024."""
    model, pixels = save(tmp_path / "model", seer, classes=3, mirrored=mirrored), halves()
    assert infer.infer(model, pixels).argmax() == 2
    heats = grad_cam(model, pixels, np.array([[2, 0, 1]]))
    np.testing.assert_allclose(heats[0], pixels[0, [2, 0, 1]] * 4 / 1024, rtol=1e-5)
    assert heats[0, 0, :, 16:].min() > 0 and not heats[0, 0, :, :16].any()
    np.testing.assert_allclose(features_of(model, pixels), [[0.25, 0, 0.5]], rtol=1e-5)


def test_each_picture_has_its_own_classes_and_batches_change_nothing(tmp_path, monkeypatch):
    model = save(tmp_path / "model", seer, classes=3, mirrored=True)
    pixels = np.random.default_rng(0).random([5, 3, 32, 32], np.float32)
    classes = np.array([[0, 1], [1, 2], [2, 0], [0, 2], [1, 0]])
    expected = np.stack([picture[two] for picture, two in zip(pixels, classes)]) * 4 / 1024
    for batch in (128, 2):
        monkeypatch.setattr(inside, "BATCH", batch)
        np.testing.assert_allclose(grad_cam(model, pixels, classes), expected, rtol=1e-5)
        np.testing.assert_allclose(features_of(model, pixels), pixels.mean(axis=(2, 3)), rtol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Paddle, about the product
@pytest.mark.parametrize("mirrored", [False, True])
def test_heat_maps_through_a_max_pooling_are_those_worked_out_by_hand(mirrored, tmp_path):
    """The score grows with the largest place of each map alone, by that map's weight divided by 9."""
    paddle.seed(3)
    model = save(tmp_path / "model", pooled, classes=5, mirrored=mirrored)
    opened, pixels = inside.open_up(model), np.random.default_rng(1).random([3, 3, 32, 32], np.float32)
    last = opened.run({opened.input: pixels}, [opened.maps])[0][:3]
    assert last.shape == (3, 32, 3, 3)
    np.testing.assert_allclose(features_of(model, pixels), last.max(axis=(2, 3)), rtol=1e-5)
    weights, = [array for array in program_state.take(opened.program, opened.scope).values() if array.shape == (32, 5)]
    by_hand = np.maximum(np.einsum("nchw,ck->nkhw", last, weights / 9 / 9), 0)
    heats = grad_cam(model, pixels, np.tile(np.arange(5), (3, 1)))
    assert (by_hand.max(axis=(2, 3)) > 0).any(axis=1).all()
    np.testing.assert_allclose(heats, by_hand, rtol=1e-4, atol=1e-4 * by_hand.max())


def test_the_picture_of_two_halves_is_made_of_two_of_the_ten():
    whole, dog, airplane = (np.asarray(Image.open(ROOT / "image" / f"{name}.png").convert("RGB"), np.int16)
                            for name in ("dog_airplane", "dog", "airplane"))
    expected = np.hstack([dog[:, 128:384], airplane[:, 128:384]])
    assert whole.shape == (512, 512, 3) and (whole != expected).any(axis=2).mean() < 1e-3


def test_the_shipped_model_sees_dog_and_airplane_each_on_its_half():
    model, pixels = infer.load_model(infer.SHIPPED, "cpu")[0], infer.load_image("dog_airplane.png")
    names = model.description["classes"]
    heats = grad_cam(model, pixels, np.array([[names.index("dog"), names.index("airplane")]]))[0]
    half = heats.shape[2] // 2  # of 3 columns 1, next to the one that both halves share
    left, right = heats[:, :, :half].sum(axis=(1, 2)), heats[:, :, -half:].sum(axis=(1, 2))
    assert left[0] > 3 * right[0] and right[1] > 3 * left[1]


def test_looking_inside_leaves_the_model_as_it_was(seer_dir):
    model, pixels = infer.load_model(seer_dir, "cpu")[0], halves()
    before, ops = infer.infer(model, pixels), len(model.program.global_block().ops)
    features_of(model, pixels)
    grad_cam(model, pixels, np.array([[0, 2]]))
    np.testing.assert_array_equal(infer.infer(model, pixels), before)
    assert len(model.program.global_block().ops) == ops


def test_a_map_of_zeros_shows_the_picture_alone():
    shown = inside.heat_over(halves()[0], np.zeros([8, 8]), 64)
    np.testing.assert_allclose(shown[:, :32], 0.5 / 3, atol=1e-6)
    np.testing.assert_allclose(shown[:, 32:], 1 / 3, atol=1e-6)


def test_heat_colors_the_place_where_it_is():
    shown = inside.heat_over(halves()[0], np.array([[0, 1.0]]), 64)
    np.testing.assert_allclose(shown[:, :8].std(axis=2), 0, atol=1e-6)
    red, green, blue = shown[:, 56:].mean(axis=(0, 1))
    assert red > green + 0.3 and red > blue + 0.3


# The command line -------------------------------------------------------------------------------------------------

def test_features_are_written_with_names_and_labels(seer_dir, here, capsys):
    assert ask("--features", "out.npz", "red.png", "halves.png", "--model-dir", seer_dir) == 0
    assert "Features: out.npz" in capsys.readouterr().out.splitlines()
    with np.load("out.npz") as found:
        assert found["features"].dtype == np.float32 and found["features"].shape == (2, 3)
        np.testing.assert_allclose(found["features"], [[1, 0, 0], [127 / 255 / 2, 0, 0.5]], rtol=1e-5)
        assert found["pictures"].tolist() == ["red.png", "halves.png"] and found["labels"].tolist() == ["red", "blue"]
        assert found["classes"].tolist() == small_models.COLORS
        best = np.exp(4) / (np.exp(4) + 2)
        np.testing.assert_allclose(found["probabilities"][0], [best, (1 - best) / 2, (1 - best) / 2], rtol=1e-4)


def test_a_picture_that_cannot_be_read_is_left_out_and_the_status_says_so(seer_dir, here, capsys):
    assert ask("--features", "out.npz", "red.png", "nowhere.png", "blue.png", "--model-dir", seer_dir) == 2
    assert capsys.readouterr().err == "inside.py: error: nowhere.png: No such file or directory\n"
    with np.load("out.npz") as found:
        assert found["pictures"].tolist() == ["red.png", "blue.png"] and found["labels"].tolist() == ["red", "blue"]
    assert ask("--output", "out.png", "nowhere.png", "--model-dir", seer_dir) == 2
    assert not Path("out.png").exists()


def test_names_are_kept_as_they_are(seer_dir, here):
    names = ["$x.png", "größe.png"] + (["\udcff.png"] if sys.platform == "linux" else [])  # a byte that is no text
    for name in names:
        shutil.copy("red.png", name)
    assert ask("--features", "OUT.NPZ", *names, "--model-dir", seer_dir) == 0
    with np.load("OUT.NPZ") as found:
        assert found["pictures"].tolist() == names
    assert {path.name for path in here.iterdir()} == {"red.png", "blue.png", "halves.png", "inside.png", "OUT.NPZ",
                                                      *names}


def test_a_folder_stands_for_its_pictures_of_which_only_the_first_are_drawn(seer_dir, here, monkeypatch):
    monkeypatch.setattr(inside, "MOST", 2)
    assert ask(".", "--output", "e.png", "--features", "f.npz", "--model-dir", seer_dir) == 0
    with np.load("f.npz") as found:
        assert found["labels"].tolist() == ["blue", "blue", "red"]
    assert Image.open("e.png").height == int(110 * (0.6 + 2.2 * 2))


def halves_of(path, row, column):
    """The left and the right half of a tile of a drawing of two rows and three columns, without its edges."""
    whole = np.asarray(Image.open(path).convert("RGB"), np.int16)
    height, width = whole.shape[0] // 2, whole.shape[1] // 3
    cell = whole[row * height + 80:row * height + height - 80, column * width:(column + 1) * width]
    return cell[:, 30:width // 2 - 12], cell[:, width // 2 + 12:width - 30]


def test_the_drawing_shows_each_picture_and_the_heat_on_its_half(seer_dir, here):
    assert ask("--output", "out.png", "red.png", "halves.png", "--model-dir", seer_dir) == 0
    left, right = halves_of("out.png", 1, 0)
    assert abs(left - [127, 0, 0]).max() <= 2 and abs(right - [0, 0, 255]).max() <= 2
    heat = [[half[..., 0] - half[..., 2] for half in halves_of("out.png", 1, column)] for column in (1, 2)]
    assert heat[0][1].min() > 60 and abs(heat[0][0]).max() <= 2, "blue, on the right; gray has as much red as blue"
    assert heat[1][0].min() > 60 and abs(heat[1][1]).max() <= 2, "red, on the left"
    first = Path("out.png").read_bytes()
    assert ask("--output", "out.png", "blue.png", "--model-dir", seer_dir) == 0, "a drawing of its own is replaced"
    assert Path("out.png").read_bytes() != first


def test_odd_names_are_drawn_without_a_word(seer_dir, here, capsys, recwarn):
    names = ["$x^{$.png", "a\nb.png", "中文.png", "n" * 200 + ".png"]
    for name in names:
        Image.new("RGB", (32, 32), "blue").save(name)
    small_models.redescribe(seer_dir, classes=["$\\frac$", "{", "蓝"])
    try:
        assert ask("--output", "out.png", *names, "--model-dir", seer_dir) == 0
    finally:
        small_models.redescribe(seer_dir, classes=small_models.COLORS)
    assert Path("out.png").exists() and capsys.readouterr().err == ""
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


@pytest.mark.parametrize("arguments, problem", [
    (["--features", ""], "--features: the name is empty"),
    (["--output", "blue.png"], "blue.png is there already and was not written by book/inside.py --output"),
    (["--features", "folder.npz"], "folder.npz is there already"), (["--output", "huge.png"], "huge.png is there"),
    (["--features", "checkpoint.npz"], "checkpoint.npz is there already and was not written by book/inside.py --fea"),
    (["--top-k", "3"], "unrecognized arguments: --top-k"), (["--model-dir", "nowhere"], "no model in nowhere"),
    (["--features", "text.npz"], "text.npz is there already"),
])
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, problem, seer_dir, here, capsys):
    Path("folder.npz").mkdir()
    start = zlib.crc32(b"IHDR" + (size := struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)))
    Path("huge.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + struct.pack(">I", start))
    np.savez("checkpoint.npz", head=np.zeros(3), features=np.zeros(3))
    Path("text.npz").write_text("a reader's own")
    before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
    assert ask("--model-dir", seer_dir, *arguments, "red.png") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("inside.py: error: ") and problem in err
    assert {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("network", [None, averages])
def test_a_model_without_such_layers_is_one_line_and_keeps_the_drawing(network, here, model_dir, seer_dir, capsys):
    assert ask("red.png", "--model-dir", seer_dir) == 0
    before = Path("inside.png").read_bytes()
    if network:
        save("averages", network, classes=3)
    capsys.readouterr()
    assert ask("red.png", "--model-dir", "averages" if network else model_dir) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "no convolution before a fully connected" in err and "inside.png" not in out
    assert Path("inside.png").read_bytes() == before and not list(here.glob(".*"))


def test_features_need_no_convolution_but_a_fully_connected_layer(here, model_dir, capsys):
    assert ask("red.png", "--features", "out.npz", "--model-dir", model_dir) == 2
    assert np.load("out.npz")["features"].shape == (1, 3) and "no convolution" in capsys.readouterr().err
    before = Path("out.npz").read_bytes()
    save("averages", averages, classes=3)
    assert ask("red.png", "--features", "out.npz", "--model-dir", "averages") == 2
    assert "no fully connected layer" in capsys.readouterr().err
    assert Path("out.npz").read_bytes() == before and not Path("inside.png").exists()


def test_a_full_disk_keeps_what_was_there(seer_dir, here, capsys, monkeypatch):
    assert ask("--features", "out.npz", "blue.png", "--model-dir", seer_dir) == 0
    before = Path("out.npz").read_bytes()

    def savez(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", savez)
    assert ask("--features", "out.npz", "red.png", "--model-dir", seer_dir) == 2
    err = capsys.readouterr().err
    assert "No space left on device" in err and err.count("\n") == 1
    assert Path("out.npz").read_bytes() == before and not list(here.glob(".*"))


def test_without_matplotlib_a_line_says_what_to_install(seer_dir, here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError):
        import matplotlib  # noqa: F401  to see that it is hidden
    assert ask("--features", "out.npz", "red.png", "--model-dir", seer_dir) == 2
    out, err = capsys.readouterr()
    assert "Features: out.npz" in out and Path("out.npz").exists()
    assert err.count("\n") == 1 and "pip install -r requirements.txt" in err


@pytest.mark.parametrize("backend", ["Qt4Agg", "module://nowhere"])
def test_it_runs_in_any_folder_and_with_any_backend_of_the_user(backend, seer_dir, here):
    done = subprocess.run([sys.executable, ROOT / "book" / "inside.py", "red.png", "--model-dir", seer_dir],
                          env={**os.environ, "MPLBACKEND": backend}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "" and Path("inside.png").exists(), done.stderr
    assert done.stdout.splitlines()[1:] == ["Drawing: inside.png"] and done.stdout.startswith("Model: ")


def test_a_model_with_one_class_has_one_heat_map(tmp_path):
    widths = []
    for count in (1, 2):
        inside.draw_heat(tmp_path / "x.png", ["x"], halves(), np.ones([1, count, 2, 2]), [[("only", 1.0)] * count])
        widths.append(Image.open(tmp_path / "x.png").width)
    assert widths == [int(110 * (0.2 + 1.9 * tiles)) for tiles in (2, 3)]


def test_a_network_that_names_no_layers_is_refused_in_python_too(tmp_path):
    model = save(tmp_path / "model", averages, classes=3)
    with pytest.raises(UserError, match="no fully connected layer"):
        features_of(model, halves())
