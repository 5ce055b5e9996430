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
from utils import strong
from utils.data.batches import batches_of, feed_of
from utils.errors import exit_status
from utils.place import choose_place
from utils.run import open_run
from utils.settings import parse
from utils.speed import cpu
from utils.storage.saved_model import new_model

LOG_EVERY = 100  # batches, as in the book
TEST_BATCH = 50  # images, few enough for the core's cache; no bearing on the result
AUXILIARY_WEIGHT = 0.3  # of GoogLeNet's auxiliary losses: Szegedy et al. 2014, section 5


class Programs(NamedTuple):
    """The programs of a run, and the variables in them that the loop feeds and fetches."""
    main: Any
    startup: Any
    test: Any
    image: Any
    probabilities: Any
    metrics: list  # what a step fetches: loss and accuracy
    schedule: Any
    averaging: Any = None  # of the weights, in the strong recipe of airbench


def inference_program(settings, data):
    """The network on its input `pixel`, [N, 3, 32, 32] in [0, 1].

    Returns the input, the probabilities [N, classes], and those of auxiliary classifiers.
    """
    image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
    probabilities, auxiliaries = network(image, settings, data)
    return image, probabilities, auxiliaries


def network(image, settings, data):
    """The network of the settings, for the classes of the data; see models.build."""
    return models.build(settings.model, image, settings.depth, len(data.classes), data.train_images)


def cross_entropy(probabilities, label, smoothing=0.0):
    """Mean of -ln(probability of the right class) over the batch."""
    if smoothing:
        label = strong.smooth(label, probabilities.shape[1], smoothing)
    return paddle.mean(F.cross_entropy(probabilities, label, reduction="none", use_softmax=False,
                                       soft_label=smoothing > 0))


def train_program(probabilities, auxiliaries, smoothing):
    """Loss and accuracy of the batch, against `label`, int64 [N, 1]."""
    label = paddle.static.data("label", [None, 1], "int64")
    loss = cross_entropy(probabilities, label, smoothing)
    for auxiliary in auxiliaries:
        loss += AUXILIARY_WEIGHT * cross_entropy(auxiliary, label, smoothing)
    return loss, paddle.static.accuracy(probabilities, label)


def one_cycle(step, steps):
    """The learning rate as a share of its peak: up for 4 tenths of all steps, then down to 0."""
    return min((step + 1) / (0.4 * steps), (steps - step) / (0.6 * steps), 1)


def optimizer_program(settings, steps, parameters):
    """The optimizer, and the schedule of its learning rate (None for a constant one).

    book: Adam at a constant rate. quick: Adam on one cycle (Smith and Topin 2017).
    """
    if settings.recipe == "book":
        return paddle.optimizer.Adam(settings.rate), None
    if settings.recipe == "strong":
        return strong.optimizer_program(settings.numbers, settings.rate, steps, parameters)
    schedule = paddle.optimizer.lr.LambdaDecay(settings.rate, lambda step: one_cycle(step, steps))
    return paddle.optimizer.Adam(schedule), schedule


def build_programs(settings, data, steps, workers):
    """Build the training program, its initialization, and the test program."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image, probabilities, auxiliaries = inference_program(settings, data)
        loss, accuracy = train_program(probabilities, auxiliaries, settings.numbers.smoothing)
        test = main.clone(for_test=True)  # before minimize: testing must not train
        optimizer, schedule = optimizer_program(settings, steps, main.all_parameters())
        metrics = workers.minimize(optimizer, loss, accuracy)  # alone: optimizer.minimize(loss)
    programs = Programs(main, startup, test, image, probabilities, metrics, schedule)
    if settings.recipe == "strong":
        return strong.complete(programs, settings.numbers, lambda x: network(x, settings, data)[0])
    return programs


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
    programs = run.programs
    with new_model(run.folder, description) as prefix, paddle.static.scope_guard(run.scope):
        paddle.static.save_inference_model(prefix, [programs.image], [programs.probabilities],
                                           run.executor, program=programs.test.clone())


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
    programs, chosen = build_programs(run.settings, run.data, run.steps, run.workers), FLAGS
    if isinstance(place, paddle.CPUPlace) and not run.settings.plain:
        chosen += cpu.accelerate(programs.main)
        executor = cpu.executor_for([programs.startup, programs.main], executor)
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
