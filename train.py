"""Chapter 3, "Image Classification": train a CIFAR-10 classifier with Paddle's static graph.

`python train.py` trains ResNet-32 for two passes and leaves a model that `python infer.py dog.png` reads.
The order is the chapter's: programs, optimizer, loop, test, saved model; then main: place, executor, startup.
How a run resumes, stops on Ctrl-C and is shared by workers: utils/run.py. What makes it fast: utils/speed/.
Source: PaddlePaddle book, chapter 3 (CC BY-SA 4.0); README.md lists where this program differs from it.
"""
import sys
from typing import Any, NamedTuple

from utils import start

# Before Paddle is imported, which reads its flags then. Where several workers share the run, this
# process starts and watches them, and never comes further.
FLAGS = start.start(__name__)

import numpy as np
import paddle
import paddle.nn.functional as F

import models
from utils.data.batches import batches_of, feed_of
from utils.errors import exit_status
from utils.place import choose_place
from utils.run import open_run
from utils.settings import RATES, parse
from utils.speed import cpu
from utils.storage import saved_model

LOG_EVERY = 100  # batches, as in the book
TEST_BATCH = 100  # images, few enough for the core's cache; no bearing on the result
AUXILIARY_WEIGHT = 0.3  # of GoogLeNet's auxiliary losses: Szegedy et al. 2014, section 5
WEIGHT_DECAY = 5e-4  # of the strong recipe


class Programs(NamedTuple):
    """The programs of a run, and the variables in them that the loop feeds and fetches."""
    main: Any
    startup: Any
    test: Any
    image: Any
    probabilities: Any
    metrics: list  # what a step fetches: loss and accuracy
    schedule: Any


def inference_program(model, depth, classes):
    """The network on its input `pixel`, [N, 3, 32, 32] in [0, 1].

    Returns the input, the probabilities [N, classes], and those of auxiliary classifiers.
    """
    image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
    probabilities, auxiliaries = models.build(model, image, depth, classes)
    return image, probabilities, auxiliaries


def cross_entropy(probabilities, label):
    """Mean of -ln(probability of the right class) over the batch."""
    return paddle.mean(F.cross_entropy(probabilities, label, reduction="none", use_softmax=False))


def train_program(probabilities, auxiliaries):
    """Loss and accuracy of the batch, against `label`, int64 [N, 1]."""
    label = paddle.static.data("label", [None, 1], "int64")
    loss = cross_entropy(probabilities, label)
    for auxiliary in auxiliaries:
        loss += AUXILIARY_WEIGHT * cross_entropy(auxiliary, label)
    return loss, paddle.static.accuracy(probabilities, label)


def one_cycle(step, steps):
    """The learning rate as a share of its peak: up over a fifth of all steps, then down to 0."""
    return min((step + 1) / (0.2 * steps), (steps - step) / (0.8 * steps), 1)


def optimizer_program(recipe, learning_rate, steps, parameters):
    """The optimizer, and the schedule of its learning rate (None for a constant one).

    quick: Adam on one cycle. book: Adam at a constant rate. strong: Nesterov's momentum of 0.9 on
    one cycle that rises for 3 tenths of the steps, with decay on the weights of layers.
    Source: Sutskever et al. 2013 (momentum); Smith and Topin 2017 (one cycle).
    """
    rate = learning_rate or RATES[recipe]
    if recipe == "book":
        return paddle.optimizer.Adam(rate), None
    if recipe == "quick":
        schedule = paddle.optimizer.lr.LambdaDecay(rate, lambda step: one_cycle(step, steps))
        return paddle.optimizer.Adam(schedule), schedule
    schedule = paddle.optimizer.lr.OneCycleLR(rate, total_steps=max(steps, 2))
    for parameter in parameters:
        if is_decayed(parameter.name):
            parameter.regularizer = paddle.regularizer.L2Decay(WEIGHT_DECAY)
    return paddle.optimizer.Momentum(schedule, momentum=0.9, use_nesterov=True), schedule


def is_decayed(name):
    """Whether weight decay is for this parameter: for weights, not biases or batch norm's."""
    return name.startswith(("conv2d", "fc")) and ".w_" in name


def build_programs(settings, classes, steps, workers):
    """Build the training program, its initialization, and the test program."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image, probabilities, auxiliaries = inference_program(
            settings.model, settings.depth, classes)
        loss, accuracy = train_program(probabilities, auxiliaries)
        test = main.clone(for_test=True)  # before minimize: testing must not train
        optimizer, schedule = optimizer_program(
            settings.recipe, settings.learning_rate, steps, main.all_parameters())
        metrics = workers.minimize(optimizer, loss, accuracy)  # alone: optimizer.minimize(loss)
    return Programs(main, startup, test, image, probabilities, metrics, schedule)


def train_epoch(run, epoch):
    """Train on every image once, from the batch that comes next."""
    for batch, feed in run.batches(epoch):
        metrics = run.executor.run(run.programs.main, feed=feed, scope=run.scope,
                                   fetch_list=run.programs.metrics)
        cost, accuracy = run.record(epoch, batch, metrics)
        if batch % LOG_EVERY == 0:
            run.log(f"Pass {epoch}, Batch {batch}, Cost {cost:.2f}, Acc {accuracy:.2f}")


def evaluate(forward, images, labels, indices):
    """Cross entropy and right answers, each summed over the images of `indices`: float64 [2].

    forward: a feed of n images -> probabilities [n, classes]
    images: uint8 [N, 3, 32, 32]; labels: int64 [N]
    """
    sums = np.zeros(2)
    for chosen in batches_of(indices, TEST_BATCH):
        feed = feed_of(images, labels, chosen)
        probabilities = forward(feed)
        likelihoods = np.take_along_axis(probabilities, feed["label"], axis=1)
        sums[0] -= np.log(np.maximum(likelihoods, 1e-20)).sum()
        sums[1] += (probabilities.argmax(1) == labels[chosen]).sum()
    return sums


def test(run):
    """Mean loss and accuracy over all test images, each with the same weight."""
    images, labels = run.data.test_images, run.data.test_labels
    indices = run.workers.share_of_test(len(labels))  # alone: all
    sums = evaluate(run.forward(), images, labels, indices)
    return run.workers.add_up(sums) / len(labels)


def export(run, epoch, loss, accuracy):
    """Save the test program from `pixel` to the probabilities, with what its reader has to know."""
    description = {**run.settings.description(), **run.data.description(), "epochs": epoch + 1,
                   "test_loss": loss, "test_accuracy": accuracy}
    saved_model.save(run.folder, run.executor, run.programs.test, run.programs.image,
                     run.programs.probabilities, description, run.scope)


def train(run):
    """For each epoch train, test, and save the model."""
    for epoch in run.epochs():
        train_epoch(run, epoch)
        loss, accuracy = test(run)
        run.log(f"Test with Pass {epoch}, Loss {loss:.2f}, Acc {accuracy:.2f}")
        run.record_test(epoch, loss, accuracy)
        if run.workers.rank == 0:
            export(run, epoch, loss, accuracy)


def set_up(run):
    """Choose the place, build the programs for it, and initialize them."""
    place, sentence = choose_place(run.settings.device)
    executor = paddle.static.Executor(place)
    run.workers.join(executor)
    run.load_data()
    classes, chosen = len(run.data.classes), FLAGS
    programs = build_programs(run.settings, classes, run.steps, run.workers)
    if isinstance(place, paddle.CPUPlace) and not run.settings.plain:
        chosen += cpu.accelerate(programs.main)
    paddle.seed(run.settings.seed)
    executor.run(programs.startup, scope=run.scope)
    run.begin(executor, programs, sentence, chosen)  # with the checkpoint's state, if there is one


@exit_status(start.OUT_OF_MEMORY)
def main(arguments=None):
    """Train as the command line asks; returns the exit status."""
    given = parse(arguments)
    status = start.run_in_other_processes(given, arguments)
    if status is not None:
        return status
    paddle.enable_static()
    with open_run(given, models.check) as run:  # its folder, its checkpoint, an ear for Ctrl-C
        set_up(run)
        train(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
