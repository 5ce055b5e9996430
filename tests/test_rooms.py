"""The house: who may import whom, how long a function may be, and how long the scripts."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

from utils.data import dataset

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path.relative_to(ROOT) for folder in (".", "models", "utils", "benchmarks", "book")
               for path in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py"))
DRAWINGS = ("book/figures/",)  # a figure is as long as what is on it
LONGEST = 40  # lines of a function
SCRIPTS = {"train.py": 200, "infer.py": 100, "evaluate.py": 80}  # and the most lines of each


def module_of(path):
    """A file's name as an import gives it."""
    return ".".join(path.with_suffix("").parts).replace(".__init__", "")


MODULES = {module_of(path): path for path in FILES}


def imports_of(path):
    """The project's modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        found.update(name for name in names if name in MODULES and name != module_of(path))
    return found


GRAPH = {module: imports_of(path) for module, path in MODULES.items()}


def floor(module):
    """1 for what the scripts stand on, 2 for the scripts, 3 for what stands on them."""
    room = module.split(".")[0]
    return {"models": 1, "utils": 1, "train": 2, "infer": 2, "evaluate": 2}.get(room, 3)


def reachable(start, graph):
    """All modules that a module needs, by way of others too."""
    found, left = set(), [start]
    while left:
        for name in graph[left.pop()] - found:
            found.add(name)
            left.append(name)
    return found


def circles(graph):
    """Modules that need themselves; a package's own file is no module of its own where it is empty."""
    return {module for module in graph if module in reachable(module, graph)}


def test_the_graph_is_of_this_project():
    assert "utils.checkpoints" in GRAPH["train"] and "utils.storage.checkpoint" in reachable("train", GRAPH)
    assert len(GRAPH) > 40


def test_no_arrow_leads_upward():
    upward = [(module, needed) for module, names in GRAPH.items() for needed in names if floor(needed) > floor(module)]
    assert upward == []


def test_there_is_no_circle():
    assert circles(GRAPH) == set()
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == {"a", "b"}


def test_models_and_utils_do_not_know_each_other():
    assert not [m for m in GRAPH if m.split(".")[0] == "models" and
                any(name.split(".")[0] != "models" for name in GRAPH[m])]
    assert not [m for m in GRAPH if m.split(".")[0] == "utils" and
                any(name.split(".")[0] == "models" for name in GRAPH[m])]


@pytest.mark.parametrize("script", ["infer", "evaluate"])
def test_what_uses_a_model_stands_without_what_trains_it(script):
    assert "train" not in reachable(script, GRAPH) and "utils.checkpoints" not in reachable(script, GRAPH)


def room(module):
    """The folder that a module is in, where it has one below utils/ or next to it; else the module itself."""
    path = MODULES[module]
    return path.parent.as_posix() if path.parent.as_posix() not in (".", "utils") else module


def rooms(graph):
    """The same graph between rooms."""
    between = {room(module): set() for module in graph}
    for module, names in graph.items():
        between[room(module)] |= {room(name) for name in names} - {room(module)}
    return between


def test_no_circle_leads_through_folders():
    assert circles(rooms(GRAPH)) == set()


def test_a_circle_of_folders_is_seen():
    """Two modules of one folder and one of another point at each other without a circle of modules."""
    graph = {"benchmarks.runs": {"book.flowers"}, "book.flowers": set(), "book.page": {"benchmarks.cost"},
             "benchmarks.cost": set()}
    assert circles(graph) == set() and circles(rooms(graph)) == {"benchmarks", "book"}


IMPORTED = """
import runpy, sys
from pathlib import Path
sys.argv = {arguments!r}
sys.path.insert(0, str(Path(sys.argv[0]).parent))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
root = Path(sys.argv[0]).parent
files = {{Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}}
files = [file for file in files if root in file.parents] + [Path(sys.argv[0])]
print("lines", sum(len(file.read_text(encoding="utf-8").splitlines()) for file in set(files)))
print("paddle" in sys.modules, "utils.gpu" in sys.modules and not sys.modules["utils.flags"].has_driver())
"""


@pytest.mark.parametrize("most, script, arguments", [
    (1700, "infer.py", ["dog.png"]),
    (4000, "train.py", ["--workers", "1", "--epochs", "1", "--max-batches", "1", "--batch-size", "8"]),
])
def test_a_default_command_needs_little_of_the_project(most, script, arguments, small_archive, tmp_path):
    """Lines of this project's files that the process has imported in the end; the images have been unpacked before."""
    if script == "train.py":
        dataset.read("cifar10", str(small_archive))
        arguments = [*arguments, "--data-file", str(small_archive), "--model-dir", str(tmp_path / "model")]
    code = IMPORTED.format(arguments=[str(ROOT / script), *arguments])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = int(done.stdout.split("lines ")[1].split()[0])
    assert 1000 < lines <= most, lines
    assert done.stdout.endswith("True False\n")  # Paddle, and nothing about GPUs without a driver


def lengths(source):
    """Functions of a file, nested ones included: (name, lines)."""
    return [(node.name, node.end_lineno - node.lineno + 1) for node in ast.walk(ast.parse(source))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


@pytest.mark.parametrize("path", [path for path in FILES if not path.as_posix().startswith(DRAWINGS)], ids=str)
def test_no_function_is_longer_than_a_screen(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    longest = 25 if path.name in SCRIPTS else LONGEST
    assert [(name, lines) for name, lines in lengths(source) if lines > longest] == []


def test_lines_of_a_function_are_counted():
    assert lengths("def f():\n    pass\n\n\nclass C:\n    def g(self):\n\n        return 1\n") == [("f", 2), ("g", 3)]


@pytest.mark.parametrize("script, most", SCRIPTS.items())
def test_the_scripts_tell_the_chapter_and_no_more(script, most):
    assert len((ROOT / script).read_text(encoding="utf-8").splitlines()) <= most


def test_each_file_says_what_it_is_for():
    silent = [path for path in FILES if (ROOT / path).stat().st_size
              and not ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))]
    assert silent == []
