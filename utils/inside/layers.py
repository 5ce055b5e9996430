"""Where to look inside a saved model: its layers, found in its program by what they do, not by their names.

A program may take each picture's mirrored copy besides, as N more rows of its batch. What is read here is the first N
rows, the pictures as they are.
"""
from collections import deque
from typing import Any, NamedTuple

import numpy as np

BATCH = 128
ENDS = ("feed", "fetch")
RESHAPES = ("flatten_contiguous_range", "reshape2", "squeeze2", "unsqueeze2", "transpose2")
PRODUCTS = ("mul", "matmul", "matmul_v2")
# What makes maps worth seeing: activations, of which some are written as a product, and joined paths.
FINISHES = ("relu", "leaky_relu", "gelu", "silu", "elementwise_mul", "concat")


class Layers(NamedTuple):
    """Names of a program's variables, in the order in which a picture meets them; None for what is not there."""

    kernels: str  # of the first convolution: [C, 3, k, k]
    first: str  # its feature maps, after normalization and activation: [N, C, H, W]
    stages: list  # of each size of feature maps the last ones after an activation, from large to small
    maps: str  # the last feature maps of all
    features: str  # what the last fully connected layer reads
    score: str  # what the first softmax after that reads: [N, classes]


class Opened(NamedTuple):
    """A program of which every variable can be fetched, and what it takes to run it."""

    program: Any
    layers: Layers
    input: str
    executor: Any
    scope: Any

    def run(self, feed, names):
        """Values of these variables for one batch, all rows."""
        return self.executor.run(self.program, feed=feed, fetch_list=names, scope=self.scope)


def open_up(model):
    """A loaded model (utils.storage.saved_model), copied without the ops that fix what is fed and fetched -> Opened."""
    program = model.program.clone()
    block = program.global_block()
    for op in [op for op in block.ops if op.type in ENDS]:
        block._remove_op(block.ops.index(op))
    for op in list(block.ops):
        if op.type == "dropout":
            scale_instead(block, op)
        elif op.type in RESHAPES and "XShape" not in op.output_names:
            keep_shape(block, op)
    layers = find(block, model.fetch_targets[0].name)
    return Opened(program, layers, model.feed_names[0], model.executor, model.scope)


def scale_instead(block, dropout):
    """Put what a dropout does in a test, scaling alone, in its place: a saved one has no gradient."""
    shrinks = dropout.attr("dropout_implementation") == "downgrade_in_infer"
    factor = 1 - dropout.attr("dropout_prob") if shrinks else 1.0
    block._insert_op(block.ops.index(dropout), type="scale", inputs={"X": dropout.input("X")},
                     outputs={"Out": dropout.output("Out")}, attrs={"scale": factor, "bias": 0.0})
    block._remove_op(block.ops.index(dropout))


def keep_shape(block, reshape):
    """Give an op back the second result that its gradient needs and a saved program omits."""
    kept = block.create_var(name=f"{reshape.output('Out')[0]}.inside.shape", dtype="float32")
    reshape.desc.set_output("XShape", [kept.name])


def fetch(opened, pixels, names):
    """Values of these variables for any number of pictures: [N, 3, 32, 32] -> arrays [N, ...]."""
    batches = []
    for part in batches_of(pixels):
        batches.append([values[:len(part)] for values in opened.run({opened.input: part}, names)])
    return [np.concatenate(arrays) for arrays in zip(*batches)]


def batches_of(array):
    """Cut an array into parts of at most `BATCH` rows."""
    return [array[start:start + BATCH] for start in range(0, len(array), BATCH)]


def find(block, probabilities):
    """The layers of a block of ops that makes the variable `probabilities` -> Layers.

    The probabilities may be softened by a second softmax, and be means; scores are those of the first.
    """
    made_by = sources(block, probabilities)
    product = next((op for op in made_by if is_fully_connected(block, op)), None)
    features = product.input("X")[0] if product else None
    after = block.ops[block.ops.index(product):] if product else []
    softmax = next((op for op in after if op.type == "softmax" and op in made_by), None)
    score = softmax.input("X")[0] if softmax else None
    nearest = sources(block, features)
    ordered = [op for op in block.ops if op in nearest]
    first = next((op for op in ordered if op.type == "conv2d"), None)
    if first is None or score is None:
        return Layers(None, None, [], None, features, score)
    finished = [op for op in ordered[ordered.index(first):] if op.type in FINISHES and area(block, op) > 1]
    last_of_size = {area(block, op): output_of(op) for op in finished}
    last = next(op for op in nearest if area(block, op) > 1)
    return Layers(first.input("Filter")[0], output_of((finished or [first])[0]), list(last_of_size.values()),
                  output_of(last), features, score)


def sources(block, name):
    """The ops that make a variable, directly or by way of others, the nearest first; none for no variable."""
    makers = {output: op for op in block.ops for output in op.output_arg_names}
    found, left = [], deque([name])
    while left:
        op = makers.get(left.popleft())
        if op is not None and op not in found:
            found.append(op)
            left.extend(op.input_arg_names)
    return found


def is_fully_connected(block, op):
    """Whether an op multiplies by weights of the model."""
    return op.type in PRODUCTS and block.var(op.input("Y")[0]).persistable


def output_of(op):
    """Name of an op's result, not of what it keeps for its gradient."""
    slots = [slot for slot in ("Out", "Output", "Y") if slot in op.output_names and op.output(slot)]
    return op.output(slots[0])[0] if slots else None


def area(block, op):
    """Height times width of the feature maps that an op makes; 0 where it makes none."""
    name = output_of(op)
    shape = block.var(name).shape if name else ()
    return shape[2] * shape[3] if len(shape) == 4 else 0
