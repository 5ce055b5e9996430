"""A program turned from [N, C, H, W] to [N, H, W, C], the order in which oneDNN convolves.

In the network's own order each convolution on oneDNN stands between two reorderings of its whole input and output,
which together cost half as much as the convolutions. With the channels last Paddle's tensors are in oneDNN's order
already, and batch normalization may join the convolutions there. Weights keep their order, so checkpoints, the test
program and exported models know nothing of this.
"""
from utils.speed.backward import convolve_backwards, omit_biases, pass_sums_on
from utils.speed.edit import FIRST_TO_LAST, LAST_TO_FIRST, Edits, insert_transpose, transpose_output

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
    if not fed or any(kind(op) not in (*CHANNELS, *AXIS, *ANY_ORDER, "flip", "mul") for op in ops):
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
        insert_transpose(edits, edits.before[edits.ops[0]], name, name + ".channels_last", FIRST_TO_LAST)
        for reader in edits.readers[name]:
            reader._rename_input(name, name + ".channels_last")
    flatten_as_before(edits, [op for op in ops if kind(op) == "mul"])
    for op in [op for op in ops if op.type == "conv2d_grad"]:
        # Paddle hands a weight's gradient back as [out, h, w, in], as if it were a picture too: put it right.
        transpose_output(edits, op, op.output("Filter@GRAD")[0], LAST_TO_FIRST)
        convolve_backwards(edits, op)
    edits.make()
    return True


def flatten_as_before(edits, ops):
    """Give the fully connected layers among `ops` their maps, which they flatten, with the channels first."""
    for op in ops:
        if op.type == "mul":
            maps = op.input("X")[0]
            insert_transpose(edits, edits.before[op], maps, maps + ".channels_first", LAST_TO_FIRST)
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
