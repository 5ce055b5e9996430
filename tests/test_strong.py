"""What the strong recipe adds, against numbers worked out by hand or by NumPy."""
import functools
import json

import numpy as np
import pytest

import models
import train
from small_runs import loss_and_accuracy
from utils import recipes, strong
from utils.data import batches
from utils.parallel.workers import Workers
from utils.settings import Settings, with_defaults
from utils.storage import program_state


@pytest.fixture(autouse=True)
def static_graph():
    import paddle

    paddle.enable_static()
    return paddle


def executor():
    import paddle

    return paddle.static.Executor(paddle.CPUPlace())

pytestmark = pytest.mark.usefixtures("static_scope")  # each test's variables are its own


def images(count, seed=0):
    """Random images uint8 [count, 3, 32, 32] whose neighboring pixels are alike, as in photographs."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    return (0.7 * coarse + 0.3 * rng.integers(0, 256, (count, 3, 32, 32))).astype(np.uint8)


class Data:
    """As much of a data set as the programs need."""
    classes, train_images = ("cat", "dog", "frog"), images(1000)


@functools.cache
def built(**settings):
    """The programs of train.py for airbench."""
    return train.build_programs(with_defaults(Settings(model="airbench", **settings)), 3, 100, Workers())


def programs_of(**settings):
    """The programs of airbench's strong recipe, initialized in the test's scope."""
    import paddle

    programs, scope = built(recipe="strong", **settings), paddle.static.global_scope()
    paddle.seed(3)
    executor().run(programs.startup)
    first = models.first_values("airbench", programs.main, Data.train_images)
    program_state.put_weights(programs.main, paddle.CPUPlace(), first)
    return programs, scope


@pytest.mark.parametrize("way", [[], pytest.param(["--plain"], marks=pytest.mark.slow)])
def test_what_a_run_says_of_its_test_is_what_its_model_answers(run, tiny_archive, tmp_path, way):
    """Loss and accuracy by NumPy, from the saved model's answers on the test images."""
    status, _, err = run("--model", "airbench", "--recipe", "strong", "--epochs", "1", "--batch-size", "20",
                         "--workers", "1", "--device", "cpu", "--seed", "1", "--data-file", str(tiny_archive), *way,
                         quick=False)
    assert status == 0, err
    loss, accuracy = loss_and_accuracy(tmp_path / "model", tiny_archive)
    description = json.loads((tmp_path / "model" / "description.json").read_text())
    assert description["test_loss"] == pytest.approx(loss, rel=1e-4)
    assert description["test_accuracy"] == pytest.approx(accuracy)


def test_whitened_patches_are_uncorrelated_and_equally_spread():
    """The network's first layer on the images that it was made from: NumPy's covariance of its first 12 maps."""
    pixels = Data.train_images / np.float32(255)
    filters, biases = models.whitening(Data.train_images)
    assert filters.shape == (24, 3, 2, 2) and biases.shape == (24,)
    maps = np.einsum("nchwij,kcij->nhwk", np.lib.stride_tricks.sliding_window_view(pixels, (2, 2), axis=(2, 3)),
                     filters) + biases
    flat = maps.reshape(-1, 24).astype(np.float64)
    np.testing.assert_allclose(flat[:, :12], -flat[:, 12:], atol=1e-3)  # directions and their opposites
    np.testing.assert_allclose(flat.mean(0), 0, atol=0.01)
    covariance = np.cov(flat[:, :12].T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.01
    assert np.diag(covariance) == pytest.approx(np.ones(12), abs=0.05)  # a little less: 5e-4 is added to variances


def test_filters_begin_as_the_identity_and_the_rest_are_random():
    programs, scope = programs_of()
    first, second = (np.array(scope.find_var(f"conv2d_{n}.w_0").get_tensor()) for n in (1, 2))
    identity = np.zeros((24, 24, 3, 3))
    identity[range(24), range(24), 1, 1] = 1
    np.testing.assert_array_equal(first[:24], identity)
    bound = 1 / np.sqrt(24 * 9)
    assert first.shape == (64, 24, 3, 3) and 0.95 * bound < np.abs(first[24:]).max() <= bound
    assert second.shape == (64, 64, 3, 3) and second.sum() == 64 and (second.max(axis=(1, 2, 3)) == 1).all()


def test_airbench_learns_as_many_numbers_as_counted_by_hand():
    """Seven convolutions without biases but the first's, six batch norms that learn shifts alone, one layer."""
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 + 256 * 256 + 256 * 256)
    assert program_state.count_parameters(programs_of()[0].main) == \
        24 + convolutions + 2 * (64 + 256 + 256) + 256 * 3 == 1_969_560


def test_the_first_layer_and_the_scales_stay_as_they_are_and_the_rest_learns():
    programs, scope = programs_of()
    before = program_state.take(programs.main, scope)
    feed = batches.feed_of(Data.train_images, np.arange(1000) % 3, np.arange(64))
    programs.schedule.step(10)
    executor().run(programs.main, feed=feed, fetch_list=programs.metrics, scope=scope)
    after = program_state.take(programs.main, scope)
    fixed = {name for name in before if name.endswith(".w_0") and (before[name] == after[name]).all()}
    assert fixed == {"conv2d_0.w_0", *(f"batch_norm_{n}.w_0" for n in range(6))}


def test_shifts_of_batch_norm_learn_at_64_times_the_rate(monkeypatch):
    """One step of Nesterov's momentum from rest moves a number by rate * 1.85 * gradient: measured by two rates."""
    moved = {}
    for scale in (1, 64):
        with monkeypatch.context() as patch:
            patch.setattr(recipes, "AIRBENCH", recipes.AIRBENCH._replace(bias_lr_scale=scale))
            built.cache_clear()  # the settings are the same
            programs, scope = programs_of(learning_rate=1e-4)
        built.cache_clear()
        feed = batches.feed_of(Data.train_images, np.arange(1000) % 3, np.arange(64))
        executor().run(programs.main, feed=feed, scope=scope)
        moved[scale] = np.array(scope.find_var("batch_norm_0.b_0").get_tensor())
    assert np.abs(moved[1]).max() > 0
    np.testing.assert_allclose(moved[64], 64 * moved[1], rtol=1e-4)


def test_the_triangle_by_hand():
    assert [strong.triangle(step, 100) for step in (0, 23, 100)] == pytest.approx([0.2, 1, 0.07])
    assert strong.triangle(11.5, 100) == pytest.approx(0.6) and strong.triangle(61.5, 100) == pytest.approx(0.535)


def test_smoothed_labels_by_hand():
    """A fifth of the label spread over 4 classes leaves 0.85 at the right one and 0.05 at each other."""
    import paddle

    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        probabilities = paddle.static.data("p", [None, 4], "float32")
        loss = train.cross_entropy(probabilities, paddle.static.data("label", [None, 1], "int64"), smoothing=0.2)
    row = np.float32([[0.1, 0.2, 0.3, 0.4]])
    found, = executor().run(program, feed={"p": row, "label": np.int64([[2]])}, fetch_list=[loss])
    assert found.item() == pytest.approx(-(0.05 * np.log([0.1, 0.2, 0.4]).sum() + 0.85 * np.log(0.3)), rel=1e-5)


def test_mean_weights_by_hand():
    """Steps 5 and 10 of 10 mix, with 0.95^5 times the cube of the share done; the last leaves the mean."""
    import paddle

    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.global_scope()
    with paddle.static.program_guard(main, startup):
        paddle.static.nn.fc(paddle.static.data("x", [None, 1]), 1, bias_attr=False, weight_attr=paddle.ParamAttr(
            name="w", initializer=paddle.nn.initializer.Constant(1.0)))
    means, run = strong.Lookahead(main, startup), executor()
    run.run(startup, scope=scope)
    weight, mean = 1.0, 1.0
    for step in range(1, 11):
        weight += 1
        scope.find_var("w").get_tensor().set(np.float32([[weight]]), paddle.CPUPlace())
        means.update(run, step, 10)
        if step in (5, 10):
            kept = 0.95 ** 5 * (step / 10) ** 3
            weight = mean = kept * mean + (1 - kept) * weight
        assert np.array(scope.find_var("w").get_tensor()).item() == pytest.approx(weight, rel=1e-6)
        assert np.array(scope.find_var("w.mean").get_tensor()).item() == pytest.approx(mean, rel=1e-6)
    assert "w.mean" in [each.name for each in program_state.variables(main)]  # so that a checkpoint has it


def test_running_statistics_are_in_the_mean():
    """A batch norm's running mean of 0 that became 8 by step 5 of 10: 8 * (1 - 0.95^5 / 8), and so says its mean."""
    import paddle

    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.global_scope()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        paddle.static.nn.batch_norm(paddle.static.data("x", [None, 1, 2, 2]), moving_mean_name="m",
                                    moving_variance_name="v")
    means, run = strong.Lookahead(main, startup), executor()
    run.run(startup, scope=scope)
    scope.find_var("m").get_tensor().set(np.float32([8]), paddle.CPUPlace())
    means.update(run, 5, 10)
    found = {name: np.array(scope.find_var(name).get_tensor()).item() for name in ("m", "m.mean", "v", "v.mean")}
    assert found["m"] == found["m.mean"] == pytest.approx(8 * (1 - 0.95 ** 5 / 8), rel=1e-6)
    assert found["v"] == found["v.mean"] == 1
    statistics = np.concatenate([np.ravel(each) for each in program_state.running_statistics(main)])
    assert statistics == pytest.approx([found[name] for name in found], rel=1e-6)


def test_decay_shrinks_shifts_and_weights_alike():
    """One step of Nesterov's momentum from rest moves by 1.85 * rate * decay * number what has no gradient."""
    import paddle

    programs, scope = programs_of(learning_rate=0.05)
    shift = scope.find_var("batch_norm_0.b_0").get_tensor()
    for name in ("fc_0.w_0", "fc_0.w_0.mean"):  # no scores, no gradient in any other layer
        scope.find_var(name).get_tensor().set(np.zeros((256, 3), np.float32), paddle.CPUPlace())
    shift.set(np.full(64, 0.5, np.float32), paddle.CPUPlace())
    before = program_state.take(programs.main, scope)
    feed = batches.feed_of(Data.train_images, np.arange(1000) % 3, np.arange(64))
    executor().run(programs.main, feed=feed, scope=scope)
    after = program_state.take(programs.main, scope)
    for name in ("batch_norm_0.b_0", "conv2d_3.w_0", "conv2d_0.b_0"):
        shrunk = before[name] * (1 - 0.05 * 0.2 * 1.85 * 1.33e-3)
        assert np.abs(before[name] - shrunk).max() > 1e-6
        np.testing.assert_allclose(after[name], shrunk, rtol=3e-7, atol=1e-9, err_msg=name)


def test_where_the_last_step_is_no_fifth_the_mean_is_left():
    import paddle

    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.global_scope()
    with paddle.static.program_guard(main, startup):
        paddle.static.nn.fc(paddle.static.data("x", [None, 1]), 1, bias_attr=False, weight_attr=paddle.ParamAttr(
            name="w", initializer=paddle.nn.initializer.Constant(1.0)))
    means, run = strong.Lookahead(main, startup), executor()
    run.run(startup, scope=scope)
    scope.find_var("w").get_tensor().set(np.float32([[9]]), paddle.CPUPlace())
    means.update(run, 7, 7)
    assert np.array(scope.find_var("w").get_tensor()).item() == 1


def test_the_answer_is_the_mean_over_an_image_and_its_mirror():
    """NumPy's mean of the plain network's probabilities for both, each to the power of 1 / temperature."""
    programs, scope = programs_of()
    pixels = batches.to_float(images(6, seed=1))
    plain = built()

    def probabilities(programs, pixels):
        program = programs.test._prune([programs.probabilities.name])
        return executor().run(program, feed={"pixel": pixels}, fetch_list=[programs.probabilities.name],
                              scope=scope)[0]

    def sharpened(p):
        powers = p.astype(float) ** (1 / recipes.AIRBENCH.temperature)
        return powers / powers.sum(1, keepdims=True)

    turned = pixels[:, :, :, ::-1].copy()
    expected = (sharpened(probabilities(plain, pixels)) + sharpened(probabilities(plain, turned))) / 2
    found = probabilities(programs, pixels)
    assert found.shape == (6, 3) and found.std(0).max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(found, probabilities(programs, turned), atol=2e-6)


def test_each_image_is_mirrored_in_every_second_pass():
    first, second, third = (batches.alternating_flip(1000, seed=5, epoch=epoch) for epoch in range(3))
    assert (first == ~second).all() and (first == third).all()
    assert 400 < first.sum() < 600


def test_shifts_that_bring_in_the_mirrored_border():
    """Every image is found by brute force among the 5 x 5 windows of NumPy's reflected frame, mirrored as asked."""
    originals = np.random.default_rng(0).integers(1, 256, (20, 3, 32, 32), dtype=np.uint8)
    mirrored = np.arange(20) % 2 == 0
    moved = batches.augment(originals, np.random.default_rng(1), translate=2, pad_mode="reflect", flipped=mirrored)
    for original, turned, image in zip(originals, mirrored, moved):
        frame = np.pad(original, ((0, 0), (2, 2), (2, 2)), mode="reflect")
        windows = [frame[:, top:top + 32, left:left + 32] for top in range(5) for left in range(5)]
        assert any((window[:, :, ::-1 if turned else 1] == image).all() for window in windows)


def test_cutout_blackens_one_square():
    white = np.full((50, 3, 32, 32), 255, np.uint8)
    cut = batches.augment(white, np.random.default_rng(2), translate=2, pad_mode="reflect", cutout=8)
    places = set()
    for image in cut:
        rows, columns = (np.flatnonzero((image == 0).any(axis=(0, axis))) for axis in (2, 1))
        assert len(rows) == len(columns) == 8 and (image == 0).sum() == 3 * 64
        assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()
        places.add((rows[0], columns[0]))
    assert len(places) > 40


def test_a_long_run_of_airbench_has_cutout_and_no_other():
    assert Settings(model="airbench", recipe="strong", epochs=16).hyperparameters.cutout == 8
    assert Settings(model="airbench", recipe="strong", epochs=15).hyperparameters.cutout == 0
    assert Settings(model="resnet", recipe="strong", epochs=40).hyperparameters == recipes.STRONG
