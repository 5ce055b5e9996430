"""The networks against counts worked out by hand and against what PyTorch computed (tests/golden)."""
import functools
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

import models
from benchmarks.cost import cost
from models.resnet import blocks_per_stage
from models.vgg import dropout
from utils.speed import executor as fast

GOLDEN = Path(__file__).with_name("golden")
sys.path.insert(0, str(GOLDEN))
import recipe  # noqa: E402  its folder is on the path now

paddle.enable_static()


def build(model, depth=None):
    """The program, its start-up program, and the variables pixel, probabilities, auxiliaries."""
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        pixel = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        probabilities, auxiliaries = models.build(model, pixel, depth)
    return program, startup, probabilities, auxiliaries


built = functools.lru_cache(maxsize=None)(build)       # for the tests that only look


def trainable(program):
    return sum(int(np.prod(parameter.shape)) for parameter in program.all_parameters() if parameter.trainable)


# Counts by hand -----------------------------------------------------------------------------------------

def conv_bn(ch_in, ch_out, size, bias=False):
    """Weights, the bias where there is one, gamma and beta."""
    return size * size * ch_in * ch_out + (ch_out if bias else 0) + 2 * ch_out


def resnet_by_hand(n):
    """Parameters of the ResNet with 6n+2 layers."""
    def block(ch_in, ch_out):
        projection = conv_bn(ch_in, ch_out, 1) if ch_in != ch_out else 0
        return conv_bn(ch_in, ch_out, 3) + conv_bn(ch_out, ch_out, 3, bias=True) + projection

    stages = [block(16, 16) + (n - 1) * block(16, 16),
              block(16, 32) + (n - 1) * block(32, 32),
              block(32, 64) + (n - 1) * block(64, 64)]
    return conv_bn(3, 16, 3) + sum(stages) + 64 * 10 + 10


@pytest.mark.parametrize("depth, n, total", [
    (20, 3, 272_810), (32, 5, 467_466), (44, 7, 662_122), (56, 9, 856_778), (110, 18, 1_732_730)])
def test_resnet_has_as_many_parameters_as_counted_by_hand(depth, n, total):
    assert resnet_by_hand(n) == total
    assert trainable(built("resnet", depth)[0]) == total


def test_vgg_has_as_many_parameters_as_counted_by_hand():
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(conv_bn(*pair, 3, bias=True) for pair in zip(channels, channels[1:]))
    by_hand = convolutions + (512 * 512 + 512) + 2 * 512 + (512 * 512 + 512) + (512 * 10 + 10)
    assert by_hand == 15_254_602
    assert trainable(built("vgg")[0]) == by_hand


def inception_by_hand(ch_in, one, reduce3, three, reduce5, five, pool):
    """Parameters of an inception block, and the channels that come out of it."""
    paths = [conv_bn(ch_in, one, 1), conv_bn(ch_in, reduce3, 1), conv_bn(reduce3, three, 3),
             conv_bn(ch_in, reduce5, 1), conv_bn(reduce5, five, 5), conv_bn(ch_in, pool, 1)]
    return sum(paths), one + three + five + pool


# Table 1 of Szegedy et al. 2014: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj, output channels.
INCEPTIONS = [(64, 96, 128, 16, 32, 32, 256), (128, 128, 192, 32, 96, 64, 480),
              (192, 96, 208, 16, 48, 64, 512), (160, 112, 224, 24, 64, 64, 512),
              (128, 128, 256, 24, 64, 64, 512), (112, 144, 288, 32, 64, 64, 528),
              (256, 160, 320, 32, 128, 128, 832), (256, 160, 320, 32, 128, 128, 832),
              (384, 192, 384, 48, 128, 128, 1024)]


def test_googlenet_has_as_many_parameters_as_counted_by_hand():
    total, channels = conv_bn(3, 32, 3) + conv_bn(32, 32, 1) + conv_bn(32, 96, 3), 96
    for *widths, ch_out in INCEPTIONS:
        parameters, channels = inception_by_hand(channels, *[width // 2 for width in widths])
        assert channels == ch_out // 2
        total += parameters
    total += 512 * 10 + 10
    assert total == 1_502_490
    classifiers = sum(conv_bn(ch_in, 64, 1) + (2 * 2 * 64 * 256 + 256) + (256 * 10 + 10)
                      for ch_in in (256, 264))
    program, _, probabilities, _ = built("googlenet")
    assert trainable(program) == total + classifiers == 1_672_750
    assert cost(program, [probabilities])[0] == total


# Multiply-adds: products per output pixel times output pixels, layer by layer.
RESNET_32 = (9 * 3 * 16 * 32**2 + 10 * 9 * 16 * 16 * 32**2
             + (9 * 16 * 32 + 9 * 9 * 32 * 32 + 16 * 32) * 16**2
             + (9 * 32 * 64 + 9 * 9 * 64 * 64 + 32 * 64) * 8**2 + 64 * 10)
VGG = (9 * ((3 * 64 + 64 * 64) * 32**2 + (64 * 128 + 128 * 128) * 16**2 + (128 * 256 + 2 * 256 * 256) * 8**2
            + (256 * 512 + 2 * 512 * 512) * 4**2 + 3 * 512 * 512 * 2**2) + 2 * 512 * 512 + 512 * 10)


def googlenet_multiply_adds():
    total, channels = (9 * 3 * 32 + 32 * 32 + 9 * 32 * 96) * 32**2, 96
    for (*widths, _), size in zip(INCEPTIONS, [16] * 2 + [8] * 5 + [4] * 2):
        one, reduce3, three, reduce5, five, pool = [width // 2 for width in widths]
        weights = channels * (one + reduce3 + reduce5 + pool) + 9 * reduce3 * three + 25 * reduce5 * five
        total += weights * size**2
        channels = one + three + five + pool
    return total + 512 * 10


@pytest.mark.parametrize("model, parameters, by_hand, total", [
    ("resnet", 467_466, RESNET_32, 69_124_736), ("vgg", 15_254_602, VGG, 313_725_952),
    ("googlenet", 1_502_490, googlenet_multiply_adds(), 120_370_176)])
def test_cost_is_what_the_hand_says(model, parameters, by_hand, total):
    program, _, probabilities, _ = built(model)
    assert by_hand == total
    assert cost(program, [probabilities]) == (parameters, total)


def test_airbench_multiplies_as_often_as_the_hand_says():
    """Jordan 2024's layers, by output size: 31x31 for the first two, then after each pooling 15, 7 and 3."""
    by_hand = (12 * 24 * 31**2 + 9 * (24 * 64 * 31**2 + (64 * 64 + 64 * 256) * 15**2 + 2 * 256 * 256 * 7**2
                                      + 256 * 256 * 3**2) + 256 * 10)
    assert cost(built("airbench")[0], [built("airbench")[2]])[1] == by_hand == 118_147_360


def test_cost_of_the_auxiliary_classifiers():
    program, _, probabilities, auxiliaries = built("googlenet")
    without, whole = cost(program, [probabilities])[1], cost(program, [probabilities, *auxiliaries])[1]
    assert whole - without == sum(ch_in * 64 * 2**2 + 2 * 2 * 64 * 256 + 256 * 10 for ch_in in (256, 264))


# Shapes and names ---------------------------------------------------------------------------------------

def shapes(program, kind):
    """Output shapes [C, H, W] of the operators of that kind, in order, repetitions left out."""
    block = program.global_block()
    found = [list(block.var(op.output("Out")[0]).shape[1:]) for op in block.ops if op.type == kind]
    return [shape for index, shape in enumerate(found) if index == 0 or shape != found[index - 1]]


def test_resnet_halves_the_size_where_it_doubles_the_channels():
    program, _, probabilities, auxiliaries = built("resnet")
    assert shapes(program, "relu") == [[16, 32, 32], [32, 16, 16], [64, 8, 8]]
    assert shapes(program, "pool2d") == [[64, 1, 1]]
    assert list(probabilities.shape) == [-1, 10] and auxiliaries == []


def test_vgg_halves_the_size_five_times():
    program, _, probabilities, auxiliaries = built("vgg")
    assert shapes(program, "pool2d") == [[64, 16, 16], [128, 8, 8], [256, 4, 4], [512, 2, 2], [512, 1, 1]]
    assert list(probabilities.shape) == [-1, 10] and auxiliaries == []


def test_googlenet_halves_the_size_three_times_and_joins_the_paths():
    program, _, probabilities, auxiliaries = built("googlenet")
    assert shapes(program, "concat") == [[128, 16, 16], [240, 16, 16], [256, 8, 8], [264, 8, 8], [416, 8, 8],
                                         [416, 4, 4], [512, 4, 4]]
    assert [list(output.shape) for output in [probabilities, *auxiliaries]] == [[-1, 10]] * 3


def test_the_exported_googlenet_has_no_auxiliary_classifiers():
    program, _, probabilities, auxiliaries = built("googlenet")
    pixel = program.global_block().var("pixel")
    exported = paddle.static.normalize_program(program, [pixel], [probabilities])
    written = {name for op in exported.global_block().ops for name in op.output_arg_names}
    assert probabilities.name in written and not written & {output.name for output in auxiliaries}
    kept = {parameter.name for parameter in exported.all_parameters()}
    dropped = [parameter for parameter in program.all_parameters() if parameter.name not in kept]
    assert sum(int(np.prod(parameter.shape)) for parameter in dropped if parameter.trainable) == 170_260


def test_dropout_drops_others_each_step_and_the_same_after_the_same_seed():
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        dropped = dropout(paddle.ones([100]), 0.5)
    executor = paddle.static.Executor(paddle.CPUPlace())
    runs = []
    for _ in range(2):
        paddle.seed(3)
        runs.append([executor.run(program, fetch_list=[dropped])[0] for _ in range(2)])
    assert set(np.unique(runs)) == {0, 1}, "in training what stays is not scaled"
    assert (runs[0][0] != runs[0][1]).any()
    np.testing.assert_array_equal(runs[0], runs[1])


def test_vgg_drops_what_the_book_drops_and_scales_at_inference():
    dropouts = [op for op in built("vgg")[0].global_block().ops if op.type == "dropout"]
    assert [round(op.attr("dropout_prob"), 6) for op in dropouts] == [0.3] + [0.4] * 7 + [0.5] * 2
    assert {op.attr("dropout_implementation") for op in dropouts} == {"downgrade_in_infer"}


BOOKS = ("resnet", "vgg", "googlenet")       # airbench begins in its own way: tests/test_strong.py


@pytest.mark.parametrize("model", BOOKS)
def test_batch_normalization_is_the_books(model):
    operators = [op for op in built(model)[0].global_block().ops if op.type == "batch_norm"]
    assert operators
    for op in operators:
        assert op.attr("momentum") == pytest.approx(0.9) and op.attr("epsilon") == pytest.approx(1e-5)


@pytest.mark.parametrize("model", models.MODELS)
def test_parameters_are_named_alike_each_time(model):
    first, second = ([parameter.name for parameter in build(model)[0].all_parameters()] for _ in range(2))
    assert first == second and len(set(first)) == len(first)


@pytest.mark.parametrize("model", BOOKS)
def test_weights_start_as_in_the_book(model):
    """Convolutions Normal(0, sqrt(2 / fan in)), fully connected layers Xavier uniform, biases 0."""
    program, startup, _, _ = built(model)
    scope = paddle.static.Scope()
    paddle.seed(5)
    with paddle.static.scope_guard(scope):
        paddle.static.Executor(paddle.CPUPlace()).run(startup)
    checked = set()
    for parameter in program.all_parameters():
        values, shape = np.array(scope.find_var(parameter.name).get_tensor()), parameter.shape
        if len(shape) == 4 and values.size >= 2000:
            expected = np.sqrt(2 / np.prod(shape[1:]))
            assert values.std() == pytest.approx(expected, rel=0.1), parameter.name
            assert np.abs(values).max() > 2.5 * expected, "a uniform one would end at 1.73 deviations"
            checked.add("convolution")
        if len(shape) == 2:
            bound = np.sqrt(6 / sum(shape))
            assert 0.95 * bound < np.abs(values).max() <= bound, parameter.name
            checked.add("fully connected")
        if parameter.name.endswith(".b_0"):
            assert not values.any(), parameter.name
            checked.add("bias")
    assert checked == {"convolution", "fully connected", "bias"}


# Errors -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("depth", [-4, 0, 2, 7, 18, 33, 50 + 1])
def test_a_depth_that_is_not_6n_plus_2_is_an_error_that_names_the_valid_ones(depth):
    with pytest.raises(ValueError, match=r"8, 14, 20, 26, 32.*110.*not " + str(depth)):
        build("resnet", depth)


def test_blocks_per_stage():
    assert [blocks_per_stage(depth) for depth in (8, 14, 20, 32, 110, 1202)] == [1, 2, 3, 5, 18, 200]


def test_an_unknown_name_and_a_depth_for_a_vgg_are_errors():
    with pytest.raises(ValueError, match="resnet, vgg"):
        build("alexnet")
    with pytest.raises(ValueError, match="only resnet"):
        build("vgg", 16)


# Golden outputs -----------------------------------------------------------------------------------------

def kind_of(parameter):
    """What recipe.Weights calls it."""
    layer, role = parameter.name.split(".")
    if layer.startswith("batch_norm"):
        return {"w_0": "gamma", "b_0": "beta", "w_1": "mean", "w_2": "variance"}[role]
    return "bias" if role == "b_0" else "conv" if layer.startswith("conv") else "fc"


def set_weights(parameters, scope, model):
    """Give every parameter its golden value, in the order in which the network was built."""
    weights = recipe.Weights(model)
    for parameter in parameters:
        values = weights.draw(kind_of(parameter), list(parameter.shape))
        scope.find_var(parameter.name).get_tensor().set(values, paddle.CPUPlace())


def loss_of(probabilities, auxiliaries, label):
    """Cross entropy of the network plus 0.3 times that of each auxiliary classifier."""
    losses = [paddle.nn.functional.cross_entropy(output, label, use_softmax=False)
              for output in [probabilities, *auxiliaries]]
    return losses[0] + 0.3 * sum(losses[1:]) if auxiliaries else losses[0]


@functools.lru_cache(maxsize=1)      # the last one: what TestAccelerated asks for twice
def run(model, training, accelerate=False):
    """One run on the golden batch: probabilities, loss, name -> gradient, and the state after it."""
    program, startup, probabilities, auxiliaries = build(model)
    parameters = program.all_parameters()       # in the order of building, which a clone does not keep
    with paddle.static.program_guard(program, startup):
        label = paddle.static.data("label", [None, 1], "int64")
        loss = loss_of(probabilities, auxiliaries, label)
        pairs = []
        if training:
            for op in program.global_block().ops:
                if op.type == "dropout":
                    op._set_attr("dropout_prob", 0.0)
            pairs = paddle.static.append_backward(loss)
        else:
            program = program.clone(for_test=True)
        if accelerate:
            fast.accelerate(program)
    scope = paddle.static.Scope()
    pixel, labels = recipe.batch(model)
    with paddle.static.scope_guard(scope):
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        set_weights(parameters, scope, model)
        fetched = executor.run(program, feed={"pixel": pixel, "label": labels},
                               fetch_list=[loss, probabilities, *auxiliaries, *[pair[1] for pair in pairs]])
        state = {parameter.name: np.array(scope.find_var(parameter.name).get_tensor())
                 for parameter in parameters}
    outputs = 2 + len(auxiliaries)
    gradients = {pair[0].name: gradient for pair, gradient in zip(pairs, fetched[outputs:])}
    return np.stack(fetched[1:outputs]), float(np.ravel(fetched[0])[0]), gradients, state


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "golden.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("model", models.MODELS)
def test_probabilities_and_loss_in_test_mode_are_pytorchs(model, golden):
    probabilities, loss, _, _ = run(model, training=False)
    np.testing.assert_allclose(probabilities, golden[f"{model}/test/probabilities"], rtol=0, atol=1e-5)
    assert loss == pytest.approx(float(golden[f"{model}/test/loss"]), rel=1e-5)


def compare_step(model, accelerate, golden):
    """Hold one training step against the golden one, but for the running means of an accelerated one."""
    # oneDNN rounds more, and one ReLU or pooling that decides otherwise moves GoogLeNet's gradients by 3%.
    output_bound = 1e-4 if accelerate else 1e-5
    gradient_bound = 0.05 if accelerate and model != "resnet" else 1e-4
    probabilities, loss, gradients, state = run(model, True, accelerate)
    expected = golden[f"{model}/train/probabilities"]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=output_bound)
    assert loss == pytest.approx(float(golden[f"{model}/train/loss"]), rel=output_bound)
    for number, name in enumerate(state):
        if accelerate and name.endswith(".w_1"):
            continue        # they have a test of their own
        if model == "airbench" and number == 0:
            assert name not in gradients        # its first layer is not learned
            continue
        if name.endswith((".w_1", ".w_2")):
            expected = golden[f"{model}/statistics/{number}"]
            np.testing.assert_allclose(state[name], expected, output_bound, output_bound, err_msg=name)
            continue
        norm = scale = float(golden[f"{model}/norm/{number}"])
        if norm < 1e-9:     # a bias under batch normalization, whose gradient is 0 but for rounding
            assert name.endswith(".b_0")
            scale = float(golden[f"{model}/norm/{number - 1}"])     # so hold it against its layer's weights
        error = np.linalg.norm(recipe.samples(gradients[name]) - golden[f"{model}/gradient/{number}"])
        assert error <= gradient_bound * scale, name
        assert abs(np.linalg.norm(gradients[name]) - norm) <= gradient_bound * scale, name
    kinds = (f"{model}/statistics", f"{model}/norm")
    numbers = {int(key.rsplit("/", 1)[1]) for key in golden if key.startswith(kinds)}
    numbers |= {0} if model == "airbench" else set()
    assert numbers == set(range(len(state)))


@pytest.mark.parametrize("model", [pytest.param(name, marks=pytest.mark.slow) if name in ("vgg", "googlenet") else name
                                   for name in models.MODELS])
def test_one_training_step_is_pytorchs(model, golden):
    compare_step(model, False, golden)


@pytest.mark.parametrize("model", models.MODELS, scope="class")  # both tests of a network after each other, in one run
class TestAccelerated:
    def test_one_training_step_is_pytorchs(self, model, golden):
        compare_step(model, True, golden)

    def test_the_running_means_are_pytorchs(self, model, golden):
        """A bias that is not 0 (a GPU's checkpoint has such) counts in test mode, so it must count here."""
        _, _, _, state = run(model, True, True)
        for number, name in enumerate(state):
            if name.endswith(".w_1"):
                expected = golden[f"{model}/statistics/{number}"]
                np.testing.assert_allclose(state[name], expected, 1e-4, 1e-4, err_msg=name)
