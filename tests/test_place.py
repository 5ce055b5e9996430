"""The place: CUDA only where this Paddle can drive the device, and a reason where it cannot."""
import contextlib
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from conftest import ROOT
from utils import gpu, place
from utils.errors import UserError
from utils.place import choose_place


@pytest.fixture(autouse=True)
def linux_where_nothing_was_found_out(monkeypatch):
    monkeypatch.setattr(gpu.sys, "platform", "linux")
    monkeypatch.setenv(place.CUDA_FAILURE, "")  # so that the test's own answer is taken back as well
    monkeypatch.delenv(place.CUDA_FAILURE)


@pytest.mark.parametrize("compiled, driver, reasons", [
    (False, True, "this Paddle is a CPU-only build"), (True, False, "no CUDA device or no driver found"),
    (True, True, "it does not compute"),
])
def test_the_reason_is_found_out_once(compiled, driver, reasons, monkeypatch):
    """And only where it may work a child process is asked."""
    answers = ["it does not compute"]
    monkeypatch.setitem(place.sys.modules, "paddle", SimpleNamespace(is_compiled_with_cuda=lambda: compiled))
    monkeypatch.setattr(place.flags, "has_driver", lambda: driver)
    monkeypatch.setattr(gpu, "failure", lambda index: answers.pop())
    assert place.cuda_failure() == place.cuda_failure() == reasons
    assert len(answers) == (0 if compiled and driver else 1)
    monkeypatch.setenv(place.CUDA_FAILURE, "")
    assert place.cuda_failure() is None


def test_a_device_that_works_has_no_failure(monkeypatch):
    monkeypatch.delitem(place.sys.modules, "paddle", raising=False)
    monkeypatch.setattr(place.flags, "has_driver", lambda: True)
    monkeypatch.setattr(gpu, "failure", lambda index: None)
    assert place.cuda_failure() is None and place.os.environ[place.CUDA_FAILURE] == ""


def test_auto_and_gpu_give_the_same_reason(monkeypatch):
    import paddle

    monkeypatch.setenv(place.CUDA_FAILURE, "it does not compute")
    chosen, sentence = choose_place("auto")
    assert isinstance(chosen, paddle.CPUPlace) and sentence == "CPU (it does not compute)"
    with pytest.raises(UserError, match="^--device gpu: it does not compute; --device cpu runs here$"):
        choose_place("gpu")


def test_without_a_gpu_auto_takes_the_cpu_and_gpu_is_an_error():
    import paddle

    if place.cuda_failure() is None:
        pytest.skip("this machine has a CUDA device")
    chosen, sentence = choose_place("auto")
    assert isinstance(chosen, paddle.CPUPlace) and "CPU (" in sentence and len(sentence.splitlines()) == 1
    with pytest.raises(UserError, match="--device gpu: "):
        choose_place("gpu")


@pytest.mark.parametrize("source, words", [
    ("raise ImportError('libfoo.so.1: cannot open shared object file')", "cannot be imported (libfoo.so.1: cannot"),
    ("raise OSError('[WinError 126] The specified module could not be found')", "Visual C++ Redistributable (x64),"),
    ("from . import base\nraise SystemError", "cannot be imported (cannot import name 'base' from"),
    ("import sys; sys.stderr.write('Error: more\\n'); raise NameError", "cannot be imported (NameError): "),
])
@pytest.mark.parametrize("script", ["train.py", "infer.py"])
def test_a_paddle_that_is_installed_but_does_not_import_is_one_line_with_the_cure(script, source, words, tmp_path):
    (tmp_path / "paddle").mkdir()
    (tmp_path / "paddle" / "__init__.py").write_text(source, encoding="utf-8")
    arguments = ["--workers", "1", "--model-dir", str(tmp_path / "model")] if script == "train.py" else ["dog.png"]
    done = subprocess.run([sys.executable, str(ROOT / script), *arguments], capture_output=True, text=True,
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert words in done.stderr and "pip install --force-reinstall -r requirements.txt" in done.stderr
    assert "train again" not in done.stderr


@pytest.mark.parametrize("processor, has_library, words", [
    ("flags : fpu sse2", True, "needs a processor with AVX"), ("flags : fpu avx", False, "apt-get install libgomp1"),
    ("flags : fpu avx", True, None), ("", True, None),
])
def test_what_ends_an_import_without_a_word_is_known_before(processor, has_library, words, monkeypatch):
    imported = SimpleNamespace()
    monkeypatch.delitem(sys.modules, "paddle", raising=False)
    monkeypatch.setattr(place.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(place.flags, "processor_says", lambda word: word in processor.split())
    monkeypatch.setattr(place.flags, "is_found", lambda name: has_library)
    monkeypatch.setattr("builtins.__import__", lambda name, *_, **__: imported)
    with pytest.raises(UserError, match=words) if words else contextlib.nullcontext():
        assert place.import_paddle() is imported


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="ends as POSIX has it")
def test_a_signal_after_paddle_was_imported_ends_without_a_word():
    """Paddle's own answer is a list of C++ calls; train.py goes on with other imports then."""
    code = (f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from utils import errors, flags, place; "
            "errors.end_at_once_on_signals(); flags.set_flags(); place.import_paddle(); os.kill(os.getpid(), 15)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")
