"""Convolutions in bfloat16, against NumPy's convolutions of numbers that are rounded here."""
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle.static import nn

from utils import flags, log
from utils.errors import UserError
from utils.settings import parse
from utils.speed import bfloat16
from utils.speed.executor import executor_on

paddle.enable_static()
needs_instructions = pytest.mark.skipif(bool(bfloat16.missing()), reason="the processor or Paddle has no bfloat16")


def rounded(array):
    """float32 rounded to the nearest bfloat16, ties to even: the upper 16 of its 32 bits."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


def convolve(maps, weights):
    """A 3x3 convolution with a border of zeros, in float64: [N, C, H, W], [M, C, 3, 3] -> [N, M, H, W]."""
    padded = np.pad(maps.astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,mcij->nmhw", windows, weights.astype(float))


def step(precision, feed, weights, rate=1.0):
    """Loss of a small network after one step, by how much a step of gradient descent moves the weights, its program."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        maps = paddle.static.data("pixel", [None, 3, 8, 8], "float32")
        for number in (1, 2):
            maps = nn.conv2d(maps, 16, 3, padding=1, bias_attr=False, param_attr=f"w{number}")
            maps = paddle.nn.functional.relu(maps)
        scores = nn.fc(maps, 4, weight_attr="fc", bias_attr=False)
        loss = paddle.mean(paddle.square(scores))
        paddle.optimizer.SGD(rate).minimize(loss)
    scope, place = paddle.static.Scope(), paddle.CPUPlace()
    with paddle.static.scope_guard(scope):
        executor = executor_on(place, precision=precision)
        executor.run(startup)
        for name, array in weights.items():
            scope.find_var(name).get_tensor().set(array, place)
        value, = executor.run(main, feed=feed, fetch_list=[loss])
        moved = {name: array - np.array(scope.find_var(name).get_tensor()) for name, array in weights.items()}
    return value.item(), moved, main


@pytest.fixture(scope="module")
def numbers():
    """A batch, and the weights of two convolutions and a fully connected layer."""
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(0, 0.2, shape).astype(np.float32)
               for name, shape in (("w1", (16, 3, 3, 3)), ("w2", (16, 16, 3, 3)), ("fc", (1024, 4)))}
    return {"pixel": rng.random((4, 3, 8, 8), np.float32)}, weights


@needs_instructions
def test_factors_are_rounded_and_sums_are_not(numbers):
    feed, weights = numbers

    def maps_of(round_factors):
        first = np.maximum(convolve(round_factors(feed["pixel"]), round_factors(weights["w1"])), 0)
        return first, np.maximum(convolve(round_factors(first), round_factors(weights["w2"])), 0)

    first, second = maps_of(rounded)
    scores = second.reshape(4, -1) @ weights["fc"].astype(float)
    loss, moved, _ = step("bfloat16", feed, weights)
    assert loss == pytest.approx((scores ** 2).mean(), rel=1e-4)
    unrounded = maps_of(np.asarray)[1].reshape(4, -1) @ weights["fc"].astype(float)
    assert abs(loss / (unrounded ** 2).mean() - 1) > 5e-4, "the rounding cannot be seen"
    slope = (2 * scores / scores.size @ weights["fc"].T).reshape(second.shape) * (second > 0)
    padded = np.pad(rounded(first), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.einsum("nmhw,nchwij->mcij", rounded(slope), windows)
    assert np.abs(moved["w2"] - expected).max() < 2 ** -7 * np.abs(expected).max()


@needs_instructions
def test_gradients_are_those_of_float32_up_to_rounding(numbers):
    _, narrow, program = step("bfloat16", *numbers)
    _, wide, _ = step("float32", *numbers)
    assert step("auto", *numbers)[0] == step("bfloat16", *numbers)[0]
    types = [op.type for op in program.global_block().ops]
    assert types.count("cast") == 3, "two maps and one gradient; the first layer's stay float32"
    for name, array in wide.items():
        assert 0 < np.linalg.norm(narrow[name] - array) < 0.1 * np.linalg.norm(array), name  # a wrong order makes 1.4


def residual_network():
    """Two blocks as the chapter's ResNet has them, the second with stride 2: scores [N, 4] of `pixel`."""
    relu = paddle.nn.functional.relu

    def conv_bn(maps, size=3, stride=1):
        return nn.batch_norm(nn.conv2d(maps, 16, size, stride, (size - 1) // 2, bias_attr=False))

    maps = relu(conv_bn(paddle.static.data("pixel", [None, 3, 8, 8], "float32")))
    maps = relu(paddle.add(conv_bn(relu(conv_bn(maps))), maps))
    maps = relu(paddle.add(conv_bn(relu(conv_bn(maps, stride=2))), conv_bn(maps, 1, 2)))
    return nn.fc(paddle.nn.functional.avg_pool2d(maps, 4), 4)


def pooled_network():
    """Layers as Airbench has them, two poolings of one shape and one of another: scores [N, 4] of `pixel`."""
    maps = paddle.static.data("pixel", [None, 3, 8, 8], "float32")
    for size, stride, padding in ((3, 1, 1), (3, 1, 1), (2, 2, 0)):
        maps = nn.conv2d(maps, 16, 3, padding=1, bias_attr=False)
        maps = paddle.nn.functional.max_pool2d(maps, size, stride, padding)
        maps = paddle.nn.functional.gelu(nn.batch_norm(maps))
    return nn.fc(maps, 4)


@needs_instructions
@pytest.mark.parametrize("network, count", [(residual_network, 20), (pooled_network, 11)])
def test_a_network_learns_as_in_float32_up_to_rounding(network, count):
    """All gradients of the first step, and the loss of five: whatever is kept from one step to the next is renewed."""
    feed, results = {"pixel": np.random.default_rng(2).random((16, 3, 8, 8), np.float32)}, []
    for precision in ("float32", "bfloat16"):
        main, startup = paddle.static.Program(), paddle.static.Program()
        startup.random_seed = 7
        with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
            loss = paddle.mean(paddle.square(network()))
            pairs = paddle.optimizer.SGD(0.1).minimize(loss)[1]
        with paddle.static.scope_guard(paddle.static.Scope()):
            executor = executor_on(paddle.CPUPlace(), precision=precision)
            executor.run(startup)
            results.append([executor.run(main, feed=feed, fetch_list=[loss, *(gradient for _, gradient in pairs)])
                            for _ in range(5)])
    wide, narrow = results
    assert len(pairs) == count
    for (parameter, _), expected, array in zip(pairs, wide[0][1:], narrow[0][1:]):
        difference = np.linalg.norm(array - expected) / np.linalg.norm(expected)
        assert 0 < difference < 0.2, parameter.name  # a wrong order makes 1.4
    assert [each[0].item() for each in narrow] == pytest.approx([each[0].item() for each in wide], rel=0.1)


@needs_instructions
def test_maps_stay_in_bfloat16_between_the_convolutions_of_a_test_program(numbers):
    feed, weights = numbers
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        maps = paddle.static.data("pixel", [None, 3, 8, 8], "float32")
        for number in (1, 2):
            maps = paddle.nn.functional.relu(nn.conv2d(maps, 16, 3, padding=1, bias_attr=False,
                                                       param_attr=f"w{number}"))
            maps = paddle.nn.functional.max_pool2d(maps, 2)
        scores = nn.fc(maps, 4, weight_attr="fc", bias_attr=False)
    scope, place = paddle.static.Scope(), paddle.CPUPlace()
    with paddle.static.scope_guard(scope):
        executor = executor_on(place, precision="bfloat16")
        executor.run(startup)
        weights = {**weights, "fc": weights["fc"][:64]}
        for name, array in weights.items():
            scope.find_var(name).get_tensor().set(array, place)
        test = main.clone(for_test=True)
        answer, = executor.run(test, feed=feed, fetch_list=[scores])
        pooled, = executor.run(main.clone(for_test=True), feed=feed, fetch_list=[maps])
    ops = executor.faster[test].folded.global_block().ops
    assert [op.attr("force_fp32_output") for op in ops if op.type == "fused_conv2d"] == [False, False]
    assert [op.type for op in ops[-4:]] == ["pool2d", "cast", "transpose2", "mul"]
    assert pooled.shape == (4, 16, 2, 2) and pooled.dtype == np.float32, "a map comes in the usual order"

    def scores_of(round_maps):
        maps = feed["pixel"]
        for name in ("w1", "w2"):
            maps = round_maps(np.maximum(convolve(rounded(maps), rounded(weights[name])), 0))
            maps = maps.reshape(4, 16, maps.shape[2] // 2, 2, -1, 2).max((3, 5))
        return maps.reshape(4, -1) @ weights["fc"].astype(float)

    error, without = np.abs(answer - scores_of(rounded)).max(), np.abs(answer - scores_of(np.asarray)).max()
    assert error < 1e-3 < without, "the last map is rounded too"


@needs_instructions
def test_a_network_of_blocks_answers_as_in_float32_up_to_rounding():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        maps = nn.conv2d(paddle.static.data("pixel", [None, 3, 8, 8], "float32"), 16, 3, padding=1, act="relu")
        for _ in range(3):  # blocks of a ResNet
            maps = paddle.nn.functional.relu(paddle.add(maps, nn.batch_norm(nn.conv2d(maps, 16, 3, padding=1))))
        scores = nn.fc(paddle.nn.functional.avg_pool2d(maps, 8), 4)
    place, feed = paddle.CPUPlace(), {"pixel": np.random.default_rng(1).random((4, 3, 8, 8), np.float32)}
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor_on(place).run(startup)
        (wide,), (narrow,) = (executor_on(place, precision=precision).run(
            main.clone(for_test=True), feed=feed, fetch_list=[scores]) for precision in ("float32", "bfloat16"))
    assert 0 < np.linalg.norm(narrow - wide) < 0.02 * np.linalg.norm(wide)


def test_without_instructions_it_computes_in_float32(numbers, monkeypatch):
    monkeypatch.setattr(flags, "processor_says", lambda word: word == "avx2")
    assert bfloat16.missing()
    loss, _, program = step("auto", *numbers)
    assert loss == step("float32", *numbers)[0]
    assert "cast" not in [op.type for op in program.global_block().ops]


@needs_instructions
@pytest.mark.parametrize("precision, words", [("float32", "fast path in float32 ("),
                                              ("auto", "fast path in bfloat16 (")])
def test_the_log_names_the_precision(precision, words):
    executor = executor_on(paddle.CPUPlace(), precision=precision)
    assert log.speed_of(SimpleNamespace(settings=SimpleNamespace(plain=False), executor=executor)).startswith(words)


def test_another_paddle_computes_in_float32(monkeypatch):
    monkeypatch.setattr(paddle, "__version__", "3.3.1")
    assert bfloat16.missing() == "it was made for Paddle 2"


def test_plain_has_no_bfloat16():
    with pytest.raises(UserError, match="--plain computes in float32"):
        parse(["--plain", "--precision", "bfloat16"])
