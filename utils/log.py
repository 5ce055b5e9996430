"""What a reader sees of training: the log's first and last lines, and the numbers behind the curves."""
import numpy as np
import paddle

from utils import flags
from utils.storage import program_state

POINT = 10  # batches that one point of the cost curve is the mean of


def opening(run, place):
    """The log's first lines: network, data, place (in a sentence), and what the numbers depend on."""
    settings, data = run.settings, run.data
    is_on_cpu = isinstance(run.executor.place, paddle.CPUPlace)
    return "\n".join(filter(None, [
        f"{settings.title}, {program_state.count_parameters(run.programs.main):,} trainable parameters",
        f"Data: {data.name}{data.note and f' ({data.note})'}, {len(data.train_labels):,} to train, "
        f"{len(data.test_labels):,} to test",
        f"Place: {place}; Paddle {paddle.__version__}",
        is_on_cpu and f"Speed: {flags.describe(speed_of(run))}",
        f"Recipe {settings.recipe}: {settings.hyperparameters.words}, batch {settings.batch_size}, "
        f"{passes(settings.epochs)}{', classes equally often' * settings.balance}, seed {settings.seed}; "
        f"workers: {run.workers.world}",
        settings.is_look_aside and f"A quick look leaves the finished model alone: this one goes to {settings.folder}",
        run.checkpoints.beginning]))


def speed_of(run):
    """What makes the run fast on this CPU, in words."""
    return ["plain"] if run.settings.plain else run.executor.prepare(run.programs.main)


def closing(run):
    """The log's last lines: the result, and what to do with it."""
    settings, progress = run.settings, run.checkpoints.progress
    *_, accuracy = progress["history"]["tests"][-1]
    return (f"Done: test accuracy {accuracy:.4f} on {run.data.name} after {passes(settings.epochs)}, "
            f"{duration(progress['seconds'])}\n"
            f"Model, checkpoint and curves are in {settings.folder}\n"
            f"Classify a picture with: {settings.infer_command()}")


def passes(count):
    """'1 pass', '2 passes'."""
    return f"{count} pass" if count == 1 else f"{count} passes"


def duration(seconds):
    """Seconds as a reader says them: '48 s', '12 min', '1 h 52 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def record(progress, passes, cost, accuracy):
    """Keep what the curves are drawn from: a point for each `POINT` batches."""
    progress["window"].append((cost, accuracy))
    if len(progress["window"]) == POINT:
        progress["history"]["points"].append((round(passes, 4), *np.mean(progress["window"], axis=0).tolist()))
        progress["window"] = []
