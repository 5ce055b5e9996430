"""Judge a trained model: `python evaluate.py`.

The model answers for all test images of a data set whose classes it knows. Printed are the error, overall and for each
class, the confusion matrix, and whether its probabilities can be trusted; the matrix and the worst mistakes are drawn
too. How that is measured: utils/evaluation/metrics.py; how it is printed: utils/evaluation/report.py.
"""
import sys

sys.path.insert(0, __file__.rpartition("evaluate.py")[0])  # PYTHONSAFEPATH leaves it out
from utils.start import prepare

prepare(__name__)  # before Paddle, which reads its flags while it is imported

import numpy as np

import infer
from utils import answers
from utils.data.batches import to_float
from utils.errors import exit_status, say, shown
from utils.evaluation import report
from utils.evaluation.metrics import measure, worst_mistakes
from utils.storage import saved_model

BATCH = 100  # images, few enough for the core's cache
MISTAKES = 30  # on the sheet of the worst


def load_model(model_dir, device="auto"):
    """As infer.load_model, on an executor that is faster on a CPU."""
    model, place = infer.load_model(model_dir, device)
    from utils.speed.executor import executor_on  # imports Paddle

    program = model.program.clone(for_test=True)  # marks each op as for a test, which a file does not
    return model._replace(program=program, executor=executor_on(model.executor.place)), place


def ask(model, images, change=lambda pixels: pixels):
    """Probabilities for uint8 images [N, 3, 32, 32], each batch changed before it is fed: [N, classes]."""
    return np.concatenate([infer.infer(model, np.ascontiguousarray(change(to_float(images[first:first + BATCH]))))
                           for first in range(0, len(images), BATCH)])


def opening(model_dir, description, data):
    """Two lines: which model is judged, on what."""
    note = f" ({data.note})" if data.note else ""
    return (f"Model: {answers.introduce(model_dir, description, infer.SHIPPED)}\n"
            f"Data: {shown(data.name)}, {len(data.test_labels):,} test images{shown(note)}")


@exit_status(out_of_memory="end other programs, or try --device cpu")
def main(arguments=None):
    """Judge as the command line asks -> exit status."""
    options = report.parse(arguments)
    model_dir = answers.choose_model(options.model_dir, infer.SHIPPED)
    description = saved_model.read_description(model_dir)  # at once, since data and Paddle take a while
    files = report.choose_files(options.output, model_dir)
    data = report.load_data(options, description, model_dir)
    labels = report.labels_for(data, description["classes"])
    if not options.json:
        say(opening(model_dir, description, data))
    model, place = load_model(model_dir, options.device)
    probabilities = ask(model, data.test_images)
    metrics = measure(probabilities, labels, description["classes"])
    mistakes = worst_mistakes(probabilities, labels, description["classes"], MISTAKES)
    if options.json:
        say(report.as_json(metrics, mistakes, files, description, data))
    else:
        say(f"Place: {place}\n\n{report.text(metrics)}")
    return report.draw(files, metrics, mistakes, data, is_quiet=options.json)


if __name__ == "__main__":
    sys.exit(main())
