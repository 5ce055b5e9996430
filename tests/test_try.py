"""The page that runs a model in the browser: a real one shows it, touches it, and answers as infer.py does."""
import importlib
import json
import re
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
import small_networks
from book import inside
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
    """The bars that are shown: {class: probability}."""
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


def save_turned(path, picture, number, **options):
    """Write a picture as a camera does that was held in this way: its rows are others, and EXIF says which."""
    undone_by = {3: Image.ROTATE_180, 5: Image.TRANSPOSE, 6: Image.ROTATE_90, 8: Image.ROTATE_270}
    exif = Image.Exif()
    exif[274] = number
    picture.transpose(undone_by[number]).save(path, exif=exif, **options)


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
        save_turned(folder / f"turned-{number}.jpg", picture_of("deer", (500, 300)), number, quality=92)
    save_turned(folder / "turned-6.png", picture_of("dog", (300, 500)), 6)
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
    said = []
    for path, (name, expected) in zip(paths, as_infer_says(paths).items()):
        shown.ask(f"document.getElementById('{path.stem}').click()")
        answers = answers_of(shown, name)
        assert max(abs(answers[each] - expected[each]) for each in CLASSES) < CLOSE / 4
        assert "Paddle says" in text_of(shown, "measured")
        said.append(float(text_of(shown, "measured").split()[-1].rstrip(".")))
    assert max(said) < 2e-5 and sum(each > 0 for each in said) > 5, said  # two are equal to six digits


def test_odd_pictures_are_answered_as_infer_does(shown, tmp_path):
    paths = odd_pictures(tmp_path)
    found = differences(shown, paths)
    assert len(found) >= 20 and max(found.values()) < CLOSE, found


@pytest.mark.parametrize("name, content", [
    ("empty.png", b""), ("text.png", b"This is no picture.\n"), ("page.jpg", b"<!doctype html><p>404</p>"),
    ("noise.jpg", np.random.RandomState(1).bytes(5000)), ("<b>bold</b>.pdf", b"%PDF-1.7"),
    ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>while (true);</script></svg>"),
    ("wide.png", None)])
def test_what_is_no_picture_is_a_sentence(shown, tmp_path, name, content):
    """And the page goes on."""
    path = tmp_path / name.replace("/", "∕")
    if content is None:
        Image.new("L", (40_000, 2)).save(path)
    else:
        path.write_bytes(content)
    before = bars_of(shown)
    shown.choose("#file", path)
    shown.wait("document.getElementById('problem').textContent")
    told = text_of(shown, "problem")
    assert told.startswith(path.name) and told.endswith(".") and 40 < len(told) < 120 and "rror" not in told
    assert bars_of(shown) == before
    shown.choose("#file", ROOT / "image" / "cat.png")
    assert answers_of(shown, "cat.png")["cat"] > 0.9 and text_of(shown, "problem") == ""


def from_elsewhere(browser, event, holder, files):
    """Have the page get files as from the clipboard or another window; files: JavaScript that adds to `data`."""
    browser.ask("(async () => { const data = new DataTransfer(); const file = async (name, id) => data.items.add(new "
                "File([await new Promise(kept => { const image = document.querySelector(`#${id} img`); const canvas = "
                "new OffscreenCanvas(144, 144); canvas.getContext('2d').drawImage(image, 0, 0, 144, 144); "
                "kept(canvas.convertToBlob()); })], name)); "
                f"{files}; document.body.dispatchEvent(new {event}('{holder[0]}', "
                f"{{{holder[1]}: data, bubbles: true, cancelable: true}})); }})()")


@pytest.mark.parametrize("event, holder", [("ClipboardEvent", ("paste", "clipboardData")),
                                           ("DragEvent", ("drop", "dataTransfer"))])
def test_a_picture_is_pasted_or_dropped(shown, event, holder):
    from_elsewhere(shown, event, holder, "await file('frog.png', 'frog'); await file('second.png', 'ship')")
    assert answers_of(shown, "frog.png")["frog"] > 0.9
    from_elsewhere(shown, event, holder, "data.setData('text/plain', 'a word')")
    assert "save the picture first" in text_of(shown, "problem")


def test_the_camera_takes_photographs_once_it_shows_an_image(shown):
    for count in range(2):
        shown.ask("document.getElementById('photograph').click()")
        shown.wait("document.getElementById('camera').open")
        shown.wait("!document.getElementById('shoot').disabled")
        shown.ask(f"now.name = 'none of photograph {count}'; document.getElementById('shoot').click()")
        assert sum(answers_of(shown, "Your photograph").values()) == pytest.approx(1, abs=0.001)
        shown.wait("!document.getElementById('camera').open")
        shown.wait("document.getElementById('video').srcObject.getTracks().every(track => track.readyState == 'ended')")


def test_without_an_image_the_camera_takes_nothing(shown):
    """Of a camera that never sends an image: a click on the button does nothing."""
    shown.ask("navigator.mediaDevices.getUserMedia = async () => new MediaStream()")
    shown.ask("document.getElementById('photograph').click()")
    shown.wait("document.getElementById('camera').open")
    shown.ask("document.getElementById('shoot').click()")
    shown.ask("new Promise(kept => setTimeout(kept, 300))")
    assert shown.ask("document.getElementById('camera').open") and text_of(shown, "problem") == ""


def test_nothing_leaves_the_page(shown, page):
    """Not in use, not if its script were to ask for something: the policy forbids it."""
    shown.choose("#file", ROOT / "image" / "cat.png")
    answers_of(shown, "cat.png")
    asked = [event["params"]["request"]["url"] for event in shown.events
             if event["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked and all(url == page.as_uri() or url.startswith(("data:", "blob:", "about:"))
                                          for url in asked)
    shown.ask("window.refused = []; addEventListener('securitypolicyviolation', event => "
              "refused.push(event.blockedURI)); "
              "fetch('http://127.0.0.1:9/a').catch(() => 0); new Image().src = 'http://127.0.0.1:9/b'; 0")
    shown.wait("refused.length == 2")
    assert sorted(shown.ask("refused")) == ["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"]
    assert "http" not in "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)


def test_the_script_is_short_enough_to_read():
    lines = [line for path in SCRIPTS for line in path.read_text(encoding="utf-8").splitlines()]
    assert 300 < len(lines) <= 400 and max(map(len, lines)) <= 120


def drag(browser, name, across, down):
    """Move the mouse to a place of a canvas, in parts of its size."""
    browser.ask(f"document.getElementById('{name}').scrollIntoView({{block: 'center'}})")
    left, top, width, height = browser.ask(f"(box => [box.left, box.top, box.width, box.height])"
                                           f"(document.getElementById('{name}').getBoundingClientRect())")
    browser.move(left + across * width, top + down * height)
    return left + across * width, top + down * height


def test_a_gray_square_moves_with_the_mouse_and_the_bars_with_it(shown, paddle_model):
    pixels, whole = infer.load_image("dog.png"), bars_of(shown)
    drag(shown, "picture", 0.3, 0.3)
    assert bars_of(shown) == whole, "there is no square yet"
    shown.ask("document.getElementById('covered').click()")
    for across, down in ((0.3, 0.3), (0.9, 0.95), (0.51, 0.36)):
        drag(shown, "picture", across, down)
        left, top = (min(max(int(part * 32) - 5, 0), 31) for part in (across, down))
        shown.wait(f"document.getElementById('left').value == {left} && document.getElementById('top').value == {top}"
                   " && now.soon === undefined")
        hidden = pixels.copy()
        hidden[:, :, top:top + 10, left:left + 10] = 0.5
        answers = bars_of(shown)
        expected = dict(zip(CLASSES, infer.infer(paddle_model, hidden)[0]))
        assert max(abs(answers[name] - expected[name]) for name in CLASSES) < CLOSE / 4
    assert max(abs(answers[name] - whole[name]) for name in CLASSES) > 0.1, "half of the head hidden"
    shown.ask("document.getElementById('dog').click()")
    shown.wait("!document.getElementById('covered').checked && now.soon === undefined")
    assert bars_of(shown) == whole, "another picture, no square"


def test_frames_show_what_a_place_depends_on(shown, paddle_model):
    """Asked of Paddle: noise outside the frame changes nothing there, noise in an outer row or column of it does."""
    opened = inside.open_up(paddle_model)
    pixels, noise = infer.load_image("dog.png"), np.random.RandomState(0).rand(1, 3, 32, 32).astype(np.float32)
    names = shown.ask("[...document.querySelectorAll('[name=layer]')].map(layer => layer.value)")
    assert len(names) > 20
    for number in (0, 2, 6, 9, 16, 23):
        shown.ask(f"document.querySelectorAll('[name=layer]')[{number}].click()")
        shape = shown.ask(f"now.tensors['{names[number]}'].shape")
        for part in (0.2, 0.5):
            drag(shown, "map", part, part + 0.1)
            row, column = (min(int(each * size), size - 1) for each, size in zip((part + 0.1, part), shape[2:]))
            assert [shown.ask(f"+document.getElementById('{name}').value") for name in ("row", "column")] == [
                row + 1, column + 1]
            top, bottom, left, right = map(int, re.search(
                r"rows (\d+) to (\d+), columns (\d+) to (\d+)", text_of(shown, "depends")).groups())
            rows, columns = slice(top - 1, bottom), slice(left - 1, right)
            inside_frame = [(rows, columns), (top - 1, columns), (bottom - 1, columns), (rows, left - 1),
                            (rows, right - 1)]
            masks = np.zeros((5, 32, 32), bool)
            for mask, place in zip(masks, inside_frame):
                mask[place] = True
            masks[0] = ~masks[0]
            variants = np.concatenate([pixels, *(np.where(mask, noise, pixels) for mask in masks)])
            at_place = fetch(opened, variants, [names[number]])[0][:, :, row, column]  # [6, maps]
            changes = np.abs(at_place[1:] - at_place[0]).max(1)
            assert changes[0] < 1e-4 and (changes[1:] > 1e-3).all(), (names[number], changes)


def fetch(opened, pixels, names):
    """Values of a program's variables for pictures, [N, 3, 32, 32] -> arrays [N, ...]; mirrored copies come last."""
    return [values[:len(pixels)] for values in opened.run({opened.input: pixels}, names)]


def test_products_add_up_to_what_paddle_computes(shown, paddle_model):
    """Each pixel and each weight is the one that Paddle has, and the sum is Paddle's."""
    opened = inside.open_up(paddle_model)
    first = opened.program.global_block().ops
    convolution = next(op for op in first if op.type == "conv2d")
    kernels = np.array(paddle_model.scope.find_var(convolution.input("Filter")[0]).get_tensor())
    pixels = infer.load_image("dog.png")
    output = shown.ask("document.querySelector('[name=layer]:checked').value")
    maps = fetch(opened, pixels, [output])[0][0]
    for kernel, row, column in ((0, 12, 11), (5, 3, 30), (23, 30, 0)):
        for name, value in (("number", kernel), ("row", row), ("column", column)):
            shown.ask(f"document.getElementById('{name}').value = {value + 1}")
        shown.ask("document.getElementById('row').dispatchEvent(new Event('change', {bubbles: true}))")
        cells = shown.ask("[...document.querySelectorAll('#tables span')].map(cell => cell.textContent)")
        numbers = np.array([[float(number) for number in re.findall(r"-?\d+\.\d+", cell.replace("−", "-"))]
                            for cell in cells])
        assert numbers.shape == (12, 3)
        np.testing.assert_allclose(numbers[:, 0], pixels[0, :, row:row + 2, column:column + 2].ravel(), atol=0.0051)
        np.testing.assert_allclose(numbers[:, 1], kernels[kernel].ravel(), atol=0.0051)
        told = [float(number) for number in re.findall(r"-?\d+\.\d+", text_of(shown, "total").replace("−", "-"))]
        assert told[0] == pytest.approx(numbers[:, 2].sum(), abs=0.07)
        assert told[2] == pytest.approx(maps[kernel, row, column], abs=0.0051)
        assert told[0] + told[1] == pytest.approx(told[2], abs=0.02)
    shown.ask("document.querySelectorAll('[name=layer]')[2].click()")
    assert not shown.ask("document.getElementById('tables').checkVisibility()"), "of the first layer alone"


def test_a_map_is_chosen_with_the_mouse(shown):
    x, y = drag(shown, "maps", 2.5 / 6, 1.5 / 4)  # 24 maps in 6 columns: the second row, the third in it
    for kind in ("mousePressed", "mouseReleased"):
        shown.move(x, y, kind, button="left", clickCount=1)
    assert shown.ask("document.getElementById('number').value") == "9"


def test_keys_are_enough(shown):
    """Each thing that takes keys has a name, and what the mouse can do they can."""
    nodes = shown.call("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"] and
             any(each["name"] == "focusable" and each["value"]["value"] for each in node.get("properties", []))]
    roles = [role for role, _ in named]
    assert all(name.strip() for role, name in named if role != "RootWebArea"), named
    assert roles.count("button") >= 11 and roles.count("radio") > 20 and roles.count("slider") == 3
    assert ("button", "cat") in named and roles.count("spinbutton") == 3

    def go_to(name):
        for _ in range(60):
            shown.press("Tab", 9)
            if shown.ask("document.activeElement.id || document.activeElement.name") == name:
                return
        raise AssertionError(f"no Tab leads to {name}")

    go_to("cat")
    shown.press("Enter", 13, "\r")
    assert answers_of(shown, "cat.png")["cat"] > 0.9
    go_to("covered")
    shown.press(" ", 32, " ")
    go_to("top")
    for _ in range(3):
        shown.press("ArrowRight", 39)
    shown.wait("document.getElementById('top').value == 7 && now.soon === undefined")
    assert bars_of(shown)["cat"] < 0.99
    go_to("layer")
    shown.press("ArrowRight", 39)
    assert "GELU" in shown.ask("document.activeElement.ariaLabel")
    go_to("number")
    shown.press("ArrowUp", 38)
    assert shown.ask("document.getElementById('number').value") == "2"


def luminance(color):
    """Of a color as CSS says it; WCAG 2.2, "relative luminance"."""
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", color)[:3]]
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return np.dot(parts, (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_the_screen_and_can_be_read(shown, width, dark):
    """Contrast as WCAG 2.2 asks for: at least 4.5."""
    shown.resize(width, 900, dark)
    assert shown.ask("document.documentElement.scrollWidth") == width
    assert shown.ask("[...document.querySelectorAll('main *')].filter(each => each.getBoundingClientRect().right > "
                     "innerWidth).map(each => each.outerHTML)") == []
    ground = shown.ask("getComputedStyle(document.querySelector('.card')).backgroundColor")
    assert (luminance(ground) < 0.1) == dark
    for selector in ("h2", ".small", "#best", "a"):
        ink = shown.ask(f"getComputedStyle(document.querySelector('main {selector}, footer {selector}')).color")
        light, dim = sorted((luminance(ground), luminance(ink)), reverse=True)
        assert (light + 0.05) / (dim + 0.05) > 4.5, selector


@pytest.mark.parametrize("name", ["resnet", "vgg", "googlenet", "airbench"])
def test_each_network_of_the_chapter_runs(started, tmp_path, name):
    """Each layer gives what Paddle computes, whether both pictures agree or there is one, with ten classes or more."""
    small_networks.save(tmp_path / "model", name)
    target = tmp_path / "own.html"
    assert try_page.main([str(target), "--model-dir", str(tmp_path / "model")]) == 0
    started.open(target.as_uri())
    answers = answers_of(started, "dog.png")
    model = infer.load_model(tmp_path / "model", "cpu")[0]
    pixels = infer.load_image("dog.png")
    expected = dict(zip(model.description["classes"], infer.infer(model, pixels)[0]))
    assert max(expected.values()) > 1.5 / len(expected), "an answer about the picture"
    assert max(abs(answers[each] - expected[each]) for each in answers) < CLOSE / 4
    assert min(answers.values()) >= sorted(expected.values())[-10] - CLOSE / 4, "the ten likeliest"
    names = started.ask("[...document.querySelectorAll('[name=layer]')].map(layer => layer.value)")
    for output, values in zip(names, fetch(inside.open_up(model), pixels, names)):
        most = np.abs(values).max()
        here = started.ask(f"(({{shape: [, ...size], values}}) => [...values.subarray(0, product(size))])"
                           f"(now.tensors[{json.dumps(output)}])")
        assert np.abs(np.array(here) - values.ravel()).max() < 0.01 * most, output


def test_a_program_of_another_kind_is_one_line(model_dir, tmp_path, capsys):
    assert try_page.main([str(tmp_path / "try.html"), "--model-dir", str(model_dir)]) == UserError.status
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "reduce_mean" in told.err and "models/" in told.err
    assert not (tmp_path / "try.html").exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert try_page.main([str(tmp_path / "file" / "try.html")]) == UserError.status
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "name another file" in told.err


def test_the_page_leads_to_the_chapter_where_that_is_built(page, tmp_path):
    assert '<a href="../README.md">The chapter</a>' in page.read_text(encoding="utf-8")
    (tmp_path / "chapter.html").write_text("")
    assert try_page.main([str(tmp_path / "try.html")]) == 0
    assert '<a href="chapter.html">The chapter</a>' in (tmp_path / "try.html").read_text(encoding="utf-8")


def test_names_of_classes_are_text(paddle_model):
    """Whatever they hold: no tag of theirs is one of the page."""
    description = {**paddle_model.description, "dataset": "<b>mine</b>",
                   "classes": ["</script><script>alert(1)</script>", *CLASSES[1:]]}
    made = try_page.build(paddle_model._replace(description=description), "chapter.html")
    assert made.count("</script>") == 2 and "<b>mine" not in made and "&lt;b&gt;mine" in made


def test_numbers_of_16_bits_are_read_as_numpy_reads_them(shown):
    bits = np.concatenate([np.arange(0, 65536, 37), [0, 1, 1023, 1024, 31743, 32769]]).astype(np.uint16)
    bits = bits[np.isfinite(bits.view(np.float16))]
    assert shown.ask(f"{bits.tolist()}.map(fromHalf)") == bits.view(np.float16).astype(float).tolist()
