"""What a saved model's card says about it: `python -m benchmarks.quality --data-file ARCHIVE`.

What evaluate.py measures on CIFAR-10's 10,000 test images, and the accuracy when they are disturbed in the chapter's
four ways. Prints it as tables in Markdown; `--json` also writes it to a file, such as measured.json of the
supplied model, for book/figures/draw.py.
"""
import argparse
import json
import sys
from pathlib import Path

from utils import flags

flags.set_flags()  # before Paddle is imported, which reads them then

import numpy as np

import infer
from book import disturb
from evaluate import ask, load_model
from utils.data import dataset
from utils.errors import exit_status
from utils.evaluation import metrics as evaluation
from utils.evaluation import report
from utils.storage.files import whole_file


def measure(model, images, labels, classes):
    """All that a card says, ready for JSON."""
    def accuracy(kind, strength):
        """Share of the disturbed images that are classified correctly."""
        disturbed = ask(model, images, lambda pixels: disturb.disturb(pixels, kind, strength))
        return float((disturbed.argmax(1) == labels).mean())

    disturbed = {kind: [accuracy(kind, strength) for strength in disturb.STRENGTHS] for kind in disturb.KINDS}
    return {**evaluation.measure(ask(model, images), labels, classes), "disturbed_accuracy": disturbed}


def tables(metrics):
    """What was measured as Markdown."""
    counts, classes = np.array(metrics["confusion"]), metrics["classes"]
    lines = [f"Error {metrics['error']:.2%} on {metrics['pictures']:,} test pictures, cost {metrics['cost']:.4f}, "
             f"expected calibration error {metrics['calibration_error']:.4f} ({evaluation.BINS} intervals).", "",
             "| is, named | " + " | ".join(classes) + " | error |", "|---" * (len(classes) + 2) + "|"]
    for name, row, score in zip(classes, counts, report.scores(counts)):
        lines.append(f"| **{name}** | " + " | ".join(map(str, row)) + f" | {1 - score['recall']:.1%} |")
    lines += ["", "| accuracy | weak | medium | strong |", "|---|---|---|---|"]
    for kind, shares in metrics["disturbed_accuracy"].items():
        lines.append(f"| {kind} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)


@exit_status("end other programs")
def main(arguments=None):
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, default=infer.SHIPPED,
                        help="a folder that train.py wrote (default: the supplied model)")
    parser.add_argument("--data-file", help="a CIFAR-10 archive; without one it is downloaded")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    data = dataset.read("cifar10", given.data_file)
    model, _ = load_model(given.model_dir, "cpu")
    metrics = measure(model, data.test_images, data.test_labels, data.classes)
    print(tables(metrics))
    if given.json:
        with whole_file(given.json) as temporary:
            temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
