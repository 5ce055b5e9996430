"""What a reader sees of training besides its loop's lines: the log's first and last ones."""
import os
import platform

import numpy as np
import paddle

from utils.evaluation.metrics import confusion, interval_words
from utils.recipes import FEW, FEW_BATCH, STEPS
from utils.speed import bfloat16
from utils.storage import program_state

LATEST = 50  # batches of training that a test is compared with
RARE, GAP = 20, 0.1  # pictures of a class, and distance of two accuracies, that call for advice
MIXED, SHARE = 5, 0.1  # so do test pictures of two classes mixed up: how many, and which share of both


def opening(run, place):
    """The log's first lines: network, data, place (in a sentence), and what the numbers depend on."""
    settings, data = run.settings, run.data
    return "\n".join(filter(None, [
        f"{settings.title}, {program_state.count_parameters(run.programs.main):,} trainable parameters",
        f"Data: {data.name}{data.note and f' ({data.note})'}, {len(data.train_labels):,} to train, "
        f"{len(data.test_labels):,} to test",
        f"Place: {place}; Paddle {paddle.__version__}",
        isinstance(run.executor.place, paddle.CPUPlace) and f"Speed: {speed_of(run)}",
        settings.precision == "bfloat16" and not getattr(run.executor, "in_bfloat16", False) and
        f"Precision: float32; bfloat16 is not possible here: {bfloat16.missing() or 'it is for the CPU'}",
        f"Recipe {settings.recipe}: {settings.hyperparameters.words}, batch {settings.batch_size}, "
        f"{settings.epochs} pass{'es' * (settings.epochs != 1)}{', classes equally often' * settings.balance}, "
        f"seed {settings.seed}; workers: {run.workers.world}",
        settings.data_dir and not settings.start_from and
        f"Steps: {settings.epochs * settings.steps_per_epoch(len(data.train_labels)):,}; with pictures of your own by "
        f"default passes for at least {STEPS:,}, in batches of {FEW_BATCH} below {FEW:,} pictures",
        run.checkpoints.beginning]))


def speed_of(run):
    """How the run uses this CPU, on which the last digits of its numbers depend."""
    way = "plain Paddle" if run.settings.plain else f"fast path in {('float32', 'bfloat16')[run.executor.in_bfloat16]}"
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
    return f"{way} ({platform.machine()}, {threads} thread{'s' * (threads != '1')} a process)"


def closing(run, accuracy, answers):
    """The log's last lines: the result of the last test, and what to do with it. answers: classes, int [N]."""
    epochs, picture = run.settings.epochs, "PICTURE" if run.settings.data_dir else "dog.png"
    return (f"Done: test accuracy {accuracy:.4f}{interval_words(accuracy, len(answers))} on {run.data.name} "
            f"after {epochs} pass{'es' * (epochs != 1)}, {duration(run.checkpoints.progress['seconds'])}\n"
            f"{advice(run, accuracy, answers) if run.settings.data_dir else ''}"
            f"Model, checkpoint and curves are in {run.settings.folder}\n"
            f"Classify a picture with: {run.settings.command('infer.py', picture)}")


def advice(run, accuracy, answers):
    """At most two lines: what would help a model of the user's own pictures most, and what it mixes up most."""
    data, points, lines = run.data, run.checkpoints.progress["history"]["points"], []
    rare = [f"{name} ({count})" for name, count in zip(data.classes, np.bincount(data.train_labels)) if count < RARE]
    learned = np.mean([point[2] for point in points[-LATEST:]]) if points else 0
    other = ", or --start-from" * (not run.settings.start_from)
    if rare:
        lines += [f"Few pictures to train on: {', '.join(rare[:5])}; more would help most{other}\n"]
    elif learned > accuracy + GAP:
        lines += [f"It names {learned:.0%} of the pictures to train on correctly, and {accuracy:.0%} of those to test "
                  f"on: more pictures would help{other}\n"]
    counts = confusion(answers, data.test_labels, len(data.classes))
    mixed = np.triu(counts + counts.T, 1)  # of each two classes once
    two = list(np.unravel_index(mixed.argmax(), mixed.shape))
    if mixed.max() >= max(MIXED, SHARE * counts[two].sum()):
        lines += [f"Mixed up most: {' and '.join(data.classes[each] for each in two)}, {mixed.max()} of their "
                  f"{counts[two].sum()} pictures to test on; evaluate.py shows all\n"]
    return "".join(lines)


def duration(seconds):
    """Seconds as a reader says them: '48 s', '12 min', '1 h 52 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
