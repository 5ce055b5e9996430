"""Pictures of the reader's own: each lands with its class on its side, and what is amiss is said in a line."""
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
import unicodedata

import numpy as np
import pytest
from PIL import Image

import infer
import train
from conftest import ROOT
from small_folders import HELD_OUT, NAMES, picture, write_classes
from small_runs import QUICK, assert_same_run, before_each_step, contents, state
from utils.data import batches, dataset, folder
from utils.errors import UserError


def read(root, **more):
    """Read a folder -> (the Dataset, the lines said, but for the one about its classes)."""
    lines = []
    found = dataset.read_folder(root, lines.append, **more)
    (classes,) = [line for line in lines if line.startswith("Classes: ")]
    assert [word.split()[0] for word in classes[len("Classes: "):].split(", ")][:10] == [
        name.split()[0] for name in found.classes][:10]
    return found, [line for line in lines if line != classes]


def error_of(root):
    """The one line with which reading fails."""
    with pytest.raises(UserError) as caught:
        folder.read(root, lambda line: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def pets(tmp_path):
    """Two classes of 18 pictures, of which 13 are to train on."""
    return write_classes(tmp_path / "pets", cat=NAMES, dog=NAMES)


def test_a_folder_of_classes(pets):
    found, said = read(pets)
    assert said == [] and found.classes == ("cat", "dog") and found.note == "2 classes, a fifth held out by name"
    assert found.train_images.shape == (26, 3, 32, 32) and found.train_images.dtype == np.uint8
    assert found.train_labels.tolist() == [0] * 13 + [1] * 13 and found.train_labels.dtype == np.int64
    assert found.test_labels.tolist() == [0] * 5 + [1] * 5
    # The shades count the pictures in the order of NAMES: those held out have the places of their names there.
    held = [np.asarray(Image.open(pets / "dog" / name))[0, 0].tolist() for name in HELD_OUT]
    assert found.test_images[5:, :, 0, 0].tolist() == held


def test_pictures_added_later_move_none_to_the_other_side(pets):
    before, _ = read(pets)
    for number in range(100, 160):
        picture(pets / "cat" / f"{number}.png", 2 ** 24 - number)
    after, _ = read(pets)
    for side in ("train_images", "test_images"):
        old, new = ({image.tobytes() for image in getattr(found, side)} for found in (before, after))
        assert old <= new
    assert len(after.train_labels) > 26 and len(after.test_labels) > 10


def test_about_a_fifth_of_all_names_is_held_out():
    held = sum(map(folder.is_held_out, (f"IMG_{number:05}.JPG" for number in range(20_000))))
    assert abs(held - 4000) < 4 * (20_000 * 0.2 * 0.8) ** 0.5  # four standard deviations of the binomial


def test_a_name_is_the_same_in_both_of_unicodes_spellings():
    composed, taken_apart = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    assert composed != taken_apart and folder.is_held_out(composed) and folder.is_held_out(taken_apart)


def test_a_test_folder_of_ones_own(tmp_path):
    write_classes(tmp_path / "train", dog=["0.png", "1.png"], cat=["0.png"])
    for number, name in enumerate(("dog", "cat", "cat")):
        picture(tmp_path / "test" / name / f"{number}.png", 70 + number)
    found, said = read(tmp_path)
    assert said == [] and found.classes == ("cat", "dog") and found.note == "2 classes"
    assert found.train_labels.tolist() == [0, 1, 1] and found.test_labels.tolist() == [0, 0, 1]


def test_pixels_are_those_that_infer_sees(tmp_path):
    write_classes(tmp_path, cat=NAMES, dog=["a.png", "0.png"])
    rng = np.random.default_rng(1)
    for name, size in (("a.png", (90, 60)), ("0.png", (32, 32))):
        Image.fromarray(rng.integers(0, 256, (*size, 4)).astype(np.uint8)).save(tmp_path / "dog" / name)
    found, _ = read(tmp_path)
    for name, image in (("a.png", found.train_images[-1]), ("0.png", found.test_images[-1])):
        np.testing.assert_allclose(batches.to_float(image), infer.load_image(tmp_path / "dog" / name)[0], atol=1e-7)


def test_what_systems_leave_in_folders_is_left_out_and_counted(pets):
    """Also a copy of each picture to test on, which would be trained on."""
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "dog/._0.png"):
        (pets / name).write_bytes(b"no picture")
    (pets / "readme.txt").write_text("beside the classes")
    for name in ("@eaDir", ".thumbnails", "__MACOSX"):
        for number, held in enumerate(HELD_OUT):
            picture(pets / "cat" / name / f"{number}.png", 7).write_bytes((pets / "cat" / held).read_bytes())
    found, said = read(pets)
    assert len(found.train_labels) + len(found.test_labels) == 36
    assert len(said) == 1 and said[0].startswith("Left out") and "(8): " in said[0]
    assert str(pets / "cat" / "@eaDir") in said[0]


def test_a_class_with_a_picture_or_a_file_of_a_common_name_stays_one(pets):
    picture(pets / "cat" / "confusion.png", 1234567)
    (pets / "dog" / "description.json").write_text("{}")
    found, said = read(pets)
    assert found.classes == ("cat", "dog") and len(found.train_labels) + len(found.test_labels) == 37
    assert len(said) == 1 and "description.json is not a picture" in said[0]


def test_the_log_names_the_first_ten_classes_and_counts_their_pictures(tmp_path):
    lines = []
    write_classes(tmp_path, **{f"class {number:02}": NAMES[:number + 3] for number in range(12)})
    dataset.read_folder(tmp_path, lines.append)
    first = ", ".join(f"class {number:02} {number + 3}" for number in range(10))
    assert f"Classes: {first}, ..." in lines


@pytest.mark.parametrize("layout", [
    {"training_set/cats": NAMES, "training_set/dogs": NAMES, "test_set/cats": NAMES, "test_set/dogs": NAMES},
    {"color/apple": NAMES, "color/pear": NAMES, "grayscale/apple": NAMES, "grayscale/pear": NAMES},
    {"train/cat": NAMES, "val/cat": NAMES, "more/cat": NAMES, "extra": NAMES},
    {"cat": NAMES, "dog": NAMES, "dog/old": NAMES},
], ids=["sets", "kinds", "one class", "one inside"])
def test_outer_folders_are_not_classes(tmp_path, layout):
    line = error_of(write_classes(tmp_path, **layout))
    assert "holds folders, " in line or "holds 1 class folders, cat" in line


def test_the_line_about_outer_folders_names_the_right_level(tmp_path):
    write_classes(tmp_path, **{"set_1/cats": NAMES, "set_1/dogs": NAMES, "set_2/cats": NAMES})
    line = error_of(tmp_path)
    assert "cats, dogs" in line and f"name {tmp_path / 'set_1'}, or call two such folders train and test" in line
    assert read(tmp_path / "set_1")[0].classes == ("cats", "dogs")


@pytest.mark.parametrize("side", ["val", "valid", "validation"])
def test_validation_folders_are_those_to_test_on(tmp_path, side):
    for number, name in enumerate((f"{side}/cat", f"{side}/dog")):
        picture(tmp_path / name / "1.png", 1000 + number)
    write_classes(tmp_path, **{"train/cat": NAMES, "train/dog": NAMES})
    found, said = read(tmp_path)
    assert len(found.train_labels) == 36 and found.test_labels.tolist() == [0, 1]
    assert said == [f"The pictures in {side}/ are those to test on"]


def test_all_of_a_folder_or_of_its_test_folder_is_to_test_on_where_nobody_trains(pets, tmp_path):
    assert len(read(pets, is_split=False)[0].test_labels) == 36
    write_classes(tmp_path / "both", **{"train/a": NAMES, "train/b": NAMES, "test/a": ["1.png"], "test/b": ["1.png"]})
    found, _ = read(tmp_path / "both", is_split=False)
    assert len(found.test_labels) == 2 and len(found.train_labels) == 0
    found, _ = read(write_classes(tmp_path / "one", cat=NAMES), is_split=False)
    assert len(found.test_labels) == 18 and found.classes == ("cat",)


@pytest.mark.parametrize("name", ["thumbs", "Thumbnails", "$RECYCLE.BIN", "System Volume Information"])
def test_folders_that_systems_and_viewers_make_are_no_classes(name, pets):
    """They may be empty, or hold smaller copies; among the classes or in one."""
    (pets / name).mkdir()
    picture(pets / "dog" / name / "0.png", 5)
    found, said = read(pets)
    assert found.classes == ("cat", "dog") and len(found.train_labels) == 26
    assert len(said) == 1 and said[0].startswith("Left out") and "(2): " in said[0]


def test_a_runs_own_folder_is_never_a_class(pets, run_on, monkeypatch):
    """A run in the folder of the pictures makes its model folder there before it looks for classes."""
    monkeypatch.chdir(pets)
    for name in ("confusion.png", "mistakes.png"):
        picture(pets / "evaluation" / "model" / name, 5)
    (pets / "lent").mkdir()
    for name in ("description.json", "resnet-01234567.pdiparams"):
        (pets / "lent" / name).write_text("")
    for _ in range(2):
        status, out, err = run_on("--data-dir", ".", "--epochs", "1", to=pets / "model")
        assert status == 0 and "Classes: cat 18, dog 18" in out and "Left out" in out, err


def test_unreadable_pictures_are_named_left_out_and_counted(pets):
    whole, _ = read(pets)
    (pets / "cat" / "notes.txt").write_text("no picture")
    (pets / "dog" / "z.png").write_bytes((pets / "dog" / "a.png").read_bytes()[:20])
    found, said = read(pets)
    assert len(said) == 1 and "left out, of 38 (2): " in said[0] and found.note.endswith(", 2 unreadable")
    assert "cat/notes.txt is not a picture" in said[0] and "dog/z.png" in said[0]
    np.testing.assert_array_equal(found.train_images, whole.train_images)
    np.testing.assert_array_equal(found.train_labels, whole.train_labels)


def test_more_than_a_tenth_unreadable_is_an_error(pets):
    for number in range(4):  # 4 of 40 are a tenth
        (pets / "cat" / f"{number}.txt").write_text("no picture")
    assert ", of 40 (4): " in read(pets)[1][0]
    (pets / "cat" / "5.txt").write_text("no picture")
    assert "more than a tenth" in error_of(pets) and "cat/0.txt is not a picture" in error_of(pets)


def test_the_same_picture_on_both_sides_or_in_two_classes_is_said(pets):
    (pets / "cat" / "0.png").write_bytes((pets / "cat" / "a.png").read_bytes())  # 0.png is held out, a.png is not
    Image.open(pets / "cat" / "b.png").save(pets / "dog" / "b.png", compress_level=0)  # other bytes, the same pixels
    _, said = read(pets)
    assert len(said) == 2
    assert "to test on are among those to train on" in said[0] and said[0].endswith(f"(1): {pets / 'cat/0.png'}")
    assert "in another class too (1): " in said[1] and said[1].endswith("dog/b.png")


def test_the_same_picture_in_another_size_on_both_sides_is_found(tmp_path):
    """Of 24 photographs each has a thumbnail on the other side; 24 other ones have none."""
    rng = np.random.default_rng(3)
    for number in range(48):
        rough = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
        photograph, thumbnail = rough.resize((400, 300), Image.BICUBIC), rough.resize((400, 300), Image.BICUBIC)
        thumbnail.thumbnail((120, 120))
        for side, kind in (("train", photograph), ("test", thumbnail if number < 24 else photograph.rotate(180))):
            target = tmp_path / side / "ab"[number % 2]
            target.mkdir(parents=True, exist_ok=True)
            kind.save(target / f"{number:02}.jpg", quality=75)
    _, said = read(tmp_path)
    assert len(said) == 1 and "to test on are among those to train on" in said[0] and "(24): " in said[0]
    assert all(f"test/{'ab'[number % 2]}/{number:02}.jpg" in said[0] for number in range(0, 20, 2))


def test_links_to_pictures_and_to_classes_are_followed(pets, tmp_path):
    outside = tmp_path / "outside"
    for number, name in enumerate(("u.png", "v.png", "0.png")):
        picture(outside / name, 1000 + 2000 * number)
    os.symlink(picture(tmp_path / "one.png", 0xff0000), pets / "cat" / "out.png")
    os.symlink(outside, pets / "bird")
    os.symlink("itself", pets / "dog" / "itself")
    found, said = read(pets)
    assert found.classes == ("bird", "cat", "dog")
    assert len(found.train_labels) + len(found.test_labels) == 40  # the 36, out.png and the birds
    assert len(said) == 1 and ", of 41 (1): " in said[0] and "dog/itself" in said[0]
    os.symlink(pets, pets / "cat" / "around")
    assert f"{pets / 'cat'} should hold pictures" in error_of(pets)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_that_are_no_text(tmp_path):
    write_classes(tmp_path, cat=NAMES, dog=NAMES)
    os.rename(os.fsencode(tmp_path / "dog"), os.fsencode(tmp_path) + b"/d\xffg")
    os.rename(os.fsencode(tmp_path / "cat" / "1.png"), os.fsencode(tmp_path / "cat") + b"/\xfe.png")
    (tmp_path / os.fsdecode(b"d\xffg") / os.fsdecode(b"\xfd.png")).write_text("no picture")
    found, said = read(tmp_path)
    assert found.classes == ("cat", "d\\udcffg") and all(name.isprintable() for name in found.classes)
    assert len(said) == 1 and said[0].isprintable() and "\\udcfd.png" in said[0]
    assert len(found.train_labels) + len(found.test_labels) == 36


@pytest.mark.parametrize("layout, complaint", [
    ({}, "holds 0 class folders"),
    ({"cat": ["1.png"]}, "holds 1 class folders, cat"),
    ({"cat": ["1.png"], "dog": []}, "no picture to train on of dog"),
    ({"cat": ["1.png", "0.png"], "dog": ["0.png"]}, "no picture to train on of dog"),
    ({"cat": ["1.png"], "dog": ["1.png"]}, "no picture to test on of cat, dog"),
    ({"train": ["1.png"], "testing": ["1.png"]}, "holds testing and train: call two folders train and test"),
    ({"train": ["1.png"], "val": ["1.png"]}, "holds 0 class folders: put"),
    ({"Train": ["1.png"]}, "holds Train: call"),
    ({"train/cat": ["1.png"], "train/dog": ["1.png"], "test/cat": ["1.png"], "test/cow": ["1.png"]},
     "only one of them has cow, dog"),
    ({"train/cat": ["1.png"], "train/dog": ["1.png"], "test/cat": ["1.png"]}, "only one of them has dog"),
    ({"c" * 101: ["1.png"], "dog": ["1.png"]}, "at most 100 letters"),
])
def test_folders_that_cannot_be_classes(tmp_path, layout, complaint):
    assert re.search(complaint, error_of(write_classes(tmp_path, **layout)))


def test_folders_that_are_none(tmp_path):
    for path in (tmp_path / "none", picture(tmp_path / "a.png", 1)):
        assert f"--data-dir: cannot read {path}: " in error_of(path)


def test_a_folder_that_may_not_be_read(pets, monkeypatch):
    listed = os.listdir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert re.search("cannot read .*dog: Permission denied", error_of(pets))


def test_a_class_without_a_test_picture_and_a_third_folder_are_said(tmp_path):
    write_classes(tmp_path, cat=NAMES, dog=["1.png", "2.png"])
    found, said = read(tmp_path)
    assert found.test_labels.tolist() == [0] * 5 and len(said) == 1 and said[0].endswith("so few (1): dog")
    write_classes(tmp_path / "both", **{"train/a": ["1.png"], "train/b": ["1.png"], "test/a": ["1.png"],
                                        "test/b": ["1.png"], "val/a": ["1.png"]})
    assert read(tmp_path / "both")[1] == ["Warning: folders other than train and test are not read (1): val"]


def test_reading_holds_three_kilobytes_a_picture(tmp_path, monkeypatch):
    """The least of three readings counts: on a busy machine decoded pictures wait for a moment."""
    count, peaks = 600, []
    for number in range(count):
        picture(tmp_path / "ab"[number % 2] / f"{number}.png", number)
    read(tmp_path)  # what is imported the first time
    for number in range(3):
        monkeypatch.setenv("IMAGE_CLASSIFICATION_DATA", str(tmp_path.with_name(f"cache{number}")))
        tracemalloc.start()
        found, _ = read(tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert found.train_images.nbytes + found.test_images.nbytes == count * 3072
    # A name takes less than 1 kB; what a step reads is 12 kB a picture.
    assert min(peaks) < count * (3072 + 1000) + 200_000


def test_the_data_set_says_where_it_comes_from(pets):
    data = dataset.read_folder(pets)
    assert data.name == "the folder pets" and data.classes == ("cat", "dog")
    assert data.description() == {"classes": ["cat", "dog"], "dataset": "the folder pets",
                                  "dataset_note": "2 classes, a fifth held out by name"}


# -- Runs of train.py


def test_a_small_class_comes_as_often_as_a_large_one():
    labels = np.repeat([0, 1, 2], [90, 9, 1])
    order = batches.balanced_order(labels, seed=1, epoch=0)
    assert np.bincount(labels[order]).tolist() == [34, 33, 33]
    times = np.bincount(order, minlength=100)
    assert times[:90].max() == 1 and times[99] == 33 and set(times[90:99]) <= {3, 4}
    later = np.concatenate([batches.balanced_order(labels, seed=1, epoch=epoch) for epoch in range(20)])
    assert (np.bincount(later, minlength=100) > 0).all()  # 3 of 8 in each pass: (5/8)^20 * 90 = 0.01 are left out
    assert (order == batches.balanced_order(labels, seed=1, epoch=0)).all()


@pytest.fixture
def run_on(tmp_path, capfd):
    """Run train.py's main quickly, without data; returns (status, printed, errors)."""
    def run_main(*arguments, to="model"):
        status = train.main([*QUICK, "--batch-size", "8", "--seed", "1", "--model-dir", str(tmp_path / to),
                             *map(str, arguments)])
        out = capfd.readouterr()
        return status, out.out, out.err

    return run_main


@pytest.mark.parametrize("recipe", ["quick", "strong"])
def test_the_classes_reach_the_model_and_its_reader(pets, run_on, tmp_path, capfd, recipe):
    cats = (pets / "cat").rename(pets / "a cat in a tree")
    status, out, _ = run_on("--data-dir", pets, "--recipe", recipe)
    assert status == 0 and "Data: the folder pets (2 classes, a fifth held out by name), 26 to train, 10 to test" in out
    assert out.endswith(f"python infer.py PICTURE --model-dir {tmp_path / 'model'}\n")
    description = json.loads((tmp_path / "model" / "description.json").read_text())
    assert description["classes"] == ["a cat in a tree", "dog"] and description["dataset"] == "the folder pets"
    assert infer.main(["--model-dir", str(tmp_path / "model"), "--device", "cpu", str(cats / "a.png")]) == 0
    printed = capfd.readouterr().out
    assert re.search(r"infer results: (a cat in a tree|dog)\n  \1 +[01]\.\d{4}\n", printed)
    assert re.search(r"^  a cat in a tree [01]\.\d{4}$", printed, re.M) and "the folder pets" in printed


def test_a_resumed_run_takes_the_folder_wherever_it_lies_and_no_other_pictures(pets, run_on, tmp_path, monkeypatch):
    whole = ("--data-dir", pets, "--balance")
    assert run_on(*whole, to="whole")[0] == 0
    with monkeypatch.context() as patch:
        steps = iter(range(4))
        before_each_step(patch, lambda: next(steps, None) == 3 and os.kill(os.getpid(), signal.SIGTERM))
        assert run_on(*whole)[0] == 128 + signal.SIGTERM
    moved = pets.rename(tmp_path / "moved")
    status, _, err = run_on("--resume")
    assert status == 2 and f"cannot read {pets}: " in err and err.count("\n") == 1
    status, _, err = run_on("--resume", "--dataset", "sketches")
    assert status == 2 and "come from --data-dir" in err and err.count("\n") == 1
    other = write_classes(tmp_path / "other", cat=NAMES[1:], dog=NAMES)
    status, _, err = run_on("--resume", "--data-dir", other)
    assert status == 2 and "not those that the run" in err and err.count("\n") == 1
    assert run_on("--resume", "--data-dir", moved)[0] == 0
    assert_same_run(state(tmp_path / "whole"), state(tmp_path / "model"))
    assert state(tmp_path / "model").settings["data_dir"] == str(moved)


@pytest.mark.parametrize("more", [["--dataset", "cifar10"], ["--data-file", "x.tar.gz"]])
def test_one_source_of_pictures_is_enough(pets, run_on, tmp_path, more):
    status, out, err = run_on("--data-dir", pets, *more)
    assert status == 2 and out == "" and err.count("\n") == 1 and "omit it, or --dataset and --data-file" in err
    assert not (tmp_path / "model").exists()


def test_a_wrong_folder_is_one_line_and_leaves_the_model_that_was_there(pets, run_on, tmp_path):
    assert run_on("--data-dir", pets)[0] == 0
    before = contents(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "none", tmp_path / "empty"):
        status, out, err = run_on("--data-dir", wrong)
        assert status == 2 and out == "" and err.startswith("train.py: error: ") and err.count("\n") == 1
    assert contents(tmp_path / "model") == before


@pytest.mark.slow
def test_two_workers_read_the_same_folder_and_say_a_warning_once(pets, tmp_path):
    program = [sys.executable, ROOT / "train.py", *QUICK, "--batch-size", "8"]
    (pets / "cat" / "notes.txt").write_text("no picture")
    done = subprocess.run([*program, "--data-dir", pets, "--model-dir", tmp_path / "model",
                           "--workers", "2", "--balance", "--recipe", "strong"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("left out, of 37 (1): ") == 1 and "notes.txt" not in done.stderr
    assert "workers: 2" in done.stdout and "26 to train" in done.stdout
    (pets / "dog" / "more.txt").write_text("no picture")
    for number in range(4):
        (pets / "dog" / f"{number}.txt").write_text("no picture")
    done = subprocess.run([*program, "--data-dir", pets, "--model-dir", tmp_path / "model",
                           "--workers", "2"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("more than a tenth") == 1 and "Traceback" not in done.stderr


def test_balance_feeds_each_class_equally_often(run_on, tmp_path, monkeypatch):
    seen, feed = [], train.training_feed
    monkeypatch.setattr(train, "training_feed", lambda data, indices, *rest: [seen.append(indices),
                                                                             feed(data, indices, *rest)][1])
    write_classes(tmp_path / "pets", cat=NAMES, dog=["1.png", "0.png"])  # 13 cats and a dog to train on
    for more, dogs in (((), 1), (("--balance",), 7)):
        seen.clear()
        status, out, _ = run_on("--data-dir", tmp_path / "pets", "--epochs", "1", *more)
        assert status == 0 and ("classes equally often" in out) == bool(more)
        assert np.concatenate(seen).tolist().count(13) == dogs
