"""Chapter 3, "Image Classification": train a CIFAR-10 classifier with Paddle's static graph.

`python train.py` trains ResNet-32 for two passes and leaves a model that `python infer.py dog.png` reads.
The order is the chapter's: programs, optimizer, place, executor, loop, test after each pass, saved model.
Source: PaddlePaddle book, chapter 3 (CC BY-SA 4.0); README.md lists where this program differs from it.
"""
import math
import os
import signal
import sys
import time
from typing import Any, NamedTuple

from utils.parallel import launch
from utils.speed import cpu

cpu.prepare(plain="--plain" in sys.argv)  # before Paddle is loaded: it reads its settings then

import numpy as np
import paddle
import paddle.nn.functional as F

import models
from utils import curves
from utils.data import batches, dataset
from utils.parallel import workers
from utils.storage import checkpoint, saved_model
from utils.storage.checkpoint import Checkpoint
from utils.errors import UserError
from utils.storage.files import FolderLock
from utils.parallel.interrupts import Interrupts
from utils.place import choose_place
from utils.settings import DEFAULTS, depth_of, folder_of, infer_command, parse, plan, resume_command, title_of

LOG_EVERY = 100  # batches, as in the book
TEST_BATCH = 100  # pictures, few enough for the core's cache; no bearing on the result
CHECKPOINT_SECONDS = 300  # inside a pass; one is written after each pass as well
AUXILIARY_WEIGHT = 0.3  # of GoogLeNet's auxiliary losses: Szegedy et al. 2014, section 5
WEIGHT_DECAY = 5e-4  # of the strong recipe


class Programs(NamedTuple):
    """The programs of a run and the variables in them that the loop feeds and fetches."""
    main: Any
    startup: Any
    test: Any
    image: Any
    probabilities: Any
    figures: list  # what a step tells: loss and accuracy; with several workers, whether one was asked to stop
    schedule: Any


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: the batch was finished and the run saved; `signal` is the signal's number."""

    def __init__(self, signal):
        super().__init__(signal)
        self.signal = signal


def inference_program(model, depth):
    """The network on its input `pixel`, [N, 3, 32, 32] in [0, 1]: (image, probabilities [N, 10], auxiliaries)."""
    image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
    probabilities, auxiliaries = models.build(model, image, depth)
    return image, probabilities, auxiliaries


def train_program(probabilities, auxiliaries):
    """Mean cross entropy against `label`, int64 [N, 1], and accuracy of the batch: (loss, accuracy)."""
    label = paddle.static.data("label", [None, 1], "int64")
    loss = paddle.mean(F.cross_entropy(probabilities, label, reduction="none", use_softmax=False))
    for auxiliary in auxiliaries:
        loss += AUXILIARY_WEIGHT * paddle.mean(F.cross_entropy(auxiliary, label, reduction="none", use_softmax=False))
    return loss, paddle.static.accuracy(probabilities, label)


def optimizer_program(recipe, learning_rate, steps):
    """The optimizer and its schedule (None for a constant rate).

    book: Adam at a constant rate, 0.001 where none is given.
    strong: Nesterov's momentum of 0.9 with weight decay on the weights of convolutions and fully connected layers, the
    rate rising to `learning_rate` (0.2 where none is given) over the first 3 tenths of `steps` and falling to almost 0.
    Source: Sutskever et al. 2013 (momentum); Smith and Topin 2017 (one cycle).
    """
    if recipe == "book":
        return paddle.optimizer.Adam(learning_rate=learning_rate or 0.001), None
    schedule = paddle.optimizer.lr.OneCycleLR(max_learning_rate=learning_rate or 0.2, total_steps=max(steps, 2))
    for parameter in paddle.static.default_main_program().all_parameters():
        if is_decayed(parameter.name):
            parameter.regularizer = paddle.regularizer.L2Decay(WEIGHT_DECAY)
    optimizer = paddle.optimizer.Momentum(learning_rate=schedule, momentum=0.9, use_nesterov=True)
    return optimizer, schedule


def is_decayed(name):
    """Whether weight decay is for this parameter: for weights, not for biases nor what belongs to batch norms."""
    return name.startswith(("conv2d", "fc")) and ".w_" in name


def build_programs(settings, steps, team):
    """Build what a run needs: the training program, its initialisation, and the test program."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image, probabilities, auxiliaries = inference_program(settings["model"], settings["depth"])
        loss, accuracy = train_program(probabilities, auxiliaries)
        test = main.clone(for_test=True)  # before minimize: testing must not train
        optimizer, schedule = optimizer_program(settings["recipe"], settings["learning_rate"], steps)
        if team.world == 1:
            optimizer.minimize(loss)
            figures = [loss, accuracy]
        else:
            figures = minimize_together(optimizer, loss, accuracy, team)
    return Programs(main, startup, test, image, probabilities, figures, schedule)


def minimize_together(optimizer, loss, accuracy, team):
    """`minimize` for several workers: gradients, loss and accuracy are summed over their shares of the batch.

    `share` is this worker's part of the batch (the parts add up to 1), `stop` is 1 where it was asked to stop.
    Returns [loss, accuracy, stop], the same on every worker.
    """
    share = paddle.static.data("share", [1], "float32")
    stop = paddle.static.data("stop", [1], "float32")
    gradients = optimizer.backward(loss * share)
    gradients, figures = team.add_gradients(gradients, [loss * share, accuracy * share, stop])
    optimizer.apply_gradients(gradients)
    return figures


class Run:
    """One training run: what it was asked for, what it works on, and how far it is.

    progress: {"epoch", "batch": the next one to train, "history": points and tests for the curves,
    "window": costs and accuracies since the last point, "seconds": spent so far, "finished"}.
    """

    def __init__(self, settings, data, executor, team, say):
        self.settings, self.data, self.executor, self.team, self.say = settings, data, executor, team, say
        self.folder = folder_of(settings)
        self.checkpoint_path = self.folder / "checkpoint.npz"
        self.steps_per_epoch = min(-(-len(data.train_labels) // settings["batch_size"]),
                                   settings["max_batches"] or sys.maxsize)
        self.programs = build_programs(settings, settings["epochs"] * self.steps_per_epoch, team)
        self.quick_forward = None  # instead of the test program, where there is a quicker way
        if isinstance(executor.place, paddle.CPUPlace):
            cpu.accelerate(self.programs.main)
            self.quick_forward = cpu.forward(self.programs.test, self.programs.probabilities, executor.place)
        paddle.seed(settings["seed"])
        executor.run(self.programs.startup)
        self.progress = {"epoch": 0, "batch": 0, "history": {"points": [], "tests": []}, "window": [],
                         "seconds": 0.0, "finished": False}
        self.started = self.saved = time.monotonic()

    def save(self):
        """Write the checkpoint, with the time spent so far; rank 0 does it for all workers."""
        now = time.monotonic()
        self.progress["seconds"] += now - self.started
        self.started = self.saved = now
        if self.team.rank == 0:
            arrays = checkpoint.take_state(self.programs.main)
            checkpoint.write(self.checkpoint_path, Checkpoint(arrays, self.settings, self.progress))


def train_step(run, epoch, batch, indices, interrupts):
    """Train on one batch, or on this worker's share of it: (cost, accuracy, stop) of the whole batch.

    Everything random in it follows from (seed, epoch, batch, rank): see utils/batches.py.
    """
    team, programs = run.team, run.programs
    seeds = np.random.SeedSequence([run.settings["seed"], epoch, batch, team.rank])
    rng = np.random.default_rng(seeds) if run.settings["recipe"] == "strong" else None
    paddle.seed(int(seeds.generate_state(1)[0]))  # dropout's
    if programs.schedule is not None:
        programs.schedule.step(epoch * run.steps_per_epoch + batch)
    mine, share = workers.share_of(indices, team.rank, team.world)
    feed = batches.feed_of(run.data.train_images, run.data.train_labels, mine, rng)
    if team.world > 1:
        feed.update(share=np.float32([share]), stop=np.float32([interrupts.asked]))
    figures = run.executor.run(programs.main, feed=feed, fetch_list=programs.figures)
    cost, accuracy, *stop = (figure.item() for figure in figures)
    return cost, accuracy, stop[0] > 0 if stop else interrupts.asked


def train_one_epoch(run, epoch, interrupts):
    """Train on every picture once, in this epoch's order, from the batch that comes next."""
    order = batches.epoch_order(len(run.data.train_labels), run.settings["seed"], epoch)
    plan = batches.batches_of(order, run.settings["batch_size"])[:run.steps_per_epoch]
    first = run.progress["batch"]
    total, done = sum(map(len, plan)), sum(map(len, plan[:first]))
    with curves.Progress(total, done, f"Pass {epoch}", run.say, run.team.rank == 0) as progress:
        for batch in range(first, len(plan)):
            cost, accuracy, stop = train_step(run, epoch, batch, plan[batch], interrupts)
            if not math.isfinite(cost):
                raise UserError(diverged(run, epoch, batch, cost))
            curves.record(run.progress, epoch + (batch + 1) / len(plan), cost, accuracy)
            run.progress["batch"] = batch + 1
            if batch % LOG_EVERY == 0:
                progress.line(curves.batch_line(epoch, batch, cost, accuracy))
            progress.advance(len(plan[batch]))
            if stop:
                run.save()
                raise Interrupted(interrupts.signal)
            if time.monotonic() - run.saved > CHECKPOINT_SECONDS:
                run.save()


def diverged(run, epoch, batch, cost):
    """What to tell when the cost is no number any more."""
    schedule = run.programs.schedule
    rate = schedule.get_lr() if schedule else run.settings["learning_rate"] or 0.001
    path = run.checkpoint_path
    kept = f"the last good state is in {path}" if path.exists() else "nothing was saved yet"
    return (f"the cost became {cost} in pass {epoch}, batch {batch}, at learning rate {rate:g}: "
            f"try a smaller one; {kept}")


def evaluate(forward, images, labels, indices):
    """Cross entropy and right answers, each summed over the pictures of `indices`: float64 [2].

    forward: a feed of n pictures -> probabilities [n, 10]; images: uint8 [N, 3, 32, 32]; labels: int64 [N].
    """
    sums = np.zeros(2)
    for chosen in batches.batches_of(indices, TEST_BATCH):
        feed = batches.feed_of(images, labels, chosen)
        probabilities = forward(feed)
        likelihoods = np.take_along_axis(probabilities, feed["label"], axis=1)
        sums += -np.log(np.maximum(likelihoods, 1e-20)).sum(), (probabilities.argmax(1) == labels[chosen]).sum()
    return sums


def test_pass(run):
    """Mean loss and accuracy over all test pictures, each with the same weight; the workers share the work."""
    count = len(run.data.test_labels)
    run.team.average_statistics(run.programs.main)
    quick = run.quick_forward() if run.quick_forward else None

    def forward(feed):
        if quick:
            return quick(feed["pixel"])
        return run.executor.run(run.programs.test, feed=feed, fetch_list=[run.programs.probabilities])[0]

    mine = np.arange(count)[run.team.rank::run.team.world]
    sums = evaluate(forward, run.data.test_images, run.data.test_labels, mine)
    return run.team.add_up(sums) / count


def export(run, epoch, loss, accuracy):
    """Save the inference model with what a reader of it needs to know, and the curves so far."""
    settings = run.settings
    description = {
        "classes": list(run.data.classes), "dataset": run.data.name, "dataset_note": run.data.note,
        "model": settings["model"], "depth": depth_of(settings), "epochs": epoch + 1,
        "recipe": settings["recipe"], "seed": settings["seed"],
        "test_loss": loss, "test_accuracy": accuracy,
    }
    saved_model.save(run.folder, run.executor, run.programs.test, run.programs.image, run.programs.probabilities,
                     description)
    curves.draw(run.folder / "curves.png", run.progress["history"], f"{title_of(settings)} on {run.data.name}")


def train(run, interrupts):
    """The loop: for each pass train, test, save the model and the checkpoint."""
    epochs = run.settings["epochs"]
    for epoch in range(run.progress["epoch"], epochs):
        train_one_epoch(run, epoch, interrupts)
        loss, accuracy = map(float, test_pass(run))
        run.say(curves.test_line(epoch, loss, accuracy))
        run.progress["history"]["tests"].append((epoch + 1, loss, accuracy))
        run.progress.update(epoch=epoch + 1, batch=0, finished=epoch + 1 == epochs)
        if run.team.rank == 0:
            export(run, epoch, loss, accuracy)
        run.save()
        run.team.wait_for_rank_0()
    run.say(f"Done: test accuracy {run.progress['history']['tests'][-1][2]:.4f} on {run.data.name} after "
            f"{passes(epochs)}, {curves.duration(run.progress['seconds'])}")
    run.say(f"Model, checkpoint and curves are in {run.folder}\n"
            f"Name a picture with: {infer_command(run.settings)}")


def start(settings, saved, place, sentence, say):
    """Bring the workers together, load the pictures, and train from where `saved` stands or from the beginning."""
    team = workers.from_environment()
    executor = paddle.static.Executor(place)
    team.connect(executor)
    settings, progress = team.tell("plan", [settings, saved and saved.progress])
    if team.world != settings["workers"]:
        raise UserError(f"the checkpoint was made with {settings['workers']} workers, here are {team.world}")
    data = load_data(settings, team, say if team.rank == 0 else lambda text: None)
    run = Run(settings, data, executor, team, say if team.rank == 0 else lambda text: None)
    if saved:
        checkpoint.put_state(run.programs.main, place, saved.arrays)
    team.copy_state(run.programs.main)
    run.say(head(run, sentence))
    if progress:
        run.progress = progress
        run.say(f"Resumed at pass {progress['epoch']}, batch {progress['batch']}")
    with Interrupts() as interrupts, team.together():
        train(run, interrupts)


def load_data(settings, team, say):
    """The pictures, the same for all workers: rank 0 finds or fetches them first, the others take them from there.

    Errors: UserError where they are not those of the checkpoint, or of rank 0.
    """
    data = dataset.load(settings["dataset"], settings["data_file"], say) if team.rank == 0 else None
    team.wait_for_rank_0()
    data = data or dataset.load(settings["dataset"], settings["data_file"], say)
    found = checkpoint.fingerprint(data.train_images, data.train_labels)
    if settings.setdefault("data", team.tell("data", found)) != found:
        raise UserError("the pictures are not those that this run began with: give the same --dataset and --data-file")
    return data


def check_model(settings):
    """Turn a depth that the network cannot have into one line for the reader."""
    try:
        with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
            inference_program(settings["model"], settings["depth"])
    except ValueError as error:
        raise UserError(f"--depth: {error}") from error


def head(run, place):
    """The log's first lines: network, data, place, and what the numbers depend on."""
    settings, data = run.settings, run.data
    parameters = sum(math.prod(p.shape) for p in run.programs.main.all_parameters() if p.trainable)
    optimizer = {"book": "Adam", "strong": "momentum, one cycle, crop and flip"}[settings["recipe"]]
    note = f" ({data.note})" if data.note else ""
    speed = f"Speed: {cpu.describe()}\n" if isinstance(run.executor.place, paddle.CPUPlace) else ""
    return (f"{title_of(settings)}, {parameters:,} trainable parameters\n"
            f"Data: {data.name}{note}, {len(data.train_labels):,} to train, {len(data.test_labels):,} to test\n"
            f"Place: {place}; Paddle {paddle.__version__}\n{speed}"
            f"Recipe {settings['recipe']}: {optimizer}, batch {settings['batch_size']}, "
            f"{passes(settings['epochs'])}, seed {settings['seed']}; workers: {run.team.world}")


def passes(count):
    """'1 pass', '2 passes'."""
    return f"{count} pass" if count == 1 else f"{count} passes"


def main(arguments=None):
    """Run from the shell; returns the exit status: 0, 2 for a mistake to mend, 130 or 143 when stopped."""
    given, resume = parse(arguments, sorted(models.MODELS))
    paddle.enable_static()
    try:
        return run_here_or_start_workers(given, resume)
    except UserError as error:
        return complain(error)
    except MemoryError:
        return complain("not enough memory: try a smaller --batch-size, or fewer --workers")
    except (RuntimeError, SystemError) as error:  # what Paddle makes of a failed allocation
        if "ResourceExhausted" not in str(error):
            raise
        return complain("not enough memory on the device: try a smaller --batch-size")
    except Interrupted as stop:
        if int(os.environ.get("PADDLE_TRAINER_ID", 0)) == 0:
            print(f"Stopped and saved; go on with: {resume_command(given)}", file=sys.stderr)
        return 128 + (stop.signal or signal.SIGINT)


def complain(error):
    """Say in one line what went wrong; returns the exit status."""
    print(f"train.py: error: {error}", file=sys.stderr)
    return getattr(error, "status", 2)


def run_here_or_start_workers(given, resume):
    """Train in this process, or, on a CPU with several cores, in one process for each; returns the exit status."""
    place, sentence = choose_place({**DEFAULTS, **given}["device"])
    team = workers.from_environment()
    if team.rank > 0:
        launch.take_cores()
        start(None, None, place, sentence, say=lambda text: None)
        return 0
    settings, saved = plan(given, resume)
    check_model(settings)
    kind = "cpu" if isinstance(place, paddle.CPUPlace) else "gpu"
    if settings.setdefault("place", kind) != kind:
        raise UserError(f"--resume: the checkpoint was made on the {settings['place']}, this is the {kind}: "
                        f"choose with --device")
    if settings["workers"] is None:
        alone = launch.is_worker() or kind == "gpu"
        settings["workers"] = team.world if alone else launch.default_count(settings["batch_size"])
    if settings["workers"] > 1 and not launch.is_worker():
        return launch.start(settings["workers"])
    launch.take_cores()
    with FolderLock(folder_of(settings)):
        start(settings, saved, place, sentence, say=lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
