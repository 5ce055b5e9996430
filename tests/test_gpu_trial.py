"""The trial of a CUDA device: each way it can end is one line with what to do, and it always ends."""
import signal
import sys
import time

import numpy as np
import pytest

from utils import gpu
from utils.flags import has_driver

WARNING = ("W1125 01:30:15.631152  4724 dynamic_loader.cc:314] The third-party dynamic library (libcudnn.so) that "
           "Paddle depends on is not configured correctly. (error code is /usr/local/cuda/lib64/libcudnn.so: cannot "
           "open shared object file: No such file or directory)\n  Suggestions:\n")
CPU_FOR_DEVICE = f"""
import sys
sys.path.insert(0, {str(gpu.ROOT)!r})
from utils import gpu
gpu.flags.set_flags()
import paddle
paddle.is_compiled_with_cuda, paddle.device.cuda.device_count = lambda: True, lambda: 1
paddle.CUDAPlace = lambda index: paddle.CPUPlace()
"""


def program(out="", err="", status=0):
    """A child program that prints this and ends so."""
    return (f"import sys; sys.stdout.write({out!r}); sys.stderr.write({err!r}); sys.stdout.flush(); "
            f"sys.stderr.flush(); sys.exit({status})")


def explained(code, limit=60):
    """The line about a child program with this source."""
    return gpu.explain(*gpu.run([sys.executable, "-c", code], limit), "2.6.2", 0)


def test_the_step_gives_the_same_numbers_where_the_device_works():
    """The child process itself, with the CPU in the device's place."""
    status, lines = gpu.run([sys.executable, "-c", f"{CPU_FOR_DEVICE}gpu.main(0)"])
    assert status == 0 and lines[-1] == gpu.SAME, lines
    assert gpu.explain(status, lines, "2.6.2", 0) is None


def test_a_device_that_skips_its_kernels_is_noticed():
    """As seen on an H100 with Paddle 2.6 and cuDNN 9: nothing fails, and all numbers are 0."""
    skip = ("steps, step = [], gpu.step\n"
            "def step_or_skip(place):\n"
            "    steps.append(step(place))\n"
            "    return [0 * array for array in steps[-1]] if len(steps) == 2 else steps[-1]\n"
            "gpu.step = step_or_skip\n")
    line = explained(f"{CPU_FOR_DEVICE}{skip}gpu.main(0)", limit=120)
    assert "Paddle 2.6.2 seems to have no code for CUDA device 0" in line and "install a 3.x GPU build" in line


def test_the_step_gives_numbers_that_are_not_zero(static_scope):
    """Zeros on the CPU would agree with the zeros of a device that skips its kernels."""
    import paddle

    loss, gradient = gpu.step(paddle.CPUPlace())
    assert loss.size == 1 and 1.5 < loss < 6
    assert gradient.shape == (8, 3, 3, 3) and np.isfinite(gradient).all() and (gradient != 0).all()


def test_what_is_missing_without_a_step_is_the_reason():
    """The child process itself, on a machine without a device."""
    if has_driver():
        pytest.skip("this machine may have a CUDA device")
    assert gpu.failure(0) in ("no CUDA device or no driver found", "this Paddle is a CPU-only build")
    assert explained(program(out=f"Paddle says hello\n\n{gpu.REASON}no é left\n")) == "no é left"


def test_the_step_on_a_device_that_is_not_there_is_one_line():
    if has_driver():
        pytest.skip("this machine may have a CUDA device")
    line = explained(CPU_FOR_DEVICE.rpartition("paddle.CUDAPlace")[0] + "gpu.main(0)")
    assert "a training step on CUDA device 0 failed (" in line and len(line.splitlines()) == 1


@pytest.mark.parametrize("code, words", [
    ("import os; os.abort()", "crashed (Aborted)"),
    (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", "crashed (Segmentation fault)"),
    (program(err="Traceback ...\nRuntimeError: something else\n  [Hint: no]\n", status=1),
     "failed (RuntimeError: something else)"),
    (program(err="place.cc:333] Cannot use GPU.\n", status=255), "failed (place.cc:333] Cannot use GPU.)"),
    (program(status=3), "failed (exit status 3)"),
    (program(out="no answer"), "failed (no answer)"),
    (program(out=gpu.SAME, status=1), "driver, CUDA and cuDNN may not fit Paddle 2.6.2"),
    (program(out=gpu.DIFFERENT), "Paddle 2.6.2 seems to have no code for CUDA device 0"),
    (program(err="OSError: (External) CUDA error(209), no kernel image is available for execution on the device.\n",
             status=1), "install a 3.x GPU build of Paddle from paddlepaddle.org.cn"),
    (program(err=WARNING + "RuntimeError: (PreconditionNotMet) Cannot load cudnn shared library. Cannot invoke method "
             "cudnnGetVersion.\n", status=1), "does not find libcudnn.so: pip install nvidia-cudnn-cu11"),
    (program(err="RuntimeError: (PreconditionNotMet) The third-party dynamic library (libcublas.so) that Paddle "
             "depends on is not configured correctly. (error code is libcublas.so: cannot open shared object file: No "
             "such file or directory)\n", status=1), "does not find libcublas.so: pip install nvidia-cudnn-cu11"),
    (program(err="RuntimeError: (PreconditionNotMet) The third-party dynamic library (libnccl.so) that Paddle depends "
             "on is not configured correctly.\n", status=1), "does not find libnccl.so: pip install nvidia-nccl-cu11"),
    ("import os, sys; sys.stderr.write('Could not load library libcudnn_cnn_infer.so.8. Error: libnvrtc.so: cannot "
     "open shared object file: No such file'); sys.stderr.flush(); os.abort()", "does not find libnvrtc.so: "),
    (program(err="Could not load library libcudnn_ops_infer.so.8. Please make sure it is installed\n", status=1),
     "does not find libcudnn_ops_infer.so.8: "),
    (program(err="Could not locate zlibwapi.dll. Please make sure it is in your library path!\n", status=1),
     "does not find zlibwapi.dll: "),
    (program(err=WARNING + "SystemError: (Fatal) ResourceExhaustedError: Out of memory error on GPU 0.\n", status=1),
     "CUDA device 0 has no memory left: "),
], ids=lambda text: "" if "import" in text else text[:40])
def test_each_cause_is_told_apart_in_one_line(code, words, monkeypatch):
    monkeypatch.setattr(gpu.sys, "platform", "linux")
    line = explained(code)
    assert words in line and ": " in line and len(line.splitlines()) == 1


def test_other_systems_and_paddle_3_have_other_advice(monkeypatch):
    monkeypatch.setattr(gpu.sys, "platform", "win32")
    ending = 1, ["Could not locate zlibwapi.dll. Please make sure it is in your library path!"]
    for version in ("2.6.2", "3.3.1"):
        assert gpu.explain(*ending, version, 0) == f"Paddle {version} does not find zlibwapi.dll: {gpu.PAGE}"


def test_numbers_that_agree_are_enough_whatever_was_warned_about():
    assert explained(program(out=f"Paddle says hello\n{gpu.SAME}\n", err=WARNING)) is None


@pytest.mark.parametrize("numbers, agree", [([2.0, -1.0], True), ([2.05, -1.09], True), ([2.2, -1.0], False),
                                            ([2.0, 1.0], False), ([0.0, 0.0], False), ([np.nan, -1.0], False),
                                            ([2.0], False), ([2.0, -1.0, 0.0], False)])
def test_numbers_agree_up_to_rounding(numbers, agree):
    assert gpu.agree(np.array([2.0, -1.0]), np.array(numbers)) is agree


def test_a_hang_ends_at_the_limit():
    began = time.monotonic()
    line = explained("import time; time.sleep(60)", limit=0.5)
    assert "did not end in 120 seconds: driver, CUDA and cuDNN may not fit" in line
    assert time.monotonic() - began < 20


def test_a_child_that_leaves_another_which_holds_its_output_is_not_waited_for():
    began = time.monotonic()
    status, _ = gpu.run([sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', "
                           "'import time; time.sleep(20)'])"], limit=1)
    assert status is None and time.monotonic() - began < 15


def test_the_child_shows_warnings(monkeypatch):
    """Paddle names the library that it does not find in a warning."""
    monkeypatch.setenv("GLOG_minloglevel", "2")
    assert gpu.run([sys.executable, "-c", "import os; print(os.environ['GLOG_minloglevel'])"]) == (0, ["1"])
