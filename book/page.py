"""All pages as one of HTML that needs no other file: `python book/page.py` writes build/chapter.html.

With `--language cn` the pages are the Chinese ones, in build/chapter.cn.html; what readers look up stays English.
Figures are inside, code is colored, formulas are MathML, which browsers draw themselves; it has no script.
"""
import argparse
import base64
import html
import re
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script's own folder is there, not the project's

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from book import chapter
from book.chapter import ROOT, whole
from utils.errors import exit_status

STYLE = """
:root { color-scheme: light dark; --ink: #1f2733; --quiet: #5d6878; --ground: #ffffff; --card: #f4f5f7;
        --rule: #d9dde3; --link: #2059a5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe4ea; --quiet: #9aa5b3; --ground: #14181d; --card: #1e242b;
          --rule: #333c47; --link: #86b4f0; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 17px/1.6 system-ui, sans-serif; }
.page { display: grid; grid-template-columns: minmax(0, 48rem); justify-content: center; gap: 3rem;
        padding: 1rem; }
nav { display: none; font-size: .9rem; line-height: 1.4; }
nav ul { list-style: none; margin: .5rem 0; padding: 0; } nav li { margin: .35rem 0; }
nav .level3 { padding-left: 1rem; } nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
@media (min-width: 75rem) {
  .page { grid-template-columns: 15rem minmax(0, 52rem); }
  .contents { display: none; }
  nav { display: block; position: sticky; top: 0; align-self: start; max-height: 100vh; overflow: auto;
        padding: 1rem 0; } }
a { color: var(--link); text-decoration-thickness: .06em; text-underline-offset: .15em;
    overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; margin: 2.2em 0 .6em; } h1 { margin-top: .5em; font-size: 2.1rem; }
h2 { border-bottom: 1px solid var(--rule); padding-bottom: .25em; }
img { max-width: 100%; height: auto; border-radius: 8px; border: 1px solid var(--rule); }
p[align=center] { font-size: .92rem; color: var(--quiet); }
pre { background: var(--card); padding: .9rem 1rem; border-radius: 8px; overflow-x: auto; font-size: .82rem;
      line-height: 1.5; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
:not(pre) > code { background: var(--card); padding: .1em .3em; border-radius: 4px; font-size: .88em;
                   overflow-wrap: anywhere; }
.table, .formula { overflow-x: auto; } table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--rule); padding: .35rem .9rem .35rem 0; text-align: left; vertical-align: top;
         min-width: 4.5rem; }
td:last-child, th:last-child { padding-right: 0; } td:has(code) { min-width: 11rem; }
details { background: var(--card); border-radius: 8px; padding: .5rem 1rem; margin: 1em 0; }
blockquote { background: var(--card); border-left: 4px solid var(--link); border-radius: 8px; margin: 1em 0;
             padding: .1rem 1rem; }
details pre { padding: .5rem 0; } summary { cursor: pointer; color: var(--link); }
.formula { padding: .3rem 0; overflow-y: hidden; }
math { font: 1.08em "STIX Two Math", "Latin Modern Math", "Cambria Math", math; }
@media (max-width: 40rem) { pre { font-size: .74rem; padding: .7rem; } }
"""
DARK = "@media (prefers-color-scheme: dark) { %s }"
# Chinese has no italics, and lines that are shorter and further apart. Of the fonts each system has one: macOS and iOS,
# Windows, Android and most Linux (two names), older Linux; without any of them the browser looks for one by itself.
HAN = """
body { font-family: system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC",
       "Source Han Sans SC", "WenQuanYi Micro Hei", sans-serif; line-height: 1.8; }
em, i { font-style: normal; font-weight: bold; }
main > :is(p:not([align]), ul, ol) { max-width: 43em; }
[lang=en] { line-height: 1.6; } [lang=en] em { font-style: italic; font-weight: normal; }
"""


class Language(NamedTuple):
    """What differs between the pages: the chapter, its HTML page, the language's name in HTML, one word, styles."""

    chapter: str
    target: str
    name: str
    contents: str
    style: str


LANGUAGES = {"en": Language(chapter.PAGES[0], "chapter.html", "en", "Contents", ""),
             "cn": Language(chapter.CHINESE[chapter.PAGES[0]], "chapter.cn.html", "zh-CN", "目录", HAN)}


def formula(text, display):
    """A formula in TeX as MathML."""
    return convert(text.strip(), display="block" if display else "inline")


def code(text, language):
    """A block of code in colors; a block of language `math` as a formula."""
    if language == "math":
        return f'<div class="formula">{formula(text, True)}</div>\n'
    lexer = get_lexer_by_name(language if language in ("python", "diff") else "text")
    return highlight(text, lexer, HtmlFormatter())


def data_uri(path):
    """A figure of the project, as part of the page."""
    kind = "svg+xml" if path.endswith(".svg") else "png"
    return f"data:image/{kind};base64," + base64.b64encode((ROOT / path).read_bytes()).decode()


def body_of(text):
    """The page's text as HTML."""
    markdown = MarkdownIt("commonmark").enable("table").use(anchors_plugin, max_level=4).use(
        dollarmath_plugin, renderer=lambda tex, options: formula(tex, options["display_mode"]))
    markdown.add_render_rule("fence", lambda self, tokens, place, options, env:
                             code(tokens[place].content, tokens[place].info.strip()))
    body = markdown.render(re.sub(r"^<!--.*?-->\n", "", text, flags=re.M))
    body = re.sub(r'src="(image/[^"]+\.(?:png|svg))"', lambda found: f'src="{data_uri(found.group(1))}"', body)
    body = re.sub(r'(?<=href=")#[^"]+', lambda found: unquote(found.group()), body)  # as the headings' names are
    body = re.sub(r'href="(?!https?:|#)([^"]+)"', r'href="../\1"', body)  # the page lies in build/
    body = re.sub(r"<p>(?=<strong>(?:Contents:|目录：))", '<p class="contents">', body)  # for narrow screens
    return body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")


def contents_of(body, word):
    """The list of contents under that word, from the headings of the finished page."""
    entries = re.findall(r'<h([23]) id="([^"]+)">(.*?)</h', body)
    items = "".join(f'<li class="level{level}"><a href="#{name}">{title}</a></li>\n'
                    for level, name, title in entries)
    return f"<nav><b>{word}</b><ul>\n{items}</ul></nav>"


def build(text, language="en"):
    """The whole page."""
    body, words = body_of(text), LANGUAGES[language]
    title = html.escape(chapter.headings_of(text)[0][1])
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight")
                   for style in ("friendly", "github-dark"))
    plain = ".highlight, .highlight pre { background: var(--card) !important; }"
    return (f'<!DOCTYPE html>\n<html lang="{words.name}">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>{light}\n{DARK % dark}\n{STYLE}{words.style}\n{plain}</style>\n</head>\n"
            f'<body><div class="page">{contents_of(body, words.contents)}<main>\n{body}</main></div></body>\n'
            '</html>\n')


def with_neighbors(made, folder):
    """The page with links to other pages, instead of to their sources, where those pages are in the same folder."""
    pages = {other.chapter: other.target for other in LANGUAGES.values()}
    for source, target in {**pages, "book/try.py": "try.html"}.items():
        if (folder / target).is_file():
            made = made.replace(f'href="../{source}"', f'href="{target}"')
    return made


@exit_status("end other programs")
def main(arguments=None):
    """Write the page."""
    parser = argparse.ArgumentParser(prog="page.py", description="Make one HTML page of all pages.")
    parser.add_argument("target", nargs="?", type=Path, metavar="FILE",
                        help="where to write it (default: build/chapter.html, in Chinese build/chapter.cn.html)")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="of the chapter (default: en)")
    given = parser.parse_args(arguments)
    target = given.target or ROOT / "build" / LANGUAGES[given.language].target
    made = build(whole(given.language), given.language)
    chapter.write(target, with_neighbors(made, target.parent))
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
