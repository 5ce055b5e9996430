"""A Python without Paddle, or without numpy, is one line; and the files that say what to install agree."""
import importlib.util
import os
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from conftest import ROOT
from utils import prepare

BLOCKED = """
import runpy, sys
for name in {names!r}:
    sys.modules[name] = None  # an import fails, and importlib finds nothing
sys.argv = [{script!r}, *{arguments!r}]
sys.path.insert(0, {root!r})
runpy.run_path({script!r}, run_name={run_name!r})
"""
MACHINES = {"Linux": ("linux", "x86_64"), "Linux on Arm": ("linux", "aarch64"), "Windows": ("win32", "AMD64"),
            "Apple silicon": ("darwin", "arm64"), "Intel Mac": ("darwin", "x86_64")}
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def without(names, script, *arguments, run_name="__main__"):
    """Run a script where these modules are not installed."""
    code = BLOCKED.format(names=names, script=str(script), arguments=arguments, root=str(ROOT), run_name=run_name)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("names, words", [
    (["paddle"], "Paddle is not installed for this Python"), (["numpy"], "numpy is not installed for this Python"),
    (["psutil"], "psutil is not installed for this Python"),
    (["numpy", "paddle", "PIL"], "Paddle, numpy and Pillow are not installed for this Python")])
def test_train_says_in_one_line_what_is_not_installed(names, words):
    done = without(names, ROOT / "train.py", "--depth", "8")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"train.py: error: {words}") and done.stderr.count("\n") == 1
    assert "pip install -r requirements.txt" in done.stderr


def test_without_any_package_it_is_one_line():
    """`python -S` knows of no installed package."""
    done = subprocess.run([sys.executable, "-S", ROOT / "train.py"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "Paddle, numpy, Pillow, psutil and tqdm" in done.stderr


@pytest.mark.parametrize("script", ["train.py", "infer.py", "evaluate.py"])
def test_a_program_that_imports_a_script_gets_an_import_error(script):
    done = without(["paddle"], ROOT / script, run_name=script[:-3])
    assert done.returncode == 1 and "ImportError: Paddle is not installed" in done.stderr


@pytest.mark.parametrize("version, has_wheels", [((3, 8), False), ((3, 9), True), ((3, 13), True), ((3, 14), False)])
def test_a_python_that_paddle_has_no_wheel_for_is_named(version, has_wheels, monkeypatch):
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
    line = prepare.missing_packages(version)
    assert ("Paddle has wheels only for Python 3.9 to 3.13" in line) == (not has_wheels)
    assert (f"Python 3.{version[1]}," in line) == (not has_wheels)


SIGNALS = """
import signal, sys
sys.path.insert(0, {root!r})
signal.signal(signal.SIGTERM, before := lambda *_: None)
import utils.prepare
assert signal.getsignal(signal.SIGTERM) is before
utils.prepare.prepare({name!r})
print(signal.getsignal(signal.SIGTERM) is before, sys.stdout.errors, "numpy" in sys.modules)
"""


@pytest.mark.parametrize("name, printed", [
    ("__main__", "False backslashreplace False"), ("infer", "True strict False"),
])
def test_signals_and_output_change_only_where_a_script_asks_for_it(name, printed):
    done = subprocess.run([sys.executable, "-c", SIGNALS.format(root=str(ROOT), name=name)], capture_output=True,
                          text=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    assert done.stdout.strip() == printed, done.stderr


def test_nothing_is_missing_here():
    assert prepare.missing_packages() is None
    assert all(importlib.util.find_spec(name) for name in prepare.PACKAGES)


def requirements(name):
    """The requirements of a file and of those that it includes."""
    found = []
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        text = re.sub(r"(^|\s+)#.*", "", line).strip()
        if text.startswith("-r "):
            found += requirements(text[3:])
        elif text:
            found.append(Requirement(text))
    return found


@pytest.mark.parametrize("name, gpu", [("requirements.txt", True), ("requirements-cpu.txt", False)])
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_each_machine_gets_one_paddle(python, machine, name, gpu):
    system, processor = MACHINES[machine]
    environment = {"python_version": python, "sys_platform": system, "platform_machine": processor}
    chosen = [each for each in requirements(name) if each.marker is None or each.marker.evaluate(environment)]
    names = [each.name for each in chosen]
    assert len(names) == len(set(names)) and {"numpy", "pillow", "psutil"} <= set(names)
    has_gpu_wheel = gpu and machine in ("Linux", "Windows") and python != "3.13"
    paddle = [str(each).split(";")[0].strip() for each in chosen if each.name.startswith("paddle")]
    assert paddle == [f"paddlepaddle{'-gpu' if has_gpu_wheel else ''}=={'3.3.1' if python == '3.13' else '2.6.2'}"]


def test_each_pin_stands_once():
    lines = [line for name in ("requirements.txt", "requirements-cpu.txt", "requirements-common.txt")
             for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "==" in line.split(";")[0]]
    assert len(lines) == len(set(lines)) >= 12
    assert all(each.specifier for name in ("requirements.txt", "requirements-cpu.txt") for each in requirements(name))
