"""The pages' commands, typed in their order in a fresh environment: all run, and print what the pages show.

What is not typed unchanged is a row of CHANGES, with the reason. Numbers may differ as far as another processor or
another seed makes them. `python -m pytest -n 0 -m long tests/test_commands.py -s` tells what was typed; it takes a
quarter of an hour, and compares the figures of CIFAR-10 where CIFAR10_ARCHIVE holds the pages' pictures.
"""
import functools
import os
import re
import shlex
import subprocess
import sys
import venv
from typing import NamedTuple

import pytest

pytest.importorskip("markdown_it", reason="the pages are read with markdown-it-py of requirements-dev.txt")

import infer
import published
from book import chapter
from utils.data import dataset

ARCHIVE = os.environ.get("CIFAR10_ARCHIVE")
SHORT = "--epochs 1 --max-batches 4 --batch-size 32"  # of options given twice the last counts
PHOTOGRAPHS = f"--data-file {shlex.quote(ARCHIVE)}" if ARCHIVE else f"--dataset sketches {SHORT}"
LIMIT = 3600  # seconds for one block


class Change(NamedTuple):
    """A kind of command that is not typed unchanged."""

    pattern: str  # found in the command
    more: str  # typed after it; None: it is not typed
    reason: str


CHANGES = (  # the first that fits
    Change(r"-m pytest\b", None, "this is one of these tests"),
    Change(r"-m venv |bin/activate|Scripts", None, "the environment is there, and first on the path"),
    Change(r"requirements-cpu\.txt", None, "Paddle's other wheel is there; the hosted notebook's test takes this one"),
    Change(r"launch --master", None, "it needs two machines; tests/test_workers.py lays two addresses on one"),
    Change(r"--resume\b", None, "it needs a run that was stopped; tests/test_resume.py stops some"),
    Change(r"^python train\.py$", PHOTOGRAPHS, "the archive cannot be fetched everywhere"),
    Change(r"^python evaluate\.py$", f"--model-dir models/{infer.SHIPPED.name} {PHOTOGRAPHS.replace(SHORT, '')}",
           "the page shows what it says of the supplied model"),
    Change(r"^python train\.py --data-dir build/flowers ", "", "two minutes, so in full"),
    Change(r"^python train\.py .*--dataset sketches .*--max-batches", "", "it is short"),
    Change(r"\btrain\.py\b", f"--dataset sketches {SHORT}", "it trains for minutes or hours"),
)

VARIES = ("Place: ", "Speed: ", "Data: ", "Recipe ")  # lines that tell of this machine and of where the archive lies
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
SPREADS = (  # of the lines that begin so, the first that fits: by how much fractions and counts may differ
    (r"Pass |Test with Pass 0", None, None),  # at will: one batch, or halfway, where seeds differ by half
    (r"\d\.\d+ to ", None, None),  # of an interval that may hold a single picture
    (r"Test with ", 0.15, 0),
    (r".*test accuracy ", 0.04, 0),  # among seeds 1 to 5 it differs by 0.036
    (r"Error |\s+\d+ \w", 0.6, 5),  # of 10,000 pictures, on another processor
    (r"", 0.05, 0),
)
NEXT_TO_NOTHING = re.compile(r"  .* 0\.0\d+")  # which class comes after the first with that is chance


def typed(command, done=()):
    """What to type for a command of the pages, or None; and why it is not the page's."""
    if command in done and "train.py" in command:
        return None, "it was typed further up"
    for change in CHANGES:
        if re.search(change.pattern, command):
            return None if change.more is None else f"{command} {change.more}".strip(), change.reason
    return command, ""


def commands_of(text):
    """The commands of a block: its lines, those that end in a backslash joined with the next, in parts at `&&`."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = [" ".join(part.split()) for line in lines for part in line.split(" && ")]
    return [part for part in parts if part and not part.startswith("#")]


def parts_of(line):
    """A line's words and its numbers; how long something took is neither."""
    line = re.sub(r"\b\d+ (s|min|h)\b", "T", line)
    return NUMBER.sub("N", line).split(), [found.replace(",", "") for found in NUMBER.findall(line)]


def like(shown, printed):
    """Whether a printed line is the page's, but for what may differ."""
    prefix = next((prefix for prefix in VARIES if shown.startswith(prefix)), None)
    if prefix:
        return printed.startswith(prefix)
    (words, numbers), (others, found) = parts_of(shown), parts_of(printed)
    if words != others or len(numbers) != len(found):
        return False
    fractions, counts = next(spread for start, *spread in SPREADS if re.match(start, shown))
    return fractions is None or all(abs(float(one) - float(other)) <= (fractions if "." in one else counts) + 1e-9
                                    for one, other in zip(numbers, found))


def missing(shown, printed):
    """The first line of a sample that is not among those printed, in its order; None where all are there."""
    rest = iter(printed)
    for line in shown:
        if line.strip() in ("", chapter.CUT) or NEXT_TO_NOTHING.fullmatch(line):
            continue
        if not any(like(line, other) for other in rest):
            return line
    return None


def environment_in(folder):
    """Variables for a fresh environment of Python, in which nothing is known of this one."""
    venv.create(folder / "environment", with_pip=True)
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "FLAGS_", "OMP_", "LD_", "MALLOC_", "IMAGE_CLASSIFICATION", "CIFAR10"))}
    return {**kept, "PATH": f"{folder / 'environment' / 'bin'}{os.pathsep}{os.environ['PATH']}"}


class Reader:
    """Who types the pages' commands: in which folder they are, what they typed, what was printed, what went wrong."""

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment
        self.done, self.printed, self.faults = [], [], []
        self.samples = {}  # by the words of their mark: what the first of them was compared with

    def type(self, command):
        """One command; `cd` is remembered for those after it."""
        line, reason = typed(command, self.done)
        print(f"$ {line or '# ' + command}" + (f"   ({reason})" if reason else ""))
        self.done.append(command)
        if line and line.startswith("cd "):
            self.folder = self.folder / line[len("cd "):]
        elif line:
            self.run(["bash", "-c", line], command)

    def run(self, words, what):
        """A program, whose output is kept."""
        done = subprocess.run(words, cwd=self.folder, env=self.environment, timeout=LIMIT, capture_output=True,
                              text=True)
        self.printed = (done.stdout + done.stderr).splitlines()
        if done.returncode:
            self.faults.append((what, f"status {done.returncode}", *self.printed[-12:]))

    def read(self, block):
        """One block of a page: commands, Python's prompt, or a sample of what was printed."""
        if block.language == "bash":
            for command in commands_of(block.text):
                self.type(command)
        elif block.language == "pycon":
            (self.folder / "build").mkdir(exist_ok=True)
            (self.folder / "build" / "prompt.txt").write_text(block.text, encoding="utf-8")
            self.run(["python", "-m", "doctest", "-o", "NORMALIZE_WHITESPACE", "build/prompt.txt"], block.text)
        elif block.kind == "output":
            self.compare(block)

    def compare(self, block):
        """A sample with what the last command printed, or, where one of the same mark stood above, with that."""
        if block.words in NEEDS_THE_PICTURES and not has_the_pages_pictures():
            print(f"# not compared: {' '.join(block.words)} (CIFAR10_ARCHIVE does not hold the pages' pictures)")
            return
        printed = self.samples.setdefault(block.words, self.printed)
        line = missing(block.text.splitlines(), printed)
        if line is not None:
            self.faults.append((block.words, f"the page shows: {line}", *printed[-40:]))


NEEDS_THE_PICTURES = (("train",), ("evaluate",))


@functools.cache
def has_the_pages_pictures():
    """Whether the archive holds the very pictures of the samples."""
    return ARCHIVE is not None and f"{dataset.read('cifar10', ARCHIVE).fingerprint:016x}" in chapter.read()


@pytest.mark.long
def test_the_pages_commands_do_what_the_pages_say(tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "reader").mkdir()
    address = chapter.published()
    redirected = published.copy_to(tmp_path / "copy", address or "nowhere")
    reader = Reader(tmp_path / ("reader" if address else "copy"),
                    {**environment_in(tmp_path), **redirected, "HOME": str(tmp_path)})
    for page in chapter.PAGES:
        for block in chapter.blocks_of(chapter.read(page)):
            reader.read(block)
    print("", *("\n".join(map(str, fault)) for fault in reader.faults), sep="\n\n")
    assert [fault[:2] for fault in reader.faults] == []
    assert len(reader.done) >= 12 and len(reader.samples) >= 2


@pytest.mark.parametrize("page", chapter.PAGES)
def test_each_block_of_commands_is_one_that_the_test_types(page):
    """A shell's block in another language would not be typed; a block without one is no command."""
    for block in chapter.blocks_of(chapter.read(page)):
        assert block.language in ("bash", "pycon", "text", "python", "math", "diff"), block.lines
        assert block.language != "bash" or commands_of(block.text)


BLOCKED = ("markdown_it", "mdit_py_plugins", "latex2mathml", "pygments", "nbformat", "nbclient", "pytest", "hypothesis",
           "paddle2onnx", "onnxruntime")  # of requirements-dev.txt, which a reader does not install
PROGRAMS = sorted({found[0] for page in chapter.PAGES for block in chapter.blocks_of(chapter.read(page))
                   for found in [re.match(r"python (?:-m book\.\w+|[\w/]+\.py)", each)
                                 for each in commands_of(block.text) if block.language == "bash"] if found})


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_readers_program_needs_no_package_of_the_developers(program):
    *module, name = program.split()[1:]
    start = f"run_{'module' if module else 'path'}({name!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", f"import runpy, sys; sys.modules.update(dict.fromkeys({BLOCKED!r})); "
                           f"sys.argv = [{name!r}, '--help']; runpy.{start}"],
                          cwd=chapter.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("usage: ")


def test_the_programs_of_the_pages_are_found():
    assert {"python train.py", "python infer.py", "python book/try.py", "python -m book.flowers"} <= {*PROGRAMS}


@pytest.mark.parametrize("command, line", [
    ("python infer.py dog.png", "python infer.py dog.png"),
    ("python -m pytest", None),
    ("python train.py --model vgg", f"python train.py --model vgg --dataset sketches {SHORT}"),
    ("python train.py --dataset sketches --max-batches 20", "python train.py --dataset sketches --max-batches 20"),
    ("python train.py", f"python train.py {PHOTOGRAPHS}"),
])
def test_what_is_typed_in_place_of_a_command(command, line):
    assert typed(command)[0] == line and (typed(command)[1] != "") == (line != command or "sketches" in command)


def test_a_block_is_cut_into_commands():
    assert commands_of("pip install x && python a.py\npaddle2onnx --a \\\n    --b\n# why\n\n") == [
        "pip install x", "python a.py", "paddle2onnx --a --b"]


@pytest.mark.parametrize("shown, printed, same", [
    ("  dog         1.0000", "  dog         0.9912", True), ("  dog         1.0000", "  cat         1.0000", False),
    ("  dog         0.8500", "  dog         0.7000", False), ("Place: CPU", "Place: CUDA device 0", True),
    ("ResNet-32, 467,466 trainable parameters", "ResNet-32, 467,467 trainable parameters", False),
    ("Pass 0, Batch 0, Cost 3.98, Acc 0.06", "Pass 0, Batch 0, Cost 4.51, Acc 0.11", True),
    ("Pass 0, Batch 0, Cost 3.98, Acc 0.06", "Pass 0, Batch 0, Cost 4.51", False),
    ("Done: test accuracy 0.7204 after 2 passes, 4 min", "Done: test accuracy 0.6950 after 2 passes, 9 min", True),
    ("Done: test accuracy 0.7204 after 2 passes, 4 min", "Done: test accuracy 0.6500 after 2 passes, 4 min", False),
    ("Done: test accuracy 0.7204 after 2 passes, 4 min", "Done: test accuracy 0.7204 after 3 passes, 4 min", False),
    ("  4 cat         1,000  23.60%    9    2", "  4 cat         1,000  23.50%   10    2", True),
    ("  4 cat         1,000  23.60%    9    2", "  4 cat         1,000  22.60%   19    2", False)])
def test_what_may_differ_between_a_sample_and_a_run(shown, printed, same):
    assert like(shown, printed) == same


def test_a_line_that_is_not_printed_or_in_another_order_is_seen():
    printed = ["Model: x", "infer results: dog", "  dog         0.9990", "  horse       0.0008"]
    assert missing(["infer results: dog", "...", "  dog         0.9999", "  cat         0.0001"], printed) is None
    assert missing(["  dog         0.9999", "infer results: dog"], printed) == "infer results: dog"
    assert missing(["infer results: cat"], printed) == "infer results: cat"
