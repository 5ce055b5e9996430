"""The answers to the pages' exercises that can be counted, held against the programs that Paddle builds."""
import inspect
import re

import numpy as np
import pytest

pytest.importorskip("markdown_it", reason="the pages are read with markdown-it-py of requirements-dev.txt")

import paddle

from book import chapter
from models import resnet
from utils.storage.program_state import count_parameters

TEXT = "".join(chapter.read(page) for page in chapter.PAGES)
TITLE = r"^\*\*(?:\d\. )?([A-Z][^*\n]+)\.\*\* "
EXERCISES = re.findall(TITLE + r"(?:(?!^\*\*).)*?<summary>Answer</summary>(.*?)</details>", TEXT, flags=re.M | re.S)
ANSWERS = dict(EXERCISES)


def number(pattern, text):
    """A whole number of the page, found by the words around it."""
    return int(re.search(pattern, " ".join(text.split())).group(1).replace(",", ""))


@pytest.fixture
def static():
    """Paddle's static mode, and fresh programs: the main one is returned."""
    paddle.enable_static()
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()), paddle.utils.unique_name.guard():
        yield main


def weights(program, depth):
    """What ResNet of this depth has, built into the program."""
    resnet.resnet_cifar10(paddle.static.data("pixel", [None, 3, 32, 32], "float32"), depth)
    return count_parameters(program)


def test_every_exercise_has_an_answer():
    assert TEXT.count("<summary>Answer</summary>") == len(EXERCISES) == len(ANSWERS) >= 5


@pytest.mark.parametrize("n", [1, 3, 5, 18])
def test_the_weights_of_a_depth(n, static):
    answer = ANSWERS["Weights and depth"]
    each, less = number(r"has ([\d,]+) · n", answer), number(r"· n − ([\d,]+) weights", answer)
    assert weights(static, 6 * n + 2) == each * n - less
    assert n > 1 or each - less == number(r"ResNet-8 has ([\d,]+)", answer)


def test_the_work_of_the_stages_adds_up(static):
    from benchmarks.cost import cost

    answer = resnet.resnet_cifar10(paddle.static.data("pixel", [None, 3, 32, 32], "float32"), 32)
    told = ANSWERS["Where the work is"]
    first, second = (number(rf"Stage {stage}: [^=]*= ([\d,]*\d)", told) for stage in (1, 2))
    rest, last = (number(rf"([\d,]+) for the {layer}", told) for layer in ("first convolution", "last layer"))
    assert first + 2 * second + rest + last == cost(static, [answer])[1]


class Sums:
    """In the place of Paddle's layers: those that only add up, so that no path is cut or cancels another."""

    relu = staticmethod(lambda x: x)
    batch_norm = staticmethod(lambda x, **more: x)

    @staticmethod
    def conv2d(x, num_filters, filter_size, stride, padding, bias_attr):
        """One channel is enough."""
        weight = paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(1 / filter_size))
        return paddle.static.nn.conv2d(x, 1, filter_size, stride=stride, padding=padding, bias_attr=False,
                                       param_attr=weight)


def test_what_one_number_sees(static, static_scope, monkeypatch):
    """The pixels by which its gradient is not zero."""
    monkeypatch.setattr(resnet, "nn", Sums)
    monkeypatch.setattr(resnet, "F", Sums)
    x = pixel = paddle.static.data("pixel", [1, 3, 256, 256], "float32")
    pixel.stop_gradient = False
    x, gradients = resnet.conv_bn_layer(x, 16, filter_size=3, stride=1, padding=1), []
    for ch_in, ch_out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        x = resnet.layer_warp(resnet.basicblock, x, ch_in, ch_out, count=5, stride=stride)
        middle = x.shape[2] // 2
        gradients += paddle.static.gradients([x[:, :, middle, middle]], [pixel])
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(paddle.static.default_startup_program())
    seen = executor.run(static, feed={"pixel": np.zeros((1, 3, 256, 256), "float32")}, fetch_list=gradients)
    sides = [np.ptp(np.flatnonzero(each.any((0, 1, 3)))) + 1 for each in seen]
    told = " ".join(ANSWERS["What one number sees"].split())
    assert sides == [int(side) for side in re.findall(r"which makes (\d+)", told)]


def test_zero_padding_as_the_answer_writes_it(static, static_scope, monkeypatch):
    answer = ANSWERS["Zero padding"]
    removed, *added = re.findall(r"^[-+](    .*\n)", answer, flags=re.M)
    source, names = inspect.getsource(resnet.shortcut), vars(resnet).copy()
    assert source.count(removed) == 1
    exec(source.replace(removed, "".join(added)), names)
    x = paddle.static.data("x", [1, 16, 4, 4], "float32")
    padded = names["shortcut"](x, 16, 32, 2)
    values = np.random.default_rng(1).standard_normal((1, 16, 4, 4)).astype("float32")
    got, = paddle.static.Executor(paddle.CPUPlace()).run(static, feed={"x": values}, fetch_list=[padded])
    assert got.shape == (1, 32, 2, 2) and (got[:, :16] == values[:, :, ::2, ::2]).all() and not got[:, 16:].any()
    before = weights(static, 32)
    monkeypatch.setattr(resnet, "shortcut", names["shortcut"])
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        after = weights(paddle.static.default_main_program(), 32)
    assert after == number(r"leaves ([\d,]+)", answer) == before - number(r"in all ([\d,]+)", answer)
