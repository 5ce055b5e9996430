"""How good a saved model is, and how far to trust it: `python -m benchmarks.quality --data-file ARCHIVE`.

On CIFAR-10's 10,000 test images: error in all and by class, the confusion matrix, the expected calibration error, and
the accuracy when the images are disturbed in the chapter's four ways. Prints it as tables in Markdown; `--json` also
writes it to a file, such as measured.json beside the model that comes with the program, for book/figures/draw.py.
"""
import argparse
import json
import sys
from pathlib import Path

from utils.speed import cpu

cpu.set_flags()  # before Paddle is imported, which reads them then

import numpy as np
import paddle

import infer
from benchmarks import disturb
from utils.data import dataset
from utils.data.batches import to_float
from utils.errors import exit_status
from utils.storage import saved_model
from utils.storage.files import whole_file

BATCH = 100
BINS = 15  # of the calibration error: Guo et al. 2017, section 5


def answers(forward, images, change=lambda pixels: pixels):
    """Probabilities [N, 10] for uint8 images [N, 3, 32, 32], each batch changed before it is fed."""
    return np.concatenate([forward(np.ascontiguousarray(change(to_float(images[i:i + BATCH]))))
                           for i in range(0, len(images), BATCH)])


def confusion(named, labels, count):
    """How often each class (row) was named as each (column): int64 [count, count]."""
    return np.bincount(labels * count + named, minlength=count * count).reshape(count, count)


def reliability(probabilities, labels, bins=BINS):
    """For equal intervals of the best probability: [(images in it, their mean probability, share named rightly)]."""
    best, right = probabilities.max(1), probabilities.argmax(1) == labels
    interval = np.minimum((best * bins).astype(int), bins - 1)
    return [(int(inside.sum()), float(best[inside].mean()), float(right[inside].mean())) if inside.any()
            else (0, 0.0, 0.0) for inside in (interval == number for number in range(bins))]


def calibration_error(rows):
    """Expected calibration error: the mean distance of probability and accuracy over all images, by interval.

    Source: Guo et al. 2017, equation 3.
    """
    return sum(count * abs(mean - share) for count, mean, share in rows) / sum(count for count, _, _ in rows)


def measure(forward, images, labels, classes):
    """All that this file measures, ready for JSON."""
    def accuracy(kind, strength):
        """Share of the disturbed images that are named rightly."""
        disturbed = answers(forward, images, lambda pixels: disturb.disturb(pixels, kind, strength))
        return float((disturbed.argmax(1) == labels).mean())

    probabilities = answers(forward, images)
    named, rows = probabilities.argmax(1), reliability(probabilities, labels)
    likelihoods = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-20)
    disturbed = {kind: [accuracy(kind, strength) for strength in disturb.STRENGTHS] for kind in disturb.KINDS}
    return {"pictures": len(labels), "classes": list(classes), "error": float((named != labels).mean()),
            "cost": float(-np.log(likelihoods).mean()), "confusion": confusion(named, labels, len(classes)).tolist(),
            "calibration_error": calibration_error(rows), "reliability": rows, "disturbed_accuracy": disturbed}


def tables(metrics):
    """What was measured as Markdown."""
    counts, classes = np.array(metrics["confusion"]), metrics["classes"]
    errors = 1 - counts.diagonal() / counts.sum(1)
    lines = [f"Error {metrics['error']:.2%} on {metrics['pictures']:,} test pictures, cost {metrics['cost']:.4f}, "
             f"expected calibration error {metrics['calibration_error']:.4f} ({BINS} intervals).", "",
             "| is, named | " + " | ".join(classes) + " | error |", "|---" * (len(classes) + 2) + "|"]
    for name, row, error in zip(classes, counts, errors):
        lines.append(f"| **{name}** | " + " | ".join(map(str, row)) + f" | {error:.1%} |")
    lines += ["", "| accuracy | weak | medium | strong |", "|---|---|---|---|"]
    for kind, shares in metrics["disturbed_accuracy"].items():
        lines.append(f"| {kind} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)


def forward_of(model):
    """The quickest way through a loaded model on a CPU: a function, pixels [N, 3, 32, 32] -> probabilities [N, 10]."""
    take_weights = cpu.forward(model.program, model.fetch_targets[0], paddle.CPUPlace(), model.scope)
    return take_weights() if take_weights else lambda pixels: infer.infer(model, pixels)


@exit_status("end other programs")
def main(arguments=None):
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, default=infer.SHIPPED,
                        help="a folder that train.py wrote (default: the model that comes with the program)")
    parser.add_argument("--data-file", help="a CIFAR-10 archive; without one it is downloaded")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    paddle.enable_static()
    data = dataset.load("cifar10", given.data_file)
    model = saved_model.load(given.model_dir, paddle.CPUPlace())
    metrics = measure(forward_of(model), data.test_images, data.test_labels, data.classes)
    print(tables(metrics))
    if given.json:
        with whole_file(given.json) as temporary:
            temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
