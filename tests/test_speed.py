"""The fast path gives the plain path's numbers, and the settings of the environment win.

How equal: each step multiplies a difference, the more so the larger the learning rate, and two plain runs whose first
weights differ by a rounding error (1e-7) end about as far apart as a plain and a fast one. So the runs here take
gradient descent at a rate at which five steps keep that under 1e-4, and compare what the steps changed as well, of
which a wrong gradient would leave nothing. Dropout is set to 0: the fast path has its elements in another order, and so
drops others. Biases in front of batch norm are left out: they have no effect.
"""
import itertools
import os
import platform
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import models
from utils import flags
from utils.recipes import QUICK
from utils.speed import channels_last, fold_batch_norm
from utils.speed import executor as engine
from utils.speed.edit import Edits
from utils.storage import program_state

ROOT = Path(__file__).resolve().parent.parent
STEPS, BATCH = 5, 32
EVERY_KIND = [*engine.ONEDNN_OPS, *engine.CHANNELS_LAST_OPS, *engine.PADDLE_2_OPS]


def as_a_network_reads_them(images, labels):
    """(pixels in [0, 1], float32 [N, 3, 32, 32], labels [N, 1]) for STEPS batches."""
    count = STEPS * BATCH
    return (np.asarray(images[:count]) / 255).astype(np.float32), np.asarray(labels[:count]).reshape(-1, 1)


@pytest.fixture(scope="module")
def pictures():
    """Drawn pictures and their labels."""
    from utils.data import sketches

    return as_a_network_reads_them(*sketches.draw(STEPS * BATCH, seed=1))


@pytest.fixture(scope="module")
def photographs(pictures):
    """Real pictures where CIFAR10_ARCHIVE names an archive, else drawn ones."""
    from utils.data import dataset

    archive = os.environ.get("CIFAR10_ARCHIVE")
    if not archive:
        return pictures
    data = dataset.read("cifar10", archive, say=lambda text: None)
    return as_a_network_reads_them(data.train_images, data.train_labels)


class Trained:
    """Five steps of one network: losses, weights before and after, and the probabilities of the last pictures."""

    def __init__(self, pictures, model, depth, change=None, rate=1e-4, dropout=0.0, deep=False):
        import paddle

        import models
        from train import train_program

        pixels, labels = pictures
        main, startup = paddle.static.Program(), paddle.static.Program()
        main.random_seed = startup.random_seed = 3
        paddle.seed(3)
        with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
            image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
            probabilities, auxiliaries = models.build(model, image, depth)
            self.test = main.clone(for_test=True)
            loss, _ = train_program(probabilities, auxiliaries, QUICK.label_smoothing)
            paddle.optimizer.SGD(rate).minimize(loss)
        for op in main.global_block().ops:
            if op.type == "dropout":
                op._set_attr("dropout_prob", dropout)
        if change:
            change(main)
        self.program, scope = main, paddle.static.Scope()
        with paddle.static.scope_guard(scope):
            place = paddle.CPUPlace()
            executor = engine.FastExecutor(place) if deep else paddle.static.Executor(place)
            for program in (main, startup) if deep else ():
                executor.faster[program] = engine.DeepProgram(program)
            executor.run(startup)
            names = [p.name for p in main.all_parameters()]
            for name in names:
                tensor = scope.find_var(name).get_tensor()
                array = np.array(tensor)
                if ".b_" in name:  # biases begin at 0, where many mistakes would not be seen
                    array = array + 0.1 * np.float32(np.random.default_rng(len(name)).standard_normal(array.shape))
                    tensor.set(np.float32(array), paddle.CPUPlace())
            self.before = {name: np.array(scope.find_var(name).get_tensor()) for name in names}
            self.losses = []
            for i in range(0, STEPS * BATCH, BATCH):
                feed = {"pixel": pixels[i:i + BATCH], "label": labels[i:i + BATCH]}
                self.losses.append(executor.run(main, feed=feed, fetch_list=[loss])[0].item())
            self.weights = {name: np.array(scope.find_var(name).get_tensor()) for name in names}
            self.answers, = executor.run(self.test, feed={"pixel": feed["pixel"]}, fetch_list=[probabilities])
            fast = engine.FastExecutor(place)
            self.quick_answers, = fast.run(self.test, feed={"pixel": feed["pixel"]}, fetch_list=[probabilities])
            self.is_folded = isinstance(fast.faster[self.test], engine.FoldedProgram)

    def distances(self, other):
        """Largest relative distance to another run: (of the losses, of a weight, of all that the steps learnt)."""
        kept = [n for n in self.weights if not n.startswith("conv2d") or ".w_" in n]
        learnt = [n for n in kept if n.endswith("_0")]  # _1 and _2: running mean and variance
        losses = max(abs(a / b - 1) for a, b in zip(self.losses, other.losses))
        weights = max(distance(self.weights[n], other.weights[n]) for n in kept)
        changes = [np.concatenate([(run.weights[n] - run.before[n]).ravel() for n in learnt])
                   for run in (self, other)]
        return losses, weights, distance(*changes)


def distance(a, b):
    """Euclidean distance of two arrays, relative to the second's length."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def trained(*arguments, **options):
    """Train in a thread of its own: Paddle remembers for each thread in which order the last program worked."""
    result = []

    def work():
        try:
            result.append(Trained(*arguments, **options))
        except Exception as error:  # handed on to the test
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def put_on_onednn(*kinds):
    """A change of a program: ops of these kinds on oneDNN, the channels first."""
    def change(program):
        marked = [op for op in program.global_block().ops if op.type in kinds]
        assert marked
        for op in marked:
            op._set_attr("use_mkldnn", True)
    return change


def turn_and_put(*kinds):
    """A change of a program: the channels last, and ops of these kinds on oneDNN."""
    def change(program):
        assert channels_last.turn(program)
        put_on_onednn(*kinds)(program)
    return change


@pytest.fixture(scope="module", autouse=True)
def static_mode():
    import paddle

    paddle.enable_static()


@pytest.fixture(scope="module")
def small_plain(pictures):
    """ResNet-8 trained the plain way, at a rate that changes the weights by much more than rounding."""
    return trained(pictures, "resnet", 8, rate=1e-3)


@pytest.fixture(scope="module")
def plain_vgg(photographs):
    """VGG trained the plain way."""
    return trained(photographs, "vgg", None, rate=2e-5)


SETTINGS = {
    "everything": turn_and_put(*EVERY_KIND),
    "channels last": turn_and_put("conv2d", "conv2d_grad"),
    **{kind: put_on_onednn(kind) for kind in engine.ONEDNN_OPS},
    "channels last, batch_norm": turn_and_put("conv2d", "conv2d_grad", "batch_norm", "batch_norm_grad"),
    "channels last, pool2d": turn_and_put("conv2d", "conv2d_grad", "pool2d", "pool2d_grad"),
    "channels last, relu_grad": turn_and_put("conv2d", "conv2d_grad", *engine.PADDLE_2_OPS),
}


@pytest.mark.parametrize("name", [name if number < 2 else pytest.param(name, marks=pytest.mark.slow)
                                  for number, name in enumerate(SETTINGS)])
def test_each_setting_keeps_the_numbers(pictures, small_plain, name):
    losses, weights, changes = trained(pictures, "resnet", 8, SETTINGS[name], rate=1e-3).distances(small_plain)
    assert losses < 1e-5 and weights < 1e-4 and changes < 0.02, (losses, weights, changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_keeps_vggs_numbers(photographs, plain_vgg, name):
    losses, weights, changes = trained(photographs, "vgg", None, SETTINGS[name], rate=2e-5).distances(plain_vgg)
    assert losses < 1e-4 and weights < 1e-4 and changes < 0.2, (losses, weights, changes)


@pytest.mark.parametrize("wrong", [
    pytest.param(turn_and_put("conv2d", "conv2d_grad", "batch_norm"), id="batch norm's forward half alone"),
    pytest.param(lambda program: forget_to_transpose(program), id="weight gradients left as Paddle hands them over"),
    pytest.param(lambda program: forget_to_flip(program), id="backward convolutions with the weights unturned"),
])
def test_a_wrong_setting_is_noticed(pictures, small_plain, wrong):
    losses, weights, changes = trained(pictures, "resnet", 8, wrong, rate=1e-3).distances(small_plain)
    assert weights > 1e-4 and changes > 0.2, (losses, weights, changes)


def forget_to_transpose(program):
    """Turn a program, all on oneDNN, with the weights' gradients read in the order in which they come."""
    turn_and_put(*EVERY_KIND)(program)
    block = program.global_block()
    for op in [op for op in block.ops if op.type == "transpose2" and op.output("Out")[0].endswith("@GRAD")]:
        target = op.output("Out")[0]
        if target.split("@")[0] in [p.name for p in program.all_parameters()]:
            shape = list(block.var(target.split("@")[0]).shape)
            block._insert_op(block.ops.index(op) + 1, type="reshape2", inputs={"X": op.input("X")},
                             outputs={"Out": [target], "XShape": [target + ".shape"]}, attrs={"shape": shape})
            block._remove_op(block.ops.index(op))


def forget_to_flip(program):
    """Turn a program, all on oneDNN, with the weights of backward convolutions not flipped in height and width."""
    eye = np.eye
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels_last.np, "eye", lambda size, dtype: eye(size, dtype=dtype)[::-1])  # flipped back
        turn_and_put(*EVERY_KIND)(program)


def check_the_fast_path(pictures, model, depth, rate):
    """Five steps and a test by the plain path and by the fast one."""
    plain = trained(pictures, model, depth, rate=rate)
    fast = trained(pictures, model, depth, engine.accelerate, rate=rate)
    losses, weights, changes = fast.distances(plain)
    assert losses < 1e-4 and weights < 1e-4 and changes < 0.2, (losses, weights, changes)
    np.testing.assert_allclose(fast.quick_answers, fast.answers, atol=2e-6)
    assert np.ptp(fast.answers, axis=0).max() > 1e-4  # the pictures are told apart


def test_the_fast_path_keeps_the_numbers(pictures):
    check_the_fast_path(pictures, "resnet", 14, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model, depth, rate", [("resnet", 32, 1e-4), ("vgg", None, 2e-5), ("googlenet", None, 1e-5)])
def test_the_fast_path_keeps_each_networks_numbers(photographs, model, depth, rate):
    check_the_fast_path(photographs, model, depth, rate)


def test_bias_in_front_of_batch_norm_stays_and_moves_the_running_mean(pictures, small_plain):
    fast = trained(pictures, "resnet", 8, engine.accelerate, rate=1e-3)
    ops = fast.program.global_block().ops
    biases = [op.input("Y")[0] for op in ops if op.type == "elementwise_sub"]
    means = [op.output("Out")[0] for op in ops if op.type == "elementwise_sub"]
    assert biases
    for bias, mean in zip(biases, means):
        assert np.abs(fast.before[bias]).max() > 0.05
        np.testing.assert_array_equal(fast.weights[bias], fast.before[bias])
        np.testing.assert_allclose(fast.weights[mean], small_plain.weights[mean], rtol=1e-4, atol=1e-5)
        assert distance(small_plain.before[mean], small_plain.weights[mean]) > 0.01


def dropped(change, seed):
    """Which elements two dropouts drop in two steps of training: bool [2 steps, 2 dropouts, 200, 192]."""
    import paddle

    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        pixels = paddle.static.data("pixel", [None, 3, 8, 8], "float32")
        pixels.stop_gradient = False
        results = [models.vgg.dropout(pixels, probability) for probability in (0.3, 0.5)]
        paddle.static.append_backward(paddle.mean(paddle.static.nn.fc(paddle.add(*results), 1)))
    change(main)
    ones, executor = np.ones([200, 3, 8, 8], np.float32), paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    paddle.seed(seed)
    steps = [executor.run(main, feed={"pixel": ones}, fetch_list=results) for _ in range(2)]
    is_turned = "transpose2" in [op.type for op in main.global_block().ops]
    assert is_turned == (change is engine.accelerate and engine.has_onednn())
    return np.array([[array.reshape(200, -1) == 0 for array in step] for step in steps])


def test_the_fast_path_drops_by_paddles_numbers_in_its_own_order():
    """As often as Paddle alone to the element, in another order: the channels are last."""
    fast, again, other = (dropped(engine.accelerate, seed) for seed in (1, 1, 2))
    plain = dropped(lambda program: None, 1)
    assert (fast == again).all() and (fast.sum((2, 3)) == plain.sum((2, 3))).all()
    for one, two in ((fast, other), (fast[0], fast[1])):
        assert (one != two).mean() > 0.3


def test_adams_joined_do_what_they_did_apart():
    """Weights, moments and powers after three steps, and those of Paddle's separate ops."""
    import paddle

    states = []
    for change in (lambda block: None, channels_last.join_adams):
        main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
        with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
            x = paddle.static.nn.fc(paddle.static.data("x", [None, 6], "float32"), 5, activation="relu")
            loss = paddle.mean(paddle.square(paddle.static.nn.fc(x, 3)))
            paddle.optimizer.Adam(0.01).minimize(loss)
        change(main.global_block())
        kinds = [op.type for op in main.global_block().ops]
        executor = paddle.static.Executor(paddle.CPUPlace())
        paddle.seed(4)
        executor.run(startup, scope=scope)
        for step in range(3):
            rows = np.random.default_rng(step).standard_normal((9, 6)).astype(np.float32)
            executor.run(main, feed={"x": rows}, scope=scope)
        states.append(program_state.take(main, scope))
    assert kinds.count("merged_adam") == 1 and "adam" not in kinds
    apart, together = states
    assert set(apart) == set(together) and len(apart) == 4 * 5  # of 4 parameters
    for name, array in apart.items():
        np.testing.assert_allclose(together[name], array, rtol=2e-6, atol=1e-7, err_msg=name)


def test_gradients_of_maps_are_neither_reordered_nor_copied_where_that_can_be_spared(pictures):
    fast = trained(pictures, "resnet", 8, engine.accelerate)
    block = fast.program.global_block()
    # A ResNet-8 has 9 convolutions: the first needs no gradient of its maps, 2 blocks begin with stride 2, twice each.
    backward = [op for op in block.ops if op.type == "conv2d_grad"]
    assert len(backward) == 9 and sum(bool(op.output("Input@GRAD")) for op in backward) == 4
    assert sum(name.endswith(".flipped") for op in block.ops for name in op.output_arg_names) == 9 - 1 - 4
    # 3 shortcuts; the one sum that is left is the bias of the fully connected layer.
    assert [len(op.output_arg_names) for op in block.ops if op.type == "elementwise_add_grad"] == [2]
    assert all(len(block.var(op.input("Y")[0]).shape) == 1 for op in block.ops if op.type == "elementwise_add_grad")


def gradients_through_poolings(change):
    """Gradients of three convolutions, {name: array}: two poolings of 3x3 between them make maps of one shape."""
    import paddle
    from paddle.static import nn

    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard(), paddle.static.scope_guard(scope):
        paddle.seed(1)
        maps = paddle.static.data("pixel", [None, 3, 8, 8], "float32")
        for number in range(3):
            maps = paddle.nn.functional.relu(nn.conv2d(maps, 8, 3, padding=1, param_attr=f"w{number}"))
            maps = paddle.nn.functional.max_pool2d(maps, 3, stride=1, padding=1) if number < 2 else maps
        loss = paddle.mean(paddle.square(nn.fc(maps, 4)))
        pairs = paddle.static.append_backward(loss, parameter_list=["w0", "w1", "w2"])
        change(main)
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        feed = {"pixel": np.random.default_rng(1).random((4, 3, 8, 8), np.float32)}
        for _ in range(2):  # the first time Paddle's executor takes the ops in the program's order anyway
            arrays = executor.run(main, feed=feed, fetch_list=[gradient for _, gradient in pairs])
    return dict(zip(("w0", "w1", "w2"), arrays))


def test_poolings_of_one_shape_have_gradients_of_their_own(monkeypatch):
    plain = gradients_through_poolings(lambda program: None)
    for name, array in gradients_through_poolings(engine.accelerate).items():
        assert np.abs(array - plain[name]).max() < 1e-5 * np.abs(plain[name]).max(), name
    monkeypatch.setattr(channels_last, "pool_again", lambda block: None)
    wrong = gradients_through_poolings(engine.accelerate)
    assert np.abs(wrong["w0"] - plain["w0"]).max() > 0.01 * np.abs(plain["w0"]).max(), "Paddle does without, at last"


def test_the_test_program_knows_nothing_of_it(pictures):
    fast = trained(pictures, "resnet", 8, engine.accelerate)
    for op in fast.test.global_block().ops:
        assert not (op.has_attr("use_mkldnn") and op.attr("use_mkldnn"))
        assert "NHWC" not in (op.attr(a) for a in ("data_format", "data_layout") if op.has_attr(a))


def test_unknown_op_leaves_the_program_as_it_was():
    import paddle

    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()), paddle.utils.unique_name.guard():
        x = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        paddle.nn.functional.interpolate(paddle.static.nn.conv2d(x, 4, 3), size=[8, 8])
    before = program.desc.serialize_to_string()
    assert channels_last.turn(program) is False
    assert program.desc.serialize_to_string() == before


def test_edits_are_made_in_their_order():
    """1 * 2 = 2; 2 * 10 in front of the second op, which makes it 60; 61 after it; -61 in the place of the third."""
    import paddle

    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        x = paddle.static.data("x", [1], "float32")
        a = paddle.scale(x, 2.0)
        b = paddle.scale(a, 3.0)
        c = paddle.scale(b, 7.0)
    block = program.global_block()
    second, third = block.ops[1:]
    edits = Edits(block)
    assert edits.only_reader(a.name) is second and edits.only_reader(c.name) is None
    for place, source, target, factor, more in ((edits.after[second], b, b, 1.0, 1.0),
                                                (edits.before[third], b, c, -1.0, 0.0),
                                                (edits.before[second], a, a, 10.0, 0.0)):
        edits.insert(place, type="scale", inputs={"X": [source.name]}, outputs={"Out": [target.name]},
                     attrs={"scale": factor, "bias": more})
    edits.removed.add(third)
    edits.make()
    block._sync_with_cpp()  # Paddle compares the block's two sides
    executor = paddle.static.Executor(paddle.CPUPlace())
    result, = executor.run(program, feed={"x": np.ones(1, np.float32)}, fetch_list=[c.name])
    assert result.tolist() == [-61]


def calls_of(work):
    """How many functions are called for `work`."""
    count = itertools.count()
    sys.setprofile(lambda frame, event, argument: next(count) if event in ("call", "c_call") else None)
    try:
        work()
    finally:
        sys.setprofile(None)
    return next(count)


def calls_for_an_op(depth):
    """How many functions are called for each op of a ResNet's programs: (to rewrite, to fold)."""
    import paddle

    import models
    from train import train_program

    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()), paddle.utils.unique_name.guard():
        probabilities, _ = models.build("resnet", paddle.static.data("pixel", [None, 3, 32, 32], "float32"), depth)
        loss, _ = train_program(probabilities, (), QUICK.label_smoothing)
        test = main.clone(for_test=True)
        paddle.optimizer.SGD(0.1).minimize(loss)
    ops = [len(program.global_block().ops) for program in (main, test)]
    return (calls_of(lambda: engine.accelerate(main)) / ops[0],
            calls_of(lambda: fold_batch_norm.fold(test, probabilities)) / ops[1])


def test_an_op_of_a_deep_network_takes_no_more_calls_to_rewrite():
    for shallow, deep in zip(calls_for_an_op(20), calls_for_an_op(62)):
        assert deep < 1.2 * shallow


@pytest.mark.parametrize("model, depth, rate", [
    ("resnet", 8, 1e-3), pytest.param("vgg", None, 2e-5, marks=pytest.mark.slow),
    pytest.param("googlenet", None, 1e-5, marks=pytest.mark.slow)])
def test_a_deep_programs_executor_changes_no_bit(pictures, model, depth, rate):
    usual, deep = (trained(pictures, model, depth, engine.accelerate, rate, dropout=0.5, deep=is_deep)
                   for is_deep in (False, True))
    assert deep.losses == usual.losses and np.array_equal(deep.quick_answers, usual.quick_answers)
    for name, array in usual.weights.items():
        np.testing.assert_array_equal(deep.weights[name], array)


def test_which_program_is_deep(monkeypatch):
    """Many ops, but none that sums over machines: Paddle connects those in its own executor alone."""
    import paddle

    from utils.parallel.workers import all_reduce_op

    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        x = paddle.scale(paddle.static.data("x", [1], "float32"), 2.0)
        executor = engine.FastExecutor(paddle.CPUPlace())
        assert executor.prepare(program) is None
        monkeypatch.setattr(engine, "DEEP", 0)
        assert isinstance(executor.prepare(program), engine.DeepProgram)
        all_reduce_op(x)
        assert executor.prepare(program) is None


SETTINGS_ALONE = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from utils import flags
flags.set_flags(plain={plain})
import numpy as np, paddle
from test_speed import Trained
paddle.enable_static()
rng = np.random.default_rng(0)
pictures = rng.random((160, 3, 32, 32), np.float32), rng.integers(0, 10, (160, 1))
from utils.speed import executor as engine
engine.FoldedProgram.run = lambda *_: [None]
run = Trained(pictures, "resnet", 8, {change}, rate=1e-3)
print(repr(run.losses), sum(float(np.abs(w).sum()) for w in run.weights.values()))
"""


OTHER_PROCESSOR = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from utils import flags
flags.set_flags()
import numpy as np, paddle
from test_speed import Trained, engine, trained
paddle.enable_static()
rng = np.random.default_rng(0)
pictures = rng.random((160, 3, 32, 32), np.float32), rng.integers(0, 10, (160, 1))
plain, fast = (trained(pictures, "resnet", 8, change, rate=1e-3) for change in (None, engine.accelerate))
print("distances", *fast.distances(plain), np.abs(fast.quick_answers - plain.answers).max())
"""


@pytest.mark.slow
@pytest.mark.parametrize("instructions, others", [("AVX2", "avx512"), ("SSE41", "avx")])
def test_a_processor_without_newer_instructions_gets_the_same_numbers(instructions, others):
    """oneDNN is told to use no newer ones, and names for each thing it does those that it used."""
    if not engine.has_onednn() or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("oneDNN on x86-64 alone has several")
    code = OTHER_PROCESSOR.format(root=str(ROOT), tests=str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=clean_environment(ONEDNN_MAX_CPU_ISA=instructions, ONEDNN_VERBOSE="1"))
    used = set(re.findall(r",exec,cpu,convolution,([^,]+),", done.stdout))
    assert used and not any(others in name for name in used), (used, done.stderr[-2000:])
    losses, weights, changes, answers = map(float, done.stdout.splitlines()[-1].split()[1:])
    assert losses < 1e-5 and weights < 1e-4 and changes < 0.02 and answers < 1e-4


def test_without_onednn_training_goes_as_paddle_has_it(pictures, small_plain, monkeypatch):
    """As in Paddle's builds for Arm: not an op is another, and tests run in Paddle's executor."""
    monkeypatch.setattr(engine, "has_onednn", lambda: False)
    texts = []

    def accelerate(program):
        texts.append(str(program))
        engine.accelerate(program)
        texts.append(str(program))

    run = trained(pictures, "resnet", 8, accelerate, rate=1e-3)
    assert texts[0] == texts[1] and not run.is_folded
    assert run.losses == small_plain.losses


def clean_environment(**changes):
    """The environment without what prepare may have set in this process."""
    ours = ("FLAGS_", "MKL_DEBUG", "GLIBC_TUNABLES", "MALLOC_", "GLOG_")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(ours)}, "OMP_NUM_THREADS": "1", **changes}


def numbers_alone(plain=False, change=None, **environment):
    """Losses and weights of a training in a process of its own, as text."""
    code = SETTINGS_ALONE.format(root=str(ROOT), tests=str(ROOT / "tests"), plain=plain, change=change)
    done = subprocess.run([sys.executable, "-c", code], env=clean_environment(**environment), capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nan" not in done.stdout
    return done.stdout


@pytest.mark.slow
def test_settings_before_the_import_change_no_bit():
    """One thread for the ops and kept memory: where the numbers are computed, not how. MKL's path is left alone."""
    plain, fast = (numbers_alone(plain=plain, MKL_DEBUG_CPU_TYPE="0") for plain in (True, False))
    assert plain == fast


@pytest.mark.slow
def test_results_in_the_place_of_inputs_change_no_bit():
    apart, in_place = (numbers_alone(change="engine.accelerate", FLAGS_new_executor_use_inplace=value)
                       for value in "01")
    assert apart == in_place


def chosen(code="", **changes):
    """What a fresh process does for speed: (whether it keeps memory, its environment)."""
    script = (f"import os, sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom utils import flags\nkept = []\n{code}\n"
              "print(kept != [])\nprint(dict(os.environ))")
    done = subprocess.run([sys.executable, "-c", script], env=clean_environment(**changes), capture_output=True,
                          text=True, check=True)
    keeps, environment = done.stdout.strip().splitlines()
    return eval(keeps), eval(environment)


KEEP = "flags._keep_memory = lambda: kept.append(True)\n"


def test_the_environment_wins():
    others = {"FLAGS_new_executor_serial_run": "0", "GLOG_minloglevel": "0", "FLAGS_eager_delete_tensor_gb": "1",
              "FLAGS_new_executor_use_inplace": "0", "MKL_DEBUG_CPU_TYPE": "7"}
    keeps, environment = chosen(KEEP + "flags.set_flags()", MALLOC_ARENA_MAX="2", **others)
    assert not keeps and {name: environment[name] for name in others} == others


def test_plain_chooses_nothing_for_speed():
    keeps, environment = chosen(KEEP + "flags.set_flags(plain=True)")
    assert not keeps and environment["FLAGS_enable_pir_api"] == "0"
    for_speed = {*flags.FOR_SPEED, *flags.FOR_SPEED_ON_AMD, "FLAGS_new_executor_sequential_run"}
    assert not for_speed & set(environment)


@pytest.mark.parametrize("amd", [True, False])
def test_mkl_is_asked_for_avx2_on_amd_alone(amd):
    keeps, environment = chosen(f"{KEEP}flags.processor_says = lambda word: {amd}\nflags.set_flags()")
    assert environment.get("MKL_DEBUG_CPU_TYPE") == ("5" if amd else None)
    assert keeps and environment["FLAGS_new_executor_serial_run"] == "1"


def test_without_glibc_memory_is_left_alone():
    chosen("flags.platform.libc_ver = lambda: ('', '')\nflags.ctypes.CDLL = None  # a call would fail\n"
           "flags.set_flags()\nflags.take_large_pages()")


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="Linux without large pages")
def test_the_heap_keeps_its_large_pages():
    """The kernel lists the reserved part of the heap, marked hg, after it has been freed."""
    import resource

    limits = {resource.getrlimit(which)[0] for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA)}
    strict = Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    if flags.platform.libc_ver()[0] != "glibc" or limits != {resource.RLIM_INFINITY} or strict:
        pytest.skip("another C library, or limits of memory")
    count = ("import re\nparts = re.findall(r'\\[heap\\]\\nSize: +(\\d+) kB(?:\\n.*?)+?VmFlags: (.*)', "
             "open('/proc/self/smaps').read())\n"
             "os.environ['LARGE'] = str(sum(int(size) for size, words in parts if 'hg' in words.split()))\n")
    _, large = chosen("flags.set_flags()\nflags.take_large_pages()\n" + count)
    _, plain = chosen("flags.set_flags(plain=True)\nflags.take_large_pages()\n" + count)
    assert 1 << 20 < int(large["LARGE"]) < 2 << 20 and plain["LARGE"] == "0", "in kB"


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_freed_memory_is_kept():
    """16 MB taken and given back 50 times: faulted in once where it is kept, 50 times where it is not."""
    if flags.platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library")
    count = ("import ctypes, resource\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n"
             "libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]\n"
             "def work():\n    p = libc.malloc(64 << 20)\n    ctypes.memset(p, 1, 16 << 20)\n    libc.free(p)\n"
             "work()\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\nfor _ in range(50):\n    work()\n"
             "os.environ['FAULTS'] = str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n")
    _, kept = chosen("flags.set_flags()\n" + count)
    _, plain = chosen("flags.set_flags(plain=True)\n" + count)
    assert int(kept["FAULTS"]) < 100 < int(plain["FAULTS"])
