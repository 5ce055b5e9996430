"""Dropout with masks that NumPy draws, 16 bits a number; drawing them is 9% of a step of VGG where Paddle does it.

An element is dropped with the probability asked for, to 1 in 65,536, independently of the others; the random numbers
are not Paddle's, but follow from `paddle.seed`, as Paddle's do.
"""
import math

import numpy as np
import paddle

from utils.speed.edit import Edits

NUMBERS = 1 << 16  # different random numbers


def draw_quickly(program):
    """Have a training program's dropouts, of which there are some, take masks that are drawn at the start of a step."""
    block = program.global_block()
    dropouts = [op for op in block.ops if op.type == "dropout"]
    edits = Edits(block)
    kinds = [(math.prod(block.var(op.input("X")[0]).shape[1:]), op.attr("dropout_prob")) for op in dropouts]
    with paddle.static.program_guard(program):
        seed = paddle.randint(0, 2 ** 31 - 1, [1])
        paddle.static.py_func(lambda pixels, seed: masks(pixels.shape()[0], kinds, np.array(seed)),
                              [block.var("pixel"), seed], [block.var(op.output("Mask")[0]) for op in dropouts])
    edits.before[edits.ops[0]] += block.ops[len(edits.ops):]
    for op in dropouts:  # each becomes its own gradient, which does the same to what it is given, but reads its mask
        desc, x, out, kept = op.desc, op.input("X"), op.output("Out"), op.output("Mask")
        desc.set_type("dropout_grad")
        for name in op.input_names:
            desc.remove_input(name)
        for name in op.output_names:
            desc.remove_output(name)
        desc.set_input("Out@GRAD", x)
        desc.set_input("Mask", kept)
        desc.set_output("X@GRAD", out)
    edits.make()


def masks(count, kinds, seed):
    """A mask for each pair (elements of an image, probability of dropping one): uint8 [count * elements], 1 to keep."""
    rng = np.random.Generator(np.random.SFC64(seed))
    drawn = []
    for size, probability in kinds:
        words = rng.integers(0, 2 ** 64 - 1, -(-count * size // 4), np.uint64, endpoint=True)
        drawn.append((words.view(np.uint16)[:count * size] >= round(probability * NUMBERS)).view(np.uint8))
    return drawn
