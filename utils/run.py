"""One training run: where it stands in the sequence of batches, and what happens around each batch and each pass.

The loops of train.py take epochs and batches from here, so that they read as the book's. Here are the order of the
images, the seeds and the learning rate of each batch, this worker's share of it, what is kept for the curves, when the
run is saved, and how it stops.
"""
import contextlib
import math
import os
import signal
import sys
import time
import types
from dataclasses import asdict, replace

import paddle

from utils import curves, flags
from utils.data import dataset
from utils.data.batches import batches_of, order_of, random_of, training_feed
from utils.errors import OutputLost, Stopped, UserError, say
from utils.parallel import launch, workers
from utils.parallel.interrupts import Interrupts
from utils.progress import Bar
from utils.settings import Settings, plan, settings_saved
from utils.speed import cpu
from utils.storage import checkpoint, program_state, start_from
from utils.storage.checkpoint import Checkpoint
from utils.storage.earlier import holds_finished_model, keep_aside
from utils.storage.files import FolderLock

CHECKPOINT_SECONDS = 300  # inside a pass; one is written after each pass as well


@contextlib.contextmanager
def open_run(given, check_network):
    """The run that a command line asks for, with what it holds while it lasts: its folder, and an ear for Ctrl-C.

    given: what utils.settings.parse has read. check_network: raises ValueError for a network (name, depth) that does
    not exist. Rank 0 plans for all workers.
    Errors: UserError where the command line, the folder or the checkpoint does not allow the run.
    """
    team = workers.from_environment()
    launch.take_cores()
    with contextlib.ExitStack() as held:
        interrupts = held.enter_context(Interrupts())
        held.enter_context(team.together())
        settings = saved = None
        if team.rank == 0:
            wanted = plan(given)[0]  # a mistake is said before the folder is made
            try:
                check_network(wanted.model, wanted.depth)
            except ValueError as error:
                raise UserError(f"--depth: {error}") from error
            held.enter_context(FolderLock(wanted.folder))
            settings, head = plan(given)
            saved = checkpoint.read(settings.checkpoint_path) if head else None
            settings = with_count_of_workers(settings, team.world)
        team.meet()
        settings = Settings(**team.tell("settings", settings and asdict(settings)))
        run = Run(settings, saved, team, interrupts)
        held.callback(run.close)
        yield run


def with_count_of_workers(settings, world):
    """Settings with the number of workers that are here. Errors: UserError where another was asked for."""
    if settings.workers not in (None, world):
        asked = f"the checkpoint was made with {settings.workers} workers" if settings.data is not None else \
            f"--workers {settings.workers}"
        raise UserError(f"{asked}, here are {world}: have the launcher start {settings.workers}")
    return replace(settings, workers=world)


class Run:
    """One training run: what it was asked for, what it works on, and how far it has come.

    progress: as in Checkpoint. data: None until `load_data`; executor and programs: None until `begin`.
    """

    def __init__(self, settings, saved, team, interrupts):
        self.settings, self.saved, self.workers, self.interrupts = settings, saved, team, interrupts
        self.folder = settings.folder
        self.scope = paddle.static.Scope()
        self.data = self.executor = self.programs = self.take_weights = self.speed = self.bar = None
        self.is_new = True  # nothing was written yet in the place of what may be in the folder
        self.progress = checkpoint.beginning()
        self.asked = (None, False)  # by the last step: the signal to stop for, whether to save
        self.counted = self.written = time.monotonic()

    # -- The beginning

    def load_data(self):
        """Load the images, the same for all workers: rank 0 does, and the others on its machine share what it has.

        Sketches they draw together. Elsewhere, and where memory cannot be shared, each loads them for itself after
        rank 0. Errors: UserError where they are not those that the run was begun with.
        """
        team = self.workers
        loaders = types.SimpleNamespace(
            rank=team.rank, is_first_here=os.environ.get("PADDLE_LOCAL_RANK", "0") == "0", log=self.log,
            broadcast=lambda value=None: team.tell("dataset", value), barrier=self.meet)
        self.data = dataset.load(self.settings, loaders)
        found, wanted = self.data.fingerprint, self.settings.data
        if team.tell("data", found if wanted is None else wanted) != found:
            raise UserError(f"these images are not those that the run in {self.folder} began with: resume it with "
                            "their --dataset, --data-file or --data-dir, or start anew in another --model-dir")
        self.settings = replace(self.settings, dataset=self.data.choice, data=found)

    def meet(self):
        """All wait for all."""
        self.meetings = getattr(self, "meetings", 0) + 1
        self.workers.wait_for_all(f"images {self.meetings}")

    @property
    def steps_per_epoch(self):
        """Batches in an epoch."""
        return min(-(-len(self.data.train_labels) // self.settings.batch_size),
                   self.settings.max_batches or sys.maxsize)

    @property
    def steps(self):
        """Batches in the whole run."""
        return self.settings.epochs * self.steps_per_epoch

    def begin(self, executor, programs, place, chosen):
        """Take the executor and the programs, put the checkpoint's state into them, and open the log.

        place: a line about it; chosen: what was chosen for speed, in words. From here on a signal asks the loop to
        stop after its batch.
        """
        self.executor, self.programs = executor, programs
        kind = "cpu" if isinstance(executor.place, paddle.CPUPlace) else "gpu"
        self.settings = replace(self.settings, device=kind)
        if kind == "cpu" and not self.settings.plain:
            self.take_weights = cpu.forward(programs.test, programs.probabilities, executor.place, self.scope)
        before, start = self.put_state()
        self.speed = flags.describe(chosen) if kind == "cpu" else None
        self.log(self.head(place, self.speed))
        if start:
            self.log(f"Start: {start}")
        if before:
            began_on = settings_saved(self.settings.checkpoint_path, before.settings).device
            moved = f"; it began on the {began_on}" if began_on not in (kind, "auto") else ""
            self.log(f"Resumed at pass {self.progress['epoch']}, batch {self.progress['batch']}{moved}")
        self.interrupts.hold()

    def put_state(self):
        """Bring the checkpoint's state, or rank 0's first weights, to all workers.

        Returns the checkpoint, and a line about the model that the weights come from where they do.
        """
        main, saved, tell, start = self.programs.main, self.saved, self.workers.tell, None
        if self.workers.rank == 0 and self.settings.start_from and not saved:
            with paddle.static.scope_guard(self.scope):
                start = start_from.put(self.settings.start_from, self.programs, self.executor)
        if saved:
            program_state.put(main, self.scope, self.executor.place, saved.arrays)
        self.workers.copy_state(main, self.scope)
        statistics = saved.statistics if saved and saved.statistics is not None else None
        if tell("has statistics", statistics is not None):
            self.workers.put_statistics(main, self.scope, statistics)
        self.is_new = tell("is new", saved is None or saved.progress["finished"])
        self.progress = tell("progress", saved.progress if saved else self.progress)
        self.progress["finished"] = False  # a finished run is resumed for more epochs
        self.saved = None  # its arrays are not needed any more
        return saved, start

    def head(self, place, speed):
        """The log's first lines: network, data, place, and what the numbers depend on."""
        settings, data = self.settings, self.data
        parameters = program_state.count_parameters(self.programs.main)
        lines = [f"{settings.title}, {parameters:,} trainable parameters",
                 f"Data: {data.name}{f' ({data.note})' if data.note else ''}, {len(data.train_labels):,} to train, "
                 f"{len(data.test_labels):,} to test",
                 f"Place: {place}; Paddle {paddle.__version__}",
                 *([f"Speed: {speed}"] if speed else []),
                 f"Recipe {settings.recipe}: {settings.numbers.words}, batch {settings.batch_size}, "
                 f"{passes(settings.epochs)}{', classes equally often' * settings.balance}, seed {settings.seed}; "
                 f"workers: {self.workers.world}"]
        if settings.is_look_aside:
            lines.append(f"A quick look leaves the finished model beside it alone: this one goes to {self.folder}")
        return "\n".join(lines)

    # -- Around each batch

    def batches(self, epoch):
        """What the loop trains on in an epoch, from the batch that comes next: pairs (its number, its feed).

        When the loop comes back for more, the batch has been trained on: it is counted, and the run saved or stopped
        where that was asked. Everything random in a batch follows from (seed, epoch, batch, rank).
        Errors: Stopped, after a signal, when the run is saved.
        """
        settings, schedule = self.settings, self.programs.schedule
        order = order_of(self.data.train_labels, settings, epoch)
        plan_of_epoch = batches_of(order, settings.batch_size)[:self.steps_per_epoch]
        first = self.progress["batch"]
        self.bar = Bar(sum(map(len, plan_of_epoch)), sum(map(len, plan_of_epoch[:first])), " images", f"Pass {epoch}",
                       shown=self.workers.rank == 0)
        for batch in range(first, len(plan_of_epoch)):
            seeds = random_of(settings.seed, epoch, batch, self.workers.rank)
            paddle.seed(int(seeds.generate_state(1)[0]))  # dropout's
            if schedule is not None:
                schedule.step(epoch * self.steps_per_epoch + batch)
            yield batch, self.feed(epoch, plan_of_epoch[batch], seeds)
            if self.programs.averaging:
                step = epoch * self.steps_per_epoch + batch + 1
                self.programs.averaging.update(self.executor, self.scope, step, self.steps)
            self.progress["batch"] = batch + 1
            self.bar.advance(len(plan_of_epoch[batch]))
            self.save_or_stop()
        self.bar.close()

    def feed(self, epoch, indices, seeds):
        """This worker's share of a batch, as a step reads it."""
        mine, share = self.workers.share_of(indices)
        feed = training_feed(self.data, mine, self.settings.numbers, self.settings.seed, epoch, seeds)
        return self.workers.feed(feed, share, self.asks())

    def asks(self):
        """What this worker asks all to do after the step: (the signal to stop for or None, whether to save)."""
        is_time = self.workers.rank == 0 and time.monotonic() - self.written > CHECKPOINT_SECONDS
        return self.interrupts.signal, is_time

    def record(self, epoch, batch, metrics):
        """Keep what a step gave for the curves -> (cost, accuracy) of the whole batch.

        Errors: UserError when the cost is not a finite number, before anything is saved.
        """
        cost, accuracy, self.asked = self.workers.read(metrics, self.asks())
        self.check_finite(cost, "cost", f"pass {epoch}, batch {batch}")
        curves.record(self.progress, epoch + (batch + 1) / self.steps_per_epoch, cost, accuracy)
        return cost, accuracy

    def check_finite(self, number, name, where):
        """UserError when a cost is not a finite number any more: what is on disk is from before."""
        if math.isfinite(number):
            return
        settings, schedule = self.settings, self.programs.schedule
        rate = schedule.get_lr() if schedule else settings.rate
        path = settings.checkpoint_path
        kept = f"the last good state is in {path}" if path.exists() else "nothing was saved yet"
        raise UserError(f"the {name} became {number} in {where}, at learning rate {rate:g}: try a smaller one; {kept}")

    def save_or_stop(self):
        """Do what the last step was asked for, on all workers after the same batch."""
        stop, save = self.asked
        if stop or save:
            self.save()
        if stop:
            text = f"Stopped and saved; resume with: {self.settings.resume_command()}"
            raise Stopped(stop, text if self.workers.rank == 0 else "")

    # -- Around each epoch

    def epochs(self):
        """The epochs that are left; after each the run is saved and its curves are drawn, and the last says so."""
        settings, progress = self.settings, self.progress
        for epoch in range(progress["epoch"], settings.epochs):
            yield epoch
            progress.update(epoch=epoch + 1, batch=0, finished=epoch + 1 == settings.epochs)
            self.save()
            self.draw()
        self.log(f"Done: test accuracy {progress['history']['tests'][-1][2]:.4f} on {self.data.name} after "
                 f"{passes(settings.epochs)}, {curves.duration(progress['seconds'])}\n"
                 f"Model, checkpoint and curves are in {self.folder}\n"
                 f"Name a picture with: {settings.infer_command()}")

    def forward(self):
        """The test program with the weights as they are now: a function, a feed of n images -> probabilities [n, 10].

        On a CPU a quicker form of it (utils/speed/fold_batch_norm.py) gives the same numbers up to rounding.
        """
        self.workers.average_statistics(self.programs.main, self.scope)
        if self.take_weights:
            quick = self.take_weights()
            return lambda feed: quick(feed["pixel"])
        known = self.programs.test.global_block().vars  # Paddle would take what is not fed out of the loop's own feed
        return lambda feed: self.executor.run(
            self.programs.test, feed={name: array for name, array in feed.items() if name in known}, scope=self.scope,
            fetch_list=[self.programs.probabilities])[0]

    def record_test(self, epoch, loss, accuracy):
        """Keep an epoch's test for the curves. Errors: UserError when the loss is not finite, before any saving."""
        self.check_finite(loss, "test loss", f"the test after pass {epoch}")
        self.progress["history"]["tests"].append((epoch + 1, float(loss), float(accuracy)))
        self.keep_earlier_model()

    def keep_earlier_model(self):
        """Before a new run writes for the first time, keep the finished model that is in its folder aside."""
        if self.workers.rank == 0 and self.is_new:
            head = checkpoint.read_head(self.settings.checkpoint_path, missing_is_error=False)
            if holds_finished_model(self.folder, head):
                self.log(f"The finished model that was in {self.folder} is kept in {keep_aside(self.folder)}")
        self.is_new = False

    def save(self):
        """Write the checkpoint, with the time spent so far; all workers take part, rank 0 writes."""
        now = time.monotonic()
        self.progress["seconds"] += now - self.counted
        self.counted = self.written = now
        main, workers_differ = self.programs.main, self.workers.world > 1 and self.progress["batch"] > 0
        statistics = self.workers.gather_statistics(main, self.scope) if workers_differ else None
        self.keep_earlier_model()
        if self.workers.rank == 0:
            arrays = program_state.take(main, self.scope)
            checkpoint.write(self.settings.checkpoint_path,
                             Checkpoint(arrays, asdict(self.settings), self.progress, statistics))
        self.workers.wait_for_rank_0()

    def draw(self):
        """Draw the curves so far; where that fails it costs the picture and no more."""
        if self.workers.rank == 0:
            title = f"{self.settings.title} on {self.data.name}"
            try:
                curves.draw(self.folder / "curves.png", self.progress["history"], title)
            except Exception as error:  # matplotlib missing, its fonts or cache broken, the disk full: all the same
                self.log(f"The curves were not drawn ({error})")
        self.workers.wait_for_rank_0()

    # -- At any time

    def log(self, text):
        """Print a line, on rank 0 alone; where nobody can read it any more, the run stops after its batch."""
        if self.workers.rank > 0:
            return
        try:
            with self.bar.paused() if self.bar else contextlib.nullcontext():
                say(text)
        except OutputLost:
            if not self.interrupts.holds:
                raise
            self.interrupts.hear(signal.SIGPIPE)

    def close(self):
        """Give back what the run took."""
        if self.bar:
            self.bar.close()
        if self.executor:
            self.executor.close()
        if self.take_weights:
            self.take_weights.close()
        program_state.free(self.scope)
        self.executor = self.take_weights = self.scope = None


def passes(count):
    """'1 pass', '2 passes'."""
    return f"{count} pass" if count == 1 else f"{count} passes"
