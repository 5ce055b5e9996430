"""The page that runs a model in the browser: a real one shows it, touches it, and answers as infer.py does."""
import importlib
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

import browser as browsers
import infer
import small_models
from utils.data.cifar10 import CLASSES
from utils.errors import UserError

ROOT = Path(infer.__file__).resolve().parent
try_page = importlib.import_module("book.try")  # whose name is a word of the language
SCRIPTS = [ROOT / "book" / "try" / name for name in try_page.SCRIPTS]
pytestmark = pytest.mark.pages
CLOSE = 0.01  # of probabilities


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of the supplied model."""
    target = tmp_path_factory.mktemp("page") / "try.html"
    assert try_page.main([str(target)]) == 0
    return target


@pytest.fixture(scope="module")
def paddle_model():
    """The supplied model, loaded by Paddle."""
    return infer.load_model(infer.SHIPPED, "cpu")[0]


@pytest.fixture(scope="module")
def started(page, tmp_path_factory):
    """A browser that has opened the page, with a camera that shows a test picture."""
    if browsers.find() is None:
        pytest.skip("there is no Chromium here (Debian's package is called chromium)")
    browser = browsers.Browser(tmp_path_factory.mktemp("browser"), "--use-fake-device-for-media-stream",
                               "--use-fake-ui-for-media-stream")
    yield browser
    browser.close()


@pytest.fixture
def shown(started, page):
    """That browser, with the page opened again: it shows the dog."""
    del started.events[:]
    started.resize(1280, 900)
    started.open("about:blank")
    started.open(page.as_uri())
    answers_of(started, "dog.png")
    yield started
    assert [event for event in started.events if event["method"] == "Runtime.exceptionThrown"] == []


def answers_of(browser, name):
    """The bars once they are those of a picture: {class: probability}."""
    said = f"document.getElementById('measured').textContent.startsWith({json.dumps(name + ', answered')})"
    browser.wait(f"{said} && now.soon === undefined && now.pixels && now.name == {json.dumps(name)}")
    return bars_of(browser)


def bars_of(browser):
    """The bars as they are: {class: probability}."""
    bars = browser.ask("[...document.querySelectorAll('#bars li')].map(bar => "
                       "[bar.children[0].textContent, parseFloat(bar.children[2].textContent) / 100])")
    assert len(bars) == 10
    return dict(bars)


def text_of(browser, name):
    """The text of the element with this id."""
    return browser.ask(f"document.getElementById('{name}').textContent")


def as_infer_says(paths):
    """What the command prints: {file name: {class: probability}}."""
    done = subprocess.run([sys.executable, ROOT / "infer.py", "--json", "--device", "cpu", "--top-k", "10",
                           "--model-dir", infer.SHIPPED, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {Path(result["picture"]).name: {best["class"]: best["probability"] for best in result["best"]}
            for result in json.loads(done.stdout)["results"]}


def differences(browser, paths):
    """By how much the page and infer.py differ at most, for each file."""
    found = {}
    for path, (name, expected) in zip(paths, as_infer_says(paths).items()):
        browser.choose("#file", path)
        answers = answers_of(browser, name)
        found[name] = max(abs(answers[each] - expected[each]) for each in CLASSES)
    print(json.dumps(found, indent=1), browser.ask("document.getElementById('measured').textContent"))
    return found


def picture_of(name, size=None):
    """One of the chapter's pictures."""
    with Image.open(ROOT / "image" / f"{name}.png") as picture:
        picture = picture.convert("RGB")
    return picture if size is None else picture.resize(size, Image.BICUBIC)


def cut_out(name, soft=False):
    """A picture of which only a circle is opaque; its edge is sharp, or soft."""
    picture, (down, across) = picture_of(name), np.mgrid[-1:1:512j, -1:1:512j]
    distance = np.hypot(down, across)
    opacity = np.clip(1.5 - 1.5 * distance, 0, 1) if soft else distance < 0.8
    picture.putalpha(Image.fromarray((opacity * 255).astype(np.uint8)))
    return picture


def deep_png(path, values):
    """Write a PNG with 16 bits for each number, which Pillow writes only for gray: uint16 [H, W, 3]."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks))


def turned(number):
    """EXIF's note of how the camera was held."""
    exif = Image.Exif()
    exif[274] = number
    return exif


def odd_pictures(folder):
    """Write pictures of the kinds that go wrong most easily -> their paths."""
    def save(name, picture, **options):
        picture.save(folder / name, **options)

    save("transparent.png", cut_out("cat"))
    save("half-transparent.png", cut_out("horse", soft=True))
    save("transparent.webp", cut_out("frog", soft=True), lossless=True)
    save("transparent.gif", cut_out("ship").quantize(63))
    save("gray-transparent.png", cut_out("bird").convert("LA"))
    hidden = picture_of("truck").quantize(16)
    save("one-color-transparent.png", hidden, transparency=hidden.getpixel((0, 0)))
    for number in (3, 5, 6, 8):
        save(f"turned-{number}.jpg", picture_of("deer", (500, 300)), exif=turned(number), quality=92)
    save("turned-6.png", picture_of("dog", (300, 500)), exif=turned(6))
    save("gray.jpg", picture_of("cat").convert("L"))
    save("gray.png", picture_of("automobile").convert("L"))
    save("black-and-white.png", picture_of("airplane").convert("1"))
    gray = np.asarray(picture_of("horse").convert("L")).astype(np.uint16)
    save("gray-16-bit.png", Image.fromarray(gray * 257))
    deep_png(folder / "color-16-bit.png", np.asarray(picture_of("frog")).astype(np.uint16) * 257)
    save("very-large.jpg", picture_of("dog", (6000, 4500)), quality=90)
    save("very-large.png", picture_of("ship", (5000, 4000)), compress_level=1)
    save("progressive.jpg", picture_of("truck"), progressive=True)
    save("halved.jpg", picture_of("bird", (300, 290)), quality=95)
    save("quartered.jpg", picture_of("bird", (700, 600)), quality=95)
    save("one-pixel.png", picture_of("frog", (1, 1)))
    save("line.png", picture_of("ship", (3000, 2)))
    save("column.png", picture_of("ship", (2, 3000)))
    save("enlarged.png", picture_of("deer", (20, 31)))
    save("animation.gif", picture_of("cat").quantize(200), save_all=True,
         append_images=[picture_of("dog").quantize(200)])
    save("bitmap.bmp", picture_of("horse", (200, 333)))
    save("lossy.webp", picture_of("airplane"), quality=80)
    about = PngImagePlugin.PngInfo()
    about.add(b"gAMA", struct.pack(">I", 100_000))  # "each number is as bright as it is large", which Pillow ignores
    save("gamma.png", picture_of("automobile"), pnginfo=about)
    if features.check("avif"):
        save("modern.avif", picture_of("dog"))
    save("Hündchen 犬.png", picture_of("dog"))
    return sorted(folder.iterdir())


def test_the_ten_pictures_are_answered_as_infer_does(shown):
    """By their buttons, and as files."""
    paths = [ROOT / "image" / f"{name}.png" for name in CLASSES]
    found = differences(shown, paths)
    assert len(found) == 10 and max(found.values()) < CLOSE / 4, found
    for path, (name, expected) in zip(paths, as_infer_says(paths).items()):
        shown.ask(f"document.getElementById('{path.stem}').click()")
        answers = answers_of(shown, name)
        assert max(abs(answers[each] - expected[each]) for each in CLASSES) < CLOSE / 4
        assert "Paddle says" in text_of(shown, "measured")
        assert float(text_of(shown, "measured").split()[-1].rstrip(".")) < CLOSE / 4


def test_odd_pictures_are_answered_as_infer_does(shown, tmp_path):
    paths = odd_pictures(tmp_path)
    found = differences(shown, paths)
    assert len(found) >= 20 and max(found.values()) < CLOSE, found
    assert len({text for text in found}) == len(paths)
