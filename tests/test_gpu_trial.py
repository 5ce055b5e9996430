"""The trial of a CUDA device: each way it can end is told in one line, and what stays true is remembered."""
import json
import os
import signal
import sys
import time

import pytest

from utils.gpu import remembered, trial
from utils.place import has_driver

GOOD = {"cpu": {"loss": [2.61], "gradient": [0.01, -0.02]}, "device": {"loss": [2.611], "gradient": [0.01, -0.0201]}}
SKIPPED = {**GOOD, "device": {"loss": [0.0], "gradient": [0.0, 0.0]}}  # as seen on an H100 with Paddle 2.6 and cuDNN 9
WARNING = ("W1125 01:30:15.631152  4724 dynamic_loader.cc:314] The third-party dynamic library (libcudnn.so) that "
           "Paddle depends on is not configured correctly. (error code is /usr/local/cuda/lib64/libcudnn.so: cannot "
           "open shared object file: No such file or directory)\n  Suggestions:\n")


def program(out="", err="", status=0):
    """A child program that prints this and ends so."""
    return (f"import sys, os, time; sys.stdout.write({out!r}); sys.stderr.write({err!r}); sys.stdout.flush(); "
            f"sys.stderr.flush(); sys.exit({status})")


def ended(code, limit=60):
    """What is said about a child program with this source."""
    return trial.diagnose(trial.run([sys.executable, "-c", code], limit), "2.6.2", 0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, on a machine with a driver; the file in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trial, "driver_version", lambda: "580.65")
    return tmp_path / "cache" / "image_classification" / remembered.FILE


def test_the_step_gives_numbers_that_agree_where_the_device_works():
    """The child process as it is, with the CPU in the device's place."""
    code = (f"import sys; sys.path.insert(0, {str(trial.ROOT)!r}); from utils.gpu import step; import paddle; "
            "paddle.CUDAPlace = lambda index: paddle.CPUPlace(); step.main(0)")
    code = code.replace("import paddle;", "step.flags.set_flags(); import paddle;")
    end = trial.run([sys.executable, "-c", code])
    assert end.status == 0, end.err
    (loss, other_loss), (gradient, _) = trial.numbers_of(end.out)
    assert trial.agree((loss, other_loss), (gradient, gradient)) and 1.5 < loss[0] < 5
    assert len(gradient) == 8 * 3 * 3 * 3 and any(gradient)
    assert trial.diagnose(end, "2.6.2", 0) is None


def test_the_step_on_a_device_that_is_not_there_is_one_line():
    if has_driver():
        pytest.skip("this machine may have a CUDA device")
    line = ended(f"import sys; sys.argv = ['', {str(trial.ROOT)!r}, '0']; {trial.STEP}")
    assert "a training step on CUDA device 0 failed (" in line and len(line.splitlines()) == 1


@pytest.mark.parametrize("code, words", [
    ("import os; os.abort()", "was aborted (SIGABRT)"),
    (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", "crashed (SIGSEGV)"),
    (program(err="Traceback ...\nRuntimeError: something else\n  [Hint: no]\n", status=1),
     "failed (RuntimeError: something else)"),
    (program(err="E1125 01:41:43.048460 10235 place.cc:333] Cannot use GPU.\n", status=255), "failed (Cannot use GPU)"),
    (program(status=3), "failed (exit status 3)"),
    (program(out="no numbers"), "failed (exit status 0)"),
    (program(out=json.dumps(SKIPPED)), "Paddle 2.6.2 seems to have no code for CUDA device 0"),
    (program(out=json.dumps({**GOOD, "device": {"loss": [float("nan")], "gradient": [0.01, -0.02]}})), "no code"),
    (program(err="OSError: (External) CUDA error(209), no kernel image is available for execution on the device.\n",
             status=1), "install a 3.x GPU build of Paddle from paddlepaddle.org.cn"),
    (program(err=WARNING + "RuntimeError: (PreconditionNotMet) Cannot load cudnn shared library. Cannot invoke method "
             "cudnnGetVersion.\n", status=1), "does not find libcudnn.so: pip install nvidia-cudnn-cu11"),
    (program(err="RuntimeError: (PreconditionNotMet) The third-party dynamic library (libcublas.so) that Paddle "
             "depends on is not configured correctly. (error code is libcublas.so: cannot open shared object file: No "
             "such file or directory)\n", status=1), "does not find libcublas.so: pip install"),
    ("import os, sys; sys.stderr.write('Could not load library libcudnn_cnn_infer.so.8. Error: libnvrtc.so: cannot "
     "open shared object file: No such file'); sys.stderr.flush(); os.abort()", "does not find libnvrtc.so: "),
    (program(err="Could not load library libcudnn_ops_infer.so.8. Please make sure it is installed\n", status=1),
     "does not find libcudnn_ops_infer.so.8: "),
    (program(err=WARNING + "SystemError: (Fatal) ResourceExhaustedError: Out of memory error on GPU 0.\n", status=1),
     "CUDA device 0 has no memory left: "),
], ids=lambda text: "" if "import" in text else text[:40])
def test_each_cause_is_told_apart_in_one_line(code, words, monkeypatch):
    monkeypatch.setattr(trial.sys, "platform", "linux")
    line = ended(code)
    assert words in line and ": " in line and len(line.splitlines()) == 1


def test_numbers_that_agree_are_no_problem_whatever_was_warned_about():
    assert ended(program(out="Paddle says hello\n" + json.dumps(GOOD), err=WARNING)) is None


@pytest.mark.parametrize("loss, gradient, agree", [([2.61], [0.01, -0.02], True), ([2.7], [0.0103, -0.0195], True),
                                                   ([2.8], [0.01, -0.02], False), ([2.61], [0.01, 0.02], False),
                                                   ([2.61], [0.01], False), ([], [], False)])
def test_numbers_agree_up_to_rounding(loss, gradient, agree):
    assert trial.agree((GOOD["cpu"]["loss"], loss), (GOOD["cpu"]["gradient"], gradient)) == agree


def test_a_hang_ends_at_the_limit():
    begun = time.monotonic()
    line = ended("import time; time.sleep(60)", limit=0.5)
    assert "did not finish a training step" in line and "nvidia-smi" in line
    assert time.monotonic() - begun < 20


def test_a_child_that_leaves_another_which_holds_its_output_is_not_waited_for():
    begun = time.monotonic()
    end = trial.run([sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', "
                     "'import time; time.sleep(20)'])"], limit=1)
    assert end.status is None and time.monotonic() - begun < 15


def test_the_child_shows_warnings(monkeypatch):
    """Paddle names the library that it does not find in a warning."""
    monkeypatch.setenv("GLOG_minloglevel", "2")
    assert trial.run([sys.executable, "-c", "import os; print(os.environ['GLOG_minloglevel'])"]).out == "1\n"


def try_device(monkeypatch, end, version="2.6.2", index=0, name="a card", cudnn=8600):
    """A trial that ends so -> (what is said, whether it was run at all)."""
    ran = []
    monkeypatch.setattr(trial, "run", lambda command: ran.append(command) or end)
    return trial.problem(version, index, name, cudnn), bool(ran)


WORKS, FAILS = trial.End(0, json.dumps(GOOD), ""), trial.End(0, json.dumps(SKIPPED), "")


@pytest.mark.parametrize("end", [WORKS, FAILS], ids=["works", "no code"])
def test_what_depends_on_device_and_versions_is_remembered(end, cache, monkeypatch):
    said, ran = try_device(monkeypatch, end)
    assert ran and (said is None) == (end is WORKS)
    assert try_device(monkeypatch, end) == (said, False)
    for other in ({"version": "3.3.1"}, {"index": 1}, {"name": "another"}, {"cudnn": 8902}):
        assert try_device(monkeypatch, WORKS, **other) == (None, True), other
    monkeypatch.setattr(trial, "driver_version", lambda: "581.00")
    assert try_device(monkeypatch, WORKS) == (None, True)


@pytest.mark.parametrize("end", [
    trial.End(None, "", ""), trial.End(-11, "", ""), trial.End(-6, "", ""),
    trial.End(1, "", "ResourceExhaustedError"), trial.End(1, "", "libcublas.so: cannot open shared object file"),
], ids=["hang", "crash", "abort", "memory", "library"])
def test_what_may_pass_is_not_remembered(end, cache, monkeypatch):
    assert try_device(monkeypatch, end)[0] is not None
    assert try_device(monkeypatch, WORKS) == (None, True)


def test_without_the_drivers_version_nothing_is_remembered(cache, monkeypatch):
    monkeypatch.setattr(trial, "driver_version", lambda: None)
    assert try_device(monkeypatch, WORKS)[1] and try_device(monkeypatch, WORKS)[1]
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"7", b"\xff\xfe\x00", b'{"KEY": "yes"}', b'{"KEY": 1}',
                                     b"[" * 50_000, b'{"KEY": true, "fill": "' + b"x" * 2 ** 17 + b'"}'],
                         ids=lambda content: f"{len(content)} bytes")
def test_a_damaged_file_is_ignored_and_replaced(content, cache):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content.replace(b"KEY", b"a key"))
    assert remembered.recall("a key") is None
    remembered.remember("a key", False)
    assert remembered.recall("a key") is False


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_opened(cache):
    cache.parent.mkdir(parents=True)
    os.mkfifo(cache)
    assert remembered.recall("a key") is None


@pytest.mark.parametrize("folder", ["relative", os.devnull + "/below"])
def test_without_a_folder_nothing_is_remembered(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", folder)
    remembered.remember("a key", True)
    assert remembered.recall("a key") is None and list(tmp_path.iterdir()) == []


def test_without_a_home_nothing_is_remembered(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(remembered.os.path, "expanduser", lambda path: path)  # so it is where nobody has that number
    remembered.remember("a key", True)
    assert remembered.recall("a key") is None
