"""Folding a batch norm away keeps the numbers: by hand, and against the program that was folded."""
import numpy as np
import pytest

from utils.speed import executor as engine
from utils.speed import fold_batch_norm


@pytest.fixture(autouse=True)
def static_graph():
    import paddle

    paddle.enable_static()


@pytest.mark.parametrize("bias, shift", [(None, -20.5), ("b", -13.0)])
def test_values_by_hand(bias, shift):
    """gamma / sqrt(variance + epsilon) = 5 / 2: weights 2 and -4 become 5 and -10; 7 + (3 or 0 - 11) * 2.5."""
    one = fold_batch_norm.Fold("w", bias, "gamma", "beta", "mean", "variance", epsilon=1.0)
    state = {"w": np.float32([2, -4]).reshape(1, 2, 1, 1), "b": np.float32([3]), "gamma": np.float32([5]),
             "beta": np.float32([7]), "mean": np.float32([11]), "variance": np.float32([3])}
    new = fold_batch_norm.values([one], state)
    assert new["w.folded"].ravel().tolist() == [5, -10] and new["beta.folded"].tolist() == [shift]
    assert new["w.folded"].dtype == new["beta.folded"].dtype == np.float32


def program_of(build):
    """(test program, its result [N, 3]): what `build` makes of the input, [N, 2, 4, 4], and a fully connected layer."""
    import paddle

    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        maps = build(paddle.static.data("pixel", [None, 2, 4, 4], "float32"), paddle.static.nn)
        result = paddle.static.nn.fc(maps, 3)
    executor = paddle.static.Executor(paddle.CPUPlace())
    paddle.seed(1)
    executor.run(startup)
    return program.clone(for_test=True), result


def kinds(program):
    return [op.type for op in program.global_block().ops]


def sum_of_two(x, nn):
    """A block of two convolutions with their norms, added to the input of it, and relu."""
    import paddle

    x = nn.batch_norm(nn.conv2d(x, 2, 1), act="relu")
    y = nn.batch_norm(nn.conv2d(x, 5, 1), act="relu")
    return paddle.nn.functional.relu(paddle.add(nn.batch_norm(nn.conv2d(y, 2, 3, padding=1)), x))


def sum_and_term(x, nn):
    """The other term of the sum is wanted afterwards as well: it must not be written over."""
    import paddle

    x = nn.batch_norm(nn.conv2d(x, 2, 1))
    total = paddle.add(nn.batch_norm(nn.conv2d(nn.conv2d(x, 2, 1, bias_attr=False), 2, 3, padding=1)), x)
    return paddle.add(paddle.nn.functional.relu(total), x)


def sum_with_own_input(x, nn):
    """The other term is what the convolution itself reads."""
    import paddle

    x = nn.batch_norm(nn.conv2d(x, 2, 1))
    return paddle.add(nn.batch_norm(nn.conv2d(x, 2, 3, padding=1)), x)


def sum_with_a_pool(x, nn):
    """The other term comes from no convolution."""
    import paddle

    x = paddle.nn.functional.max_pool2d(nn.conv2d(x, 2, 1), 2)
    return paddle.add(nn.batch_norm(nn.conv2d(nn.conv2d(x, 2, 1, bias_attr=False), 2, 3, padding=1)), x)


def norm_of_a_pool(x, nn):
    """A norm that follows no convolution."""
    import paddle

    return nn.batch_norm(paddle.nn.functional.max_pool2d(nn.conv2d(x, 3, 1), 2), act="relu")


def gelus(x, nn):
    """GELU after a norm and after a convolution that has none."""
    from models.airbench import gelu

    return gelu(nn.conv2d(gelu(nn.batch_norm(nn.conv2d(x, 2, 1))), 2, 1))


def sums_of_sums(x, nn):
    """Three blocks, each of which adds to what the one before made."""
    for _ in range(3):
        x = sum_of_two(x, nn)
    return x


def sum_with_itself(x, nn):
    """Both terms are one convolution's."""
    import paddle

    x = nn.conv2d(x, 2, 1, bias_attr=False)
    return paddle.add(x, x)


def no_biases(x, nn):
    """Parameters that are added, but not one to each channel: to everything, and along the width, 2 as the channels."""
    import paddle

    one, wide = (paddle.static.create_parameter([size], "float32") for size in (1, 2))
    x = paddle.add(nn.conv2d(x, 2, 1, bias_attr=False), one)
    return paddle.add(nn.conv2d(x, 2, 3, bias_attr=False), wide)


def shared_weights(x, nn):
    """One convolution's weights twice, each with a norm of its own."""
    import paddle

    return paddle.add(*(nn.batch_norm(nn.conv2d(x, 2, 1, param_attr="shared", bias_attr=False)) for _ in range(2)))


BUILDERS = (sum_of_two, sum_and_term, sum_with_own_input, sum_with_a_pool, norm_of_a_pool, gelus, sums_of_sums,
            sum_with_itself, no_biases, shared_weights)


@pytest.mark.parametrize("build, left, norms", [
    (sum_of_two, ["fused_conv2d", "fused_conv2d", "fused_conv2d"], 3),
    (sum_and_term, ["fused_conv2d"] * 3 + ["elementwise_add", "relu", "elementwise_add"], 2),
    (sum_with_own_input, ["fused_conv2d", "fused_conv2d", "elementwise_add"], 2),
    (sum_with_a_pool, ["fused_conv2d", "pool2d", "fused_conv2d", "fused_conv2d", "elementwise_add"], 1),
    (norm_of_a_pool, ["fused_conv2d", "pool2d", "batch_norm", "relu"], 0),
    (gelus, ["fused_conv2d", "fused_conv2d"], 1),
    (sums_of_sums, ["fused_conv2d"] * 9, 9),
])
def test_what_is_joined(build, left, norms):
    program, result = program_of(build)
    before = program.desc.serialize_to_string()
    quick, folds = fold_batch_norm.fold(program, result)
    assert kinds(quick) == left + ["mul", "elementwise_add"] and len(folds) == norms
    assert program.desc.serialize_to_string() == before


@pytest.mark.parametrize("build", BUILDERS)
def test_new_weights_count_at_once(build):
    """oneDNN keeps the weights it has worked with; the second answers have to come from the second weights."""
    import paddle

    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        program, result = program_of(build)
        place = paddle.CPUPlace()
        executor, fast = paddle.static.Executor(place), engine.FastExecutor(place)
        pixels = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
        answers = []
        for factor in (1, 0.2, 3):
            for parameter in program.all_parameters():
                tensor = scope.find_var(parameter.name).get_tensor()
                tensor.set(np.float32(factor * np.abs(np.array(tensor)) + 0.1), place)
            expected, = executor.run(program, feed={"pixel": pixels}, fetch_list=[result])
            fast.run(paddle.static.Program())  # as a step of training would: weights change with a run
            for _ in range(2):
                feed = {"label": pixels, "pixel": pixels}  # more than the program needs
                answer, = fast.run(program, feed=feed, fetch_list=[result])
                np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
            assert isinstance(fast.faster[program], engine.FoldedProgram)
            answers.append(expected)
        assert min(np.ptp(answers, axis=0).max(axis=1)) > 0.1


def test_a_loaded_program_is_fed_by_name():
    """Programs of saved models begin with an op that feeds and end with one that fetches."""
    import paddle

    program, result = program_of(sum_of_two)
    ends = [program.global_block().var("pixel")], [program.global_block().var(result.name)]
    loaded = paddle.static.normalize_program(program, *ends)
    assert kinds(loaded)[0] == "feed" and kinds(loaded)[-1] == "fetch"
    quick, folds = fold_batch_norm.fold(loaded, result)
    assert len(folds) == 3 and not {"feed", "fetch"} & set(kinds(quick))


@pytest.mark.parametrize("model, depth, convolutions", [("resnet", 20, 21), ("vgg", None, 13), ("googlenet", None, 57)])
def test_every_norm_of_the_chapters_networks_is_folded(model, depth, convolutions):
    """ResNet-20: 19 convolutions and 2 projections; VGG: 13; GoogLeNet: 3 and 9 blocks of 6. Only VGG's norm of a
    fully connected layer stays."""
    import paddle

    import models

    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()), paddle.utils.unique_name.guard():
        image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        probabilities, _ = models.build(model, image, depth)
    quick, folds = fold_batch_norm.fold(program.clone(for_test=True), probabilities)
    left = kinds(quick)
    assert left.count("fused_conv2d") == len(folds) == convolutions and "conv2d" not in left
    assert left.count("batch_norm") == (1 if model == "vgg" else 0)
    biases = {"resnet": 1, "vgg": 3, "googlenet": 1}  # of the fully connected layers; sums of maps are joined
    assert left.count("elementwise_add") == biases[model]
