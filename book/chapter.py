"""The pages as a program reads them: their blocks, each with the mark above it, and the source they quote.

README.md is the chapter; four pages in book/ go beyond it, and book/running.md is for looking things up. CHINESE names
the pages that are also in Chinese.

`<!-- code: FILE NAME -->` above a block means the top-level statement of FILE that gives NAME its meaning (the last, if
several do): a function, a class, a constant, or an import. `<!-- code: FILE FIRST LAST -->` means all statements from
the one to the other. `__main__` is the name of `if __name__ == "__main__":`. A comment directly above a statement
belongs to it.
"""
import ast
import posixpath
import re
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError
from utils.storage.files import whole_file

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"<!-- (code|run|help|output): ?(.*?) ?-->")
PAGES = ("README.md", "book/judge.md", "book/inside.md", "book/own_pictures.md", "book/better.md", "book/running.md")
CHINESE = {page: page.replace(".md", ".cn.md") for page in PAGES[:-1]}  # tests/test_chinese.py compares each pair
HOSTED = "book/chapter.ipynb"  # the notebook that services open; only a published project has it
BRANCH = "main"  # of the published project
CLONE = re.compile(r"^git clone (\S+)\ncd \S+\n", re.M)
SWITCH = re.compile(r"^(?:English \| \[简体中文\]|\[English\]\(\S+\) \| 简体中文).*\n\n", re.M)  # to the other language
TARGET = re.compile(r'^```.*?^```|`[^`]+`|(\]\(|\b(?:src|href)=")([^)"\s]+)', re.M | re.S)  # of a link, outside code
CUT = "..."  # a line of sample output in place of lines left out
WHOLE = {"models/vgg.py": PAGES[0], "models/resnet.py": PAGES[0], "models/googlenet.py": PAGES[0], "train.py": PAGES[0],
         "infer.py": PAGES[0], "models/airbench.py": "book/better.md"}  # files that a page shows to the last line


class Block(NamedTuple):
    """A fenced block: language, text, the mark above it (kind and words, empty for none), its lines."""

    language: str
    text: str
    kind: str
    words: tuple
    lines: tuple  # first line of the text, and the one after its last; counted from 0


class Statement(NamedTuple):
    """A top-level statement of a file: the names that it binds, and its first and last line, counted from 1."""

    node: ast.stmt
    names: list
    first: int
    last: int


class Quote(NamedTuple):
    """What a block marked `code` has to hold: a run of statements of a file."""

    path: str
    statements: list
    text: str


def read(page=PAGES[0]):
    """The whole page as text."""
    return source_of(page)


def published():
    """The address from which the chapter's first command clones the project; None before somebody publishes it."""
    found = CLONE.search(read())
    return found and found.group(1)


def address_of(address, path, form="blob"):
    """Where a file of a project on GitHub is: its page, or with the form "raw" the file itself."""
    if form == "raw":
        return f"{address.replace('//github.com/', '//raw.githubusercontent.com/')}/{BRANCH}/{path}"
    return f"{address}/{form}/{BRANCH}/{path}"


def source_of(path):
    """A file of the project as text."""
    return (ROOT / path).read_text(encoding="utf-8")


def whole(language="en"):
    """All pages as one text: each further page becomes a section of the chapter, and links between pages stay inside.

    language: "en", or "cn", where pages that exist in English alone keep it, inside <div lang="en">.
    """
    pages = [page if language == "en" else CHINESE.get(page, page) for page in PAGES]
    texts = []
    for number, page in enumerate(pages):
        text = TARGET.sub(lambda found, page=page: inside(found, page, pages), read(page))
        if number:
            text = re.sub(r"^```.*?^```|^#", lambda found: "##" if found.group() == "#" else found.group(),
                          SWITCH.sub("", text), flags=re.M | re.S)  # each heading one level down
        texts.append(text if page in CHINESE.values() or language == "en" else f'<div lang="en">\n\n{text}\n</div>\n')
    return "\n".join(texts)


def inside(found, page, pages):
    """A match of TARGET on a page, as it has to be on the page that holds all of `pages`."""
    opening, target = found.groups()
    if opening is None or re.match(r"https?:|#", target):
        return found.group()
    path, _, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    translation = CHINESE.get(path)
    if translation in pages and translation != page:
        anchors = dict(zip(anchors_of(read(path)), anchors_of(read(translation))))
        path, anchor = translation, anchors.get(anchor, anchor)
    if path in pages:
        return f"{opening}#{anchor or anchors_of(read(path))[0]}"
    return opening + path + (f"#{anchor}" if anchor else "")


def write(target, text):
    """Write what was made of the page. Errors: UserError where that is impossible."""
    try:
        with whole_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except UserError as error:
        raise UserError(f"{error}; name another file on the command line") from error


def tokens_of(text):
    """The page as markdown-it's tokens."""
    from markdown_it import MarkdownIt  # of requirements-dev.txt; book/try.py, which readers run, comes without it

    return MarkdownIt("commonmark").enable("table").parse(text)


def blocks_of(text):
    """All fenced blocks of the page, in order."""
    blocks, mark = [], None
    for token in tokens_of(text):
        if token.type == "html_block":
            mark = MARK.fullmatch(token.content.strip())
        elif token.type == "fence":
            kind, words = (mark.group(1), tuple(mark.group(2).split())) if mark else ("", ())
            first, last = token.map
            blocks.append(Block(token.info.strip(), token.content, kind, words, (first + 1, last - 1)))
            mark = None
        elif token.level == 0:
            mark = None
    return blocks


def headings_of(text):
    """The page's headings as pairs (level, text)."""
    tokens = tokens_of(text)
    return [(int(token.tag[1]), tokens[place + 1].content)
            for place, token in enumerate(tokens) if token.type == "heading_open"]


def anchors_of(text):
    """The names that GitHub gives the page's headings, in order; Chinese characters stay, punctuation goes."""
    names, seen = [], {}
    for _, heading in headings_of(text):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.append(name + (f"-{seen[name]}" if name in seen else ""))
        seen[name] = seen.get(name, 0) + 1
    return names


def names_of(node):
    """The names that a top-level statement binds; `__main__` for what runs in a script alone."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
        return ["__main__"]
    return []


def statements_of(source):
    """The top-level statements of a file in order, its docstring aside, each with decorators and comments above it."""
    tree, lines, found = ast.parse(source), source.splitlines(), []
    before = 0  # the last line of what is before
    for node in tree.body:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        while first - 1 > before and lines[first - 2].startswith("#"):
            first -= 1
        before = node.end_lineno
        found.append(Statement(node, names_of(node), first, before))
    return found if ast.get_docstring(tree) is None else found[1:]


def statements_from(source, first, last):
    """A run of statements: from the one that binds the name `first` to the one that binds `last`.

    Errors: ValueError where none does, or where they are in the other order.
    """
    statements = statements_of(source)
    places = {name: place for place, statement in enumerate(statements) for name in statement.names}
    for name in (first, last):
        if name not in places:
            raise ValueError(f"defines no {name}")
    if places[first] > places[last]:
        raise ValueError(f"defines {last} before {first}")
    return statements[places[first]:places[last] + 1]


def text_of(source, statements):
    """A run of statements exactly as in its file, with the blank lines between them."""
    return "".join(source.splitlines(keepends=True)[statements[0].first - 1:statements[-1].last])


def quote_of(block):
    """What a block marked `code` has to hold. Errors: ValueError where the mark names no such thing."""
    if len(block.words) not in (2, 3):
        raise ValueError(f"the mark in line {block.lines[0] - 1} is not of the form: code: FILE NAME, or: "
                         "code: FILE FIRST LAST")
    path, first, last = block.words[0], block.words[1], block.words[-1]
    if not (ROOT / path).is_file():
        raise ValueError(f"line {block.lines[0] - 1}: there is no file {path}")
    source = source_of(path)
    try:
        statements = statements_from(source, first, last)
    except ValueError as error:
        raise ValueError(f"line {block.lines[0] - 1}: {path} {error}") from error
    return Quote(path, statements, text_of(source, statements))


def code_of(source):
    """What a file's blocks have to hold when joined: its lines, but for its docstring and blank ones."""
    tree, lines = ast.parse(source), source.splitlines()
    if ast.get_docstring(tree) is not None:
        del lines[tree.body[0].lineno - 1:tree.body[0].end_lineno]
    return [line for line in lines if line.strip()]


def shown_of(text, path):
    """The lines of the page's blocks of one file, joined in the page's order, but for blank ones."""
    return [line for block in blocks_of(text) if block.kind == "code" and block.words[:1] == (path,)
            for line in block.text.splitlines() if line.strip()]
