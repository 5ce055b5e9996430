"""What models answer on the drawn pictures, for draw.py, which then needs no Paddle: `python -m book.figures.answers`.

Writes what the supplied model answers, in Figures 1 and 3, to answers.json next to that model. With
`--flowers`, what a model trained on the pictures of `python -m book.flowers` answers in Figure 2, to flowers.json here.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import infer
from book import disturb, flowers
from book.figures.draw import FLOWERS
from utils.data import folder
from utils.data.cifar10 import CLASSES
from utils.errors import exit_status
from utils.storage.files import whole_file


def answers(model_dir):
    """The best class and its probability for each picture: {name: [class, probability]}."""
    import paddle

    paddle.enable_static()
    pixels = {name: infer.load_image(f"{name}.png") for name in CLASSES}
    pixels.update(disturb.small_examples(infer.SHIPPED.parents[1] / "image" / "dog.png"))
    model, _ = infer.load_model(model_dir, "cpu")
    probabilities = infer.infer(model, np.concatenate(list(pixels.values())))
    best = [infer.label(row, model.description["classes"], 1)[0] for row in probabilities]
    return {name: [label, round(share, 4)] for name, (label, share) in zip(pixels, best)}


def flower_answers(model_dir, each=2):
    """The same for the first flowers of each kind that are held out to test on: {kind: [[number, class, probability]]}.

    The model gets them as `train.py --data-dir` reads them from the files that `python -m book.flowers` writes.
    """
    import paddle

    paddle.enable_static()
    numbers = [number for number in range(100) if folder.is_held_out(f"{number:04}.jpg")][:each]
    asked = [(kind.name, number) for kind in flowers.KINDS for number in numbers]
    with tempfile.TemporaryDirectory() as drawn:
        flowers.draw_all(Path(drawn), numbers[-1] + 1)
        pixels = np.concatenate([infer.load_image(f"{drawn}/{name}/{number:04}.jpg") for name, number in asked])
    model, _ = infer.load_model(model_dir, "cpu")
    found = {kind.name: [] for kind in flowers.KINDS}
    for (name, number), row in zip(asked, infer.infer(model, pixels)):
        answered, share = infer.label(row, model.description["classes"], 1)[0]
        found[name].append([number, answered, round(share, 4)])
    return found


@exit_status("end other programs")
def main(arguments=None):
    """Write one of the files again."""
    parser = argparse.ArgumentParser(prog="python -m book.figures.answers",
                                     description="Write what a model answers on the drawn pictures.")
    parser.add_argument("--flowers", type=Path, metavar="MODEL_DIR",
                        help="ask this model, trained on drawn flowers, about flowers (default: the model that comes "
                             "with the program about the pictures in image/)")
    given = parser.parse_args(arguments)
    target, found = ((FLOWERS, flower_answers(given.flowers)) if given.flowers
                     else (infer.SHIPPED / "answers.json", answers(infer.SHIPPED)))
    with whole_file(target) as temporary:
        temporary.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
