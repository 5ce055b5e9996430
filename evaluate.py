"""Judge a trained model: `python evaluate.py`.

The model is asked about all test images of a data set that it knows the classes of. Printed are the error, overall and
for each class, the confusion matrix, and whether its probabilities can be trusted; the matrix and the worst mistakes
are drawn too. How that is measured: utils/evaluation/metrics.py; how it is told: utils/evaluation/report.py.
"""
import sys

from utils.prepare import prepare

prepare(__name__)  # before Paddle, which reads its flags while it is imported

import numpy as np

import infer
from utils import answers
from utils.data.batches import to_float
from utils.errors import exit_status, say
from utils.evaluation import report
from utils.evaluation.metrics import measure, worst_mistakes
from utils.speed import cpu
from utils.storage import saved_model

BATCH = 100  # images, few enough for the core's cache
MISTAKES = 30  # on the sheet of the worst


def forward_of(model):
    """The quickest way through a loaded model: pixels [N, 3, 32, 32] in [0, 1] -> probabilities [N, classes]."""
    import paddle

    place = model.executor.place
    if isinstance(place, paddle.CPUPlace):
        take_weights = cpu.forward(model.program, model.fetch_targets[0], place, model.scope)
        if take_weights:
            return take_weights()
    return lambda pixels: infer.infer(model, pixels)


def ask(forward, images, change=lambda pixels: pixels):
    """Ask about uint8 images [N, 3, 32, 32], each batch changed before it is fed -> probabilities [N, classes]."""
    return np.concatenate([forward(np.ascontiguousarray(change(to_float(images[i:i + BATCH]))))
                           for i in range(0, len(images), BATCH)])


def load_and_ask(model_dir, device, images, checked=None):
    """Load the model and ask it about all images -> probabilities [N, classes], and a line about where it ran."""
    model, sentence = infer.load_model(model_dir, device, checked)
    return ask(forward_of(model), images), sentence


@exit_status(out_of_memory="end other programs, or try --device cpu")
def main(arguments=None):
    """Judge as the command line asks -> exit status."""
    options = report.parse(arguments)
    with answers.errors_as_json(options.json):
        model_dir = answers.choose_model(options.model_dir, infer.SHIPPED)
        checked = saved_model.check(model_dir)
        description, classes = checked.description, checked.description["classes"]
        target = report.make_output(options.output, model_dir)
        data = report.load_data(options, description)
        labels = report.labels_for(data, classes)
        if not options.json:
            say(report.opening(model_dir, description, infer.SHIPPED, data))
        probabilities, sentence = answers.in_child(
            load_and_ask, model_dir, options.device, data.test_images, checked)
        metrics = measure(probabilities, labels, classes)
        mistakes = worst_mistakes(probabilities, labels, classes, MISTAKES)
        files = report.draw(target, metrics, mistakes, data)
        if options.json:
            report.print_json(metrics, mistakes, files, description, data)
        else:
            say(f"Place: {sentence}\n\n{report.text(metrics)}\n\n{report.where(files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
