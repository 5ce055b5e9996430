"""What a saved model sees: its layers, its features, and where in a picture a class is seen (infer.py --explain).

Layers are found in the program by what they do, not by their names. A program may add each picture's mirrored copy,
as N more rows of its batch: what is read here is the first N rows.
"""
import importlib.util
import os
from collections import deque
from typing import Any, NamedTuple, Optional

import numpy as np

from utils import figures
from utils.errors import UserError, shown
from utils.storage.files import whole_file

BATCH = 128
MOST_DRAWN = 50  # rows of the drawing
RESHAPES = ("flatten_contiguous_range", "reshape2", "squeeze2", "unsqueeze2", "transpose2")
PRODUCTS = ("mul", "matmul", "matmul_v2")
# What makes maps worth seeing: activations, of which some are written as a product, and joined paths.
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "elementwise_mul", "concat")
MASK = "inside.mask"  # fed for a gradient: [N, classes], 1 at the class to explain, else 0


class Layers(NamedTuple):
    """Names of a program's variables, from the input to the output; None for what is not there."""
    kernels: Optional[str] = None  # of the first convolution: [C, 3, k, k]
    first: Optional[str] = None  # its feature maps, after normalization and activation: [N, C, H, W]
    stages: tuple = ()  # of each size of feature maps the last ones after an activation, from large to small
    maps: Optional[str] = None  # the last feature maps of all
    features: Optional[str] = None  # what the last fully connected layer reads
    score: Optional[str] = None  # what the first softmax after that reads: [N, classes]


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

    def fetch(self, pixels, names):
        """Values of these variables for any number of pictures: [N, 3, 32, 32] -> arrays [N, ...]."""
        batches = [[values[:len(batch)] for values in self.run({self.input: batch}, names)]
                   for batch in np.split(pixels, range(BATCH, len(pixels), BATCH))]
        return [np.concatenate(arrays) for arrays in zip(*batches)]


def open_up(model):
    """A loaded model (infer.Model), copied without the ops that fix what is fed and fetched -> Opened."""
    program = model.program.clone()
    block = program.global_block()
    for op in list(block.ops):
        if op.type in ("feed", "fetch"):
            block._remove_op(block.ops.index(op))
        elif op.type == "dropout":
            _scale_instead(block, op)
        elif op.type in RESHAPES and "XShape" not in op.output_names:  # which a saved program omits, for the gradient
            shape = block.create_var(name=f"{op.output('Out')[0]}.inside.shape", dtype="float32")
            op.desc.set_output("XShape", [shape.name])
    layers = find_layers(block, model.fetch_targets[0].name)
    return Opened(program, layers, model.feed_names[0], model.executor, model.scope)


def _scale_instead(block, dropout):
    """Replace a dropout by what it does in a test, scaling: a saved one has no gradient."""
    shrinks = dropout.attr("dropout_implementation") == "downgrade_in_infer"
    factor = 1 - dropout.attr("dropout_prob") if shrinks else 1.0
    block._insert_op(block.ops.index(dropout), type="scale", inputs={"X": dropout.input("X")},
                     outputs={"Out": dropout.output("Out")}, attrs={"scale": factor, "bias": 0.0})
    block._remove_op(block.ops.index(dropout))


def find_layers(block, probabilities):
    """The layers of a block of ops that computes the variable `probabilities` -> Layers.

    The probabilities may be softened by a second softmax, and be means; scores are those of the first.
    """
    ancestors = _ops_before(block, probabilities)
    product = next((op for op in ancestors if op.type in PRODUCTS and block.var(op.input("Y")[0]).persistable), None)
    if product is None:
        return Layers()
    features = product.input("X")[0]
    later = block.ops[block.ops.index(product):]
    softmax = next((op for op in later if op.type == "softmax" and op in ancestors), None)
    nearest = _ops_before(block, features)
    ordered = [op for op in block.ops if op in nearest]
    convolution = next((op for op in ordered if op.type == "conv2d"), None)
    if convolution is None or softmax is None:
        return Layers(features=features, score=softmax and softmax.input("X")[0])
    active = [op for op in ordered[ordered.index(convolution):] if op.type in ACTIVATIONS and _area(block, op) > 1]
    last_of_size = {_area(block, op): _output_of(op) for op in active}
    last = next(op for op in nearest if _area(block, op) > 1)
    return Layers(convolution.input("Filter")[0], _output_of((active or [convolution])[0]),
                  tuple(last_of_size.values()), _output_of(last), features, softmax.input("X")[0])


def _ops_before(block, name):
    """The ops from which a variable is computed, directly or by way of others, the nearest first."""
    writers = {output: op for op in block.ops for output in op.output_arg_names}
    ops, names = [], deque([name])
    while names:
        op = writers.get(names.popleft())
        if op is not None and op not in ops:
            ops.append(op)
            names.extend(op.input_arg_names)
    return ops


def _output_of(op):
    """Name of an op's result, not of what it stores for its gradient."""
    return next((op.output(slot)[0] for slot in ("Out", "Output", "Y") if slot in op.output_names and op.output(slot)),
                None)


def _area(block, op):
    """Height times width of the feature maps that an op computes; 0 where it computes none."""
    name = _output_of(op)
    shape = block.var(name).shape if name else ()
    return shape[2] * shape[3] if len(shape) == 4 else 0


def features_of(model, pixels):
    """What the last fully connected layer reads: [N, 3, 32, 32] in [0, 1] -> float32 [N, F], 64 for a ResNet-32.

    model: infer.Model. Errors: UserError where it has no such layer.
    """
    opened = open_up(model)
    if opened.layers.features is None:
        raise UserError("the model has no fully connected layer, so no features before it: name another with "
                        "--model-dir")
    return opened.fetch(pixels, [opened.layers.features])[0].reshape(len(pixels), -1)


def grad_cam(model, pixels, classes):
    """Heat maps: how much each place of the last feature maps adds to the score of a class; 0 where it takes away.

    model: infer.Model; pixels: [N, 3, 32, 32] in [0, 1]
    classes: int [N, K], the numbers of K classes for each picture -> float32 [N, K, H, W], 8x8 for a ResNet-32
    Errors: UserError where the model has no such maps. Source: Selvaraju et al. 2017, equations 1 and 2.
    """
    opened = open_up(model)
    if opened.layers.maps is None:
        raise UserError("the model has no convolution before a fully connected layer, so no heat maps: name another "
                        "with --model-dir")
    score, = opened.run({opened.input: pixels[:1]}, [opened.layers.score])  # 2 rows with a mirrored copy
    gradient, batches = add_gradient(opened), []
    for first in range(0, len(pixels), BATCH):
        batch, heats = pixels[first:first + BATCH], []
        for column in classes[first:first + BATCH].T:
            mask = np.zeros((len(score) * len(batch), score.shape[1]), np.float32)
            mask[np.arange(len(batch)), column] = 1  # rows of mirrored copies come last and stay 0
            maps, slopes = opened.run({opened.input: batch, MASK: mask}, [opened.layers.maps, gradient])
            weights = slopes.mean(axis=(2, 3), keepdims=True)  # alpha: [N, C, 1, 1]
            heats.append(np.maximum((weights * maps).sum(axis=1), 0)[:len(batch)])
        batches.append(np.stack(heats, axis=1))
    return np.concatenate(batches)


def add_gradient(opened):
    """Extend the program by the gradient of the scores that `MASK` chooses -> the gradient's name.

    The gradient is with respect to the last feature maps: [N, C, H, W].
    """
    import paddle

    block = opened.program.global_block()
    maps, score = block.var(opened.layers.maps), block.var(opened.layers.score)
    with paddle.static.program_guard(opened.program):
        mask = paddle.static.data(MASK, score.shape, "float32")
        gradient, = paddle.static.gradients([score], [maps], target_gradients=[mask])
    return gradient.name


def check(features_path, drawing_path, count):
    """Refuse, before any work, to write over another file, or to draw too much.

    count: how many pictures there are. Errors: UserError.
    """
    for option, path, ending in (("--features", features_path, ".npz"), ("--explain", drawing_path, ".png")):
        if path is None:
            continue
        if not path.lower().endswith(ending):
            raise UserError(f"{option} {shown(path)}: its name has to end with {ending}")
        if os.path.lexists(path) and not os.path.isfile(path):
            raise UserError(f"{option} {shown(path)} is no ordinary file: name another")
    if drawing_path is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--explain draws with matplotlib, which is not installed: pip install -r requirements.txt")
    if os.path.isfile(drawing_path) and not figures.is_explanation(drawing_path):
        raise UserError(f"--explain {shown(drawing_path)} is there already and was not drawn by --explain: name "
                        "another file for the drawing, then the pictures")
    if count > MOST_DRAWN:
        raise UserError(f"--explain draws {MOST_DRAWN} pictures at most, not {count}: name fewer at a time")


def write(features_path, drawing_path, model, names, pixels, probabilities):
    """Write the features and the drawing of some pictures; a path is None for a file that is not asked for.

    model: infer.Model; names: the pictures'; pixels: [N, 3, 32, 32]; probabilities: [N, classes]
    Errors: UserError where the model has no such layers, or a file cannot be written.
    """
    classes = model.description["classes"]
    order = np.argsort(-probabilities, axis=1, kind="stable")
    features = features_of(model, pixels) if features_path else None
    heats = grad_cam(model, pixels, order[:, :2]) if drawing_path else None
    if features_path:
        with whole_file(features_path) as temporary, open(temporary, "wb") as file:
            np.savez(file, features=features, pictures=np.array(names), probabilities=probabilities,
                     labels=np.array([classes[best] for best in order[:, 0]]), classes=np.array(classes))
    if drawing_path:
        best = [[(classes[i], row[i]) for i in two] for row, two in zip(probabilities, order[:, :2])]
        figures.draw_heat(drawing_path, [shown(name) for name in names], pixels, heats, best)
