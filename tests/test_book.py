"""The HTML pages and the notebook made from all pages: whole, self-contained, and a real browser finds no fault."""
import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("nbformat", reason="the page and the notebook need what requirements-dev.txt brings")
pytest.importorskip("latex2mathml", reason="the page and the notebook need what requirements-dev.txt brings")

import nbformat

import published
from book import chapter, notebook, page
from utils.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
WHOLE = {language: chapter.whole(language) for language in page.LANGUAGES}
TEXT = WHOLE["en"]
ADDRESS = "https://github.com/somebody/some-project"
FORMULAS = len(re.findall(r"^```math$", WHOLE["en"], flags=re.M))
BOTH = pytest.mark.parametrize("language", page.LANGUAGES)
pages = pytest.mark.pages
NOWHERE = "\U0010fffd"  # a character that Unicode leaves to anybody, so no font here has it

# Put into a copy of the page: what the browser made of it, as JSON in the title.
PROBE = """<script>
const faults = [];
addEventListener("error", event => faults.push(String(event.message || event.target.src)), true);
addEventListener("load", () => {
  const pictures = [...document.images], formulas = [...document.querySelectorAll("math")];
  const mathml = "http://www.w3.org/1998/Math/MathML";
  document.title = JSON.stringify({
    faults, pictures: pictures.length, missing: pictures.filter(p => !p.complete || !p.naturalWidth).length,
    formulas: formulas.length,
    flat: formulas.filter(f => f.namespaceURI != mathml || f.getBoundingClientRect().height < 5).length,
    wide: document.documentElement.scrollWidth - innerWidth, high: document.documentElement.scrollHeight,
    over: [...document.querySelectorAll("main *")].filter(e => !scrolls(e) && e.getBoundingClientRect().right >
      innerWidth + 1).map(e => e.tagName + " " + e.textContent.slice(0, 40)),
    lost: [...document.querySelectorAll("a[href^='#']")].map(a => decodeURIComponent(a.hash.slice(1))).filter(
      name => !document.getElementById(name)),
    chinese: noGlyph("的", "sans-serif").length == 0, boxes: boxes().join("")});
});
const pen = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function drawn(character, family) {
  pen.canvas.width = pen.canvas.height = 48;
  pen.font = "32px " + family;
  pen.fillText(character, 4, 36);
  return pen.getImageData(0, 0, 48, 48).data.join();
}
// Those of the characters that look like one that no font has.
function noGlyph(characters, family) {
  const box = drawn("\\u{10fffd}", family);
  return [...characters].filter(character => drawn(character, family) == box);
}
// The characters on the page that no font has.
function boxes() {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = {};
  while (texts.nextNode()) {
    const family = getComputedStyle(texts.currentNode.parentElement).fontFamily;
    found[family] = new Set([...found[family] || [], ...texts.currentNode.data.replace(/\\s/g, "")]);
  }
  return [...new Set(Object.entries(found).flatMap(([family, characters]) => noGlyph(characters, family)))];
}
// Whether something may be wider than the window, since it can be scrolled to or is no box of its own.
function scrolls(element) {
  return element && (element.closest("math, svg") || ["auto", "scroll"].includes(getComputedStyle(element).overflowX) ||
                     scrolls(element.parentElement));
}
</script>"""


@functools.cache
def html(language):
    """The page in a language, as HTML."""
    return page.build(WHOLE[language], language)


class Balance(HTMLParser):
    """Finds tags that are left open or closed twice."""

    def __init__(self):
        super().__init__()
        self.open, self.faults = [], []

    def handle_startendtag(self, tag, attributes):
        """<br/> opens and closes itself."""

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br", "hr", "input", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append((tag, self.getpos()))


@pages
@BOTH
def test_the_page_is_well_formed_and_needs_no_other_file(language):
    balance = Balance()
    balance.feed(html(language))
    assert balance.faults == [] and balance.open == []
    assert "<script" not in html(language)
    assert all(source.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,"))
               for source in re.findall(r'<img[^>]* src="([^"]+)"', html(language)))
    assert 'name="viewport"' in html(language)


@pages
@BOTH
def test_every_formula_is_mathml_and_no_dollar_is_left_in_the_text(language):
    assert html(language).count('display="block"') == FORMULAS
    text = re.sub(r"<pre>.*?</pre>|<code>.*?</code>|<style>.*?</style>|<[^>]+>", "", html(language), flags=re.S)
    assert "$" not in text and "```" not in text and "\\frac" not in text


@pages
@BOTH
def test_the_contents_lead_to_the_headings(language):
    names = set(re.findall(r'<(?:h[1-6]|a) id="([^"]+)"', html(language)))
    inner = re.findall(r'href="#([^"]+)"', html(language))
    assert len(inner) > 30 and set(inner) <= names
    wanted = [heading for level, heading in chapter.headings_of(WHOLE[language]) if level in (2, 3)]
    listed = re.findall(r'<li class="level[23]"><a href="#[^"]+">(.*?)</a>', html(language))
    assert listed == wanted


@pages
@BOTH
def test_code_stands_in_the_page_as_in_the_source(language):
    blocks = re.findall(r'<div class="highlight"><pre>(.*?)</pre></div>', html(language), flags=re.S)
    texts = [re.sub(r"<[^>]+>", "", block).replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
             .replace("&#39;", "'").replace("&amp;", "&") for block in blocks]
    for block in chapter.blocks_of(WHOLE[language]):
        if block.kind == "code":
            assert block.text in texts


@BOTH
def test_the_further_pages_are_sections_of_the_one_page(language):
    """One level further down, with each section of theirs, and no link leaves the page for them."""
    first, *rest = (path if language == "en" else chapter.CHINESE.get(path, path) for path in chapter.PAGES)
    wanted = [*chapter.headings_of(chapter.read(first)),
              *((level + 1, heading) for path in rest for level, heading in chapter.headings_of(chapter.read(path)))]
    assert chapter.headings_of(WHOLE[language]) == wanted and [level for level, _ in wanted].count(1) == 1
    links = {target.partition("#")[0] for _, target in chapter.TARGET.findall(WHOLE[language])}
    own = {language == "en" and page or chinese for page, chinese in chapter.CHINESE.items()} | {"book/running.md"}
    assert not links & own, "a link to a part of the page leads out of it"
    assert all(link.startswith("http") or (ROOT / link).exists() for link in links if link)


@pages
@BOTH
def test_every_link_of_the_page_leads_somewhere(language):
    """To an anchor of the page, to a file of the project, or to another site."""
    names = set(re.findall(r'<[^>]* id="([^"]+)"', html(language)))
    links = set(re.findall(r'href="([^"]+)"', html(language)))
    inner, outer = ({link for link in links if link.startswith(start)} for start in ("#", "http"))
    assert len(inner) > 20 and {link[1:] for link in inner} <= names
    assert all(re.fullmatch(r"https?://[^\s/]+\.[^\s/]+(/\S*)?", link) for link in outer)
    paths = {link.partition("#")[0] for link in links - inner - outer}
    assert paths and all(path.startswith("../") and (ROOT / path[3:]).exists() for path in paths), paths


@pages
def test_each_page_says_its_language_and_links_to_the_other(tmp_path, capsys):
    """To its HTML page if that is in the same folder, otherwise to its source."""
    target = tmp_path / "chapter.html"
    assert page.main([str(target)]) == 0 and page.main([str(tmp_path / "chapter.cn.html"), "--language", "cn"]) == 0
    english, chinese = (path.read_text(encoding="utf-8") for path in (target, tmp_path / "chapter.cn.html"))
    assert '<html lang="en">' in english and '<html lang="zh-CN">' in chinese
    assert "<b>Contents</b>" in english and "<b>目录</b>" in chinese and "Contents</b>" not in chinese
    assert 'href="../README.cn.md">简体中文</a>' in english and 'href="chapter.html">English</a>' in chinese
    assert page.main([str(target)]) == 0
    assert 'href="chapter.cn.html">简体中文</a>' in target.read_text(encoding="utf-8")
    assert capsys.readouterr().out.splitlines()[-1] == str(target)


def test_a_link_leads_to_the_page_to_try_where_that_is_built(tmp_path):
    link = '<a href="../book/try.py">a page</a>'
    assert page.with_neighbors(link, tmp_path) == link
    (tmp_path / "try.html").write_text("")
    assert page.with_neighbors(link, tmp_path) == '<a href="try.html">a page</a>'


@pytest.mark.parametrize("width", [1280, 400], ids=["desk", "phone"])
@pages
@BOTH
def test_a_browser_shows_the_page(language, width, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium here (Debian's package is called chromium)")
    copy = tmp_path / "page.html"
    copy.write_text(html(language).replace("<head>", "<head>" + PROBE).replace("</main>", f"<p>{NOWHERE}</p></main>"),
                    encoding="utf-8")
    # The frame's width is the page's: a window of headless Chromium cannot be narrower than 500 pixels.
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<iframe id="f" src="page.html" style="width:{width}px;height:900px;border:0"></iframe><script>'
        'onload = () => { document.title = document.getElementById("f").contentDocument.title; };</script>')
    shown = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         "--window-size=1500,1000",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom",
         outer.as_uri()],
        capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>(\{.*?\})</title>", shown.stdout)
    assert found, shown.stderr[-2000:]
    seen = json.loads(found.group(1))
    assert seen["faults"] == [] and seen["missing"] == 0 and seen["flat"] == 0
    assert seen["pictures"] == len(re.findall(r"<img |!\[", WHOLE[language])) and seen["formulas"] > FORMULAS
    assert seen["wide"] <= 0, "the page is wider than the screen"
    assert seen["over"] == [] and seen["lost"] == []
    assert seen["high"] > 5000
    if seen["chinese"]:
        assert seen["boxes"] == NOWHERE, "characters without a glyph in any font"
    elif language == "cn":
        pytest.skip("no font here has Chinese characters (Debian's package is called fonts-wqy-microhei)")


def test_the_notebook_holds_every_definition_and_command_in_the_pages_order():
    made = notebook.build(TEXT, quick=False)
    wanted = [block.text.rstrip("\n") for block in chapter.blocks_of(TEXT)
              if block.kind == "code" and not notebook.is_a_program_of_its_own(block)]
    sources = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert [source for source in sources if source in wanted] == wanted
    commands = [block for block in chapter.blocks_of(TEXT) if block.kind == "run"]
    assert len(commands) >= 2
    assert sum(source.startswith('!"{sys.executable}" ') for source in sources) == len(commands)
    for cell in made.cells:
        for name in re.findall(r"attachment:([^)]+)\)", cell.source):
            assert name in cell.attachments
    assert notebook.build(TEXT, quick=False) == made


def test_the_notebooks_prose_is_the_pages():
    """Word for word, figures and code apart."""
    def words(text):
        text = re.sub(r"^\[!\[.*|", "", text, flags=re.M)
        text = re.sub(r'(\]\(|href=")\.\./', r"\1", text)  # from build/ to the project
        text = re.sub(r"!\[[^\]]*\]\((?:attachment:|image/).*?\)|<img [^>]*>|</?p[^>]*>|<br/>|<!--.*?-->|\$\$", " ",
                      text)
        return re.sub(r"^```(math)?$", " ", text, flags=re.M).split()

    made = notebook.build(TEXT, quick=False)
    left = TEXT
    for block in reversed(chapter.blocks_of(TEXT)):
        if block.kind in ("code", "run") and not notebook.is_a_program_of_its_own(block):
            lines = left.splitlines(keepends=True)
            del lines[block.lines[0] - 1:block.lines[1] + 1]
            left = "".join(lines)
    assert words("\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")) == words(left)


def test_the_address_is_written_into_badges_and_clone():
    for name, chinese in ((chapter.PAGES[0], False), (chapter.CHINESE[chapter.PAGES[0]], True)):
        before = chapter.read(name)
        text = notebook.with_address(before, ADDRESS, chinese)
        head = text[:text.index("\n\n", text.index("[!["))]
        assert re.findall(r"\]\((https://[^)]+)\)", head) == [
            "https://colab.research.google.com/github/somebody/some-project/blob/main/book/chapter.ipynb",
            "https://raw.githubusercontent.com/somebody/some-project/main/book/chapter.ipynb"]
        first = next(block for block in chapter.blocks_of(text) if block.language == "bash")
        assert first.text.startswith(f"git clone {ADDRESS}\ncd some-project\n") and "install" in first.text
        assert notebook.with_address(text, ADDRESS, chinese) == text, "written twice"
        other = ADDRESS.replace("somebody", "another")
        moved = notebook.with_address(text, other, chinese)
        assert ADDRESS not in moved and moved == notebook.with_address(before, other, chinese)


def test_the_hosted_notebook_is_there_once_the_project_is_published():
    """No page has a placeholder for the address: before that there are neither badges nor a clone."""
    address, exists = chapter.published(), (ROOT / chapter.HOSTED).exists()
    assert exists == bool(address) and ("[![" in chapter.read()) == bool(address)
    if address:
        made = nbformat.reads((ROOT / chapter.HOSTED).read_text(encoding="utf-8"), as_version=4)
        assert made == notebook.build(TEXT, False, address), "python book/notebook.py --address URL writes it again"


def test_a_hosted_notebook_leads_to_its_address():
    made = notebook.build(TEXT, False, ADDRESS)
    prose = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    figures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", prose)
    assert len(figures) == len(re.findall(r"<img |^!\[", TEXT, flags=re.M))
    raw, pages = (chapter.address_of(ADDRESS, "", form) for form in ("raw", "blob"))
    links = [target for _, target in chapter.TARGET.findall(prose) if target and target[0] != "#"]
    for target, start in [(figure, raw) for figure in figures] + [
            (link, pages) for link in links if ADDRESS.partition("//")[2] in link and link not in figures]:
        assert target.startswith(start) and (ROOT / target[len(start):].partition("#")[0]).exists(), target
    assert all(link.startswith("http") for link in links)
    assert ADDRESS in made.cells[0].source and ADDRESS not in notebook.build(TEXT, False).cells[0].source


@pytest.mark.parametrize("address", ["", "https://github.com/OWNER", "https://example.com/a/b", f"{ADDRESS} x"])
def test_an_address_of_no_repository_is_one_line(address, capsys):
    with pytest.raises(SystemExit):
        notebook.main(["--address", address])
    assert "is not of the form https://github.com/OWNER/NAME" in capsys.readouterr().err


def ran(*cells):
    """A notebook that begins like the chapter's, with these cells of code: what each printed when it ran."""
    made = notebook.build("", quick=False)
    made.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook.run(made)
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in made.cells[1:]]


@pages
def test_what_scripts_do_when_they_are_started_does_not_happen_in_the_notebook():
    """Their blocks are cells without a change; a kernel's own `__name__` is "__main__"."""
    page = "".join(f"<!-- code: {path} __main__ -->\n```python\n"
                   f"{chapter.text_of(source, chapter.statements_from(source, '__main__', '__main__'))}```\n"
                   for path, source in ((path, chapter.source_of(path)) for path in ("train.py", "infer.py")))
    cells = [block.text for block in chapter.blocks_of(page)]
    assert len(cells) == 2 and all(cell.startswith("if __name__ == ") and "main(" in cell for cell in cells)
    *silent, told = ran(*cells, "print(__name__, Path(__file__).parent == Path.cwd())")
    assert silent == ["", ""] and told == "chapter True\n"


@pages
def test_a_notebook_runs_with_a_python_whose_path_has_spaces(tmp_path):
    """The cell's command, not nbclient's kernel: that one is started without a shell."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    cells = notebook.Cells("", quick=False)
    cells.command("python -c print(6*7)".replace("print(6*7)", "'print(6*7)'"), ())
    _, printed = ran(f"sys.executable = {str(folder / 'python')!r}", cells[-1].source)
    assert printed.strip() == "42"


def test_in_a_read_only_project_the_notebook_runs_beside_links_to_it(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    (project / "build").mkdir()
    (project / "train.py").write_text("")
    with notebook.workplace(project) as folder:
        assert folder == project
    monkeypatch.setattr(notebook.os, "access", lambda path, mode: False)
    with notebook.workplace(project) as folder:
        assert {path.name for path in folder.iterdir()} == {"models", "train.py"}
        assert (folder / "train.py").resolve() == project / "train.py"
        (folder / "build").mkdir()


@pytest.mark.parametrize("module", [page, notebook])
def test_a_place_that_cannot_be_written_is_one_line(module, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert module.main([str(tmp_path / "file" / "target")]) == UserError.status
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert "cannot write" in told.err and "name another file" in told.err


@pages
@pytest.mark.parametrize("script", ["page.py", "notebook.py"])
def test_help_is_help(script, tmp_path):
    asked = subprocess.run([sys.executable, ROOT / "book" / script, "--help"], cwd=tmp_path, capture_output=True,
                           text=True)
    assert asked.returncode == 0 and asked.stdout.startswith(f"usage: {script}") and asked.stderr == ""
    assert list(tmp_path.iterdir()) == []


def first_cell(folder, monkeypatch):
    """Run the first cell, without its installation and what follows it, in a folder; returns its variables."""
    source = notebook.start().split("os.chdir(project)")[0].replace('assert "numpy" not in', 'assert "" not in')
    shell = "\n".join(line.replace(line.lstrip(), "_exit_code = 0") if line.lstrip().startswith("!") else line
                      for line in source.splitlines())
    monkeypatch.chdir(folder)
    names = {}
    exec(shell, names)
    return names


@pytest.mark.parametrize("top", ["", "project-main/"])
def test_the_first_cell_unpacks_a_zip_file_of_the_project(top, tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_text("no archive")
    for name, file in (("b.zip", "else.txt"), ("c.zip", f"{top}train.py")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(file, "")
            archive.writestr(f"{top}deep/down/train.py", "")
    (tmp_path / "b.zip").unlink()
    project = first_cell(tmp_path, monkeypatch)["project"]
    assert project == tmp_path / "image-classification" and (project / "deep" / "down" / "train.py").is_file()
    assert (project / "train.py").is_file() and not list(tmp_path.glob("*.part"))
    (project / "deep" / "notebooks").mkdir()
    assert first_cell(project / "deep" / "notebooks", monkeypatch)["project"] == project


@pytest.mark.skipif(sys.platform != "linux", reason="pip has no wheel of Paddle's for another system's GPU")
@pytest.mark.parametrize("capability, python, machine, words", [
    (None, (3, 11), "x86_64", ["-cpu.txt", "for the CPU, since no GPU"]),
    ("", (3, 11), "x86_64", ["-cpu.txt", "for the CPU, since no GPU"]),  # a driver without a device
    ("5.2", (3, 11), "x86_64", ["-cpu.txt", "for the CPU, since pip has no wheel for a GPU of 5.2"]),
    ("7.5\n7.5", (3, 12), "x86_64", ["requirements.txt", "2.6.2 for the GPU", "nvidia-cudnn-cu11==8.6.0.163 "
                                     "nvidia-cublas-cu11==11.11.3.6"]),
    ("7.5", (3, 13), "x86_64", ["-cpu.txt", "for the CPU"]),
    ("9.0", (3, 11), "x86_64", ["-cpu.txt", "3.3.1 for the GPU", "uninstall -y paddlepaddle",
                                "install paddlepaddle-gpu==3.3.1 -i https://www.paddlepaddle.org.cn/", "/cu126/"]),
    ("12.0", (3, 11), "x86_64", ["-cpu.txt", "3.3.1 for the GPU", "/cu129/"]),
    ("9.0", (3, 11), "aarch64", ["-cpu.txt", "for the CPU"])])
def test_the_first_cell_installs_the_wheel_of_the_table(capability, python, machine, words, tmp_path, monkeypatch,
                                                        capfd):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("train.py", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    if capability is not None:
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n" + f"echo '{capability}'\n" * bool(capability))
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setattr(sys, "version_info", python)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    steps = first_cell(tmp_path, monkeypatch)["steps"]
    text = " and ".join(steps) + capfd.readouterr().out
    assert all(word in text for word in words) and (len(steps) == 3) == ("3.3.1" in text)
    table = chapter.read("book/running.md")
    assert all(word in table for step in steps for word in step.split() if "==" in word or "/stable/cu126" in word)


def test_the_first_cell_without_the_project_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(AssertionError, match="put a zip file of the project next to it"):
        first_cell(tmp_path, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("address", [ADDRESS, None], ids=["address", "zip"])
def test_the_notebook_runs_elsewhere_in_a_fresh_environment(address, tmp_path):
    """It finds Python, Jupyter, git and the network, as a service has them; the project at its address, or zipped."""
    (tmp_path / "copy").mkdir()
    (tmp_path / "work").mkdir()
    redirected = published.copy_to(tmp_path / "copy", ADDRESS)
    if address is None:
        published.git(tmp_path / "copy", "archive", "--prefix=main/", "-o", tmp_path / "work" / "it.zip", "HEAD")
        redirected = {}
    venv.create(tmp_path / "service", with_pip=True)
    python = tmp_path / "service" / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = [line for line in (ROOT / "requirements-dev.txt").read_text().splitlines()
              if line.startswith(("ipykernel", "nbclient", "nbformat"))]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    source = tmp_path / "work" / "chapter.ipynb"
    nbformat.write(notebook.build(TEXT, True, address), source)
    program = ("import sys, nbclient, nbformat\n"
               "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
               "nbclient.NotebookClient(notebook, timeout=1800, resources={'metadata': {'path': '.'}}).execute()\n"
               "print([output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs])")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([python, "-c", program, source], cwd=source.parent, capture_output=True, text=True,
                          env={**environment, **redirected, "JUPYTER_PATH": ""})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "infer results: " in done.stdout
    assert {path.name for path in source.parent.iterdir()} - {"it.zip"} == {"chapter.ipynb", "image-classification"}


@pytest.mark.long
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    done = subprocess.run([sys.executable, "book/notebook.py", "--quick", "--run",
                           str(tmp_path / "chapter.ipynb")], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "infer results: " in (tmp_path / "chapter.ipynb").read_text(encoding="utf-8")
