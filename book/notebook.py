"""README.md as a Jupyter notebook: `python book/notebook.py` writes build/chapter.ipynb.

It runs from top to bottom. Definitions become cells with the same text, commands marked `run` become
commands, and after some definitions a cell tries them out. `--quick` appends to each command what its mark
says, so that it takes a minute; `--run` runs the notebook and keeps what it printed.
"""
import argparse
import ast
import base64
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import nbformat  # noqa: E402
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook  # noqa: E402

from book import chapter  # noqa: E402

START = """import math, os, sys
from pathlib import Path

# The project's folder, wherever this notebook lies in it.
os.chdir(next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "train.py").exists()))
sys.path.insert(0, os.getcwd())

from utils.speed import cpu

cpu.set_flags()  # before Paddle is loaded
import paddle

paddle.enable_static()"""

COUNT = """program = paddle.static.Program()
with paddle.static.program_guard(program, paddle.static.Program()):
    probabilities = {call}(paddle.static.data("pixel", [None, 3, 32, 32], "float32"))
weights = sum(math.prod(p.shape) for p in program.all_parameters() if p.trainable)
print(probabilities.shape, f"{{weights:,}} weights")"""

# Cells that try a definition out, by the name of the definition that they follow.
TRIES = {
    "vgg_bn_drop": COUNT.format(call="vgg_bn_drop"),
    "resnet_cifar10": COUNT.format(call="resnet_cifar10"),
    "batches_of": "order = epoch_order(50_000, seed=1, epoch=0)\n"
                  "print(order[:8], len(batches_of(order, 128)), 'batches')",
    "load_image": "pixels = load_image('dog.png')\nprint(pixels.shape, pixels.min(), pixels.max())",
}


class Cells(list):
    """The notebook's cells while it is put together, and which definitions are in it so far."""

    def __init__(self, text, quick):
        super().__init__()
        self.quick = quick
        self.quoted = {}  # file -> names that the page defines
        for block in chapter.blocks_of(text):
            if block.kind == "code":
                self.quoted.setdefault(block.words[0], set()).add(block.words[1])
        self.opened = set()

    def prose(self, text):
        """A cell of text, its figures attached."""
        text, attachments = re.sub(r"^<!--.*?-->\n", "", text, flags=re.M).strip(), {}

        def attach(found):
            path = re.search(r'src="([^"]+)"', found.group(0)).group(1)
            alt = re.search(r'alt="([^"]*)"', found.group(0)).group(1)
            picture = base64.b64encode((ROOT / path).read_bytes()).decode()
            attachments[Path(path).name] = {"image/png": picture}
            caption = found.group(0).split("<br/>")[1].replace("</p>", "").strip()
            return f"![{alt}](attachment:{Path(path).name})\n\n{caption}"

        text = re.sub(r'<p align="center">\n<img.*?</p>', attach, text, flags=re.S)
        text = re.sub(r"```math\n(.*?)```", r"$$\n\1$$", text, flags=re.S)
        if text:
            self.append(new_markdown_cell(text, attachments=attachments))

    def definition(self, path, name, source):
        """A cell with a definition, after its file's imports where it is the first of its file."""
        if path not in self.opened:
            self.opened.add(path)
            self.append(new_code_cell(head_of(path, self.quoted[path])))
        self.append(new_code_cell(source.rstrip("\n")))
        if name in TRIES:
            self.append(new_code_cell(TRIES[name]))

    def command(self, text, more):
        """A cell with commands for the shell, which stops the notebook where one fails."""
        lines = []
        for line in text.splitlines():
            shell = " ".join([re.sub(r"^python ", "{sys.executable} ", line), *(more if self.quick else ())])
            lines += [f"!{shell}", "assert _exit_code == 0"]
        self.append(new_code_cell("\n".join(lines)))


def head_of(path, quoted):
    """The imports of a file, and those of its names that the page does not define."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    others = [name for name in chapter.definitions_of(path) if name not in quoted]
    module = path[:-len(".py")].replace("/", ".")
    if others:
        imports.append(f"from {module} import {', '.join(others)}")
    return "\n".join([f"# what {path} needs", *imports])


def build(text, quick):
    """The notebook of the page."""
    cells, lines, at = Cells(text, quick), text.splitlines(keepends=True), 0
    cells.append(new_code_cell(START))
    for block in chapter.blocks_of(text):
        if block.kind not in ("code", "run"):
            continue
        first, last = block.lines
        cells.prose("".join(lines[at:first - 1]))
        if block.kind == "code":
            cells.definition(*block.words, block.text)
        else:
            cells.command(block.text, block.words)
        at = last + 1
    cells.prose("".join(lines[at:]))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # the same page, the same file
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=list(cells), metadata=about)


def run(notebook):
    """Run all cells in a fresh kernel, keeping what they print.

    Errors: CellExecutionError for a cell that fails.
    """
    from nbclient import NotebookClient

    NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(ROOT)}}).execute()


def main(arguments):
    """Write the notebook."""
    parser = argparse.ArgumentParser(prog="notebook.py",
                                     description="Make a Jupyter notebook of the chapter.")
    parser.add_argument("target", nargs="?", default=ROOT / "build" / "chapter.ipynb", type=Path)
    parser.add_argument("--quick", action="store_true",
                        help="few batches of drawn pictures instead of a whole training")
    parser.add_argument("--run", action="store_true", help="run it and keep the output")
    options = parser.parse_args(arguments)
    notebook = build(chapter.read(), options.quick)
    if options.run:
        run(notebook)
    nbformat.validate(notebook)
    options.target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, options.target)
    print(options.target)


if __name__ == "__main__":
    main(sys.argv[1:])
