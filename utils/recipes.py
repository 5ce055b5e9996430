"""The recipes in numbers: what the optimizer, the labels and the images are given. Nothing here imports Paddle."""
from typing import NamedTuple


class Recipe(NamedTuple):
    """How a network is trained, and how it answers afterwards."""
    words: str  # in the log
    rate: float  # the learning rate, or its peak
    batch_size: int = 128
    momentum: float = 0.9
    decay: float = 0.0  # of weights, as a share of the rate
    decays_biases: bool = False  # whether the decay is for biases too, batch normalization's among them
    bias_rate: float = 1.0  # learning rate of batch normalization's biases, as a multiple of the others'
    smoothing: float = 0.0  # the share of a label that is spread over all classes
    is_augmented: bool = False  # shifted and mirrored images
    shift: int = 4  # pixels, in each direction
    border: str = "constant"  # what a shift brings in: "constant" for black, "reflect" for the image mirrored
    takes_turns: bool = False  # each image mirrored in every second pass, instead of by chance
    cutout: int = 0  # side of the square that is blackened, pixels
    averages: bool = False  # whether the weights are brought together with their running mean
    mirrors: bool = False  # whether the answer is the mean over an image and its mirror image
    temperature: float = 1.0  # by which the answer's scores are divided


QUICK = Recipe("Adam, one cycle", rate=0.012)
BOOK = Recipe("Adam", rate=0.001)
STRONG = Recipe("momentum, one cycle, crop and flip", rate=0.2, decay=5e-4, is_augmented=True)
# Jordan 2024: 11.5 for losses summed over 1,024 images is 11.5 / (1 + 1 / (1 - 0.85)) for their mean, and so on.
AIRBENCH = Recipe("momentum, smoothed labels, shift and flip, mean weights", rate=1.5, batch_size=1024, momentum=0.85,
                  decay=1.33e-3, decays_biases=True, bias_rate=64, smoothing=0.2, is_augmented=True, shift=2,
                  border="reflect", takes_turns=True, averages=True, mirrors=True, temperature=0.52)
RECIPES = {"quick": QUICK, "book": BOOK, "strong": STRONG}
OF_NETWORK = {("strong", "airbench"): AIRBENCH}  # where a network has its own
LONG, CUTOUT = 16, 8  # from so many passes on the airbench recipe blackens squares of 8 by 8 pixels


def recipe_of(name, model, epochs):
    """The recipe of this name for this network and so many passes."""
    recipe = OF_NETWORK.get((name, model), RECIPES[name])
    return recipe._replace(cutout=CUTOUT) if recipe is AIRBENCH and epochs >= LONG else recipe
