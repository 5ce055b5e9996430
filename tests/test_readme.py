"""The pages and the program say the same; `python tests/test_readme.py --write` puts today's source into them.

What is compared: code blocks with the source, and of some files all blocks together with the whole file; help with
`--help`; sample output with the program's own formats, and what is shortened with the whole; links, anchors and
figures with the files; headings with the original's sections; numbers of weights with the programs that Paddle builds.
The pages are `chapter.PAGES`; how a block is marked: book/chapter.py. Chinese pages are held to them by
tests/test_chinese.py; here their links are followed, and `--write` gives them the blocks of the English ones. Numbers
that are in several places are compared by tests/test_numbers.py.
"""
import ast
import contextlib
import doctest
import functools
import importlib
import io
import itertools
import json
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("markdown_it", reason="the pages are read with markdown-it-py of requirements-dev.txt")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python tests/test_readme.py`

import infer
from book import chapter
from book.chapter import ROOT
from utils.evaluation import report
from utils.storage.program_state import count_parameters

TEXTS = {page: chapter.read(page) for page in chapter.PAGES}
TEXT = TEXTS["README.md"]
MOST_LINES = {"README.md": 1450, "book/running.md": 320}  # and 260 of each other page
BLOCKS = [pytest.param(block, id=f"{page}:{block.lines[0]}")
          for page, text in TEXTS.items() for block in chapter.blocks_of(text)]
PYTHON = [each for each in BLOCKS if each.values[0].language in ("python", "py", "python3", "")]
HELP = [each for each in BLOCKS if each.values[0].kind == "help"]
OUTPUT = [each.values[0] for each in BLOCKS if each.values[0].kind == "output"]
COLUMNS = 100  # of a line of code on the page
SECTIONS = """Background, Result Demo, Exploration of Models, CNN, VGG, GoogLeNet, ResNet, Get Data Ready,
Model Configuration, VGG, ResNet, Inference Program, Training Program, Optimizer, Model Training,
Model Application, Summary, Exercises, Where this differs from the original chapter,
References""".replace("\n", " ").split(", ")


def help_of(script):
    """What `python SCRIPT --help` prints on a terminal of 80 columns."""
    from utils import flags
    flags.set_flags()  # before the script's own imports bring Paddle
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
        return chapter.quote_of(block).text
    if block.kind == "output" and block.words == ("evaluate",) and chapter.CUT not in block.text.splitlines():
        metrics = json.loads((infer.SHIPPED / "measured.json").read_text(encoding="utf-8"))
        return f"{report.text(metrics)}\n"
    return help_of(*block.words) if block.kind == "help" else block.text


def update(text, translated=""):
    """The page with every marked block as it has to be, or with the blocks of the page that it translates."""
    lines, blocks, theirs = text.splitlines(keepends=True), chapter.blocks_of(text), chapter.blocks_of(translated)
    for block, other in reversed(list(zip(blocks, theirs if len(theirs) == len(blocks) else blocks))):
        first, last = block.lines
        lines[first:last] = [current(other)]
    return "".join(lines)


def loosely(text):
    """Help as words: where it breaks its lines, and one heading, differ between versions of Python."""
    return text.replace("optional arguments:", "options:").split()


def same(block):
    """Whether a block holds what its mark asks for."""
    exactly = block.kind != "help"
    return block.text == current(block) if exactly else loosely(block.text) == loosely(current(block))


@pytest.mark.parametrize("block", PYTHON)
def test_each_python_block_is_whole_statements_byte_for_byte(block):
    assert block.kind == "code", "an unmarked block of Python: put <!-- code: FILE NAME --> above it"
    assert same(block), "the page is behind the source: python tests/test_readme.py --write"
    assert [line for line in block.text.splitlines() if len(line) > COLUMNS] == [], f"at most {COLUMNS} columns"


@pytest.mark.parametrize("block", HELP)
def test_help_is_what_the_script_prints(block):
    assert same(block), "the page is behind the source: python tests/test_readme.py --write"


def test_the_help_of_each_script_stands_on_a_page_once():
    assert sorted(each.values[0].words for each in HELP) == [("evaluate.py",), ("infer.py",), ("train.py",)]


@pytest.mark.parametrize("page", chapter.PAGES)
def test_there_are_blocks_and_they_stand_in_their_files_order(page):
    places = places_of(TEXTS[page])
    assert {path for path, where in chapter.WHOLE.items() if where == page} <= set(places)
    for path, lines in places.items():
        assert lines == sorted(set(lines)), f"blocks of {path} are in another order than in it, or twice"


def places_of(text):
    """Where the statements that a page shows are in their files: {file: first lines, in the page's order}."""
    places = {}
    for block in chapter.blocks_of(text):
        if block.kind == "code":
            quote = chapter.quote_of(block)
            places.setdefault(quote.path, []).extend(statement.first for statement in quote.statements)
    return places


def difference(text, path, source):
    """The first line on which a file and its blocks, joined, differ; None where the page shows the whole file."""
    both = itertools.zip_longest(chapter.code_of(source), chapter.shown_of(text, path))
    return next((wanted or shown for wanted, shown in both if wanted != shown), None)


@pytest.mark.parametrize("path", chapter.WHOLE)
def test_the_blocks_of_a_file_are_the_file(path):
    page = chapter.WHOLE[path]
    line = difference(TEXTS[page], path, chapter.source_of(path))
    assert line is None, f"{page} does not show all of {path}, first at: {line}"


@pytest.mark.parametrize("page", chapter.PAGES)
def test_a_page_is_short(page):
    assert len(TEXTS[page].splitlines()) <= MOST_LINES.get(page, 260)


def test_what_evaluate_says_of_the_supplied_model_is_on_its_page():
    whole, = [block for block in OUTPUT if block.words == ("evaluate",) and chapter.CUT not in block.text.splitlines()]
    assert whole.text == current(whole), "the page is behind the program: python tests/test_readme.py --write"


SCRIPT = '''"""Docstring."""
# why sys
import sys
from os import path as p, sep

# before Paddle
CHOSEN = p.join("a", sep)

import xml.dom


@sorted
# what main is
def main():
    return CHOSEN


if __name__ == "__main__":
    sys.exit(main())
'''


@pytest.mark.parametrize("first, last, lines", [
    ("sys", "sys", (2, 3)), ("p", "CHOSEN", (4, 7)), ("sep", "sep", (4, 4)), ("xml", "main", (9, 15)),
    ("main", "main", (12, 15)), ("__main__", "__main__", (18, 19)), ("sys", "__main__", (2, 19)),
])
def test_what_a_mark_names(first, last, lines):
    statements = chapter.statements_from(SCRIPT, first, last)
    assert (statements[0].first, statements[-1].last) == lines
    assert chapter.text_of(SCRIPT, statements).splitlines() == SCRIPT.splitlines()[lines[0] - 1:lines[1]]


@pytest.mark.parametrize("first, last, complaint", [
    ("dom", "dom", "defines no dom"), ("xml", "dom", "defines no dom"), ("main", "sys", "defines sys before main")])
def test_what_a_mark_cannot_name(first, last, complaint):
    with pytest.raises(ValueError, match=complaint):
        chapter.statements_from(SCRIPT, first, last)


def test_of_several_statements_with_a_name_the_last_is_meant():
    source = "if __name__ == '__main__':\n    import a\nx = 1\n" + SCRIPT + "x = 2\n"
    found = [chapter.text_of(source, chapter.statements_from(source, name, name)) for name in ("x", "__main__")]
    assert found == ["x = 2\n", 'if __name__ == "__main__":\n    sys.exit(main())\n']


def page_of(*runs):
    """A page with one block for each of these runs of SCRIPT, each a pair of names."""
    return "\n".join("<!-- code: script.py {} {} -->\n```python\n{}```\n".format(
        *run, chapter.text_of(SCRIPT, chapter.statements_from(SCRIPT, *run))) for run in runs)


@pytest.mark.parametrize("old, new, line", [
    ("", "", None),
    ("import xml.dom", "import xml.dom\nRATE = 0.5", "RATE = 0.5"),
    ("import xml.dom", "import xml.dom\n\n\ndef added(x):\n    return x", "def added(x):"),
    ("import xml.dom", "import xml.dom\nprint(xml)", "print(xml)"),
    ("import xml.dom", "import xml.dom\n# A comment of nobody's.", "# A comment of nobody's."),
    ("import xml.dom\n", "", "@sorted"),
    ("sys.exit(main())\n", "sys.exit(main())\n# The end.\n", "# The end."),
    ("sys.exit(main())\n", "pass\n", "    pass"),
    ("# why sys\n", "", "import sys"),
])
def test_a_line_of_a_file_that_no_block_shows_is_seen(old, new, line):
    """In changed copies of a script whose page is whole."""
    page = page_of(("sys", "CHOSEN"), ("xml", "xml"), ("main", "__main__"))
    assert SCRIPT.count(old) == 1 or old == ""
    assert difference(page, "script.py", SCRIPT.replace(old, new)) == line


def test_blocks_left_out_in_another_order_or_shown_twice_are_seen():
    first, second, third = ("sys", "CHOSEN"), ("xml", "xml"), ("main", "__main__")
    for runs in ((second, first, third), (first, second, second, third), (first, third), (first, second)):
        assert difference(page_of(*runs), "script.py", SCRIPT) is not None


@pytest.mark.parametrize("names", [("dropout", "vgg_bn_drop", "conv_block"), ("dropout", "dropout"),
                                   ("dropout vgg_bn_drop", "conv_block")])
def test_another_order_than_the_files_is_seen(names):
    lines = places_of("\n".join(f"<!-- code: models/vgg.py {each} -->\n```python\n```\n" for each in names))
    assert lines["models/vgg.py"] != sorted(set(lines["models/vgg.py"]))


@functools.cache
def anchors_of(text):
    """The names that GitHub gives a page's headings, and those that the page itself gives."""
    return {*re.findall(r'<a id="([^"]+)"></a>', text), *chapter.anchors_of(text)}


def targets_of(text):
    """Where a page's links and figures point to."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.findall(r"\]\(([^()\s]+(?:\([^()]*\)[^()\s]*)*)\)",
                      prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)


@functools.cache
def is_uncommitted(path):
    """Whether git knows of no file there; False where there is no git."""
    tracked = subprocess.run(["git", "ls-files", "--", path], cwd=ROOT, capture_output=True, text=True)
    return tracked.returncode == 0 and not tracked.stdout


def what_is_wrong_with(target, page):
    """Why a relative link or figure of a page leads nowhere; None where it leads somewhere."""
    path, _, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    if not (ROOT / path).exists():
        return f"there is no {path}"
    if is_uncommitted(path):
        return f"{path} is not committed"
    return f"{path} has no heading for #{anchor}" if anchor and anchor not in anchors_of(chapter.read(path)) else None


@pytest.mark.parametrize("page, target", sorted({
    (page, target) for page in (*chapter.PAGES, *chapter.CHINESE.values()) for target in targets_of(chapter.read(page))
    if not target.startswith(("http://", "https://"))}))
def test_each_relative_link_and_figure_leads_somewhere(page, target):
    assert what_is_wrong_with(target, page) is None


@pytest.mark.parametrize("page, target, fault", [
    ("README.md", "utils/nothing.py", "there is no utils/nothing.py"),
    ("book/running.md", "utils/log.py", "there is no book/utils/log.py"), ("book/running.md", "../utils/log.py", None),
    ("README.md", "#nothing", "README.md has no heading for #nothing"), ("README.md", "#references", None),
    ("book/running.md", "../README.md#nothing", "README.md has no heading for #nothing"),
    ("README.md", "RESULTS.md#nothing", "RESULTS.md has no heading for #nothing"),
    ("README.md", "RESULTS.md#depth", None), ("README.cn.md", "#参考文献", None),
    ("book/judge.md", "better.md#the-recipe", None), ("book/judge.md", "better.md#nothing",
                                                      "book/better.md has no heading for #nothing"),
    ("README.cn.md", "#references", "README.cn.md has no heading for #references"),
])
def test_a_link_that_leads_nowhere_is_seen(page, target, fault):
    assert what_is_wrong_with(target, page) == fault


def linked_from(pages):
    """Where the links of pages lead to, as pairs (page of the project, anchor)."""
    for page in pages:
        for path, _, anchor in (target.partition("#") for target in targets_of(TEXTS[page])):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(page), path)), anchor


def test_pages_share_no_anchor():
    """In the HTML page and the notebook all are one."""
    anchors = [anchor for text in TEXTS.values() for anchor in anchors_of(text)]
    assert sorted(anchors) == sorted(set(anchors))


def test_the_chapter_links_to_each_page_and_each_page_back():
    assert set(chapter.PAGES[1:]) <= {page for page, _ in linked_from(["README.md"])}
    for page in chapter.PAGES[1:]:
        head = TEXTS[page].split("\n## ")[0]
        assert "](../README.md" in head, "the first lines of a page say what it belongs to"


def test_each_section_of_the_reference_is_linked_from_another_page():
    sections = chapter.anchors_of("".join(f"## {heading}\n" for level, heading in
                                          chapter.headings_of(TEXTS["book/running.md"]) if level == 2))
    linked = {anchor for page, anchor in linked_from(chapter.PAGES[:-1]) if page == "book/running.md"}
    assert set(sections) <= linked


def test_each_figure_has_a_text_for_who_cannot_see_it():
    figures = re.findall(r"<img [^>]*>", "".join(TEXTS.values()))
    assert len(figures) >= 8
    assert all(re.search(r'alt="[^"]{20,}"', figure) for figure in figures)


def test_the_original_chapters_sections_are_there_in_its_order():
    headings = iter(heading for _, heading in chapter.headings_of(TEXT))
    missing = [section for section in SECTIONS if section not in headings]
    assert missing == []


def test_every_reference_is_cited_and_every_citation_leads_to_its_entry():
    text, entries = TEXT.split("\n## References\n")
    entries = entries.split("\n## ")[0]
    references = re.findall(r'^(\d+)\. <a id="ref-(\d+)"></a>.*\]\(http', entries, flags=re.M)
    assert references == [(str(number), str(number)) for number in range(1, len(references) + 1)]
    assert len(references) >= 22 and len(references) == len(re.findall(r"^\d+\.", entries, flags=re.M))
    cited = re.findall(r"\[(\d+)\]\(#([\w-]+)\)", text) + [
        (number, name) for name, number in re.findall(r'href="#([\w-]+)">(\d+)</a>', text)]
    assert [citation for citation in cited if citation[1] != f"ref-{citation[0]}"] == []
    assert {number for number, _ in references} == {number for number, _ in cited}


def log_lines():
    """The lines that train.py logs in its loop, as pairs: the f-string, and a pattern of what it makes."""
    nodes = ast.walk(ast.parse(chapter.source_of("train.py")))
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("workers.log")]
    strings = [call.args[0] for call in calls if call.args and isinstance(call.args[0], ast.JoinedStr)]
    return [(string, "".join(re.escape(part.value) if isinstance(part, ast.Constant) else
                             rf"(?P<{part.value.id}>-?[\d.]+)" for part in string.values))
            for string in strings if all(isinstance(part, ast.Constant) or isinstance(part.value, ast.Name)
                                         for part in string.values)]


def rewritten(line):
    """A sample line of a log as the program would write it; None where the program writes no such line."""
    for string, pattern in log_lines():
        found = re.fullmatch(pattern, line)
        if found:
            numbers = {name: float(text) if "." in text else int(text) for name, text in found.groupdict().items()}
            return eval(compile(ast.Expression(string), "train.py", "eval"), numbers)
    return None


def test_sample_log_lines_are_what_the_program_writes():
    lines = [line for block in OUTPUT for line in block.text.splitlines()]
    shown = [line for line in lines if line.startswith(("Pass ", "Test with "))]
    assert len(shown) >= 4
    for line in shown:
        assert rewritten(line) == line


def pieces_of(lines):
    """The runs of lines between marks of a cut."""
    cuts = [-1, *(place for place, line in enumerate(lines) if line == chapter.CUT), len(lines)]
    return [lines[first + 1:last] for first, last in zip(cuts, cuts[1:]) if last > first + 1]


def is_shortened(lines, whole):
    """Whether lines are a text's own, in its order, with a mark wherever some are left out."""
    place = 0
    for piece in pieces_of(lines):
        starts = [start for start in range(place, len(whole)) if whole[start:start + len(piece)] == piece]
        if not starts:
            return False
        place = starts[0] + len(piece)
    return True


@pytest.mark.parametrize("name", sorted({block.words for block in OUTPUT}))
def test_shortened_output_is_a_part_of_the_whole(name):
    """Of several blocks with the same mark one is whole, and the others are its lines."""
    texts = [block.text.splitlines() for block in OUTPUT if block.words == name]
    whole, = [lines for lines in texts if chapter.CUT not in lines]
    assert all(is_shortened(lines, whole) for lines in texts)


@pytest.mark.parametrize("lines, fits", [
    ("a ... d", True), ("... b c ...", True), ("a b ... c d", True), ("a c", False), ("a ... x", False),
    ("c ... a", False), ("a ... b d", False)])
def test_a_line_that_was_changed_or_left_out_without_a_mark_is_seen(lines, fits):
    assert is_shortened(lines.split(), list("abcd")) == fits


def test_a_log_line_of_another_form_is_seen():
    good, long = "Pass 0, Batch 100, Cost 1.48, Acc 0.46", "Pass 0, Batch 100, Cost 1.481038, Acc 0.46"
    assert rewritten(good) == good
    assert rewritten(long) != long
    assert rewritten("Pass 0, Cost 1.48") is None


def column_of(title):
    """What the table of weights says of a network: the numbers of its parts, and their total."""
    lines = itertools.dropwhile(lambda line: not line.startswith("| part |"), TEXT.splitlines())
    table = [[cell.strip(" *").replace(",", "") for cell in line.strip("|").split("|")]
             for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]
    place = table[0].index(title)
    *rows, total = [int(cells[place]) for cells in table[2:] if cells[place]]
    return rows, total


@pytest.mark.parametrize("name, title", [("resnet", "ResNet-32"), ("vgg", "VGG"), ("googlenet", "GoogLeNet")])
def test_the_table_of_weights_agrees_with_the_programs_that_paddle_builds(name, title):
    import paddle

    import models
    rows, total = column_of(title)
    paddle.enable_static()
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()), paddle.utils.unique_name.guard():
        models.build(name, paddle.static.data("pixel", [None, 3, 32, 32], "float32"))
    assert count_parameters(program) == total == sum(rows)


def test_the_table_of_costs_is_what_the_benchmark_prints(monkeypatch, capsys):
    from benchmarks import model_table

    monkeypatch.setattr(sys, "argv", ["model_table.py"])
    model_table.main()
    printed = capsys.readouterr()
    assert printed.out.count("\n") > 5 and printed.out in TEXT and printed.err == ""


@pytest.mark.parametrize("page", [page for page in chapter.PAGES if page != "book/running.md"])
def test_what_a_page_types_into_python_prints_what_it_shows(page):
    """Of book/running.md the same is in tests/test_onnx.py."""
    typed = "\n".join(block.text for block in chapter.blocks_of(TEXTS[page]) if block.language == "pycon")
    examples = doctest.DocTestParser().get_doctest(typed, {}, page, page, 0)
    result = doctest.DocTestRunner().run(examples)
    assert result.failed == 0 and (result.attempted >= 5 or page not in ("README.md", "book/inside.md"))


def test_each_file_of_requirements_that_the_page_names_is_there():
    named = set(re.findall(r"pip install -r (\S+\.txt)", "".join(TEXTS.values())))
    assert named == {"requirements.txt", "requirements-dev.txt", "requirements-cpu.txt"}
    assert all((ROOT / name).is_file() for name in named)


def main(arguments):
    """`--write` brings the pages up to date; without it, say whether they are. Both say what no block shows."""
    english = {chinese: page for page, chinese in chapter.CHINESE.items()}
    for page in (*chapter.PAGES, *english):
        text = chapter.read(page)
        try:
            written = update(text, chapter.read(english[page]) if page in english else "")
        except ValueError as error:
            raise SystemExit(f"{page}: {error}") from error
        if arguments == ["--write"]:
            (ROOT / page).write_text(written, encoding="utf-8")
        elif written != text:
            raise SystemExit(f"{page} is behind the source: python tests/test_readme.py --write")
    for path, page in chapter.WHOLE.items():
        line = difference(chapter.read(page), path, chapter.source_of(path))
        if line is not None:
            raise SystemExit(f"{page} does not show the whole of {path}, or not in its order, first at: {line}")


if __name__ == "__main__":
    main(sys.argv[1:])
