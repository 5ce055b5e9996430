"""The backward half of a training program, rid of what it need not do; the numbers stay the same up to rounding.

What is spared: biases in front of batch norm, which it takes away again; copies of the gradient of a sum; and oneDNN's
backward convolutions, which reorder what the forward ones take as it is.
"""
from utils.speed.edit import insert_transpose, rename_inputs


def omit_biases(block):
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
