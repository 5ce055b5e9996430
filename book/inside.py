"""What a saved model sees: `python book/inside.py dog.png` draws where a picture shows its two likeliest classes.

The drawing is Grad-CAM's; --features writes what the last layer reads. Layers are found in the program by what they
do, not by their names. A program may add each picture's mirrored copy, as N more rows of its batch: what is read here
is the first N rows.
"""
import sys
from pathlib import Path
from typing import Any, NamedTuple, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script's own folder is there, not the project's
from utils.start import prepare

prepare(__name__)  # before Paddle, which reads its flags while it is imported

import numpy as np
from PIL import Image

import infer
from utils import answers
from utils.errors import Parser, UserError, exit_status, name, say, shown
from utils.evaluation.drawings import draw_sheet
from utils.figures import refuse_to_replace
from utils.image_file import pictures_of
from utils.storage.files import whole_file
from utils.storage.saved_model import read_description

BATCH = 128
RESHAPES = ("flatten_contiguous_range", "reshape2", "squeeze2", "unsqueeze2", "transpose2")
PRODUCTS = ("mul", "matmul", "matmul_v2")
MASK = "inside.mask"  # fed for a gradient: [N, classes], 1 at the class to explain, else 0
HEAT, FEATURES = "book/inside.py --output", "book/inside.py --features"  # at the start of its files, which it replaces
SCALE = "Red: what speaks most for the class; gray: nothing does.\nEach map has its own scale."
SIDE, LONGEST, MOST = 256, 30, 50  # of a drawing: pixels of a tile, letters of a picture's name, pictures


class Opened(NamedTuple):
    """A program of which every variable can be fetched, what runs it, and names of variables; None: no such layer."""
    program: Any
    executor: Any
    scope: Any
    input: str
    maps: Optional[str]  # the last feature maps: [N, C, H, W]
    features: Optional[str]  # what the last fully connected layer reads
    score: Optional[str]  # what the first softmax after that reads: [N, classes]

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
        elif op.type == "dropout":  # a saved one has no gradient; in a test it only scales
            shrinks = op.attr("dropout_implementation") == "downgrade_in_infer"
            attributes = {"scale": 1 - op.attr("dropout_prob") if shrinks else 1.0, "bias": 0.0}
            block._insert_op(block.ops.index(op), type="scale", inputs={"X": op.input("X")},
                             outputs={"Out": op.output("Out")}, attrs=attributes)
            block._remove_op(block.ops.index(op))
        elif op.type in RESHAPES and "XShape" not in op.output_names:  # which a saved program omits, for the gradient
            shape = block.create_var(name=f"{op.output('Out')[0]}.inside.shape", dtype="float32")
            op.desc.set_output("XShape", [shape.name])
    return Opened(program, model.executor, model.scope, model.feed_names[0],
                  *find_layers(block, model.fetch_targets[0].name))


def find_layers(block, probabilities):
    """What a block of ops computes the variable `probabilities` from -> maps, features and score, as in `Opened`.

    The probabilities may be softened by a second softmax, and be means; scores are those of the first.
    """
    ancestors = _ops_before(block, probabilities)
    product = next((op for op in ancestors if op.type in PRODUCTS and block.var(op.input("Y")[0]).persistable), None)
    if product is None:
        return None, None, None
    features = product.input("X")[0]
    score = next((op.input("X")[0] for op in block.ops[block.ops.index(product):]
                  if op.type == "softmax" and op in ancestors), None)
    nearest = _ops_before(block, features)
    shapes = {each: block.var(each).shape for op in nearest for each in op.output_arg_names if block.has_var(each)}
    maps = next((each for each, shape in shapes.items() if len(shape) == 4 and shape[2] * shape[3] > 1), None)
    return maps if score and any(op.type == "conv2d" for op in nearest) else None, features, score


def _ops_before(block, name):
    """The ops from which a variable is computed, directly or by way of others, the nearest first."""
    writers = {output: op for op in block.ops for output in op.output_arg_names}
    ops, names = [], [name]
    for each in names:  # which grows meanwhile
        if each in writers and writers[each] not in ops:
            ops.append(writers[each])
            names += writers[each].input_arg_names
    return ops


def features_of(model, pixels):
    """What the last fully connected layer reads: [N, 3, 32, 32] in [0, 1] -> float32 [N, F], 64 for a ResNet-32.

    model: infer.Model. Errors: UserError where it has no such layer.
    """
    opened = open_up(model)
    if opened.features is None:
        raise UserError("the model has no fully connected layer: name another with --model-dir")
    rows = [opened.run({opened.input: batch}, [opened.features])[0][:len(batch)] for batch in _batches(pixels)]
    return np.concatenate(rows).reshape(len(pixels), -1)


def _batches(array):
    """An array's rows, `BATCH` at a time."""
    return np.split(array, range(BATCH, len(array), BATCH))


def grad_cam(model, pixels, classes):
    """Heat maps: how much each place of the last feature maps adds to the score of a class; 0 where it takes away.

    model: infer.Model; pixels: [N, 3, 32, 32] in [0, 1]
    classes: int [N, K], the numbers of K classes for each picture -> float32 [N, K, H, W], 8x8 for a ResNet-32
    Errors: UserError where the model has no such maps. Source: Selvaraju et al. 2017, equations 1 and 2.
    """
    opened = open_up(model)
    if opened.maps is None:
        raise UserError("the model has no convolution before a fully connected layer: name another with --model-dir")
    score, = opened.run({opened.input: pixels[:1]}, [opened.score])  # 2 rows with a mirrored copy
    gradient, batches = add_gradient(opened), []
    for batch, numbers in zip(_batches(pixels), _batches(classes)):
        heats = []
        for column in numbers.T:
            mask = np.zeros((len(score) * len(batch), score.shape[1]), np.float32)
            mask[np.arange(len(batch)), column] = 1  # rows of mirrored copies come last and stay 0
            maps, slopes = opened.run({opened.input: batch, MASK: mask}, [opened.maps, gradient])
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
    maps, score = block.var(opened.maps), block.var(opened.score)
    with paddle.static.program_guard(opened.program):
        mask = paddle.static.data(MASK, score.shape, "float32")
        gradient, = paddle.static.gradients([score], [maps], target_gradients=[mask])
    return gradient.name


def enlarge(heat, side):
    """A heat map [H, W] at the size of the picture, [side, side], by linear interpolation."""
    return np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize((side, side), Image.BILINEAR))


def squares(pixels, side):
    """A picture [3, H, W] as the network reads it, each pixel a square: [side, side, 3]."""
    places = np.arange(side) * pixels.shape[1] // side
    return pixels.transpose(1, 2, 0)[places][:, places]


def heat_over(pixels, heat, side):
    """A heat map in yellow to red over the picture in gray; where it is 0 only the picture is seen.

    pixels: [3, 32, 32] in [0, 1]; heat: [H, W], 0 and above -> [side, side, 3] in [0, 1]
    """
    from matplotlib import colormaps

    share = enlarge(heat, side) / max(float(np.max(heat)), np.finfo(np.float32).tiny)
    gray = squares(pixels, side).mean(axis=2, keepdims=True)
    opacity = 0.75 * np.sqrt(share)[:, :, np.newaxis]
    return (1 - opacity) * gray + opacity * colormaps["YlOrRd"](0.15 + 0.75 * share)[:, :, :3]


def draw_heat(path, names, pixels, heats, labels):
    """Draw for each picture a row: the picture, and where it shows its likeliest classes.

    pixels: [N, 3, 32, 32]; heats: [N, K, H, W]; labels: for each picture K pairs (class, probability)
    """
    def tiles():
        for each, image, maps, best in zip(map(shown, names), pixels, heats, labels):
            yield squares(image, SIDE), each if len(each) <= LONGEST else "…" + each[1 - LONGEST:]
            for heat, (label, probability) in zip(maps, best):
                yield heat_over(image, heat, SIDE), f"{label} {probability:.4f}"

    draw_sheet(path, tiles(), len(names), 1 + heats.shape[1], HEAT, SCALE)


def write_features(path, model, names, pixels, probabilities):
    """Write the features of some pictures, with their answers.

    model: infer.Model; names: the pictures'; pixels: [N, 3, 32, 32]; probabilities: [N, classes]
    Errors: UserError where the model has no such layer, or the file cannot be written.
    """
    features, classes = features_of(model, pixels), np.array(model.description["classes"])
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, written_by=FEATURES.encode(), features=features, pictures=np.array(names),
                 probabilities=probabilities, labels=classes[probabilities.argmax(axis=1)], classes=classes)


def parse(arguments):
    """Read the command line. Errors: UserError for a mistake, and for a file that must not be replaced."""
    parser = Parser(prog="inside.py", description="Draw where pictures show their two likeliest classes (Grad-CAM).",
                    allow_abbrev=False)
    add = parser.add_argument
    add("pictures", nargs="+", type=name, metavar="PICTURE", help="as infer.py takes them")
    add("--model-dir", type=name, help="a folder that train.py wrote (default: the newest one here)")
    add("--output", type=name, metavar="OUT.png", default="inside.png",
        help=f"the drawing, of at most {MOST} pictures (default: inside.png)")
    add("--features", type=name, metavar="OUT.npz", help="write what the last layer reads, for each picture")
    options = parser.parse_args(arguments)
    refuse_to_replace(options.output, HEAT)
    if options.features:
        refuse_to_replace(options.features, FEATURES)
    return options


@exit_status(out_of_memory="name fewer pictures at a time")
def main(arguments=None):
    """Draw and write what the command line asks for -> exit status: 0, or 2 where a picture could not be read."""
    options = parse(arguments)
    model_dir = answers.choose_model(options.model_dir, infer.SHIPPED)
    description = read_description(model_dir)  # at once, since Paddle takes a while
    names = [picture for each in options.pictures for picture in pictures_of(each)]
    images, errors = answers.read_all(names, infer.load_image, "inside.py")
    if images:
        model, _ = infer.load_model(model_dir, "cpu")
        say(f"Model: {answers.introduce(model_dir, description, infer.SHIPPED)}")
        names, pixels = [names[number] for number in images], np.concatenate([*images.values()])
        probabilities = infer.infer(model, pixels)
        if options.features:
            write_features(options.features, model, names, pixels, probabilities)
            say(f"Features: {shown(options.features)}")
        names, pixels, probabilities = names[:MOST], pixels[:MOST], probabilities[:MOST]
        labels = [infer.label(row, description["classes"], 2) for row in probabilities]
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
        draw_heat(options.output, names, pixels, grad_cam(model, pixels, best), labels)
        say(f"Drawing: {shown(options.output)}")
    return 2 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
