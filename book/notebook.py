"""The pages as one Jupyter notebook: `python book/notebook.py` writes build/chapter.ipynb.

It runs from top to bottom. Blocks of code become cells with the same text, commands marked `run` become commands, and
after some definitions a cell tries them out. `--quick` appends to each command what its mark says, so that it takes a
minute; `--run` runs the notebook and keeps what it printed. `--address URL` is for whoever publishes the project: it
writes book/chapter.ipynb, which fetches the project from there, and into the chapter its badges and `git clone`.
"""
import argparse
import ast
import base64
import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script's own folder is there, not the project's

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import chapter
from book.chapter import ROOT
from utils.errors import exit_status

START = """# In the project's folder, or in one inside it, this notebook runs right away. Elsewhere, as in Colab,
# this cell first {how},
# and installs Paddle, for the GPU where a wheel works with it, which takes a few minutes.
import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path

brought = Path.cwd() / "image-classification"
places = (Path.cwd(), *Path.cwd().parents, brought)
project = next((folder for folder in places if (folder / "train.py").exists()), None)
if project is None:
    project, part = brought, Path(f"{{brought}}.part")  # it gets its name when all of it is there
    shutil.rmtree(part, ignore_errors=True)
{bring}
    query = "nvidia-smi --query-gpu=compute_cap --format=csv,noheader"
    seen = os.popen(query).read() if shutil.which("nvidia-smi") else ""
    gpu = float(seen.split()[0]) if seen[:1].isdigit() else 0  # the first one's compute capability
    can_pip = (sys.platform, platform.machine()) == ("linux", "x86_64")
    steps = [f'install -r "{{source}}/requirements-cpu.txt"']
    why = f"for the CPU, since {{f'pip has no wheel for a GPU of {{gpu}}' if gpu else 'no GPU is'}} here"
    if can_pip and gpu >= 9:
        cuda, why = "cu126" if gpu < 10 else "cu129", f"3.3.1 for the GPU, whose compute capability is {{gpu}}"
        wheels = f"https://www.paddlepaddle.org.cn/packages/stable/{{cuda}}/"
        steps += ["uninstall -y paddlepaddle", f"install paddlepaddle-gpu==3.3.1 -i {{wheels}}"]
    elif can_pip and (gpu == 6.1 or gpu >= 7) and sys.version_info < (3, 13):
        why = f"2.6.2 for the GPU, whose compute capability is {{gpu}}"
        steps = [f'install -r "{{source}}/requirements.txt" nvidia-cudnn-cu11==8.6.0.163 nvidia-cublas-cu11==11.11.3.6']
    print(f"Paddle {{why}}: see book/running.md, 'Which Paddle for which machine'")
    for step in steps:
        !"{{sys.executable}}" -m pip --quiet {{step}}
        assert _exit_code == 0, "Paddle could not be installed"
    os.rename(source, project)
    shutil.rmtree(part, ignore_errors=True)
    assert "numpy" not in sys.modules, "all is installed: restart the kernel (menu Runtime or Kernel), run from the top"
os.chdir(project)
sys.path.insert(0, str(project))

# The cells below are the text of the project's files. They run as in a file that is imported: what is under
# `if __name__ == "__main__":` starts nothing here; the scripts are started by the commands further down.
__name__, __file__ = "chapter", str(project / "chapter.ipynb")

from utils import flags

flags.set_flags()  # Paddle reads them while it is imported
import paddle

paddle.enable_static()"""
UNPACK = """    archives = [path for path in sorted(Path.cwd().glob("*.zip")) if zipfile.is_zipfile(path)
                and any(Path(name).name == "train.py" for name in zipfile.ZipFile(path).namelist())]
    assert archives, "move this notebook into the project's folder, or put a zip file of the project next to it"
    zipfile.ZipFile(archives[0]).extractall(part)
    source = min(part.rglob("train.py"), key=lambda path: len(path.parts)).parent"""
FETCH = '''    source = part
    !git clone --quiet --depth 1 "{address}" "{{source}}"
    assert _exit_code == 0, "the project could not be fetched"'''

COUNT = """from utils.storage.program_state import count_parameters

program = paddle.static.Program()
with paddle.static.program_guard(program, paddle.static.Program()):
    probabilities = {call}(paddle.static.data("pixel", [None, 3, 32, 32], "float32"))
print(probabilities.shape, f"{{count_parameters(program):,}} weights")"""

# Cells that try a definition out, by the name of the definition that they follow.
TRIES = {
    "vgg_bn_drop": COUNT.format(call="vgg_bn_drop"),
    "resnet_cifar10": COUNT.format(call="resnet_cifar10"),
    "batches_of": "order = epoch_order(50_000, seed=1, epoch=0)\n"
                  "print(order[:8], len(batches_of(order, 128)), 'batches')",
    "load_image": "pixels = load_image('dog.png')\nprint(pixels.shape, pixels.min(), pixels.max())",
}

FIGURE = re.compile(r'<p align="center">\n<img (?=[^>]*src="(?P<path>[^"]+)")(?=[^>]*alt="(?P<alt>[^"]*)")[^>]*><br/>'
                    r'(?P<caption>.*?)</p>|^!\[(?P<text>[^\]]*)\]\((?P<link>image/[^)]+)\)$', re.M | re.S)


class Cells(list):
    """The notebook's cells while it is put together, and which files have cells so far."""

    def __init__(self, text, quick, address=None):
        """text: the pages, from which follows what each file's cells have to bring that no block shows."""
        super().__init__([new_code_cell(start(address))])
        self.quick, self.address, self.opened = quick, address, set()
        self.shown = {}  # file -> the statements that the page shows
        for block in chapter.blocks_of(text):
            if block.kind == "code":
                quote = chapter.quote_of(block)
                self.shown.setdefault(quote.path, []).extend(quote.statements)

    def prose(self, text):
        """A cell of text, its figures attached, or for a service their addresses; without marks and badges."""
        text, attachments = re.sub(r"^(<!--.*?-->|\[!\[.*)\n", "", text, flags=re.M).strip(), {}
        base = chapter.address_of(self.address, "") if self.address else "../"  # the file lies in build/

        def attach(found):
            """A figure in HTML or Markdown as one in Markdown that is attached, or at its address."""
            alt, path = found["alt"] or found["text"], found["path"] or found["link"]
            caption = f"\n\n{found['caption'].strip()}" if found["caption"] else ""
            if self.address:
                return f"![{alt}]({chapter.address_of(self.address, path, 'raw')}){caption}"
            attachments[Path(path).name] = {"image/png": base64.b64encode((ROOT / path).read_bytes()).decode()}
            return f"![{alt}](attachment:{Path(path).name}){caption}"

        text = FIGURE.sub(attach, text)
        text = re.sub(r"```math\n(.*?)```", r"$$\n\1$$", text, flags=re.S)
        text = re.sub(r'(\]\(|href=")(?!https?:|attachment:|#)(?=[\w./-]+[#)"])', rf"\g<1>{base}", text)
        if text:
            self.append(new_markdown_cell(text, attachments=attachments))

    def code(self, block):
        """A cell with a block of code; before the first block of a file, a cell with what else the file needs."""
        quote = chapter.quote_of(block)
        if quote.path not in self.opened:
            self.opened.add(quote.path)
            rest = not_shown(quote.path, self.shown[quote.path])
            if rest:
                self.append(new_code_cell(f"# what else {quote.path} needs\n{rest}"))
        self.append(new_code_cell(block.text.rstrip("\n")))
        defined = [s.node.name for s in quote.statements if isinstance(s.node, ast.FunctionDef)]
        self.extend(new_code_cell(TRIES[name]) for name in defined if name in TRIES)

    def command(self, text, more):
        """A cell with commands for the shell, which stops the notebook where one fails."""
        lines = []
        for line in text.splitlines():
            shell = re.sub(r"^python ", '"{sys.executable}" ', line)  # quoted: the path may have spaces
            lines += ["!" + " ".join([shell, *(more if self.quick else ())]), "assert _exit_code == 0"]
        self.append(new_code_cell("\n".join(lines)))


def not_shown(path, shown):
    """Code that brings what a file's statements need and the page does not show: imports, and names of the file."""
    lines = {statement.first for statement in shown}
    hidden = [statement for statement in chapter.statements_of(chapter.source_of(path)) if statement.first not in lines]
    imports = [ast.unparse(s.node) for s in hidden if isinstance(s.node, (ast.Import, ast.ImportFrom))]
    names = [name for s in hidden for name in s.names
             if not isinstance(s.node, (ast.Import, ast.ImportFrom)) and name != "__main__"]
    if names:
        imports.append(f"from {path[:-len('.py')].replace('/', '.')} import {', '.join(names)}")
    return "\n".join(imports)


def start(address=None):
    """The first cell's text: it finds the project, or brings it from a zip file next to it, or from its address."""
    how = "fetches the project" if address else "unpacks a zip file of the project that lies next to it"
    bring = FETCH.format(address=address) if address else UNPACK
    return START.format(how=how, bring=bring)


def is_a_program_of_its_own(block):
    """Whether a block repeats what others define, so that it would replace them in a notebook: it stays text."""
    return block.kind == "code" and chapter.quote_of(block).path == "book/minimal.py"


def build(text, quick, address=None):
    """The notebook of the pages; address: of the published project, for a notebook that lies elsewhere."""
    cells, lines, at = Cells(text, quick, address), text.splitlines(keepends=True), 0
    for block in chapter.blocks_of(text):
        if block.kind not in ("code", "run") or is_a_program_of_its_own(block):
            continue
        first, last = block.lines
        cells.prose("".join(lines[at:first - 1]))
        if block.kind == "code":
            cells.code(block)
        else:
            cells.command(block.text, block.words)
        at = last + 1
    cells.prose("".join(lines[at:]))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # the same page, the same file
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=list(cells), metadata=about)


def badges(address, chinese=False):
    """The lines under the title that lead to the notebook services.

    Colab opens a notebook of GitHub by its address; AI Studio opens files, so its badge leads to the file.
    """
    colab = chapter.address_of(address, chapter.HOSTED).replace("github.com", "colab.research.google.com/github")
    first, second = ("Open in Colab", "Notebook for AI Studio")
    if chinese:
        first, second = ("在 Colab 中打开", "供 AI Studio 使用的 Notebook")
    return (f"[![{first}](image/colab.svg)]({colab})\n"
            f"[![{second}](image/aistudio.svg)]({chapter.address_of(address, chapter.HOSTED, 'raw')})\n")


def with_address(text, address, chinese=False):
    """The chapter with the badges under its title, and with `git clone` as its first command."""
    title, rest = text.split("\n", 1)
    rest = re.sub(r"\A\s*(\[!\[.*\n)*\s*", "", rest)
    clone = f"git clone {address}\ncd {address.rpartition('/')[2]}\n"
    rest = re.sub(r"^```bash\n", f"```bash\n{clone}", chapter.CLONE.sub("", rest, count=1), count=1, flags=re.M)
    return f"{title}\n\n{badges(address, chinese)}\n{rest}"


@contextlib.contextmanager
def workplace(project):
    """The folder to run in: the project's, or, where that is read-only, a temporary one with links to what is in it."""
    if os.access(project, os.W_OK):
        yield project
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in project.iterdir():
            if path.name != "build":  # the commands write there
                (Path(folder) / path.name).symlink_to(path)
        yield Path(folder)


def run(notebook):
    """Run all cells in a fresh kernel, keeping what they print.

    Errors: CellExecutionError for a cell that fails.
    """
    from nbclient import NotebookClient

    with workplace(ROOT) as folder:
        NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(folder)}}).execute()


def address(text):
    """An address on the command line: a repository on GitHub, where notebook services find it."""
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"{text} is not of the form https://github.com/OWNER/NAME")
    return text.removesuffix(".git")


@exit_status("end other programs")
def main(arguments=None):
    """Write the notebook."""
    parser = argparse.ArgumentParser(prog="notebook.py", description="Make a Jupyter notebook of the pages.")
    parser.add_argument("target", nargs="?", type=Path, metavar="FILE",
                        help="where to write it (default: build/chapter.ipynb)")
    parser.add_argument("--quick", action="store_true", help="few batches of drawn images instead of a whole training")
    parser.add_argument("--run", action="store_true", help="run it and keep the output")
    parser.add_argument("--address", type=address, metavar="URL", help="where the project is published: the notebook "
                        f"(default FILE: {chapter.HOSTED}) fetches it, the chapter gets badges and git clone")
    given = parser.parse_args(arguments)
    target = given.target or ROOT / (chapter.HOSTED if given.address else "build/chapter.ipynb")
    if given.address:
        for page in (chapter.PAGES[0], chapter.CHINESE[chapter.PAGES[0]]):
            chapter.write(ROOT / page, with_address(chapter.read(page), given.address, page != chapter.PAGES[0]))
    notebook = build(chapter.whole(), given.quick, given.address)
    nbformat.validate(notebook)
    chapter.write(target, nbformat.writes(notebook) + "\n")  # before the run: it takes minutes
    if given.run:
        run(notebook)
        chapter.write(target, nbformat.writes(notebook) + "\n")
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
