"""What the recipes strong and fine-tune add to the chapter's programs, with sources; their numbers: recipes.py."""
import numpy as np
import paddle
import paddle.nn.functional as F

from utils.storage.program_state import MEAN, learned, statistics_of

EVERY = 5  # steps between updates of the lookahead
DECAY = 0.95 ** EVERY  # how much of the mean is kept in an update, at the end of the run


def optimizer_program(settings, steps, parameters):
    """Nesterov's momentum with weight decay, and the schedule of its learning rate.

    The rate rises and falls once in `steps`: as a cosine, or in straight lines where the recipe has a lookahead.
    Source: Sutskever et al. 2013 (momentum); Smith and Topin 2017 (one cycle); Jordan 2024, section 3.4.
    """
    recipe, peak = settings.hyperparameters, settings.learning_rate
    if recipe.lookahead:
        schedule = paddle.optimizer.lr.LambdaDecay(peak, lambda step: triangle(step, steps))
    else:
        schedule = paddle.optimizer.lr.OneCycleLR(peak, total_steps=max(steps, 2))
    for parameter in parameters:
        attributes, name = parameter.optimize_attr, parameter.name
        if recipe.bias_lr_scale != 1 and name.startswith("batch_norm") and ".b_" in name:
            attributes["learning_rate"] = recipe.bias_lr_scale
        if is_weight(name) or recipe.decays_biases and ".b_" in name:  # each shrinks alike in a step, whatever its rate
            parameter.regularizer = paddle.regularizer.L2Decay(recipe.weight_decay / attributes["learning_rate"])
    return paddle.optimizer.Momentum(schedule, recipe.momentum, use_nesterov=True), schedule


def triangle(step, steps):
    """The learning rate as a share of its peak: from 0.2 up until 23% of the run, then down to 0.07."""
    return float(np.interp(step / steps, [0, 0.23, 1], [0.2, 1, 0.07]))


def is_weight(name):
    """Whether this parameter is a layer's weight: no bias, and nothing of batch normalization."""
    return name.startswith(("conv2d", "fc")) and ".w_" in name


def smooth(label, classes, smoothing):
    """Labels, int64 [N, 1], spread in part over all classes: float32 [N, classes] (Szegedy et al. 2015, section 7)."""
    return F.label_smooth(F.one_hot(label, classes).reshape([-1, classes]), epsilon=smoothing)


class Lookahead:
    """The running mean of the weights, which replaces them every 5 steps.

    It includes batch normalization's running statistics, which would otherwise describe weights that were replaced.
    Source: Zhang et al. 2019; the growing share of the mean: Jordan 2024, section 3.4.
    """

    def __init__(self, main, startup):
        """Add the means to the programs, beginning as the weights do."""
        self.program = paddle.static.Program()
        with paddle.static.program_guard(self.program, paddle.static.Program()):
            decay = paddle.static.data("decay", [1], "float32")
            for weight in learned(main) + statistics_of(main):
                variable(main, weight, MEAN)
                startup.global_block().append_op(type="assign", inputs={"X": [weight.name]},
                                                 outputs={"Out": [variable(startup, weight, MEAN)]})
                now, mean = variable(self.program, weight), variable(self.program, weight, MEAN)
                both = mean * decay + now * (1 - decay)
                paddle.assign(both, now)
                paddle.assign(both, mean)

    def update(self, executor, step, steps):
        """Update it where it is time, after step `step` of `steps`, counted from 1; the run ends with the mean."""
        if step % EVERY == 0:
            executor.run(self.program, feed={"decay": np.float32([DECAY * (step / steps) ** 3])})
        if step == steps:
            executor.run(self.program, feed={"decay": np.float32([1])})


def freeze(program, recipe, auxiliaries):
    """In fine-tuning, freeze batch normalization's statistics; call this before adding gradients.

    Returns the auxiliary classifiers to train: in fine-tuning none, as new ones know nothing yet.
    """
    if not recipe.freezes_statistics:
        return auxiliaries
    for op in program.global_block().ops:
        if op.type == "batch_norm":
            op._set_attr("use_global_stats", True)
    return []


def complete(programs, recipe, build):
    """The programs of train.py, and what the recipe adds: a lookahead, and `answer_program`, which takes `build`."""
    if recipe.lookahead:
        programs = programs._replace(lookahead=Lookahead(programs.main, programs.startup))
    if recipe.flip_tta:
        test, image, probabilities = answer_program(build, recipe.temperature)
        programs = programs._replace(test=test, image=image, probabilities=probabilities)
    return programs


def variable(program, weight, ending=""):
    """A variable of this program that lasts, shaped as a weight and named after it."""
    return program.global_block().create_var(name=weight.name + ending, shape=weight.shape,
                                             dtype=weight.dtype, persistable=True)


def answer_program(build, temperature):
    """A test program that answers with the mean over an image and its mirror image.

    The network is built a second time, with the same names and so on the same weights.

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
