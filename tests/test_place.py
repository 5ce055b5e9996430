"""The place: CUDA only where this Paddle can drive the device, and a reason where it cannot."""
from types import SimpleNamespace

import pytest

from utils import place
from utils.errors import UserError
from utils.gpu import trial
from utils.place import choose_place

PIP = "pip install nvidia-cudnn-cu11==8.6.0.163 nvidia-cublas-cu11==11.11.3.6"


@pytest.fixture(autouse=True)
def linux_where_nothing_was_found_out(monkeypatch):
    monkeypatch.setattr(trial.sys, "platform", "linux")
    monkeypatch.setenv(place.CUDA_FAILURE, "")  # so that the test's own answer is taken back as well
    monkeypatch.delenv(place.CUDA_FAILURE)


def fake_paddle(compiled=True, count=1, capability=(8, 6), version="2.6.2", error=None, cudnn=8600):
    """Paddle's face towards a CUDA device, as a machine with one would show it."""
    def answer(value):
        def ask(*_):
            if error:
                raise RuntimeError(error)
            return value
        return ask

    cuda = SimpleNamespace(device_count=lambda: count, get_device_capability=answer(capability),
                           get_device_name=answer("a card"))
    return SimpleNamespace(is_compiled_with_cuda=lambda: compiled, __version__=version,
                           device=SimpleNamespace(cuda=cuda, get_cudnn_version=lambda: cudnn))


# NVIDIA's table of compute capabilities: GTX 1080 6.1, V100 7.0, RTX 2080 7.5, A100 8.0, RTX 3090 8.6, RTX 4090 8.9,
# H100 9.0, RTX 5090 12.0, GTX 980 5.2, P100 6.0.
@pytest.mark.parametrize("capability, runs", [((6, 1), True), ((7, 0), True), ((7, 5), True), ((8, 0), True),
                                              ((8, 6), True), ((8, 9), True), ((9, 0), False), ((12, 0), False),
                                              ((5, 2), False), ((6, 0), False), ((10, 0), False)])
def test_what_the_2_6_wheels_have_code_for(capability, runs):
    assert (trial.unsupported(fake_paddle(capability=capability), 0) is None) == runs
    assert trial.unsupported(fake_paddle(capability=capability, version="3.3.1", cudnn=90501), 0) is None


@pytest.mark.parametrize("paddle, reason", [
    (fake_paddle(compiled=False), "CPU-only build"),
    (fake_paddle(count=0), "no CUDA device"),
    (fake_paddle(error="driver too old\nmore"), "does not answer: driver too old"),
    (fake_paddle(capability=(9, 0)), "install a 3.x GPU build"),
    (fake_paddle(cudnn=None), f"Paddle 2.6.2 does not find libcudnn.so: {PIP}"),
    (fake_paddle(cudnn=-1), f"Paddle 2.6.2 does not find libcudnn.so: {PIP}"),
    (fake_paddle(cudnn=91400), f"Paddle 2.6.2 does not find cuDNN 8, but another (91400): {PIP}"),
    (fake_paddle(cudnn=7605), f"Paddle 2.6.2 does not find cuDNN 8, but another (7605): {PIP}"),
    (fake_paddle(cudnn=None, version="3.3.1"), "Paddle 3.3.1 does not find libcudnn.so: install Paddle's GPU build"),
])
def test_why_cuda_cannot_be_used(paddle, reason):
    assert reason in trial.unsupported(paddle, 0)


def test_a_device_that_may_work_is_tried():
    assert trial.unsupported(fake_paddle(), 0) is None


@pytest.mark.parametrize("compiled, driver, reasons", [
    (False, True, "this Paddle is a CPU-only build"), (True, False, "no CUDA device or no driver found"),
    (True, True, "it does not compute"),
])
def test_the_reason_is_found_out_once(compiled, driver, reasons, monkeypatch):
    """And only where it may work a child process is asked."""
    answers = ["it does not compute"]
    monkeypatch.setitem(place.sys.modules, "paddle", fake_paddle(compiled))
    monkeypatch.setattr(place.libraries, "has_driver", lambda: driver)
    monkeypatch.setattr(trial, "failure", lambda index: answers.pop())
    assert place.cuda_failure() == place.cuda_failure() == reasons
    assert len(answers) == (0 if compiled and driver else 1)
    monkeypatch.setenv(place.CUDA_FAILURE, "")
    assert place.cuda_failure() is None


def test_a_device_that_works_has_no_failure(monkeypatch):
    monkeypatch.delitem(place.sys.modules, "paddle", raising=False)
    monkeypatch.setattr(place.libraries, "has_driver", lambda: True)
    monkeypatch.setattr(trial, "failure", lambda index: None)
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
