"""Chapter 3, "Image Classification": train a CIFAR-10 classifier with Paddle's static graph.

`python train.py` trains ResNet-32 for two passes and saves a model for `python infer.py dog.png`.
The order is the chapter's: programs, optimizer, loop, test, saved model; then place and executor.
Workers, a faster executor and checkpoints are no part of the method; book/minimal.py omits them.
Source: PaddlePaddle book, chapter 3 (CC BY-SA 4.0); README.md lists where this program differs.
"""
import sys
from typing import Any, NamedTuple, Optional

sys.path.insert(0, __file__.rpartition("train.py")[0])  # PYTHONSAFEPATH leaves it out
from utils import start

# On several cores this process starts train.py once for each; only those get past this line.
start.one_process_per_core(__name__)  # and sets flags that Paddle reads while it is imported

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle.static import Executor, Program, Variable

import models
from utils import log, strong
from utils.checkpoints import Checkpoints
from utils.data.batches import batches_of, order_of, random_of, to_float, training_feed
from utils.data.dataset import Dataset, load
from utils.errors import exit_status
from utils.parallel.workers import Workers
from utils.place import choose_place
from utils.progress import progress
from utils.settings import Settings, parse
from utils.speed.executor import executor_on
from utils.storage.saved_model import new_model

LOG_EVERY = 100  # batches, as in the book
TEST_BATCH = 50  # images, few enough for the core's cache; no bearing on the result
AUXILIARY_WEIGHT = 0.3  # of GoogLeNet's auxiliary losses: Szegedy et al. 2014, section 5


class Programs(NamedTuple):
    """The programs of a run, and the variables in them that the loop feeds and fetches."""
    main: Program
    startup: Program
    test: Program
    image: Variable
    probabilities: Variable
    metrics: list[Variable]  # what a step fetches: loss and accuracy
    schedule: paddle.optimizer.lr.LRScheduler
    lookahead: Any = None  # the mean of weights, in the strong recipe of airbench


class Run(NamedTuple):
    """What a training run works with."""
    settings: Settings  # model, epochs, batch_size, recipe, seed ...
    data: Dataset  # train_images uint8 [N, 3, 32, 32], train_labels int64 [N]; test_..., classes
    programs: Programs
    executor: Executor  # Paddle's, or utils/speed/executor.py's, which has the same `run`
    workers: Workers  # the processes that share each batch; alone, its methods change nothing
    checkpoints: Checkpoints  # where the run stands, on the disk


def inference_program(settings: Settings, classes: int) -> tuple:
    """The input, [N, 3, 32, 32] in [0, 1], and the network's outputs on it; see models.build."""
    image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
    return image, *models.build(settings.model, image, settings.depth, classes)


def cross_entropy(probabilities: Variable, label: Variable, smoothing: float = 0.0) -> Variable:
    """Mean of -ln(probability of the right class) over the batch."""
    label = strong.smooth(label, probabilities.shape[1], smoothing) if smoothing else label
    return paddle.mean(F.cross_entropy(probabilities, label, reduction="none", use_softmax=False,
                                       soft_label=smoothing > 0))


def train_program(probabilities: Variable, auxiliaries: list, smoothing: float) -> tuple:
    """Loss and accuracy of the batch, against `label`, int64 [N, 1]."""
    label = paddle.static.data("label", [None, 1], "int64")
    loss = cross_entropy(probabilities, label, smoothing)
    for auxiliary in auxiliaries:
        loss += AUXILIARY_WEIGHT * cross_entropy(auxiliary, label, smoothing)
    return loss, paddle.static.accuracy(probabilities, label)


def one_cycle(step: int, steps: int, rise: float) -> float:
    """The learning rate as a share of its peak: up for a share `rise` of all steps, then down."""
    return min((step + 1) / (rise * steps), (steps - step) / ((1 - rise) * steps), 1) if rise else 1


def optimizer_program(settings: Settings, steps: int, parameters: list) -> tuple:
    """The optimizer and its learning rate; quick: Adam on one cycle (Smith and Topin 2017)."""
    if settings.recipe == "strong":
        return strong.optimizer_program(settings, steps, parameters)
    peak, rise = settings.learning_rate, settings.hyperparameters.rise  # the book's is 0: constant
    schedule = paddle.optimizer.lr.LambdaDecay(peak, lambda step: one_cycle(step, steps, rise))
    return paddle.optimizer.Adam(schedule), schedule


def build_programs(settings: Settings, classes: int, steps: int, workers: Workers) -> Programs:
    """Build the training program, its initialization, and the test program."""
    main, startup, recipe = Program(), Program(), settings.hyperparameters
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image, probabilities, auxiliaries = inference_program(settings, classes)
        test = main.clone(for_test=True)  # the network alone: testing must not train
        auxiliaries = strong.freeze(main, recipe, auxiliaries)  # what fine-tuning leaves alone
        loss, accuracy = train_program(probabilities, auxiliaries, recipe.label_smoothing)
        optimizer, schedule = optimizer_program(settings, steps, main.all_parameters())
        gradients = optimizer.backward(loss)
        gradients, metrics = workers.sum(gradients, [loss, accuracy])  # alone: unchanged
        optimizer.apply_gradients(gradients)
    programs = Programs(main, startup, test, image, probabilities, metrics, schedule)
    return strong.complete(programs, recipe, lambda image: models.build(
        settings.model, image, settings.depth, classes)[0])


def train_epoch(run: Run, epoch: int) -> None:
    """Train on every image once, in an order of this epoch's own."""
    settings, data, programs, workers = run.settings, run.data, run.programs, run.workers
    batches = batches_of(order_of(data.train_labels, settings, epoch), settings.batch_size)
    batches = batches[:settings.max_batches]  # all, unless --max-batches ends the pass early
    for batch in progress(range(run.checkpoints.next_batch, len(batches)), f"Pass {epoch}"):
        step = epoch * len(batches) + batch
        programs.schedule.step(step)
        seeds = random_of(settings.seed, epoch, batch, workers.rank)
        paddle.seed(int(seeds.generate_state(1)[0]))  # for dropout
        feed = training_feed(data, workers.share_of(batches[batch]), settings, epoch, seeds)
        cost, accuracy = (value.item() for value in run.executor.run(
            programs.main, feed=feed, fetch_list=programs.metrics))
        if programs.lookahead:
            programs.lookahead.update(run.executor, step + 1, settings.epochs * len(batches))
        if batch % LOG_EVERY == 0:
            workers.log(f"Pass {epoch}, Batch {batch}, Cost {cost:.2f}, Acc {accuracy:.2f}")
        run.checkpoints.after_batch(epoch, batch, cost, accuracy)  # on Ctrl-C saves, and stops


def test(run: Run) -> tuple:
    """Mean loss and accuracy over all test images, each with the same weight, and the answers."""
    data, programs, executor, loss = run.data, run.programs, run.executor, np.zeros(1)
    answers = np.zeros(len(data.test_labels), int)  # a class each; 0 for other workers' images
    run.workers.average_statistics(programs.main)  # of batch normalization; alone: unchanged
    for indices in batches_of(run.workers.part_of(len(answers)), TEST_BATCH):
        feed, labels = {"pixel": to_float(data.test_images[indices])}, data.test_labels[indices]
        probabilities, = executor.run(programs.test, feed=feed, fetch_list=[programs.probabilities])
        loss -= np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-20)).sum()
        answers[indices] = probabilities.argmax(1)
    loss, answers = (run.workers.all_reduce(part) for part in (loss, answers))
    return loss.item() / len(answers), (answers == data.test_labels).mean(), answers.astype(int)


def export(run: Run, epoch: int, loss: float, accuracy: float) -> None:
    """Save the network from `pixel` to the probabilities, with what its reader has to know."""
    programs = run.programs
    description = {**run.settings.description(), **run.data.description(), "epochs": epoch + 1,
                   "test_loss": loss, "test_accuracy": accuracy, **run.checkpoints.identity(epoch)}
    with new_model(run.settings.folder, description) as prefix:  # then checked, and moved in place
        paddle.static.save_inference_model(prefix, [programs.image], [programs.probabilities],
                                           run.executor, program=programs.test)


def train(run: Run) -> None:
    """For each epoch train, test, and save the model."""
    for epoch in range(run.checkpoints.next_epoch, run.settings.epochs):
        train_epoch(run, epoch)
        loss, accuracy, answers = test(run)
        run.workers.log(f"Test with Pass {epoch}, Loss {loss:.2f}, Acc {accuracy:.2f}")
        run.checkpoints.after_test(epoch, loss, accuracy)
        if run.workers.rank == 0:
            export(run, epoch, loss, accuracy)
        run.checkpoints.after_epoch(epoch)  # all can be resumed from here, bit for bit
    run.workers.log(log.closing(run, accuracy, answers))


def set_up(settings: Settings, workers: Workers, checkpoints: Checkpoints) -> Run:
    """Choose the place, load the data, build the programs, and initialize them."""
    place, sentence = choose_place(settings.device)
    workers.connect(place)
    data = load(settings, workers)
    steps = settings.epochs * settings.steps_per_epoch(len(data.train_labels))
    programs = build_programs(settings, len(data.classes), steps, workers)
    executor = executor_on(place, settings.plain, settings.precision)  # Paddle's, or a faster one
    paddle.seed(settings.seed)
    executor.run(programs.startup)
    run = Run(settings, data, programs, executor, workers, checkpoints)
    checkpoints.restore(run, models.first_values(settings.model, programs.main, data.train_images))
    workers.log(log.opening(run, sentence))
    workers.interrupts.holds = True  # from here on Ctrl-C waits for the end of the batch
    return run


@exit_status(start.OUT_OF_MEMORY)
def main(arguments: Optional[list[str]] = None) -> int:
    """Train as the command line asks; returns the exit status."""
    settings = parse(arguments, models.check)
    paddle.enable_static()
    with Workers() as workers, Checkpoints(settings, workers) as checkpoints:
        train(set_up(checkpoints.settings, workers, checkpoints))  # a resumed run keeps its own
    return 0


if __name__ == "__main__":
    sys.exit(main())
