"""A test program made quick: each batch norm folded into the convolution before it, and what follows joined to it.

At a test a batch norm only scales and shifts each channel, by numbers that stay the same for the whole pass. Weights
and a bias that already do so make it needless: w' = w * f, b' = beta + (b - mean) * f, with f = gamma / sqrt(variance +
epsilon). The sum with the shortcut and the activation are left to oneDNN, which does them as it writes the
convolution's result. Source: Jacob et al. 2018, section 3.2 (folding).
"""
from collections import namedtuple

import numpy as np

from utils.speed.edit import Edits

ACTIVATIONS = {"relu": "relu", "gelu": "gelu_erf"}  # Paddle's and oneDNN's names
KEPT = ("strides", "paddings", "dilations", "groups", "padding_algorithm", "data_format")  # of a convolution
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
    """The folded program's variables, {name: array}, from those of the program that it was made from."""
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
    block, weights, result = edits.block, convolution.input("Filter")[0], convolution.output("Output")[0]
    inputs, bias, done = {"Input": convolution.input("Input"), "Filter": [weights]}, None, None
    reader = edits.only_reader(result)
    if reader is not None and is_bias(block, reader, block.var(weights).shape[:1]):
        bias, result = reader.input("Y")[0], reader.output("Out")[0]
        inputs["Bias"] = [bias]
        edits.removed.add(reader)
        reader = edits.only_reader(result)
    if reader is not None and reader.type == "batch_norm" and not block.has_var(weights + SUFFIX):  # no shared weights
        names = [reader.input(slot)[0] for slot in ("Scale", "Bias", "Mean", "Variance")]
        done, result = Fold(weights, bias, *names, reader.attr("epsilon")), reader.output("Y")[0]
        for slot, name in (("Filter", done.weights), ("Bias", done.beta)):
            old, inputs[slot] = block.var(name), [name + SUFFIX]
            block.create_var(name=name + SUFFIX, shape=old.shape, dtype=old.dtype, persistable=True)
        edits.removed.add(reader)
    edits.insert(edits.before[convolution], type="fused_conv2d", inputs=inputs, outputs={"Output": [result]},
                 attrs={name: convolution.attr(name) for name in KEPT})
    edits.removed.add(convolution)
    return done


def is_bias(block, op, shape):
    """Whether an op adds a parameter of this shape, [C], to the channels of a map."""
    adds = op.type == "elementwise_add" and op.attr("axis") == 1 and block.var(op.input("Y")[0])
    return bool(adds and adds.persistable and adds.shape == shape)


def join(block):
    """Have the new convolutions do the sums and the activations that follow them, where they can."""
    edits, results = Edits(block), set()
    place = {op: number for number, op in enumerate(edits.ops)}
    for op in edits.ops:
        if op.type == "fused_conv2d":
            join_sum(edits, op, results, place)
            reader = edits.only_reader(op.output("Output")[0])
            if reader is not None and reader.type in ACTIVATIONS and not reader.all_attrs().get("approximate"):
                op._set_attr("fuse_activation", ACTIVATIONS[reader.type])
                op.desc.set_output("Output", reader.output("Out"))
                edits.removed.add(reader)
            results.update(op.output("Output"))
    edits.make()


def join_sum(edits, convolution, results, place):
    """Have a convolution add the other term of a sum to its result.

    It writes over that term, which therefore has to be a convolution's result as well, and not be used by others later.
    results: what the new convolutions before this one write; place: {op: its number}
    """
    block, result = edits.block, convolution.output("Output")[0]
    add = edits.only_reader(result)
    if add is None or add.type != "elementwise_add" or len({*add.input_arg_names}) != 2:  # y + y has one
        return
    other, = {*add.input_arg_names} - {result}
    is_used = any(place[op] >= place[convolution] for op in edits.readers[other] if op is not add)
    if other in results and not is_used and block.var(other).shape == block.var(result).shape:
        convolution.desc.set_input("ResidualData", [other])
        convolution._set_attr("fuse_residual_connection", True)
        convolution.desc.set_output("Output", add.output("Out"))
        edits.removed.add(add)
