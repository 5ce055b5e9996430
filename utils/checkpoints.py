"""Where a run stands, in memory and on the disk: so it can be stopped after any batch, and resumed bit for bit."""
import contextlib
import math
import time

import paddle

from utils import figures, progress
from utils.errors import Stopped, UserError
from utils.settings import Settings, refuse_unfinished
from utils.storage import checkpoint, program_state, saved_model
from utils.storage.files import folder_lock, whole_file

CHECKPOINT_SECONDS = 300  # inside a pass; one is written after each pass as well
DRAWING_SECONDS, LEAST = 60, 10  # between drawings of the curves: inside a pass, and at its end
ROW = 100  # batches from one row of history.csv to the next


class Checkpoints:
    """Where a run stands; in `with Checkpoints(settings, workers) as checkpoints:` its folder is locked.

    Paddle's variables are in a scope of the run's own. settings: rank 0's, for all workers.
    Errors: UserError where another run holds the folder, or the folder or the checkpoint does not allow the run.
    """
    next_epoch = property(lambda self: self.progress["epoch"], doc="The epoch to train next.")
    next_batch = property(lambda self: self.progress["batch"], doc="The batch to train next in that epoch.")

    def __init__(self, settings, workers):
        self.settings, self.workers = settings, workers
        self.run = self.saved = None
        self.beginning = None  # a line about where the run begins, where that is not at random weights
        self.progress = checkpoint.beginning()
        self.counted_until = self.last_save = self.last_drawn = time.monotonic()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            if self.workers.rank == 0:
                stack.enter_context(folder_lock(self.settings.folder))
                if self.settings.resume:
                    self.saved = checkpoint.read(self.settings.checkpoint_path)
                    if self.saved.settings.get("seed") != self.settings.seed:
                        raise UserError(f"another run began in {self.settings.folder} just now: start again")
                    self.progress.update(self.saved.progress)
                else:
                    refuse_unfinished(self.settings)  # again, now that the folder is locked
                is_own = self.settings.resume and not self.progress["finished"]  # finished: resumed for more passes
                copy = saved_model.keep_aside(self.settings.folder, self.progress["run"] if is_own else None)
                if copy:
                    self.workers.log(f"The finished model that was in {self.settings.folder} is kept in {copy}")
            self.settings = Settings(**self.workers.broadcast(self.settings._asdict()))
            self.has_written = self.settings.resume  # whether the folder's checkpoint is of this run
            stack.enter_context(program_state.own_scope())
            stack.callback(progress.close_all)  # the terminal's last line too
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()
        self.run = None  # which refers to this object in turn

    def restore(self, run, first):
        """Give all workers the checkpoint's state; in a new run rank 0's weights.

        first: {name: array}, weights of a new run that are not random. Those of --start-from take their place.
        Errors: UserError where data or network are not those that the run began with.
        """
        self.run, workers, main = run, self.workers, run.programs.main
        self.stack.callback(run.executor.close)
        self.fingerprint = now = run.data.fingerprint  # of 180 MB: once, not at each save
        if self.settings.data not in (None, now, now % 2**32):  # earlier versions kept the training images' half
            raise UserError(f"these images or classes are not those that the run in {self.settings.folder} began with: "
                            "resume it with its --dataset, --data-file or --data-dir")
        if workers.rank == 0:
            self.beginning = self.put_state(first)
            workers.wants_to_save = lambda: time.monotonic() - self.last_save > CHECKPOINT_SECONDS
        workers.broadcast_state(main)
        workers.put_statistics(main, self.saved and self.saved.statistics)
        self.progress = {**workers.broadcast(self.progress), "finished": False}
        self.saved = None  # its arrays are not needed any more

    def put_state(self, first):
        """Put the state to begin with into the scope -> a line about it, unless it is random weights."""
        programs, executor = self.run.programs, self.run.executor
        if self.saved:
            program_state.put(programs.main, executor.place, self.saved.arrays)
            return f"Resumed at pass {self.next_epoch}, batch {self.next_batch}"
        program_state.put_weights(programs.main, executor.place, first)
        if not self.settings.start_from:
            return None
        from utils import fine_tuning
        from utils.storage import start_from

        line, last_layer = start_from.put(self.settings.start_from, programs, executor)
        if self.settings.hyperparameters.freezes_statistics:
            line += fine_tuning.train_last_layer(programs, last_layer, executor, self.run.data)
        return f"Start: {line}"

    def after_batch(self, epoch, batch, cost, accuracy):
        """Note that a batch has been trained on; save the run where it is time, and stop it where a signal came.

        cost, accuracy: of the whole batch, for the curves
        Errors: UserError when the cost is not a finite number, before anything is saved; Stopped, when all is saved.
        """
        self.check_finite(cost, "cost", f"pass {epoch}, batch {batch}")
        batches = self.settings.steps_per_epoch(len(self.run.data.train_labels))
        self.progress["history"]["points"].append((round(epoch + (batch + 1) / batches, 4), cost, accuracy))
        self.progress["batch"] = batch + 1
        if batch % ROW == 0:
            self.write_row("training", epoch, batch, cost, accuracy)
        if time.monotonic() - self.last_drawn > DRAWING_SECONDS:
            self.draw()
        stop, save = self.workers.agreement()
        if stop or save:
            self.save()
        if stop:
            text = f"Stopped and saved; resume with: {self.settings.resume_command()}"
            raise Stopped(stop, text if self.workers.rank == 0 else "")

    def after_test(self, epoch, loss, accuracy):
        """Note an epoch's test, before its model is saved. Errors: UserError when the loss is not a finite number."""
        self.check_finite(loss, "test loss", f"the test after pass {epoch}")
        if not self.has_written:
            self.save()  # first: a process that ends soon must not leave its model with another run's checkpoint
        self.progress["history"]["tests"].append((epoch + 1, float(loss), float(accuracy)))
        self.write_row("test", epoch, "", loss, accuracy)

    def identity(self, epoch):
        """What an epoch's model says about its run: which one it is, and whether all of it is done, on all images."""
        is_whole = epoch + 1 == self.settings.epochs and not self.settings.max_batches
        return {"run": self.progress["run"], "finished": is_whole}

    def after_epoch(self, epoch):
        """Save the run, and draw its curves so far."""
        self.progress.update(epoch=epoch + 1, batch=0, finished=epoch + 1 == self.settings.epochs)
        self.save()
        if self.progress["finished"] or time.monotonic() - self.last_drawn > LEAST:
            self.draw()
        self.workers.barrier()

    @property
    def may_show(self):
        """Whether this process may write history.csv and curves.png: not while an earlier run's model is there."""
        is_ours = self.has_written or not (self.settings.folder / "description.json").exists()
        return self.workers.rank == 0 and is_ours

    def draw(self):
        """Draw the curves so far."""
        self.last_drawn = time.monotonic()
        if self.may_show:
            try:
                figures.draw_curves(self.settings.folder / "curves.png", self.progress["history"],
                                    f"{self.settings.title} on {self.run.data.name}")
            except Exception as error:  # matplotlib missing, its fonts or cache broken, the disk full: all the same
                self.workers.log(f"The curves were not drawn ({error})")

    def write_row(self, *row):
        """Add a row to history.csv, which is whole whenever it is read."""
        rows = self.progress["history"].setdefault("rows", [])  # an earlier version's checkpoint has none
        rows.append(row)
        if self.may_show:
            lines = ["part,pass,batch,cost,accuracy", *(",".join(map(str, each)) for each in rows), ""]
            with contextlib.suppress(UserError), whole_file(self.settings.folder / "history.csv") as path:
                path.write_text("\n".join(lines))  # where the disk is full, the checkpoint says so

    def check_finite(self, number, name, where):
        """UserError when a cost is not a finite number any more: what is on the disk is from before."""
        if math.isfinite(number):
            return
        rate, path = self.run.programs.schedule.get_lr(), self.settings.checkpoint_path
        kept = f"the last good state is in {path}" if self.has_written else "nothing was saved yet"
        raise UserError(f"the {name} became {number} in {where}, at learning rate {rate:g}: try a smaller one; {kept}")

    def save(self):
        """Write the checkpoint, with the time spent so far; all workers take part, rank 0 writes."""
        now = time.monotonic()
        self.progress["seconds"] += now - self.counted_until
        self.counted_until = self.last_save = now
        main, workers_differ = self.run.programs.main, self.workers.world > 1 and self.next_batch > 0
        statistics = self.workers.gather_statistics(main) if workers_differ else None
        if self.workers.rank == 0:
            device = "cpu" if isinstance(self.run.executor.place, paddle.CPUPlace) else "gpu"
            settings = self.settings._replace(dataset=self.run.data.choice, data=self.fingerprint, device=device,
                                              workers=self.workers.world, resume=False)
            state = checkpoint.Checkpoint(program_state.take(main), settings._asdict(), self.progress, statistics)
            checkpoint.write(settings.checkpoint_path, state)
        self.has_written = True
        self.workers.barrier()
