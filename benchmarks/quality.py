"""How good a saved model is, and how far to trust it: `python -m benchmarks.quality --data-file ARCHIVE`.

On CIFAR-10's 10,000 test pictures: error in all and by class, the confusion matrix, the expected calibration error,
and the accuracy when the pictures are disturbed in the chapter's four ways. Prints it as tables in Markdown; `--json`
also writes it to a file, from which image/draw.py draws.
"""
import argparse
import json
from pathlib import Path

from utils.speed import cpu

cpu.set_flags()

import numpy as np  # noqa: E402
import paddle  # noqa: E402

import infer  # noqa: E402
from benchmarks import disturb  # noqa: E402
from utils.data import dataset  # noqa: E402
from utils.storage import saved_model  # noqa: E402
from utils.data.batches import to_float  # noqa: E402

BATCH = 100
BINS = 15  # of the calibration error: Guo et al. 2017, section 5


def answers(forward, images, change=lambda pixels: pixels):
    """Probabilities [N, 10] for uint8 pictures [N, 3, 32, 32], each batch changed before it is fed."""
    return np.concatenate([forward(np.ascontiguousarray(change(to_float(images[i:i + BATCH]))))
                           for i in range(0, len(images), BATCH)])


def confusion(named, labels, count):
    """How often each class (row) was named as each (column): int64 [count, count]."""
    return np.bincount(labels * count + named, minlength=count * count).reshape(count, count)


def reliability(probabilities, labels, bins=BINS):
    """For equal intervals of the best probability: [(pictures in it, their mean probability, share named rightly)]."""
    best, right = probabilities.max(1), probabilities.argmax(1) == labels
    interval = np.minimum((best * bins).astype(int), bins - 1)
    return [(int(inside.sum()), float(best[inside].mean()), float(right[inside].mean())) if inside.any()
            else (0, 0.0, 0.0) for inside in (interval == number for number in range(bins))]


def calibration_error(rows):
    """Expected calibration error: the mean distance of probability and accuracy over all pictures, by interval.

    Source: Guo et al. 2017, equation 3.
    """
    return sum(count * abs(mean - share) for count, mean, share in rows) / sum(count for count, _, _ in rows)


def measure(forward, images, labels, classes):
    """All that this file measures, ready for JSON."""
    probabilities = answers(forward, images)
    named, rows = probabilities.argmax(1), reliability(probabilities, labels)
    likelihoods = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-20)
    disturbed = {kind: [float((answers(forward, images, lambda x: disturb.disturb(x, kind, strength)).argmax(1)
                               == labels).mean()) for strength in disturb.STRENGTHS] for kind in disturb.KINDS}
    return {"pictures": len(labels), "classes": list(classes), "error": float((named != labels).mean()),
            "cost": float(-np.log(likelihoods).mean()), "confusion": confusion(named, labels, len(classes)).tolist(),
            "calibration_error": calibration_error(rows), "reliability": rows, "disturbed_accuracy": disturbed}


def tables(figures):
    """The figures as Markdown."""
    counts, classes = np.array(figures["confusion"]), figures["classes"]
    errors = 1 - counts.diagonal() / counts.sum(1)
    lines = [f"Error {figures['error']:.2%} on {figures['pictures']:,} test pictures, cost {figures['cost']:.4f}, "
             f"expected calibration error {figures['calibration_error']:.4f} ({BINS} intervals).", "",
             "| is, named | " + " | ".join(classes) + " | error |", "|---" * (len(classes) + 2) + "|"]
    for name, row, error in zip(classes, counts, errors):
        lines.append(f"| **{name}** | " + " | ".join(map(str, row)) + f" | {error:.1%} |")
    lines += ["", "| accuracy | weak | medium | strong |", "|---|---|---|---|"]
    for kind, shares in figures["disturbed_accuracy"].items():
        lines.append(f"| {kind} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, default=infer.SHIPPED)
    parser.add_argument("--data-file", help="a CIFAR-10 archive; without one it is downloaded")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    paddle.enable_static()
    data = dataset.load("cifar10", given.data_file)
    model = saved_model.load(given.model_dir, paddle.CPUPlace())
    with paddle.static.scope_guard(model.scope):
        forward = cpu.forward(model.program, model.fetch_targets[0], paddle.CPUPlace())()
        figures = measure(forward, data.test_images, data.test_labels, data.classes)
    print(tables(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
