"""The second half of a training program, without the work it can skip; the numbers stay the same up to rounding.

What is spared: biases in front of batch norm, which it takes away again; copies of the gradient of a sum; and oneDNN's
backward convolutions, which reorder what the forward ones take as it is; and an op for each parameter's Adam.
"""
import numpy as np
import paddle

from utils.speed.edit import Edits, insert_transpose, rename_inputs

ADAM_INPUTS = ("Param", "Grad", "LearningRate", "Moment1", "Moment2", "Beta1Pow", "Beta2Pow")
ADAM_OUTPUTS = ("ParamOut", "Moment1Out", "Moment2Out", "Beta1PowOut", "Beta2PowOut")
ADAM_ATTRIBUTES = ("beta1", "beta2", "epsilon", "use_global_beta_pow", "multi_precision")


def omit_biases(block):
    """Spare the maps the biases in front of batch norm, and these their gradients.

    The norm takes such a bias away again with the mean, so that all it does is to move the running mean: instead, the
    running mean is updated without it. Its gradient is zero, up to rounding, on which Adam walks the bias at random;
    here it stays where it is. (Frozen statistics take nothing away, so there the biases stay.)
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
    """Hand the gradient of a sum of two maps on to both as it is; Paddle copies it for each."""
    edits = Edits(block)
    for op in [op for op in block.ops if op.type == "elementwise_add_grad"]:
        copies = op.output_arg_names
        if len(copies) == 2 and all(len(block.var(name).shape) == 4 for name in copies):
            for name in copies:
                rename_inputs(edits.readers[name], name, op.input("Out@GRAD")[0])
            edits.removed.add(op)
    edits.make()


def convolve_backwards(edits, op):
    """Have a conv2d_grad leave its maps' gradient to a convolution forwards: with the weights turned half round.

    dL/dx = dL/dy * w, flipped in height and width, with in- and output channels exchanged; for stride 1. oneDNN has a
    kernel for it that works in the maps' own order, where its backward one wants both gradients reordered.
    """
    (weights,), maps_grad, paddings = op.input("Filter"), op.output("Input@GRAD"), op.attr("paddings")
    usual = {"strides": [1, 1], "dilations": [1, 1], "groups": 1, "padding_algorithm": "EXPLICIT"}
    if not maps_grad or len(paddings) != 2 or any(op.attr(name) != value for name, value in usual.items()):
        return
    size, flipped, turned = edits.block.var(weights).shape[2:], weights + ".flipped", weights + ".turned"
    matrix, place = flipping_matrix(edits, *size), edits.after[op]
    edits.block.create_var(name=flipped, dtype="float32", stop_gradient=True)
    edits.insert(place, type="mul", inputs={"X": [weights], "Y": [matrix]}, outputs={"Out": [flipped]},
                 attrs={"x_num_col_dims": 2, "y_num_col_dims": 1})
    insert_transpose(edits, place, flipped, turned, [1, 0, 2, 3])
    convolution = edits.insert(
        place, type="conv2d", inputs={"Input": op.input("Output@GRAD"), "Filter": [turned]},
        outputs={"Output": maps_grad}, attrs={**usual, "paddings": [k - 1 - p for k, p in zip(size, paddings)]})
    convolution._set_attr("data_format", "NHWC")  # afterwards, since the shapes noted in the program stay as they were
    op.desc.set_output("Input@GRAD", [])


def flipping_matrix(edits, height, width):
    """A variable [h * w, h, w], by which kernels are multiplied to flip them: ten times as quick as Paddle's `flip`."""
    block, name = edits.block, f"flipping_{height}x{width}"
    if not block.has_var(name):
        flipped = np.eye(height * width, dtype=np.float32)[::-1].reshape(-1, height, width)
        with paddle.static.program_guard(block.program):
            paddle.assign(flipped, block.create_var(name=name, dtype="float32", stop_gradient=True))
        edits.before[edits.ops[0]].append(block.ops[-1])
    return name


def join_adams(block):
    """Put one op in the place of all Adams, where the last of them is; the numbers stay the same up to rounding.

    116 of ResNet-32's 523 ops are Adam's, and handing out an op takes time: 1.04 times as fast for 8 images.
    """
    edits = Edits(block)
    adams = [op for op in edits.ops if op.type == "adam"]
    if not adams:
        return
    last = adams[-1]
    edits.insert(edits.after[last], type="merged_adam", attrs={name: last.attr(name) for name in ADAM_ATTRIBUTES},
                 inputs={slot: [name for op in adams for name in op.input(slot)] for slot in ADAM_INPUTS},
                 outputs={slot: [name for op in adams for name in op.output(slot)] for slot in ADAM_OUTPUTS})
    edits.removed.update(adams)
    edits.make()
