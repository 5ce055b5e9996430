"""A Python without Paddle, or without numpy, is one line; and the files that say what to install agree."""
import importlib.util
import os
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from conftest import ROOT
from utils import start

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
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: None)
    line = start.missing_packages(version)
    assert ("Paddle has wheels only for Python 3.9 to 3.13" in line) == (not has_wheels)
    assert (f"Python 3.{version[1]}," in line) == (not has_wheels)


SIGNALS = """
import signal, sys
sys.path.insert(0, {root!r})
signal.signal(signal.SIGTERM, before := lambda *_: None)
import utils.start
assert signal.getsignal(signal.SIGTERM) is before
utils.start.prepare({name!r})
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
    assert start.missing_packages() is None
    assert all(importlib.util.find_spec(name) for name in start.PACKAGES)


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


SIGNALS_OF_A_SESSION = """
import runpy, signal, sys, types
sys.path.insert(0, {root!r})
class OutStream:  # as Jupyter's: text alone
    def __init__(self, file):
        self.write, self.flush = file.write, file.flush
sys.stdout = OutStream(sys.__stdout__)
sys.modules[{session!r}] = types.ModuleType({session!r})
signal.signal(signal.SIGTERM, before := lambda *_: None)
sys.argv = ["infer.py", "--model-dir", {model!r}, "dog.png"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    print(end.code, signal.getsignal(signal.SIGTERM) is before)
"""


@pytest.mark.parametrize("session", ["IPython", "idlelib"])
def test_a_script_runs_inside_of_a_session_and_leaves_its_signals_alone(session, model_dir):
    """`%run infer.py dog.png` in Jupyter, whose standard output cannot be reconfigured."""
    code = SIGNALS_OF_A_SESSION.format(root=str(ROOT), session=session, model=str(model_dir),
                                       script=str(ROOT / "infer.py"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1:] == ["0 True"], done.stderr


@pytest.mark.parametrize("script", ["train", "infer", "evaluate"])
def test_paddle_before_this_program_is_one_line(script):
    """Paddle 2.6 would crash in zlib, and 3.3 has begun with other flags."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import paddle, {script}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLAGS_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == (
        "ImportError: Paddle was imported before this program, which sets its flags first: import this program before "
        "paddle")


ENVIRONMENT = ["FLAGS_enable_pir_api=1", "FLAGS_use_mkldnn=1", "FLAGS_use_onednn=true", "FLAGS_prim_all=1",
               "FLAGS_enable_pir_in_executor=1", "FLAGS_check_nan_inf=1", "FLAGS_benchmark=1"]


def test_variables_that_break_paddle_are_ignored_and_named(tiny_archive, tmp_path):
    """PaddleX and PaddleClas export the first; the others are a traceback of 2.6.2, of 3.3.1, or of both."""
    more = dict(text.split("=") for text in [*ENVIRONMENT, "OMP_NUM_THREADS=1,1", "PYTHONSAFEPATH=1"])
    done = subprocess.run([sys.executable, str(ROOT / "train.py"), "--data-file", str(tiny_archive), "--depth", "8",
                           "--epochs", "1", "--workers", "1", "--device", "cpu", "--model-dir", str(tmp_path / "m")],
                          capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **more})
    assert done.returncode == 0 and "Done: " in done.stdout, done.stderr
    said = [line for line in done.stderr.splitlines() if "FLAGS_" in line]
    assert said == [f"{text} in the environment is ignored: this program needs it off" for text in (
        *ENVIRONMENT[:1], ENVIRONMENT[4], ENVIRONMENT[3], *ENVIRONMENT[1:3], *ENVIRONMENT[5:])]


@pytest.mark.parametrize("share, given, threads", [(2, {}, "2"), (2, {"OMP_NUM_THREADS": "3"}, "3"), (16, {}, None)])
def test_a_process_has_no_more_threads_than_a_containers_share_and_cudnn_repeats_itself(share, given, threads):
    code = (f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from utils import flags; "
            f"flags.core_share, flags.usable_cores = lambda: {share}, lambda: range(16); flags.set_flags(); "
            "print(os.environ.get('OMP_NUM_THREADS'), os.environ['FLAGS_cudnn_deterministic'])")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "FLAGS_"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**environment, **given})
    assert done.stdout == f"{threads} 1\n", done.stderr


@pytest.mark.parametrize("name", ["PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_SIZE"])
def test_a_variable_that_is_no_number_is_one_line(name, tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "train.py"), "--depth", "8", "--workers", "1", "--model-dir",
                           str(tmp_path)], capture_output=True, text=True, env={**os.environ, name: "abc"})
    assert done.returncode == 2
    assert done.stderr == f"train.py: error: the environment variable {name} is 'abc', not a number: unset it\n"


@pytest.mark.parametrize("script", ["evaluate.py", "infer.py"])
@pytest.mark.parametrize("flag", ["-P", "-I"])
def test_scripts_start_without_their_folder_on_the_path(script, flag):
    if flag == "-P" and sys.version_info < (3, 11):
        pytest.skip("-P is Python 3.11's")
    done = subprocess.run([sys.executable, flag, str(ROOT / script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {script}")


def test_a_pool_of_processes_may_call_infer(model_dir, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import multiprocessing, sys
sys.path.insert(0, {str(ROOT)!r})
import infer
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(infer.main, [["dog.png", "--model-dir", {str(model_dir)!r}, "--device", "cpu"]]))
""", encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[0]"], done.stderr
