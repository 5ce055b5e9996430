"""A program turned from [N, C, H, W] to [N, H, W, C], the order in which oneDNN convolves.

In the network's own order each convolution on oneDNN stands between two reorderings of its whole input and output,
which together cost half as much as the convolutions. With the channels last Paddle's tensors are in oneDNN's order
already, and batch normalization may join the convolutions there. Weights keep their order, so checkpoints, the test
program and exported models know nothing of this.
"""
import math

import numpy as np
import paddle

from utils.speed.edit import FIRST_TO_LAST, LAST_TO_FIRST, Edits, insert, transpose_output

CHANNELS = {"conv2d": "data_format", "fused_conv2d": "data_format", "pool2d": "data_format",
            "batch_norm": "data_layout"}  # where an op says the order
AXIS = ("concat", "elementwise_add")  # ops that may name the axis of the channels: 1, and now 3
ANY_ORDER = ("relu", "gelu", "sum", "dropout")  # element by element


def kind(op):
    """The op's type, the same for forward and backward."""
    return op.type.removesuffix("_grad")


def turn(program):
    """Turn a training or folded test program; returns False, and leaves it, when it has an op that is not known here.

    Its convolutions have to run on oneDNN, forward and backward. Paddle remembers the order for each thread, so
    programs in both orders on oneDNN cannot take turns in one.
    """
    block = program.global_block()
    fed, ops = find_maps(block)
    if not fed or not all(is_known(block, op) for op in ops):
        return False
    omit_biases(block)
    pass_sums_on(block)
    fed, ops = find_maps(block)  # without the ops that these removed
    edits = Edits(block)
    for op in ops:
        if kind(op) in CHANNELS:
            op._set_attr(CHANNELS[kind(op)], "NHWC")
        elif kind(op) in AXIS and op.attr("axis") == 1:
            op._set_attr("axis", 3)
        elif op.type == "flip":
            op._set_attr("axis", [FIRST_TO_LAST.index(axis) for axis in op.attr("axis")])
    for name in fed:
        insert(edits, edits.before[edits.ops[0]], "transpose2", name, name + ".channels_last", axis=FIRST_TO_LAST)
        for reader in edits.readers[name]:
            reader._rename_input(name, name + ".channels_last")
    flatten_as_before(edits, [op for op in ops if kind(op) == "mul"])
    for op in [op for op in ops if op.type == "conv2d_grad"]:
        # Paddle hands a weight's gradient back as [out, h, w, in], as if it were a picture too: put it right.
        transpose_output(edits, op, op.output("Filter@GRAD")[0], LAST_TO_FIRST)
        convolve_backwards(edits, op)
    edits.make()
    return True


def is_known(block, op):
    """Whether `turn` knows an op on maps; of sums those of two maps, of a map with a number, or with one a channel."""
    if kind(op) != "elementwise_add" or op.attr("axis") == 1:
        return kind(op) in (*CHANNELS, *AXIS, *ANY_ORDER, "flip", "mul")
    term = block.var(op.input("Y")[0])
    return math.prod(term.shape) == 1 or len(term.shape) == 4 and not term.persistable


def flatten_as_before(edits, ops):
    """Give the fully connected layers among `ops` their maps, which they flatten, with the channels first."""
    for op in ops:
        if op.type == "mul":
            maps = op.input("X")[0]
            insert(edits, edits.before[op], "transpose2", maps, maps + ".channels_first", axis=LAST_TO_FIRST)
            for reader in ops:  # its gradient too
                reader._rename_input(maps, maps + ".channels_first")
        else:
            transpose_output(edits, op, op.output("X@GRAD")[0], FIRST_TO_LAST)


def find_maps(block):
    """What has [N, C, H, W]: (names of the maps that are fed, the ops that read or write any map or its gradient)."""
    def is_map(name):
        variable = block.vars.get(name)
        return variable is not None and len(variable.shape) == 4 and not variable.persistable

    made = {name for op in block.ops for name in op.output_arg_names}
    fed = {name for op in block.ops for name in op.input_arg_names if name not in made and is_map(name)}
    maps, ops = set(fed), []
    for op in block.ops:
        if any(name.split("@")[0] in maps for name in op.input_arg_names + op.output_arg_names):
            ops.append(op)
            maps.update(name for name in op.output_arg_names if "@" not in name and is_map(name))
    return fed, ops


def omit_biases(block):
    """Neither add the biases in front of batch norm to the maps, nor compute their gradients.

    The norm subtracts such a bias again with the mean, so all that the bias does is move the running mean: instead, the
    running mean is updated without it. Its gradient is zero up to rounding, so Adam would move it at random;
    here the bias keeps its value. (Frozen statistics do not subtract it, so there the biases stay.)
    """
    edits, maker = Edits(block), {name: op for op in block.ops for name in op.output_arg_names}
    for norm in [op for op in block.ops if op.type == "batch_norm" and not op.attr("use_global_stats")]:
        add = maker.get(norm.input("X")[0])
        convolution = maker.get(add.input("X")[0]) if add is not None and add.type == "elementwise_add" else None
        if convolution is None or convolution.type != "conv2d":
            continue
        total, bias, mean = add.output("Out")[0], add.input("Y")[0], norm.input("Mean")[0]
        convolution.desc.set_output("Output", [total])
        for place, kind_of_step in ((edits.before[norm], "elementwise_sub"), (edits.after[norm], "elementwise_add")):
            edits.insert(place, type=kind_of_step, inputs={"X": [mean], "Y": [bias]}, outputs={"Out": [mean]},
                         attrs={"axis": -1})
        add_grad = edits.only_reader(total + "@GRAD")
        edits.only_reader(add_grad.output("X@GRAD")[0]).desc.set_input("Output@GRAD", [total + "@GRAD"])
        edits.insert(edits.before[add_grad], type="fill_constant", outputs={"Out": add_grad.output("Y@GRAD")},
                     attrs={"shape": list(block.var(bias).shape), "dtype": block.var(bias).dtype, "value": 0.0})
        edits.removed.update((add, add_grad))
    edits.make()


def pass_sums_on(block):
    """Hand the gradient of a sum of two maps on to both unchanged; Paddle copies it for each."""
    edits = Edits(block)
    for op in [op for op in block.ops if op.type == "elementwise_add_grad"]:
        copies = op.output_arg_names
        if len(copies) == 2 and all(len(block.var(name).shape) == 4 for name in copies):
            for name in copies:
                for reader in edits.readers[name]:
                    reader._rename_input(name, op.input("Out@GRAD")[0])
            edits.removed.add(op)
    edits.make()


def convolve_backwards(edits, op):
    """Have a forward convolution, with the weights turned by 180 degrees, compute the maps' gradient of a conv2d_grad.

    dL/dx = dL/dy * w, flipped in height and width, with in- and output channels exchanged; for stride 1. oneDNN has a
    kernel for it that works in the maps' own order, where its backward one wants both gradients reordered.
    """
    (weights,), maps_grad, paddings = op.input("Filter"), op.output("Input@GRAD"), op.attr("paddings")
    usual = {"strides": [1, 1], "dilations": [1, 1], "groups": 1, "padding_algorithm": "EXPLICIT"}
    if not maps_grad or len(paddings) != 2 or any(op.attr(name) != value for name, value in usual.items()):
        return
    size, flipped, turned = edits.block.var(weights).shape[2:], weights + ".flipped", weights + ".turned"
    matrix, place = f"flipping_{size[0]}x{size[1]}", edits.after[op]
    if not edits.block.has_var(matrix):  # [h * w, h, w]: ten times as quick as Paddle's `flip`
        eye = np.eye(size[0] * size[1], dtype=np.float32)
        with paddle.static.program_guard(edits.block.program):
            paddle.assign(eye[::-1].reshape(-1, *size),
                          edits.block.create_var(name=matrix, dtype="float32", stop_gradient=True))
        edits.before[edits.ops[0]].append(edits.block.ops[-1])
    edits.block.create_var(name=flipped, dtype="float32", stop_gradient=True)
    edits.insert(place, type="mul", inputs={"X": [weights], "Y": [matrix]}, outputs={"Out": [flipped]},
                 attrs={"x_num_col_dims": 2, "y_num_col_dims": 1})
    insert(edits, place, "transpose2", flipped, turned, axis=[1, 0, 2, 3])
    convolution = edits.insert(
        place, type="conv2d", inputs={"Input": op.input("Output@GRAD"), "Filter": [turned]},
        outputs={"Output": maps_grad}, attrs={**usual, "paddings": [k - 1 - p for k, p in zip(size, paddings)]})
    convolution._set_attr("data_format", "NHWC")  # afterwards, since the shapes noted in the program stay as they were
    op.desc.set_output("Input@GRAD", [])


def pool_again(block):
    """Pool each map once more in front of its gradient, where several poolings have one shape.

    oneDNN's gradient reads where each maximum was. Paddle (2.6.2 and 3.3.1) keeps that by the shape of the result
    alone, so what it has is the last pooling's of that shape. The ops have to run in their order, which utils/flags.py
    asks for. Pooling twice is still several times as fast as Paddle's own kernel.
    """
    edits = Edits(block)
    pools = {op.output("Out")[0]: op for op in edits.ops if op.type == "pool2d" and op.attr("pooling_type") == "max"}
    shapes = [tuple(block.var(name).shape) for name in pools]
    for op in edits.ops:
        pool = pools.get(op.input("Out")[0]) if op.type == "pool2d_grad" else None
        if pool is not None and shapes.count(tuple(block.var(op.input("Out")[0]).shape)) > 1:
            copy = op.input("Out")[0] + ".again"
            block.create_var(name=copy, dtype="float32", stop_gradient=True)
            again = edits.insert(edits.before[op], type="pool2d", inputs={"X": op.input("X")}, outputs={"Out": [copy]},
                                 attrs={**pool.all_attrs(), "data_format": "NCHW"})
            again._set_attr("data_format", "NHWC")  # afterwards, as above
            again._set_attr("use_mkldnn", True)
    edits.make()


def join_adams(block):
    """Put one op in the place of all Adams, where the last of them is; the numbers stay the same up to rounding.

    116 of ResNet-32's 523 ops are Adam's, and handing out an op takes time: 1.04 times as fast for 8 images.
    """
    edits = Edits(block)
    adams = [op for op in edits.ops if op.type == "adam"]
    if not adams:
        return
    last = adams[-1]
    edits.insert(edits.after[last], type="merged_adam", attrs=last.all_attrs(),
                 inputs={slot: [name for op in adams for name in op.input(slot)] for slot in last.input_names},
                 outputs={slot: [name for op in adams for name in op.output(slot)] for slot in last.output_names})
    edits.removed.update(adams)
    edits.make()
