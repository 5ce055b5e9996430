"""What the strong recipe adds to the chapter's programs, each piece with its source; its numbers are in recipes.py."""
import numpy as np
import paddle
import paddle.nn.functional as F

from utils.storage import program_state
from utils.storage.program_state import MEAN

AVERAGE_EVERY = 5  # steps
KEPT = 0.95 ** AVERAGE_EVERY  # of the mean, at the end of the run


def optimizer_program(recipe, rate, steps, parameters):
    """Nesterov's momentum with weight decay, and the schedule of its rate.

    The rate rises and falls once in `steps`: as a cosine, or in lines where the recipe averages weights.
    Source: Sutskever et al. 2013 (momentum); Smith and Topin 2017 (one cycle); Jordan 2024, section 3.4.
    """
    if recipe.averages:
        schedule = paddle.optimizer.lr.LambdaDecay(rate, lambda step: triangle(step, steps))
    else:
        schedule = paddle.optimizer.lr.OneCycleLR(rate, total_steps=max(steps, 2))
    for parameter in parameters:
        attributes, name = parameter.optimize_attr, parameter.name
        if recipe.bias_rate != 1 and is_shift(name):
            attributes["learning_rate"] = recipe.bias_rate
        if is_weight(name) or recipe.decays_biases and ".b_" in name:  # each shrinks alike in a step, whatever its rate
            parameter.regularizer = paddle.regularizer.L2Decay(recipe.decay / attributes["learning_rate"])
    return paddle.optimizer.Momentum(schedule, recipe.momentum, use_nesterov=True), schedule


def triangle(step, steps):
    """The learning rate as a share of its peak: from 0.2 up until 23% of the run, then down to 0.07."""
    return float(np.interp(step / steps, [0, 0.23, 1], [0.2, 1, 0.07]))


def is_weight(name):
    """Whether this parameter is a layer's weight: no bias, and nothing of batch normalization."""
    return name.startswith(("conv2d", "fc")) and ".w_" in name


def is_shift(name):
    """Whether this parameter is a bias of batch normalization."""
    return name.startswith("batch_norm") and ".b_" in name


def smooth(label, classes, smoothing):
    """Labels of which a share is spread over all classes: int64 [N, 1] -> float32 [N, classes].

    Source: Szegedy et al. 2015, section 7.
    """
    return F.label_smooth(F.one_hot(label, classes).reshape([-1, classes]), epsilon=smoothing)


class MeanWeights:
    """The running mean of the weights, into which they are drawn every few steps ("lookahead").

    So are batch normalization's running statistics, which would else be those of weights that are no more.
    Source: Zhang et al. 2019; the growing share of the mean: Jordan 2024, section 3.4.
    """

    def __init__(self, main, startup):
        """Add the means to the programs, beginning as the weights do."""
        self.program = paddle.static.Program()
        weights = program_state.learned(main) + program_state.statistics_of(main)
        for weight in weights:
            variable(main, weight, MEAN)
            startup.global_block().append_op(type="assign", inputs={"X": [weight.name]},
                                             outputs={"Out": [variable(startup, weight, MEAN)]})
        with paddle.static.program_guard(self.program, paddle.static.Program()):
            kept = paddle.static.data("kept", [1], "float32")
            for weight in weights:
                now, mean = variable(self.program, weight), variable(self.program, weight, MEAN)
                both = mean * kept + now * (1 - kept)
                paddle.assign(both, now)
                paddle.assign(both, mean)

    def update(self, executor, scope, step, steps):
        """Do it where it is time, after step `step` of `steps`, counted from 1."""
        if step % AVERAGE_EVERY == 0:
            self.bring_together(executor, scope, KEPT * (step / steps) ** 3)
        if step == steps:
            self.bring_together(executor, scope, 1)  # the run ends with the mean

    def bring_together(self, executor, scope, kept):
        """Set mean and weights to kept * mean + (1 - kept) * weights."""
        executor.run(self.program, feed={"kept": np.float32([kept])}, scope=scope)


def complete(programs, recipe, build):
    """The programs of train.py, with what the recipe has beyond them: means of weights, and of images' two sides.

    build: as for `answer_program`.
    """
    if recipe.averages:
        programs = programs._replace(averaging=MeanWeights(programs.main, programs.startup))
    if recipe.mirrors:
        test, image, probabilities = answer_program(build, recipe.temperature)
        programs = programs._replace(test=test, image=image, probabilities=probabilities)
    return programs


def variable(program, weight, ending=""):
    """A variable of this program that lasts, shaped as a weight and named after it."""
    return program.global_block().create_var(name=weight.name + ending, shape=weight.shape,
                                             dtype=weight.dtype, persistable=True)


def answer_program(build, temperature):
    """A test program that answers with the mean over an image and its mirror image.

    build: image variable [N, 3, 32, 32] -> probabilities [N, classes]
    temperature: by which the scores before the softmax are divided (Guo et al. 2017)
    Returns the program, its input, and its answers [N, classes].
    """
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        both = paddle.concat([image, paddle.flip(image, [3])])       # [2N, 3, 32, 32]
        powers = build(both) ** (1 / temperature)                    # [2N, classes]
        classes = powers.shape[1]
        sums = classes * paddle.mean(powers, axis=1, keepdim=True)   # [2N, 1]
        halves = paddle.reshape(paddle.divide(powers, sums), [2, -1, classes])
        answers = paddle.mean(halves, axis=0)                        # [N, classes]
    return program.clone(for_test=True), image, answers
