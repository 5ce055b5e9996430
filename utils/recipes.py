"""The recipes in numbers: what the optimizer, the labels and the images get. Nothing here imports Paddle."""
from typing import NamedTuple


class Recipe(NamedTuple):
    """How a network is trained, and how it answers afterwards."""
    words: str  # in the log
    learning_rate: float  # or its peak
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 0.0  # as a share of the learning rate
    decays_biases: bool = False  # whether the decay is for biases too, batch normalization's among them
    bias_lr_scale: float = 1.0  # learning rate of batch normalization's biases, as a multiple of the others'
    label_smoothing: float = 0.0  # the share of a label that is spread over all classes
    is_augmented: bool = False  # shifted and mirrored images
    translate: int = 4  # pixels, in each direction
    pad_mode: str = "constant"  # what a shift brings in: "constant" for black, "reflect" for the image mirrored
    alternating_flip: bool = False  # each image mirrored in every second pass, instead of at random
    cutout: int = 0  # side of the square that is blackened, pixels
    lookahead: bool = False  # whether the weights are brought together with their running mean
    flip_tta: bool = False  # whether the answer is the mean over an image and its mirror image
    temperature: float = 1.0  # by which the answer's scores are divided


QUICK = Recipe("Adam, one cycle", learning_rate=0.012)
BOOK = Recipe("Adam", learning_rate=0.001)
STRONG = Recipe("momentum, one cycle, crop and flip", learning_rate=0.2, weight_decay=5e-4, is_augmented=True)
# Jordan 2024: 11.5 for losses summed over 1,024 images is 11.5 / (1 + 1 / (1 - 0.85)) for their mean, and so on.
AIRBENCH = Recipe("momentum, smoothed labels, shift and flip, mean weights", learning_rate=1.5, batch_size=1024,
                  momentum=0.85, weight_decay=1.33e-3, decays_biases=True, bias_lr_scale=64, label_smoothing=0.2,
                  is_augmented=True, translate=2, pad_mode="reflect", alternating_flip=True, lookahead=True,
                  flip_tta=True, temperature=0.52)
RECIPES = {"quick": QUICK, "book": BOOK, "strong": STRONG}
OF_NETWORK = {("strong", "airbench"): AIRBENCH}  # where a network has its own
LONG, CUTOUT = 16, 8  # from so many passes on the airbench recipe blackens squares of 8 by 8 pixels


def recipe_of(name, model, epochs):
    """The recipe of this name for this network and so many passes."""
    recipe = OF_NETWORK.get((name, model), RECIPES[name])
    return recipe._replace(cutout=CUTOUT) if recipe is AIRBENCH and epochs >= LONG else recipe
