"""A training program turned from [N, C, H, W] to [N, H, W, C], the order in which oneDNN convolves.

In the network's own order each convolution on oneDNN stands between two reorderings of its whole input and output,
which together cost half as much as the convolutions. With the channels last Paddle's tensors are in oneDNN's order
already, and batch normalization may join the convolutions there. On the way, the backward half is rid of what it
need not do. Weights keep their order, so checkpoints, the test program and exported models know nothing of this.
"""
CHANNELS = {"conv2d": "data_format", "fused_conv2d": "data_format", "pool2d": "data_format",
            "batch_norm": "data_layout"}  # where an op says the order
AXIS = ("concat", "elementwise_add")  # ops that may name the axis of the channels: 1, and now 3
ANY_ORDER = ("relu", "sum", "dropout")  # element by element
FIRST_TO_LAST, LAST_TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def turn(program):
    """Turn a training or folded test program; returns False, and leaves it, when it has an op that is not known here.

    Its convolutions have to run on oneDNN, forward and backward. Paddle remembers the order for each thread, so
    programs in both orders on oneDNN cannot take turns in one.
    """
    block = program.global_block()
    fed, ops = find_maps(block)
    if not fed or any(kind(op) not in (*CHANNELS, *AXIS, *ANY_ORDER, "mul") for op in ops):
        return False
    leave_out_biases(block)
    pass_sums_on(block)
    fed, ops = find_maps(block)  # without the ops that this took out
    for op in ops:
        if kind(op) in CHANNELS:
            op._set_attr(CHANNELS[kind(op)], "NHWC")
        elif kind(op) in AXIS and op.attr("axis") == 1:
            op._set_attr("axis", 3)
    for name in fed:
        insert_transpose(block, 0, name, name + ".channels_last", FIRST_TO_LAST)
        rename_inputs(ops, name, name + ".channels_last")
    flatten_as_before(block, [op for op in ops if kind(op) == "mul"])
    for op in [op for op in ops if op.type == "conv2d_grad"]:
        convolve_backwards(block, op)
        # Paddle hands a weight's gradient back as [out, h, w, in], as if it were a picture too: put it right.
        transpose_output(block, op, op.output("Filter@GRAD")[0], LAST_TO_FIRST)
    return True


def convolve_backwards(block, op):
    """Have a conv2d_grad leave its maps' gradient to a convolution forwards: with the weights turned half round.

    dL/dx = dL/dy * w, flipped in height and width, with in- and output channels exchanged; for stride 1. oneDNN has a
    kernel for it that works in the maps' own order, where its backward one wants both gradients reordered.
    """
    (weights,), maps_grad, paddings = op.input("Filter"), op.output("Input@GRAD"), op.attr("paddings")
    usual = {"strides": [1, 1], "dilations": [1, 1], "groups": 1, "padding_algorithm": "EXPLICIT"}
    if not maps_grad or len(paddings) != 2 or any(op.attr(name) != value for name, value in usual.items()):
        return
    size, flipped, turned = block.var(weights).shape[2:], weights + ".flipped", weights + ".turned"
    matrix = flipping_matrix(block, *size)
    block.create_var(name=flipped, dtype="float32", stop_gradient=True)
    place = block.ops.index(op) + 1
    block._insert_op(place, type="mul", inputs={"X": [weights], "Y": [matrix]}, outputs={"Out": [flipped]},
                     attrs={"x_num_col_dims": 2, "y_num_col_dims": 1})
    insert_transpose(block, place + 1, flipped, turned, [1, 0, 2, 3])
    convolution = block._insert_op(
        place + 2, type="conv2d", inputs={"Input": op.input("Output@GRAD"), "Filter": [turned]},
        outputs={"Output": maps_grad}, attrs={**usual, "paddings": [k - 1 - p for k, p in zip(size, paddings)]})
    convolution._set_attr("data_format", "NHWC")  # afterwards, since the shapes noted in the program stay as they were
    op.desc.set_output("Input@GRAD", [])


def flipping_matrix(block, height, width):
    """A variable [h * w, h, w], by which kernels are multiplied to flip them: ten times as quick as Paddle's `flip`."""
    count = height * width
    identity, flipped, matrix = (f"{what}_{height}x{width}" for what in ("identity", "flipped", "flipping"))
    if not block.has_var(matrix):
        for name in (identity, flipped, matrix, matrix + ".shape"):
            block.create_var(name=name, dtype="float32", stop_gradient=True)
        block._insert_op(0, type="eye", outputs={"Out": [identity]}, attrs={
            "num_rows": count, "num_columns": count, "dtype": block.var(identity).dtype})
        block._insert_op(1, type="flip", inputs={"X": [identity]}, outputs={"Out": [flipped]}, attrs={"axis": [0]})
        block._insert_op(2, type="reshape2", inputs={"X": [flipped]}, attrs={"shape": [count, height, width]},
                         outputs={"Out": [matrix], "XShape": [matrix + ".shape"]})
    return matrix


def flatten_as_before(block, ops):
    """Give the fully connected layers among `ops` their maps, which they flatten, with the channels first."""
    for op in ops:
        if op.type == "mul":
            maps = op.input("X")[0]
            insert_transpose(block, block.ops.index(op), maps, maps + ".channels_first", LAST_TO_FIRST)
            rename_inputs(ops, maps, maps + ".channels_first")
        else:
            transpose_output(block, op, op.output("X@GRAD")[0], FIRST_TO_LAST)


def kind(op):
    """The op's type, the same for forward and backward."""
    return op.type[:-len("_grad")] if op.type.endswith("_grad") else op.type


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


def leave_out_biases(block):
    """Spare the maps the biases in front of batch norm, and these their gradients.

    The norm takes such a bias away again with the mean, so that all it does is to move the running mean: instead, the
    running mean is updated without it. Its gradient is zero, up to rounding; Paddle computes that rounding, and Adam,
    which looks at a gradient's sign more than its size, walks the bias at random. Here it stays where it is.
    """
    maker = {name: op for op in block.ops for name in op.output_arg_names}
    reader = {name: op for op in block.ops for name in op.input_arg_names if name.endswith("@GRAD")}
    for norm in [op for op in block.ops if op.type == "batch_norm"]:
        add = maker.get(norm.input("X")[0])
        convolution = maker.get(add.input("X")[0]) if add is not None and add.type == "elementwise_add" else None
        if convolution is None or convolution.type != "conv2d":
            continue
        total, bias, mean = add.output("Out")[0], add.input("Y")[0], norm.input("Mean")[0]
        convolution.desc.set_output("Output", [total])
        place = block.ops.index(norm)
        for after, kind_of_step in ((1, "elementwise_add"), (0, "elementwise_sub")):
            block._insert_op(place + after, type=kind_of_step, inputs={"X": [mean], "Y": [bias]},
                             outputs={"Out": [mean]}, attrs={"axis": -1})
        add_grad = reader[total + "@GRAD"]
        reader[add_grad.output("X@GRAD")[0]].desc.set_input("Output@GRAD", [total + "@GRAD"])
        block._insert_op(block.ops.index(add_grad), type="fill_constant", outputs={"Out": add_grad.output("Y@GRAD")},
                         attrs={"shape": list(block.var(bias).shape), "dtype": block.var(bias).dtype, "value": 0.0})
        for op in (add, add_grad):
            block._remove_op(block.ops.index(op))


def pass_sums_on(block):
    """Hand the gradient of a sum of two maps on to both as it is; Paddle copies it for each."""
    for op in [op for op in block.ops if op.type == "elementwise_add_grad"]:
        copies = op.output_arg_names
        if len(copies) == 2 and all(len(block.var(name).shape) == 4 for name in copies):
            place = block.ops.index(op)
            for name in copies:
                rename_inputs(block.ops[place + 1:], name, op.input("Out@GRAD")[0])
            block._remove_op(place)


def rename_inputs(ops, old, new):
    """Have ops that read `old` read `new`."""
    for op in ops:
        op._rename_input(old, new)


def transpose_output(block, op, name, order):
    """Insert a transpose behind an op that writes `name`, so that `name` has the axes in another order."""
    op._rename_output(name, name + ".untransposed")
    insert_transpose(block, block.ops.index(op) + 1, name + ".untransposed", name, order)


def insert_transpose(block, place, source, target, order):
    """Insert an op before op number `place` that writes `source`, its four axes in another order, to `target`."""
    for name in (source, target, target + ".shape"):
        if not block.has_var(name):
            block.create_var(name=name, shape=[-1] * 4, dtype="float32", stop_gradient=True)
    block._insert_op(place, type="transpose2", inputs={"X": [source]}, attrs={"axis": order},
                     outputs={"Out": [target], "XShape": [target + ".shape"]})
