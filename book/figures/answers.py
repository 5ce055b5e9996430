"""What the model that comes with the program answers on the drawn pictures: `python -m book.figures.answers`.

Writes answers.json beside the model, from which draw.py takes the answers in Figures 1 and 3: drawing needs no Paddle.
"""
import argparse
import json
import sys

import numpy as np

import infer
from benchmarks import disturb
from utils.data.cifar10 import CLASSES
from utils.errors import exit_status
from utils.storage.files import whole_file


def answers(model_dir):
    """The best class and its probability for each picture: {name: [class, probability]}."""
    import paddle

    paddle.enable_static()
    pixels = {name: infer.load_image(f"{name}.png") for name in CLASSES}
    pixels.update(disturb.small_examples(infer.HERE / "image" / "dog.png"))
    probabilities, description, _ = infer.answer(model_dir, "cpu", np.concatenate(list(pixels.values())))
    best = [infer.label(row, description["classes"], 1)[0] for row in probabilities]
    return {name: [label, round(share, 3)] for name, (label, share) in zip(pixels, best)}


@exit_status("end other programs")
def main(arguments=None):
    """Write the file anew."""
    argparse.ArgumentParser(prog="python -m book.figures.answers",
                            description="Write what the model answers on the drawn pictures.").parse_args(arguments)
    text = json.dumps(answers(infer.SHIPPED), indent=0) + "\n"
    with whole_file(infer.SHIPPED / "answers.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
