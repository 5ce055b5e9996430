"""Name pictures with a trained model: `python infer.py dog.png`.

The order is the chapter's: read a picture, load the model, infer, label. Nothing of models/ or of
train.py is needed, since the saved model is a program with its weights.
The command line, which model answers, what is printed: utils/answers.py; a look inside: utils/inside/.
"""
import os
import sys
from pathlib import Path

from utils.prepare import prepare

prepare(__name__)  # before Paddle, which reads its flags when choose_place imports it

import numpy as np

from utils import answers
from utils.errors import exit_status
from utils.image_file import read_picture
from utils.place import choose_place
from utils.storage import saved_model

HERE = Path(__file__).resolve().parent
SHIPPED = HERE / "models" / "airbench_cifar10"
BATCH = 128


def load_image(name):
    """Read a picture -> [1, 3, 32, 32] in [0, 1]; a bare name not found here is one of image/."""
    drawn = HERE / "image" / name
    if os.path.basename(name) == name and not os.path.exists(name) and os.path.isfile(drawn):
        return read_picture(drawn)
    return read_picture(name)


def load_model(model_dir, device, checked=None):
    """Load the program with its weights -> the model, and a line about where it runs.

    device: auto, cpu or gpu; checked: what saved_model.check returned, if it was called before.
    """
    place, sentence = choose_place(device)
    return saved_model.load(model_dir, place, checked), sentence


def infer(model, pixels):
    """Class probabilities: the pixels are fed to the program, the probabilities fetched from it.

    pixels: [N, 3, 32, 32] in [0, 1] -> [N, classes]
    """
    results = model.executor.run(model.program, feed={model.feed_names[0]: pixels},
                                 fetch_list=model.fetch_targets, scope=model.scope)
    return results[0]


def label(probabilities, classes, top_k):
    """The `top_k` most likely classes of one picture, best first: pairs (name, probability)."""
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [(classes[i], float(probabilities[i])) for i in best]


def answer(model_dir, device, pixels, checked=None, look=None):
    """Load the model and run it on any number of pictures, a batch at a time.

    pixels: [N, 3, 32, 32] -> probabilities [N, classes], the model's description, where it ran
    look: called with the model, the pixels and the probabilities, to look inside
    """
    model, sentence = load_model(model_dir, device, checked)
    batches = [infer(model, pixels[i:i + BATCH]) for i in range(0, len(pixels), BATCH)]
    probabilities = np.concatenate(batches)
    if look:
        look(model, pixels, probabilities)
    return probabilities, model.description, sentence


@exit_status(out_of_memory="name fewer pictures at a time, or try --device cpu")
def main(arguments=None):
    """Answer the command line -> exit status: 0, or 2 where something could not be answered."""
    options = answers.parse(arguments)
    with answers.errors_as_json(options.json):
        model_dir = answers.choose_model(options.model_dir, SHIPPED)
        checked = saved_model.check(model_dir)  # needs no Paddle, so a mistake is told at once
        images, errors = answers.read_all(options.pictures, load_image)
        look = answers.look_inside(options, images)
        labels, description, sentence = {}, checked.description, None
        if images:
            pixels = np.concatenate(list(images.values()))
            probabilities, description, sentence = answers.in_child(
                answer, model_dir, options.device, pixels, checked, look)
            for number, row in zip(images, probabilities):
                labels[number] = label(row, description["classes"], options.top_k)
    if options.json:
        answers.print_json(options.pictures, labels, errors, description)
    elif labels:
        model = answers.introduce(model_dir, description, SHIPPED)
        answers.print_text(options, labels, f"Model: {model}\nPlace: {sentence}")
    return 2 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
