"""The table of what the networks cost, computed from the programs that they build.

    python -m benchmarks.model_table
"""
import argparse

from utils import flags

flags.set_flags()  # before Paddle is imported, which reads them then

import paddle

import models
from benchmarks.cost import cost

ROWS = [("ResNet-20", "resnet", 20), ("ResNet-32", "resnet", 32), ("ResNet-44", "resnet", 44),
        ("ResNet-56", "resnet", 56), ("ResNet-110", "resnet", 110), ("VGG", "vgg", None),
        ("GoogLeNet", "googlenet", None)]


def rows(title, name, depth):
    """The network's line of the table; a second one where training has auxiliary classifiers."""
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()), paddle.utils.unique_name.guard():
        image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        probabilities, auxiliaries = models.build(name, image, depth)
    costs = {title: cost(program, [probabilities])}
    if auxiliaries:
        costs[title + " with its auxiliary classifiers"] = cost(program, [probabilities, *auxiliaries])
    return [f"| {label} | {parameters:,} | {products / 1e6:.1f} million |"
            for label, (parameters, products) in costs.items()]


def main():
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    paddle.enable_static()
    print("| Network | Trainable parameters | Multiply-adds a picture |")
    print("|---|---:|---:|")
    for columns in ROWS:
        print("\n".join(rows(*columns)))


if __name__ == "__main__":
    main()
