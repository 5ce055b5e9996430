"""README.md as a program reads it: its blocks, each with the mark above it, and the source they quote."""
import ast
import re
from pathlib import Path
from typing import NamedTuple, Tuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"<!-- (code|run|help|output): ?(.*?) ?-->")


class Block(NamedTuple):
    """A fenced block: language, text, the mark above it (kind and words, empty for none), its lines."""

    language: str
    text: str
    kind: str
    words: Tuple[str, ...]
    lines: Tuple[int, int]  # first line of the text, and the one after its last; counted from 0


def read():
    """The whole page as text."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


def tokens_of(text):
    """The page as markdown-it's tokens."""
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


def definitions_of(path):
    """The top-level definitions of a Python file: name -> (first line, source), in the file's order.

    A constant belongs to the name it is given to; a decorator belongs to its function.
    """
    source = (ROOT / path).read_text(encoding="utf-8")
    lines, found = source.splitlines(keepends=True), {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first, names = min([node.lineno] + [d.lineno for d in node.decorator_list]), [node.name]
        elif isinstance(node, ast.Assign):
            first, names = node.lineno, [target.id for target in node.targets if isinstance(target, ast.Name)]
        else:
            continue
        for name in names:
            found[name] = (first, "".join(lines[first - 1:node.end_lineno]))
    return found


def quoted(block):
    """What a block marked `code: FILE NAME` has to hold.

    Errors: ValueError where there is no such definition.
    """
    if len(block.words) != 2:
        raise ValueError(f"the mark in line {block.lines[0]} is not of the form: code: FILE NAME")
    path, name = block.words
    if not (ROOT / path).is_file():
        raise ValueError(f"line {block.lines[0]}: there is no file {path}")
    found = definitions_of(path)
    if name not in found:
        raise ValueError(f"line {block.lines[0]}: {path} defines no {name}")
    return found[name][1]
