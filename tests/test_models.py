"""The networks against counts worked out by hand and against what PyTorch computed (tests/golden)."""
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

import models
from models.resnet import blocks_per_stage
from utils import engine

GOLDEN = Path(__file__).with_name("golden")
sys.path.insert(0, str(GOLDEN))
import recipe  # noqa: E402

paddle.enable_static()


def build(model, depth=None):
    """The program, its start-up program, and the variables pixel, probabilities, auxiliaries."""
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        pixel = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        probabilities, auxiliaries = models.build(model, pixel, depth)
    return program, startup, probabilities, auxiliaries


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
    assert trainable(build("resnet", depth)[0]) == total


def test_vgg_has_as_many_parameters_as_counted_by_hand():
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(conv_bn(*pair, 3, bias=True) for pair in zip(channels, channels[1:]))
    by_hand = convolutions + (512 * 512 + 512) + 2 * 512 + (512 * 512 + 512) + (512 * 10 + 10)
    assert by_hand == 15_254_602
    assert trainable(build("vgg")[0]) == by_hand


# Shapes and names ---------------------------------------------------------------------------------------

def shapes(program, kind):
    """Output shapes [C, H, W] of the operators of that kind, in order, repetitions left out."""
    block = program.global_block()
    found = [list(block.var(op.output("Out")[0]).shape[1:]) for op in block.ops if op.type == kind]
    return [shape for index, shape in enumerate(found) if index == 0 or shape != found[index - 1]]


def test_resnet_halves_the_size_where_it_doubles_the_channels():
    program, _, probabilities, auxiliaries = build("resnet")
    assert shapes(program, "relu") == [[16, 32, 32], [32, 16, 16], [64, 8, 8]]
    assert shapes(program, "pool2d") == [[64, 1, 1]]
    assert list(probabilities.shape) == [-1, 10] and auxiliaries == []


def test_vgg_halves_the_size_five_times():
    program, _, probabilities, auxiliaries = build("vgg")
    assert shapes(program, "pool2d") == [[64, 16, 16], [128, 8, 8], [256, 4, 4], [512, 2, 2], [512, 1, 1]]
    assert list(probabilities.shape) == [-1, 10] and auxiliaries == []


def test_vgg_drops_what_the_book_drops_and_scales_at_inference():
    dropouts = [op for op in build("vgg")[0].global_block().ops if op.type == "dropout"]
    assert [round(op.attr("dropout_prob"), 6) for op in dropouts] == [0.3] + [0.4] * 7 + [0.5] * 2
    assert {op.attr("dropout_implementation") for op in dropouts} == {"downgrade_in_infer"}


@pytest.mark.parametrize("model", models.MODELS)
def test_batch_normalisation_is_the_books(model):
    operators = [op for op in build(model)[0].global_block().ops if op.type == "batch_norm"]
    assert operators
    for op in operators:
        assert op.attr("momentum") == pytest.approx(0.9) and op.attr("epsilon") == pytest.approx(1e-5)


@pytest.mark.parametrize("model", models.MODELS)
def test_parameters_are_named_alike_each_time(model):
    first, second = ([parameter.name for parameter in build(model)[0].all_parameters()] for _ in range(2))
    assert first == second and len(set(first)) == len(first)


@pytest.mark.parametrize("model", models.MODELS)
def test_weights_start_as_in_the_book(model):
    """Convolutions Normal(0, sqrt(2 / fan in)), fully connected layers Xavier uniform, biases 0."""
    program, startup, _, _ = build(model)
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
            engine.accelerate(program)
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


@pytest.mark.parametrize("accelerate", [False, True], ids=["plain", "accelerated"])
@pytest.mark.parametrize("model", models.MODELS)
def test_one_training_step_is_pytorchs(model, accelerate, golden):
    probabilities, loss, gradients, state = run(model, training=True, accelerate=accelerate)
    np.testing.assert_allclose(probabilities, golden[f"{model}/train/probabilities"], rtol=0, atol=1e-5)
    assert loss == pytest.approx(float(golden[f"{model}/train/loss"]), rel=1e-5)
    for number, name in enumerate(state):
        if name.endswith((".w_1", ".w_2")):
            expected = golden[f"{model}/statistics/{number}"]
            np.testing.assert_allclose(state[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)
            continue
        norm = scale = float(golden[f"{model}/norm/{number}"])
        if norm < 1e-9:     # a bias under batch normalisation, whose gradient is 0 but for rounding
            assert name.endswith(".b_0")
            scale = float(golden[f"{model}/norm/{number - 1}"])     # so hold it against its layer's weights
        error = np.linalg.norm(recipe.samples(gradients[name]) - golden[f"{model}/gradient/{number}"])
        assert error <= 1e-4 * scale, name
        assert abs(np.linalg.norm(gradients[name]) - norm) <= 1e-4 * scale, name
    kinds = (f"{model}/statistics", f"{model}/norm")
    numbers = {int(key.rsplit("/", 1)[1]) for key in golden if key.startswith(kinds)}
    assert numbers == set(range(len(state)))
