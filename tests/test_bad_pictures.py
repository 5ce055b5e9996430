"""Good, odd and hostile files through the real command line: an answer, or one line and exit status 2.

Answers are known because each file is of one color and the model names colors (small_models.py).
"""
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import small_models

INFER = Path(__file__).resolve().parent.parent / "infer.py"
RED = Image.new("RGB", (64, 48), (255, 0, 0))
BLUE = Image.new("RGB", (64, 48), (0, 0, 255))
POSIX = os.name != "nt"


def encoded(image, kind, **options):
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width, height, depth=1, color=0):
    """The start of a PNG, to which chunks are added."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def png_chunk(kind, content):
    """One chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def noise():
    """A picture of noise, which no format makes small."""
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (48, 64, 3)).astype(np.uint8))


def good_files():
    """Name -> (content, color); None where any answer will do."""
    files = {f"plain.{kind.lower()}": (encoded(RED, kind), "red") for kind in (
        "PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "TGA", "PCX", "SGI", "JPEG2000")}
    if features.check("avif"):
        files["plain.avif"] = (encoded(RED, "AVIF"), "red")
    for name, kind in (("a-png.jpg", "PNG"), ("a-jpeg.png", "JPEG"), ("no-ending", "PNG"),
                       ("two\nlines.png", "PNG"), ("Hündchen 犬.png", "PNG")):
        files[name] = (encoded(RED, kind), "red")
    for mode, kind in (("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("RGBX", "TIFF"), ("RGBA", "TIFF"),
                       ("CMYK", "JPEG"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("P", "PNG"), ("P", "GIF")):
        files[f"mode-{mode}.{kind.lower()}"] = (encoded(RED.convert(mode), kind), "red")
    lab = Image.new("LAB", RED.size, (138, 209, 198))  # red: see test_image_file.py
    files["mode-LAB.tiff"] = (encoded(lab, "TIFF"), "red")
    for mode, kind in (("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("I;16", "PNG"), ("I;16", "TIFF"),
                       ("1", "TIFF"), ("L", "JPEG")):
        black = encoded(Image.new(mode, (40, 30)), kind)
        files[f"gray-{mode.replace(';', '')}.{kind.lower()}"] = (black, None)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        files[f"turned-{orientation}.jpg"] = (encoded(RED, "JPEG", exif=exif), "red")
    files["broken-exif.jpg"] = (encoded(RED, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), "red")
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        files[f"animation.{kind.lower()}"] = (encoded(RED, kind, save_all=True, append_images=[BLUE, BLUE]), "red")
    cut = encoded(RED, "GIF", save_all=True, append_images=[noise()])
    files["animation-cut-in-its-second-frame.gif"] = (cut[:-400], "red")
    for size in ((1, 1), (1, 10000), (10000, 1)):
        files["{}x{}.png".format(*size)] = (encoded(RED.resize(size), "PNG"), "red")
    files["90-million-pixels.jpg"] = (encoded(RED.resize((10000, 9000)), "JPEG"), "red")
    files["35-million-pixels.png"] = (encoded(RED.resize((7000, 5000)), "PNG", compress_level=1), "red")
    return files


def bad_files():
    """Name -> content."""
    files = {"empty.png": b"", "text.png": b"This is no picture.\n", "page.jpg": b"<!doctype html><p>404</p>",
             "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
             "archive.png": gzip.compress(b"x" * 1000), "noise.jpg": np.random.RandomState(1).bytes(5000),
             "zeros.png": bytes(100_000), "stub.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
             "endless.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"}
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "PPM"):
        whole = encoded(noise(), kind)
        files[f"cut-in-half.{kind.lower()}"] = whole[:len(whole) // 2]
    files["cut-in-its-header.png"] = encoded(noise(), "PNG")[:20]
    files["cut-in-its-header.jpg"] = encoded(noise(), "JPEG")[:15]
    files["wrong-checksum.png"] = encoded(noise(), "PNG").replace(b"IHDR\0\0\0@", b"IHDR\0\0\0A")
    files["bomb.png"] = png_header(60000, 60000) + png_chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
    files["small-bomb.png"] = png_header(9000, 9000) + png_chunk(b"IDAT", zlib.compress(bytes(1126 * 9000)))
    text = b"a\0\0" + zlib.compress(bytes(100_000_000))
    files["text-bomb.png"] = (png_header(8, 8) + png_chunk(b"zTXt", text)
                              + png_chunk(b"IDAT", zlib.compress(bytes(16))) + png_chunk(b"IEND", b""))
    files["bomb.gif"] = b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(200)
    files["bomb.bmp"] = b"BM" + struct.pack("<4I2i2H24x", 200, 0, 54, 40, 50000, 50000, 1, 24)
    inner = encoded(Image.new("1", (9000, 9000)), "PNG")
    entry = struct.pack("<4B2H2I", 16, 16, 0, 0, 1, 32, len(inner), 22)
    files["float.tiff"] = encoded(Image.new("F", (40, 30)), "TIFF")
    files["signed.tiff"] = encoded(Image.new("I", (40, 30)), "TIFF")
    files["bomb.ico"] = struct.pack("<3H", 0, 1, 1) + entry + inner
    return files


def special_files(folder):
    """Make what is no ordinary file in `folder` -> names."""
    (folder / "folder.png").mkdir()
    with open(folder / "huge.png", "wb") as file:
        file.truncate(300_000_000)  # takes no room on the disk
    names = ["folder.png", "huge.png", "missing.png", "no/such/folder/dog.png", "missing\nin two lines.png"]
    if POSIX:
        os.mkfifo(folder / "fifo.png")
        os.symlink("nowhere", folder / "dangling.png")
        os.symlink("loop.png", folder / "loop.png")
        names += ["fifo.png", "dangling.png", "loop.png", "/dev/zero"]
    if POSIX and os.geteuid() != 0:
        (folder / "secret.png").write_bytes(encoded(RED, "PNG"))
        (folder / "secret.png").chmod(0)
        names.append("secret.png")
    return names


# Between the tests and infer.py, since a process starts with its parent's peak of memory as its own.
MEASURE = """
import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:], stdin=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    unit = 1 if sys.platform == "darwin" else 1024
    print(code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, file=file)
"""


def run(folder, *arguments):
    """`python infer.py ...` in `folder` -> (exit status, stdout, stderr, seconds of CPU time, peak in bytes).

    CPU time, since the machine may be busy with other things; what waits for ever runs into the timeout.
    """
    command = [sys.executable, INFER, *arguments, "--device", "cpu"]
    if POSIX:
        command[:0] = [sys.executable, "-c", MEASURE, folder / "usage"]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    code, seconds, peak = (folder / "usage").read_text().split() if POSIX else (done.returncode, "nan", "nan")
    return int(code), done.stdout, done.stderr, float(seconds), float(peak)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, model_dir):
    """All files through one call of the command line -> colors, names that fail, and what `run` gives."""
    folder = tmp_path_factory.mktemp("corpus")
    good, bad = good_files(), bad_files()
    for name, (content, _) in good.items():
        (folder / name).write_bytes(content)
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    failing = [*bad, *special_files(folder)]
    assert len(good) + len(failing) >= 40
    colors = {name: color for name, (_, color) in good.items()}
    return colors, failing, run(folder, *failing, *good, "--model-dir", str(model_dir), "--json")


def test_every_good_picture_gets_its_answer(corpus):
    colors, _, (_, out, _, _, _) = corpus
    results = json.loads(out)["results"]
    answers = {entry["picture"]: entry.get("label", entry.get("error")) for entry in results}
    wrong = {name: answers.get(name) for name, color in colors.items()
             if answers.get(name) not in ([color] if color else small_models.COLORS)}
    assert wrong == {}


def test_every_bad_file_gets_one_line_and_the_exit_status_is_2(corpus):
    _, failing, (code, out, err, _, _) = corpus
    assert code == 2
    lines = err.decode().splitlines()
    assert len(lines) == len(failing), "\n".join(lines)
    for name, line in zip(failing, lines):
        assert line.startswith("infer.py: error: " + name.replace("\n", "\\n")), line
    errors = [entry["picture"] for entry in json.loads(out)["results"] if "error" in entry]
    assert errors == failing


@pytest.mark.skipif(not POSIX, reason="Windows does not say what a process used")
def test_the_whole_corpus_takes_under_ten_seconds_and_a_gigabyte(corpus):
    *_, seconds, peak = corpus[2]
    print(f"{len(corpus[0])} good and {len(corpus[1])} bad files: {seconds:.1f} s, {peak / 1e6:.0f} MB")
    assert seconds < 10
    assert peak < 1e9


@pytest.mark.skipif(not POSIX, reason="Windows has no such names")
def test_a_name_of_bytes_that_are_no_text(tmp_path, model_dir):
    name = b"\xff\xfe.png"
    try:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(encoded(RED, "PNG"))
    except OSError:
        pytest.skip("this file system takes only names that are text")
    code, out, err, _, _ = run(tmp_path, name, b"\xfd.png", "--model-dir", str(model_dir))
    assert code == 2 and b"infer results: red" in out and err.count(b"\n") == 1 and b"Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(not POSIX, reason="Windows does not say what a process used")
@pytest.mark.parametrize("kind, size, options", [
    ("WEBP", (6300, 4700), {"method": 0}), ("JPEG", (10000, 10900), {"subsampling": 0}),
    ("JPEG", (7300, 5400), {"progressive": True, "subsampling": 0}),
    ("JPEG2000", (2800, 2800), {}), ("PNG", (7300, 5400), {"compress_level": 1}),
    ("TIFF", (7300, 5400), {"compression": "tiff_lzw"})])
def test_the_largest_pictures_take_under_ten_seconds_and_a_gigabyte(tmp_path, model_dir, kind, size, options):
    tile = np.random.RandomState(0).randint(0, 256, (1000, 1000, 3)).astype(np.uint8)
    rows = np.tile(tile, (-(-size[1] // 1000), -(-size[0] // 1000), 1))[:size[1], :size[0]]
    image = Image.fromarray(rows)
    image.convert("RGB" if kind.startswith("JPEG") else "RGBA").save(tmp_path / "a", kind, **options)
    code, out, err, seconds, peak = run(tmp_path, "a", "--model-dir", str(model_dir))
    assert code == 0, err
    print(f"{seconds:.1f} s, {peak / 1e6:.0f} MB")
    assert seconds < 10 and peak < 1e9
