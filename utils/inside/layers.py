"""Where to look inside a saved model: its layers, found in its program by what they do, not by their names.

A program may add each picture's mirrored copy, as N more rows of its batch. What is read here is the first N rows.
"""
from collections import deque
from typing import Any, NamedTuple

import numpy as np

BATCH = 128
RESHAPES = ("flatten_contiguous_range", "reshape2", "squeeze2", "unsqueeze2", "transpose2")
PRODUCTS = ("mul", "matmul", "matmul_v2")
# What makes maps worth seeing: activations, of which some are written as a product, and joined paths.
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "elementwise_mul", "concat")


class Layers(NamedTuple):
    """Names of a program's variables, from the input to the output; None for what is not there."""
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
    """A loaded model (infer.Model), copied without the ops that fix what is fed and fetched -> Opened."""
    program = model.program.clone()
    block = program.global_block()
    for op in list(block.ops):
        if op.type in ("feed", "fetch"):
            block._remove_op(block.ops.index(op))
        elif op.type == "dropout":
            scale_instead(block, op)
        elif op.type in RESHAPES and "XShape" not in op.output_names:  # which a saved program omits, for the gradient
            shape = block.create_var(name=f"{op.output('Out')[0]}.inside.shape", dtype="float32")
            op.desc.set_output("XShape", [shape.name])
    layers = find_layers(block, model.fetch_targets[0].name)
    return Opened(program, layers, model.feed_names[0], model.executor, model.scope)


def scale_instead(block, dropout):
    """Replace a dropout by what it does in a test, scaling: a saved one has no gradient."""
    shrinks = dropout.attr("dropout_implementation") == "downgrade_in_infer"
    factor = 1 - dropout.attr("dropout_prob") if shrinks else 1.0
    block._insert_op(block.ops.index(dropout), type="scale", inputs={"X": dropout.input("X")},
                     outputs={"Out": dropout.output("Out")}, attrs={"scale": factor, "bias": 0.0})
    block._remove_op(block.ops.index(dropout))


def fetch(opened, pixels, names):
    """Values of these variables for any number of pictures: [N, 3, 32, 32] -> arrays [N, ...]."""
    batches = []
    for first in range(0, len(pixels), BATCH):
        batch = pixels[first:first + BATCH]
        batches.append([values[:len(batch)] for values in opened.run({opened.input: batch}, names)])
    return [np.concatenate(arrays) for arrays in zip(*batches)]


def find_layers(block, probabilities):
    """The layers of a block of ops that computes the variable `probabilities` -> Layers.

    The probabilities may be softened by a second softmax, and be means; scores are those of the first.
    """
    ancestors = ops_before(block, probabilities)
    product = next((op for op in ancestors if op.type in PRODUCTS and block.var(op.input("Y")[0]).persistable), None)
    if product is None:
        return Layers(None, None, [], None, None, None)
    features = product.input("X")[0]
    later = block.ops[block.ops.index(product):]
    softmax = next((op for op in later if op.type == "softmax" and op in ancestors), None)
    score = softmax.input("X")[0] if softmax else None
    nearest = ops_before(block, features)
    ordered = [op for op in block.ops if op in nearest]
    convolution = next((op for op in ordered if op.type == "conv2d"), None)
    if convolution is None or score is None:
        return Layers(None, None, [], None, features, score)
    active = [op for op in ordered[ordered.index(convolution):] if op.type in ACTIVATIONS and area(block, op) > 1]
    last_of_size = {area(block, op): output_of(op) for op in active}
    last = next(op for op in nearest if area(block, op) > 1)
    return Layers(convolution.input("Filter")[0], output_of((active or [convolution])[0]), list(last_of_size.values()),
                  output_of(last), features, score)


def ops_before(block, name):
    """The ops from which a variable is computed, directly or by way of others, the nearest first."""
    writers = {output: op for op in block.ops for output in op.output_arg_names}
    ops, names = [], deque([name])
    while names:
        op = writers.get(names.popleft())
        if op is not None and op not in ops:
            ops.append(op)
            names.extend(op.input_arg_names)
    return ops


def output_of(op):
    """Name of an op's result, not of what it stores for its gradient."""
    return next((op.output(slot)[0] for slot in ("Out", "Output", "Y") if slot in op.output_names and op.output(slot)),
                None)


def area(block, op):
    """Height times width of the feature maps that an op computes; 0 where it computes none."""
    name = output_of(op)
    shape = block.var(name).shape if name else ()
    return shape[2] * shape[3] if len(shape) == 4 else 0
