"""A test program made quick: each batch norm folded into the convolution before it, and what follows joined to it.

At a test a batch norm only scales and shifts each channel, by numbers that stay the same for the whole pass. Weights
and a bias that do so already spare it: w' = w * f, b' = beta + (b - mean) * f, with f = gamma / sqrt(variance +
epsilon). The sum with the shortcut and the relu are left to oneDNN, which does them as it writes the convolution's
result. Source: Jacob et al. 2018, section 3.2 (folding).
"""
from collections import namedtuple

import numpy as np

from utils.speed.edit import Edits

SUFFIX = ".folded"  # of the new variables' names
# A convolution and its batch norm, as names of their variables (bias: may be None), and the norm's epsilon.
Fold = namedtuple("Fold", "weights bias gamma beta mean variance epsilon")


def fold(program, probabilities):
    """The part of a test program that makes `probabilities`, folded: (program, list of Fold).

    It runs on a CPU with oneDNN and works with the variables that `values` gives. The given program is left alone.
    """
    program = program._prune([probabilities.name])
    edits = Edits(program.global_block())
    edits.removed.update(op for op in edits.ops if op.type in ("feed", "fetch"))  # of a model that was loaded
    folds = [fold_norm(edits, op) for op in edits.ops if op.type == "conv2d"]
    edits.make()
    join(program.global_block())
    return program, [done for done in folds if done]


def values(folds, state):
    """What the folded program works with, {name: array}, from what the program works with that it was made of."""
    new = dict(state)
    with np.errstate(all="ignore"):  # of weights that have diverged; the loss will tell
        for one in folds:
            factor = state[one.gamma] / np.sqrt(state[one.variance] + np.float32(one.epsilon))
            bias = state[one.bias] if one.bias else 0
            new[one.weights + SUFFIX] = state[one.weights] * factor[:, None, None, None]
            new[one.beta + SUFFIX] = state[one.beta] + (bias - state[one.mean]) * factor
    return new


def fold_norm(edits, convolution):
    """Put one convolution in the place of a convolution, its bias and the batch norm; None where there is no norm."""
    block, add, bias, norm = edits.block, None, None, edits.only_reader(convolution.output("Output")[0])
    if norm is not None and norm.type == "elementwise_add" and block.var(norm.input("Y")[0]).persistable:
        add, bias = norm, norm.input("Y")[0]
        norm = edits.only_reader(add.output("Out")[0])
    if norm is None or norm.type != "batch_norm":
        return None
    names = [norm.input(slot)[0] for slot in ("Scale", "Bias", "Mean", "Variance")]
    done = Fold(convolution.input("Filter")[0], bias, *names, norm.attr("epsilon"))
    for name in (done.weights, done.beta):
        old = block.var(name)
        block.create_var(name=name + SUFFIX, shape=old.shape, dtype=old.dtype, persistable=True)
    same = {name: convolution.attr(name) for name in ("strides", "paddings", "dilations", "groups",
                                                      "padding_algorithm", "data_format")}
    edits.insert(
        edits.before[convolution], type="fused_conv2d", outputs={"Output": norm.output("Y")}, attrs=same,
        inputs={"Input": convolution.input("Input"), "Filter": [done.weights + SUFFIX], "Bias": [done.beta + SUFFIX]})
    edits.removed.update((convolution, add, norm))
    return done


def join(block):
    """Have the folded convolutions do the sums and the relus that follow them, where they can."""
    edits, results = Edits(block), set()
    place = {op: number for number, op in enumerate(edits.ops)}
    for op in edits.ops:
        if op.type == "fused_conv2d":
            join_sum(edits, op, results, place)
            relu = edits.only_reader(op.output("Output")[0])
            if relu is not None and relu.type == "relu":
                op._set_attr("fuse_activation", "relu")
                op.desc.set_output("Output", relu.output("Out"))
                edits.removed.add(relu)
            results.update(op.output("Output"))
    edits.make()


def join_sum(edits, convolution, results, place):
    """Have a convolution add the other term of a sum to its result.

    It writes over that term, which therefore has to be a convolution's result as well, and not be used by others later.
    results: what the folded convolutions before this one write; place: {op: its number}
    """
    block, result = edits.block, convolution.output("Output")[0]
    add = edits.only_reader(result)
    if add is None or add.type != "elementwise_add":
        return
    other, = [name for name in add.input_arg_names if name != result]
    is_used = any(place[op] >= place[convolution] for op in edits.readers[other] if op is not add)
    if other in results and not is_used and block.var(other).shape == block.var(result).shape:
        convolution.desc.set_input("ResidualData", [other])
        convolution._set_attr("fuse_residual_connection", True)
        convolution.desc.set_output("Output", add.output("Out"))
        edits.removed.add(add)
