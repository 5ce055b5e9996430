"""A saved program as a short list of operations and the numbers that they need, for a page that runs it without Paddle.

Each operation is a dictionary: `type`, `inputs` and `output` (names of tensors), and what the type needs; what a type
does is in book/try/network.js. They are what the networks of models/ and the recipes are made of, as both versions of
Paddle save them.
"""
import base64

import numpy as np

from utils.errors import UserError

SMALL = 10_000  # an array of fewer numbers keeps 32 bits for each: the first layer, biases, batch normalization
# What a program does with the probabilities of a picture and its mirror image (utils/strong.py: answer_program).
AGREEMENT = ["elementwise_pow", "reduce_mean", "scale", "elementwise_div", "reshape2", "reduce_mean"]
# Attributes that change what an operation computes, and the only value that is understood.
ONLY = {"dilations": [1, 1], "groups": 1, "data_format": "NCHW", "data_layout": "NCHW", "ceil_mode": False,
        "adaptive": False, "global_pooling": False, "exclusive": True, "padding_algorithm": "EXPLICIT",
        "bias": 0, "approximate": False, "x_num_col_dims": 1}
# What the page calls a layer.
LABELS = {"convolution": "conv {size} × {size}", "connected": "fully connected", "normalize": "norm", "relu": "ReLU",
          "gelu": "GELU", "scale": "× {factor:.2f}", "add": "add", "join": "join", "softmax": "softmax"}
POOLS = {True: "mean {size} × {size}", False: "max {size} × {size}"}


class Numbers:
    """The arrays of a network, one after the other: large ones as float16, small ones as float32."""

    def __init__(self):
        self.arrays = {"float16": [], "float32": []}

    def add(self, array):
        """Append an array -> where it is: {"kind", "at", "size"}."""
        kind = "float32" if array.size < SMALL else "float16"
        at = sum(each.size for each in self.arrays[kind])
        self.arrays[kind].append(np.ravel(array).astype("<f4" if kind == "float32" else "<f2"))
        return {"kind": kind, "at": at, "size": array.size}

    def as_text(self):
        """Both kinds in base64: {"float16": ..., "float32": ...}."""
        return {kind: base64.b64encode(b"".join(each.tobytes() for each in arrays)).decode()
                for kind, arrays in self.arrays.items()}


def label_of(operation):
    """What the page calls this operation's layer; None for one that is none."""
    form = POOLS[operation["mean"]] if operation["type"] == "pool" else LABELS.get(operation["type"])
    return form and form.format(**operation)


class Listed:
    """A loaded model (infer.Model) as a list of `operations` and their `numbers`.

    Errors: UserError where the program has an operation that is not one of models/, or one used in another way.
    """

    def __init__(self, model):
        self.block, self.scope = model.program.global_block(), model.scope
        self.operations, self.numbers = [], Numbers()
        ops = [op for op in self.block.ops if op.type not in ("feed", "fetch", "fill_constant")]
        end = next((i for i, op in enumerate(ops, 1) if op.type == "softmax"), len(ops))
        if [op.type for op in ops[:2]] == ["flip", "concat"] and (ops[0].attr("axis"), ops[1].attr("axis")) == ([3], 0):
            self.append(ops[1], "mirrored", ops[0].input("X"))
            ops, end = ops[2:], end - 2
        for op in ops[:end]:
            self.read(op)
        self.read_answer([op for op in ops[end:] if op.type != "scale" or op.attr("scale") != 1])

    def read_answer(self, ops):
        """What comes after the softmax: nothing, or that both pictures agree on an answer."""
        if [op.type for op in ops] == AGREEMENT:
            constant = next(op for op in self.block.ops if op.output_arg_names == ops[0].input("Y"))
            self.append(ops[-1], "agreed", [self.operations[-1]["output"]], exponent=constant.attr("value"))
        elif ops:
            raise _unknown(ops[0], "after the softmax")

    def read(self, op):
        """Append what an operation of the network is on the page."""
        for name, value in ONLY.items():
            if op.has_attr(name) and op.attr(name) not in (value, "AnyLayout"):
                raise _unknown(op, f"with {name} {op.attr(name)}")
        if op.type in ("relu", "gelu", "softmax"):
            self.append(op, op.type)
        elif op.type in ("conv2d", "mul", "elementwise_add", "batch_norm", "pool2d", "scale", "dropout", "concat"):
            getattr(self, op.type)(op)
        else:
            raise _unknown(op)

    def append(self, op, kind, inputs=None, **more):
        """Append an operation of this kind; its inputs are those of Paddle's operation where none are given."""
        output = next(op.output(slot)[0] for slot in ("Out", "Output", "Y") if slot in op.output_names)
        self.operations.append({"type": kind, "inputs": inputs or op.input("X"), "output": output, **more})

    def array(self, op, slot):
        """The values of the variable that an operation reads there."""
        return np.array(self.scope.find_var(op.input(slot)[0]).get_tensor())

    def conv2d(self, op):
        """A convolution: count kernels of size x size numbers on each map. A bias is added by `elementwise_add`."""
        kernels = self.array(op, "Filter")
        window = _window(op, kernels.shape[2:])
        self.append(op, "convolution", op.input("Input"), count=len(kernels), kernels=self.numbers.add(kernels),
                    **window)

    def mul(self, op):
        """A fully connected layer: a row of weights for each of count numbers."""
        weights = self.array(op, "Y")
        self.append(op, "connected", count=weights.shape[1], kernels=self.numbers.add(weights.T))

    def elementwise_add(self, op):
        """The sum of two tensors, or a bias for the layer before."""
        x, y = op.input("X")[0], op.input("Y")[0]
        if not self.block.var(y).persistable:
            self.append(op, "add", [x, y])
        elif self.operations[-1]["output"] == x and "kernels" in self.operations[-1]:
            self.operations[-1].update(output=op.output("Out")[0], bias=self.numbers.add(self.array(op, "Y")))
        else:
            raise _unknown(op, "that is no bias of the layer before it")

    def batch_norm(self, op):
        """Batch normalization when it no longer learns: a factor and a shift for each map."""
        scale, bias, mean, variance = (self.array(op, slot).astype("float64")
                                       for slot in ("Scale", "Bias", "Mean", "Variance"))
        factor = scale / np.sqrt(variance + op.attr("epsilon"))
        self.append(op, "normalize", factor=self.numbers.add(factor), shift=self.numbers.add(bias - mean * factor))

    def pool2d(self, op):
        """The maximum or the mean of each window."""
        self.append(op, "pool", mean=op.attr("pooling_type") == "avg", **_window(op, op.attr("ksize")))

    def scale(self, op):
        """A factor for all numbers."""
        self.append(op, "scale", factor=op.attr("scale"))

    def dropout(self, op):
        """Dropout no longer drops: it scales, or does nothing."""
        shrinks = op.attr("dropout_implementation") == "downgrade_in_infer"
        self.append(op, "scale", factor=1 - op.attr("dropout_prob") if shrinks else 1)

    def concat(self, op):
        """The maps of several tensors, one after the other."""
        if op.attr("axis") != 1:
            raise _unknown(op, f"along axis {op.attr('axis')}")
        self.append(op, "join")


def _window(op, size):
    """Size, stride and padding of a window that moves over maps, each the same across and down."""
    window = {"size": size, "stride": op.attr("strides"), "padding": op.attr("paddings")}
    if any(len(pair) != 2 or pair[0] != pair[1] for pair in window.values()):
        raise _unknown(op, "that is not square")
    return {name: int(pair[0]) for name, pair in window.items()}


def _unknown(op, how=""):
    """The error about an operation that no network of models/ has."""
    return UserError(f"the model has an operation {f'{op.type} {how}'.strip()}, which the page cannot run: it knows "
                     "the networks of models/")
