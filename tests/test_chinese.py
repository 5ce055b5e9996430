"""Each page of `chapter.CHINESE` is the English one in Chinese: all that is not a sentence is the same.

Compared paragraph by paragraph are headings, lists, tables, marks, fenced blocks, figures, links, citations, code,
formulas and numbers. A link to a page that exists in English alone says so. Whether links lead somewhere is in
tests/test_readme.py, how the pages look in a browser in tests/test_book.py.
"""
import functools
import posixpath
import re
from collections import Counter
from decimal import Decimal

import pytest

pytest.importorskip("markdown_it", reason="the pages are read with markdown-it-py of requirements-dev.txt")

from book import chapter

PAIRS = pytest.mark.parametrize("page, translation", chapter.CHINESE.items())
HAN, WIDE = r"[\u3400-\u9fff]", r"[，。；：？！（）、“”《》]"
UNITS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "万": 10**4, "百万": 10**6, "亿": 10**8}
# What a paragraph keeps in another language. A number counts where it is not part of anything else of this list.
KEPT = re.compile(r'`[^`]+`|\$[^$]+\$|\]\([^()\s]+|\b(?:src|href|id|width)="[^"]+"|<!--.*?-->|'
                  rf'\d+(?:,\d{{3}})*(?:\.\d+)?(?:\s?(?:{"|".join(UNITS)}))?', re.S)
ENGLISH_ONLY = re.compile(r"\]\((?:\.\./)*(?:book/)?((?:RESULTS|CONTRIBUTING|running|models/\w+/README)\.md)[#)]")
SAYS_SO = "英文"  # in the paragraph of such a link
SHARED = {"VGG", "ResNet", "GoogLeNet", "Grad-CAM"}  # headings that are names in both languages
FAULTS = {
    "a line's end is shown as a space": rf"{HAN}\n{HAN}",
    "a formula stays TeX where nothing separates it": rf"(?:{HAN}|{WIDE})\$[^$\s]",
    "no space between Chinese and Latin": rf"(?:{HAN}[A-Za-z0-9]|[A-Za-z0-9]{HAN})",
    "narrow punctuation": rf"(?:{HAN}[,;:?!.](?!\w)|[,;:?!]{HAN}|{HAN}\()",
    "a space next to wide punctuation": rf"(?:[^\s.] {WIDE}|{WIDE} [^\s$])",
}


def value(number):
    """A number as what it is worth: 138 million is 1.38 亿."""
    digits, unit = re.fullmatch(r"([\d,.]+)\s?(\D*)", number).groups()
    return f"{(Decimal(digits.replace(',', '')) * UNITS.get(unit, 1)).normalize():f}"


def kept(text, translated):
    """What of a paragraph is the same in both languages, each with how often it occurs: clauses change places."""
    found = (" ".join(each.split()) for each in KEPT.findall(text))
    return Counter(value(each) if each[0].isdigit() else translated.get(each, each) for each in found)


def parts_of(text, translated):
    """The page as triples: what is there, its text, and what of that has to be kept. `translated`: new words."""
    for token in chapter.tokens_of(text):
        whole = token.type in ("fence", "code_block") or token.content.startswith("<!--")
        yield ((token.type, token.tag, token.info), token.content,
               token.content if whole else kept(token.content, translated))


def anchors(old, new, opening):
    """What begins a link to each heading of a page, in one language and in the other."""
    pairs = zip(chapter.anchors_of(old), chapter.anchors_of(new))
    return {f"{begins}{opening[0]}#{one}": f"{begins}{opening[1]}#{other}"
            for one, other in pairs for begins in ("](", 'href="')}


@functools.cache
def links_of(page):
    """What links of an English page become in Chinese: those to translated pages lead to the translations."""
    folder, words = posixpath.dirname(page), {}
    for path, translation in chapter.CHINESE.items():
        names = [posixpath.relpath(each, folder or ".") for each in (path, translation)]
        words.update({f"{begins}{names[0]}": f"{begins}{names[1]}" for begins in ("](", 'href="')})
        words.update(anchors(chapter.read(path), chapter.read(translation), names))
    return words


def differences(english, chinese, page=None):
    """Where a Chinese page is not the English one's, as lines; after another structure nothing is compared."""
    words = {**anchors(english, chinese, ("", "")), **(links_of(page) if page else {})}
    words = {f"{old}{end}": f"{new}{end}" for old, new in words.items()
             for end in (('"',) if old.startswith("href") else ("",))}
    switch = {f"]({posixpath.basename(page)}": f"]({posixpath.basename(chapter.CHINESE[page])}"} if page else {}
    ours, theirs = list(parts_of(english, words)), list(parts_of(chinese, switch))
    found = []
    for (kind, text, wanted), (other, translation, held) in zip(ours, theirs):
        if kind != other:
            return [*found, f"{other} instead of {kind}: {text[:80]!r}, {translation[:80]!r}"]
        if wanted != held:
            parted = f"{wanted - held} became {held - wanted}" if isinstance(held, Counter) else "another block"
            found.append(f"{parted}: {text[:80]!r}, {translation[:80]!r}")
    return found if len(ours) == len(theirs) else [*found, "one page goes on where the other ends"]


def faults_of(text):
    """What GitHub shows otherwise than it was meant, or a Chinese reader stumbles over."""
    for token in chapter.tokens_of(text):
        for child in token.children or ():
            if child.type == "text" and "*" in re.sub(r"\$[^$]+\$", "", child.content):
                yield f"an asterisk that emphasizes nothing: {child.content}"
        if token.type in ("inline", "html_block"):
            shown = re.sub(r"`[^`]+`", "x", re.sub(r"\]\([^)]*\)|<[^>]+>", "", token.content))
            for fault, pattern in FAULTS.items():
                places = re.finditer(f".{{0,9}}{pattern}.{{0,9}}", shown, re.S)
                yield from (f"{fault}: {place.group()}" for place in places)


@PAIRS
def test_the_chinese_page_holds_what_the_english_one_holds(page, translation):
    assert differences(chapter.read(page), chapter.read(translation), page) == []


@PAIRS
def test_the_chinese_page_is_shown_as_it_is_meant(page, translation):
    assert list(faults_of(chapter.read(translation))) == []


@PAIRS
def test_each_page_links_to_the_other_before_its_first_sentence(page, translation):
    for one, other in ((page, translation), (translation, page)):
        assert f"]({posixpath.basename(other)})" in "\n".join(chapter.read(one).splitlines()[:8])


@PAIRS
def test_the_pages_share_only_names_and_terms_as_headings(page, translation):
    """A heading that was left in English is seen."""
    english, chinese = ({heading for _, heading in chapter.headings_of(chapter.read(each))}
                        for each in (page, translation))
    assert english & chinese <= SHARED


def silent_about_english(text):
    """Paragraphs that link to a page in English and do not say that it is."""
    return [token.content for token in chapter.tokens_of(text) if token.type in ("inline", "html_block")
            and ENGLISH_ONLY.search(re.sub(r'href="([^"]+)"', r"](\1)", token.content))
            and SAYS_SO not in token.content]


@PAIRS
def test_a_link_to_a_page_in_english_says_so(page, translation):
    assert silent_about_english(chapter.read(translation)) == []


@pytest.mark.parametrize("text, silent", [
    ("见[参考](running.md#cpu-or-gpu)。", 1), ("见[参考](../book/running.md)（英文）。", 0),
    ("见[评判](judge.cn.md)。", 0), ("见[结果](../RESULTS.md)。", 1),
    ('<p><a href="../models/airbench_cifar10/README.md">模型</a></p>', 1)])
def test_a_link_that_does_not_say_so_is_seen(text, silent):
    assert len(silent_about_english(text)) == silent


PAGE = """# Title

See [the end](#the-end), [1](#ref-1), [a file](LICENSE): 138 million of `a  b`, $x^2$ times.

<p align="center">
<img src="image/a.png" width="830" alt="Two drawings"><br/>
Figure 1. <a href="#the-end">Drawings</a>
</p>

<!-- run: -->
```bash
ls
```

| a | b |
|---|---|
| 1 | 60,000 |

## The End

1. <a id="ref-1"></a>Somebody.
"""
TRANSLATED = """# 标题

`a b` 的 $x^2$ 倍是 1.38 亿：见[文件](LICENSE)、[1](#ref-1)、[末尾](#末尾)。

<p align="center">
<img src="image/a.png" width="830" alt="两张图画"><br/>
图 1. <a href="#末尾">图画</a>
</p>

<!-- run: -->
```bash
ls
```

| 甲 | 乙 |
|---|---|
| 1 | 60,000 |

## 末尾

1. <a id="ref-1"></a>某人。
"""


def test_a_translation_has_no_differences_and_no_faults():
    assert differences(PAGE, TRANSLATED) == list(faults_of(TRANSLATED)) == []


@pytest.mark.parametrize("old, new", [
    ("1.38 亿", "1.38 万"), ("a b", "a c"), ("x^2", "x^3"), ("](#末尾)", "](#the-end)"), ("LICENSE", "README"),
    ("a.png", "b.png"), ('"#末尾"', '"#标题"'), ("图 1", "图 2"), ("run: ", "run: x"), ("ls\n", "ls \n"),
    ("60,000", "50,000"), ("| 1 | 60,000 |", "| 60,000 | 1 |"), ("## 末", "### 末"), ("<!-- run: -->\n", ""),
    ('id="ref-1"', 'id="ref-2"'), ("[1](#ref-1)、", ""), ("某人。\n", "某人。\n\n再来。\n"), ("bash", "text")])
def test_what_changed_in_translation_is_seen(old, new):
    assert old in TRANSLATED and differences(PAGE, TRANSLATED.replace(old, new)) != []


def test_a_link_in_a_figure_leads_to_the_translated_page():
    old, new = (f'<p align="center">\n<a href="book/judge{end}.md">1</a></p>\n' for end in ("", ".cn"))
    assert differences(old, new, "README.md") == [] and differences(old, old, "README.md") != []


@pytest.mark.parametrize("text", [
    "给他\n看", "在$x$中", "用Paddle 写", "有 3个", "好,再来", "好 ，再", "好， 再", "**“好”**他"])
def test_what_reads_badly_is_seen(text):
    assert list(faults_of(text)) != []
