"""What a reader sees of training: the log's first and last lines, and the numbers behind the curves."""
import numpy as np
import paddle

from utils import flags
from utils.evaluation.metrics import interval_words
from utils.recipes import FEW, FEW_BATCH, STEPS
from utils.speed import bfloat16
from utils.storage import program_state

RARE, GAP = 20, 0.1  # pictures of a class, and distance of two accuracies, that call for advice
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
        settings.precision == "bfloat16" and not getattr(run.executor, "in_bfloat16", False) and
        f"Precision: float32; bfloat16 is not possible here: {bfloat16.missing() or 'it is for the CPU'}",
        f"Recipe {settings.recipe}: {settings.hyperparameters.words}, batch {settings.batch_size}, "
        f"{passes(settings.epochs)}{', classes equally often' * settings.balance}, seed {settings.seed}; "
        f"workers: {run.workers.world}",
        settings.data_dir and not settings.start_from and
        f"Steps: {settings.epochs * settings.steps_per_epoch(len(data.train_labels)):,}; with pictures of your own by "
        f"default passes for at least {STEPS:,}, in batches of {FEW_BATCH} below {FEW:,} pictures",
        run.checkpoints.beginning]))


def speed_of(run):
    """What makes the run fast on this CPU, in words."""
    return ["plain"] if run.settings.plain else run.executor.prepare(run.programs.main)


def closing(run):
    """The log's last lines: the result, and what to do with it."""
    settings, progress = run.settings, run.checkpoints.progress
    (*_, accuracy), count = progress["history"]["tests"][-1], len(run.data.test_labels)
    return (f"Done: test accuracy {accuracy:.4f}{interval_words(accuracy, count)} on {run.data.name} "
            f"after {passes(settings.epochs)}, {duration(progress['seconds'])}\n"
            f"{advice(run, accuracy) if settings.data_dir else ''}"
            f"Model, checkpoint and curves are in {settings.folder}\n"
            f"Classify a picture with: {settings.infer_command()}")


def advice(run, accuracy):
    """Lines about what would help a model of the user's own pictures most; none where that is not known."""
    data, points, lines = run.data, run.checkpoints.progress["history"]["points"], []
    rare = [f"{name} ({count})" for name, count in zip(data.classes, np.bincount(data.train_labels)) if count < RARE]
    if rare:
        lines += [f"Few pictures to train on, so more would help most: {', '.join(rare[:5])}\n"]
    learned = np.mean([point[2] for point in points[-5:]]) if points else 0
    if learned > accuracy + GAP:
        lines += [f"It names {learned:.0%} of the pictures to train on correctly, and {accuracy:.0%} of those to test "
                  f"on: more pictures would help{', or --start-from' * (not run.settings.start_from)}\n"]
    return "".join(lines)


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
