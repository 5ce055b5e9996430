"""Classify pictures with a trained model: `python infer.py dog.png`.

The order is the chapter's: read a picture, load the model, infer, label. The saved model is a
program with its weights, so models/ is not needed. Command line and output: utils/answers.py.
"""
import sys
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

sys.path.insert(0, __file__.rpartition("infer.py")[0])  # PYTHONSAFEPATH leaves it out
from utils.start import prepare

prepare(__name__)  # before Paddle, which reads its flags when load_model imports it

import numpy as np
from PIL import Image

from utils import answers
from utils.errors import exit_status
from utils.image_file import find, open_picture
from utils.place import choose_place
from utils.storage import saved_model

SHIPPED = Path(__file__).resolve().parent / "models" / "airbench_cifar10"
BATCH = 128


class Model(NamedTuple):
    """A loaded model: Paddle's program, what it is fed, what is fetched, and what runs it."""
    program: Any
    feed_names: list
    fetch_targets: list
    executor: Any
    scope: Any  # its variables are in a scope of its own: one process may load several models
    description: dict  # description.json: classes and more


def load_image(name: Union[str, Path]) -> np.ndarray:
    """Read a picture -> [1, 3, 32, 32] in [0, 1]; a bare name not found here is one of image/."""
    picture = open_picture(find(name))  # upright, RGB, transparent parts white
    picture = picture.resize((32, 32), Image.LANCZOS)
    pixels = np.asarray(picture, "float32") / 255  # [32, 32, 3]: height, width, color
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[np.newaxis]  # [1, 3, 32, 32]


def load_model(folder: Union[str, Path], device: str = "auto") -> tuple[Model, str]:
    """Load a saved model -> Model, and a line about where it runs.

    device: auto, cpu or gpu. Errors: UserError where the folder holds no model, or a damaged one.
    """
    description, files = saved_model.check(folder)  # before Paddle, which takes a while
    place, sentence = choose_place(device)
    import paddle

    paddle.enable_static()
    executor, scope = paddle.static.Executor(place), paddle.static.Scope()
    with saved_model.one_line(folder), paddle.static.scope_guard(scope):
        program, inputs, outputs = paddle.static.load_inference_model(None, executor, **files)
        model = Model(program, inputs, outputs, executor, scope, description)
        saved_model.try_out(lambda pixels: infer(model, pixels), description["classes"])
    return model, sentence


def infer(model: Model, pixels: np.ndarray) -> np.ndarray:
    """Class probabilities, a batch at a time: float32 [N, 3, 32, 32] in [0, 1] -> [N, classes]."""
    batches = []
    for first in range(0, len(pixels), BATCH):
        feed = {model.feed_names[0]: pixels[first:first + BATCH]}
        batches += model.executor.run(model.program, feed=feed, fetch_list=model.fetch_targets,
                                      scope=model.scope)
    return np.concatenate(batches)


def label(probabilities: np.ndarray, classes: list[str], top_k: int) -> list[tuple[str, float]]:
    """The `top_k` most likely classes of one picture, best first: pairs (name, probability)."""
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [(classes[i], float(probabilities[i])) for i in best]


@exit_status(out_of_memory="name fewer pictures at a time, or try --device cpu")
def main(arguments: Optional[list[str]] = None) -> int:
    """Answer the command line -> exit status: 0, or 2 where a picture could not be read."""
    options = answers.parse(arguments)
    model_dir = answers.choose_model(options.model_dir, SHIPPED)
    description = saved_model.read_description(model_dir)  # at once, since Paddle takes a while
    images, errors = answers.read_all(options.pictures, load_image)
    labels, place = {}, None
    if images:
        model, place = load_model(model_dir, options.device)
        probabilities = infer(model, np.concatenate(list(images.values())))  # [N, classes]
        for number, row in zip(images, probabilities):
            labels[number] = label(row, model.description["classes"], options.top_k)
    answers.show(options, labels, errors, description, place, model_dir, SHIPPED)
    return 2 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
