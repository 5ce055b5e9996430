"""The place: CUDA only where this Paddle can drive the device, and a reason where it cannot."""
from types import SimpleNamespace

import pytest

from utils.errors import UserError
from utils.place import capability_problem, choose_place, cuda_problem


def fake_paddle(compiled=True, count=1, capability=(8, 6), version="2.6.2", error=None):
    """Paddle's face towards a CUDA device, as a machine with one would show it."""
    def answer(value):
        def ask(*_):
            if error:
                raise RuntimeError(error)
            return value
        return ask

    cuda = SimpleNamespace(device_count=lambda: count, get_device_capability=answer(capability),
                           get_device_name=answer("a card"))
    return SimpleNamespace(is_compiled_with_cuda=lambda: compiled, device=SimpleNamespace(cuda=cuda),
                           __version__=version)


# NVIDIA's table of compute capabilities: GTX 1080 6.1, V100 7.0, RTX 2080 7.5, A100 8.0, RTX 3090 8.6, RTX 4090 8.9,
# H100 9.0, RTX 5090 12.0, GTX 980 5.2, P100 6.0.
@pytest.mark.parametrize("capability, runs", [((6, 1), True), ((7, 0), True), ((7, 5), True), ((8, 0), True),
                                              ((8, 6), True), ((8, 9), True), ((9, 0), False), ((12, 0), False),
                                              ((5, 2), False), ((6, 0), False), ((10, 0), False)])
def test_what_the_2_6_wheels_have_code_for(capability, runs):
    assert (capability_problem(capability, "2.6.2") is None) == runs
    assert capability_problem(capability, "3.3.1") is None


@pytest.mark.parametrize("paddle, reason", [
    (fake_paddle(compiled=False), "CPU-only build"),
    (fake_paddle(count=0), "no CUDA device"),
    (fake_paddle(error="driver too old\nmore"), "does not answer: driver too old"),
    (fake_paddle(capability=(9, 0)), "install a 3.x GPU build"),
])
def test_why_cuda_cannot_be_used(paddle, reason):
    assert reason in cuda_problem(paddle)


def test_a_device_that_works_has_no_problem():
    assert cuda_problem(fake_paddle()) is None


def test_without_a_gpu_auto_takes_the_cpu_and_gpu_is_an_error():
    import paddle

    if cuda_problem(paddle) is None:
        pytest.skip("this machine has a CUDA device")
    place, sentence = choose_place("auto")
    assert isinstance(place, paddle.CPUPlace) and "CPU (" in sentence and len(sentence.splitlines()) == 1
    with pytest.raises(UserError, match="--device gpu: "):
        choose_place("gpu")
