"""What the model that comes with the program answers on the drawn pictures: `python image/answers.py`.

Writes answers.json beside the model, from which draw.py takes the answers in figures 1 and 3, so that drawing needs no Paddle.
"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import infer  # noqa: E402  prepares the engine
import numpy as np  # noqa: E402

from benchmarks import disturb  # noqa: E402
from utils.data.cifar10 import CLASSES  # noqa: E402


def answers(model_dir):
    """The best class and its probability for each picture: {name: [class, probability]}."""
    import paddle

    paddle.enable_static()
    pixels = {name: infer.load_image(f"{name}.png") for name in CLASSES}
    pixels.update(disturb.small_examples(HERE / "dog.png"))
    probabilities, description, _ = infer.answer(model_dir, "cpu", np.concatenate(list(pixels.values())))
    best = [infer.label(row, description["classes"], 1)[0] for row in probabilities]
    return {name: [label, round(share, 3)] for name, (label, share) in zip(pixels, best)}


def main():
    text = json.dumps(answers(infer.SHIPPED), indent=0) + "\n"
    (infer.SHIPPED / "answers.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
