"""A page that runs a model in the reader's browser: `python book/try.py` writes build/try.html.

One file that needs neither a server nor a network: the model's operations and weights (operations.py), the chapter's
ten pictures, and a script of plain JavaScript in try/: network.js computes the answer, picture.js makes of any picture
what the network gets, page.js is what the reader touches.
"""
import argparse
import base64
import html
import io
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script's own folder is there, not the project's

import numpy as np
from PIL import Image

import infer
from book import chapter, operations
from book.chapter import ROOT
from utils.data.cifar10 import CLASSES
from utils.errors import exit_status

PARTS = ROOT / "book" / "try"
SCRIPTS = ("network.js", "picture.js", "page.js")
SMALL = 144  # pixels of a picture on a button, twice its size on the page


def base64_of(picture, kind, **options):
    """A Pillow picture as a file of this kind, in base64."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


def supplied(model):
    """The chapter's ten pictures: name, `data` (a PNG of what the network gets), and Paddle's answers."""
    pixels = np.concatenate([infer.load_image(f"{name}.png") for name in CLASSES])  # [10, 3, 32, 32]
    for name, values, answers in zip(CLASSES, pixels, infer.infer(model, pixels)):
        picture = Image.fromarray((values * 255).round().astype(np.uint8).transpose(1, 2, 0))
        yield {"name": name, "data": base64_of(picture, "png"), "answers": [round(float(each), 6) for each in answers]}


def buttons():
    """The chapter's ten pictures, small, to choose from: HTML."""
    for name in CLASSES:
        with Image.open(ROOT / "image" / f"{name}.png") as picture:
            small = base64_of(picture.convert("RGB").resize((SMALL, SMALL), Image.LANCZOS), "jpeg", quality=85)
        yield f'<button id="{name}"><img src="data:image/jpeg;base64,{small}" alt="{name}"></button>'


def layers(listed, block):
    """The network's layers to choose from, a line for each size of their maps: HTML."""
    before, checked = None, " checked"
    for operation in listed:
        label, (_, maps, *size) = operations.label_of(operation), block.var(operation["output"]).shape
        if label is None:
            continue
        size = " × ".join(map(str, size)) if size and size[0] > 1 else "numbers"
        if size != before:
            yield ("</div>" if before else "") + f"<div><span>{size}</span>"
        what = f"{label}, {maps} maps of {size}" if size != "numbers" else f"{label}, {maps} numbers"
        yield (f'<label><input type="radio" name="layer" value="{html.escape(operation["output"])}" '
               f'aria-label="{what}"{checked}><span>{label}<small>{maps}</small></span></label>')
        before, checked = size, ""
    yield "</div>"


def introduction(description):
    """One sentence: which network answers, and what it was trained on."""
    name = {"resnet": "ResNet", "vgg": "VGG", "googlenet": "GoogLeNet"}.get(description["model"])
    name = (name or description["model"].capitalize()) + f"-{description['depth']}" * bool(description.get("depth"))
    accuracy = description.get("test_accuracy")
    right = "" if accuracy is None else f", right about {accuracy:.1%} of its test pictures"
    return f"{name}, trained on {description['dataset']}{right}"


def build(model, chapter_address):
    """The page for a loaded model (infer.Model), with a link to the chapter."""
    listed = operations.Listed(model)
    network = {"operations": listed.operations, "numbers": listed.numbers.as_text(), "input": model.feed_names[0],
               "classes": model.description["classes"], "pictures": list(supplied(model))}
    texts = {"introduction": html.escape(introduction(model.description)), "chapter": chapter_address,
             "pictures": "\n".join(buttons()), "layers": "\n".join(layers(listed.operations, listed.block)),
             "style": (PARTS / "style.css").read_text(encoding="utf-8"),
             "script": "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS),
             "network": json.dumps(network).replace("<", "\\u003c")}  # so that no name of a class ends the script
    page = (PARTS / "page.html").read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda found: texts[found[1]], page)


@exit_status("end other programs")
def main(arguments=None):
    """Write the page."""
    parser = argparse.ArgumentParser(prog="try.py", description="Make an HTML page that runs a model in the browser.")
    parser.add_argument("target", nargs="?", type=Path, metavar="FILE", default=ROOT / "build" / "try.html",
                        help="where to write it (default: build/try.html)")
    parser.add_argument("--model-dir", type=Path, default=infer.SHIPPED,
                        help="a folder that train.py wrote (default: the supplied model)")
    given = parser.parse_args(arguments)
    model, _ = infer.load_model(given.model_dir, "cpu")
    page = "chapter.html" if (given.target.parent / "chapter.html").is_file() else "../README.md"
    chapter.write(given.target, build(model, page))
    print(given.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
