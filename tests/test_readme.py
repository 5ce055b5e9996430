"""README.md and the program say the same; `python tests/test_readme.py --write` puts today's source into it.

What is compared: code blocks with the source, help with `--help`, sample output with the program's own
formats, links and figures with the files, headings with the original's sections, numbers of weights with the
programs that Paddle builds.
"""
import contextlib
import importlib
import io
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("markdown_it", reason="README.md is read with markdown-it-py of requirements-dev.txt")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from book import chapter  # noqa: E402
from utils import curves  # noqa: E402

TEXT = chapter.read()
BLOCKS = chapter.blocks_of(TEXT)
PYTHON = [block for block in BLOCKS if block.language in ("python", "py", "python3", "")]
SECTIONS = """Background, Result Demo, Exploration of Models, CNN, VGG, GoogLeNet, ResNet, Get Data Ready,
Model Configuration, VGG, ResNet, Inference Program, Training Program, Optimizer, Model Training,
Model Application, Summary, Exercises, Where this differs from the original chapter,
References""".replace("\n", " ").split(", ")


def help_of(script):
    """What `python SCRIPT --help` prints on a terminal of 80 columns."""
    from utils.speed import cpu
    cpu.set_flags()  # before the script's own imports bring Paddle
    module = importlib.import_module(script[:-len(".py")])
    printed, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            module.main(["--help"])
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return printed.getvalue()


def current(block):
    """What the block has to hold by its mark; itself where the mark asks for nothing."""
    if block.kind == "code":
        return chapter.quoted(block)
    return help_of(*block.words) if block.kind == "help" else block.text


def update(text):
    """The page with every marked block as it has to be."""
    lines = text.splitlines(keepends=True)
    for block in reversed(chapter.blocks_of(text)):
        first, last = block.lines
        lines[first:last] = [current(block)]
    return "".join(lines)


def loosely(text):
    """Help as words: where it breaks its lines, and one heading, differ between versions of Python."""
    return text.replace("optional arguments:", "options:").split()


def same(block):
    """Whether a block holds what its mark asks for."""
    exactly = block.kind != "help"
    return block.text == current(block) if exactly else loosely(block.text) == loosely(current(block))


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line{block.lines[0]}")
def test_each_python_block_is_a_whole_definition_byte_for_byte(block):
    assert block.kind == "code", "an unmarked block of Python: put <!-- code: FILE NAME --> above it"
    assert same(block), "the page is behind the source: python tests/test_readme.py --write"


def test_there_are_blocks_and_they_stand_in_their_files_order():
    places = {}
    for block in PYTHON:
        path, name = block.words
        places.setdefault(path, []).append(chapter.definitions_of(path)[name][0])
    assert {"models/resnet.py", "models/vgg.py", "train.py", "infer.py"} <= set(places)
    for path, lines in places.items():
        assert lines == sorted(set(lines)), f"blocks of {path} are in another order than in it, or twice"


@pytest.mark.parametrize("script", ["train.py", "infer.py"])
def test_help_in_the_page_is_the_programs_own(script):
    shown = [block for block in BLOCKS if block.kind == "help" and block.words == (script,)]
    assert len(shown) == 1
    assert same(shown[0])


def test_the_scripts_really_print_that_help():
    """The page's help comes from calling `main`; the shell has to show the same."""
    printed = subprocess.run([sys.executable, "infer.py", "--help"], cwd=ROOT, capture_output=True, text=True,
                             check=True,
                             env={**os.environ, "COLUMNS": "80"})
    assert loosely(printed.stdout) == loosely(help_of("infer.py"))


@pytest.mark.parametrize("mistake, complaint", [
    ("<!-- code: models/resnet.py nothing -->\n```python\n```\n", "defines no nothing"),
    ("<!-- code: models/nowhere.py shortcut -->\n```python\n```\n", "no file"),
    ("<!-- code: shortcut -->\n```python\n```\n", "not of the form"),
])
def test_a_wrong_mark_is_an_error(mistake, complaint):
    with pytest.raises(ValueError, match=complaint):
        update(mistake)


def test_an_unmarked_block_is_seen_and_write_mends_a_changed_one():
    page = ("text\n\n```python\nx = 1\n```\n\n"
            "<!-- code: models/resnet.py shortcut -->\n```python\nold\n```\n\nend\n")
    unmarked, marked = chapter.blocks_of(page)
    assert (unmarked.kind, marked.kind) == ("", "code")
    assert not same(marked)
    written = update(page)
    assert "def shortcut(" in written and "old" not in written and written.endswith("```\n\nend\n")
    assert update(written) == written


def anchors():
    """The names that GitHub gives the page's headings."""
    names, seen = set(), {}
    for _, heading in chapter.headings_of(TEXT):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(name + (f"-{seen[name]}" if name in seen else ""))
        seen[name] = seen.get(name, 0) + 1
    return names


def targets():
    """Where the page's links and figures point to."""
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S)
    return re.findall(r"\]\(([^()\s]+(?:\([^()]*\)[^()\s]*)*)\)",
                      prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)


@pytest.mark.parametrize("target", sorted({t for t in targets()
                                           if not t.startswith(("http://", "https://"))}))
def test_each_relative_link_and_figure_leads_somewhere(target):
    path, _, anchor = target.partition("#")
    if path:
        assert (ROOT / path).exists()
        tracked = subprocess.run(["git", "ls-files", "--", path], cwd=ROOT, capture_output=True, text=True)
        assert tracked.returncode or tracked.stdout, f"{path} is not committed"
    else:
        assert anchor in anchors()


def test_each_figure_has_a_text_for_who_cannot_see_it():
    figures = re.findall(r"<img [^>]*>", TEXT)
    assert len(figures) >= 8
    assert all(re.search(r'alt="[^"]{20,}"', figure) for figure in figures)


def test_the_original_chapters_sections_are_there_in_its_order():
    headings = iter(heading for _, heading in chapter.headings_of(TEXT))
    missing = [section for section in SECTIONS if section not in headings]
    assert missing == []


def test_every_reference_is_cited_or_listed_and_none_is_missing():
    references = re.findall(r"^(\d+)\. .*\]\(http", TEXT[TEXT.index("\n## References"):], flags=re.M)
    assert [int(number) for number in references] == list(range(1, len(references) + 1))
    assert len(references) >= 22
    cited = {int(n) for n in re.findall(r'\[(\d+)\]\(#references\)|>(\d+)</a>', TEXT) for n in n if n}
    assert cited and max(cited) <= len(references)


NUMBER = r"(-?[\d.]+)"
LOG_LINES = {  # how a line of the log looks -> what writes it
    rf"Pass {NUMBER}, Batch {NUMBER}, Cost {NUMBER}, Acc {NUMBER}":
        lambda epoch, batch, cost, accuracy: curves.batch_line(int(epoch), int(batch), float(cost),
                                                               float(accuracy)),
    rf"Test with Pass {NUMBER}, Loss {NUMBER}, Acc {NUMBER}":
        lambda epoch, loss, accuracy: curves.test_line(int(epoch), float(loss), float(accuracy)),
}


def rewritten(line):
    """A sample line of a log as the program would write it; None where the program writes no such line."""
    for shape, write in LOG_LINES.items():
        found = re.fullmatch(shape, line)
        if found:
            return write(*found.groups())
    return None


def test_sample_log_lines_are_what_the_program_writes():
    lines = [line for block in BLOCKS if block.kind == "output" for line in block.text.splitlines()]
    for line in lines:
        if line.startswith(("Pass ", "Test with ")):
            assert rewritten(line) == line


def test_a_log_line_of_another_form_is_seen():
    good, long = "Pass 0, Batch 100, Cost 1.48, Acc 0.46", "Pass 0, Batch 100, Cost 1.481038, Acc 0.46"
    assert rewritten(good) == good
    assert rewritten(long) != long
    assert rewritten("Pass 0, Cost 1.48") is None


def table_of(first_words):
    """Weights a row in the table whose total is called `first_words`, and the total."""
    rows = []
    for line in TEXT.splitlines():
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            rows = []
        elif cells[0] == first_words:
            return rows, int(cells[-1].replace(",", ""))
        elif cells[-1].replace(",", "").isdigit():
            rows.append(int(cells[-1].replace(",", "")))
    raise AssertionError(f"no table ends with {first_words}")


@pytest.mark.parametrize("name, title", [("resnet", "ResNet-32"), ("vgg", "VGG"), ("googlenet", "GoogLeNet")])
def test_tables_of_weights_agree_with_the_programs_that_paddle_builds(name, title):
    import paddle
    import models
    rows, total = table_of(title)
    paddle.enable_static()
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()), paddle.utils.unique_name.guard():
        models.build(name, paddle.static.data("pixel", [None, 3, 32, 32], "float32"))
    assert sum(math.prod(p.shape) for p in program.all_parameters() if p.trainable) == total == sum(rows)


def test_the_table_of_costs_is_what_the_benchmark_prints():
    done = subprocess.run([sys.executable, "-m", "benchmarks.model_table"], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.count("\n") > 5 and done.stdout in TEXT and done.stderr == ""


def test_the_line_for_readers_without_a_gpu_names_the_versions_of_requirements_txt():
    named = re.search(r"^pip install (paddlepaddle==.*)$", TEXT, flags=re.M).group(1).split()
    wanted = {line.split(";")[0].split("#")[0].strip()
              for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()}
    assert len(named) >= 6 and set(named) <= wanted


def main(arguments):
    """`--write` brings the page up to date; without it, say whether it is."""
    text = chapter.read()
    written = update(text)
    if arguments == ["--write"]:
        (ROOT / "README.md").write_text(written, encoding="utf-8")
    elif written != text:
        raise SystemExit("README.md is behind the source: python tests/test_readme.py --write")


if __name__ == "__main__":
    main(sys.argv[1:])
