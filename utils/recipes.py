"""The recipes in numbers: what the optimizer, the labels and the images get. Nothing here imports Paddle."""
from typing import NamedTuple


class Recipe(NamedTuple):
    """How a network is trained, and how it answers afterwards."""
    words: str  # in the log
    learning_rate: float  # or its peak
    epochs: int = 2
    batch_size: int = 128
    rise: float = 0.0  # the share of the run in which Adam's learning rate rises; 0 for a constant rate
    momentum: float = 0.9
    weight_decay: float = 0.0  # as a share of the learning rate
    decays_biases: bool = False  # whether the decay is for biases too, batch normalization's among them
    bias_lr_scale: float = 1.0  # learning rate of batch normalization's biases, as a multiple of the others'
    label_smoothing: float = 0.0  # the share of a label that is spread over all classes
    translate: int = 0  # by how many pixels images are shifted, in each direction; 0: neither shifted nor mirrored
    mirrors: bool = True  # whether shifted images are mirrored, too
    pad_mode: str = "constant"  # what a shift brings in: "constant" for black, "reflect" for the image mirrored
    alternating_flip: bool = False  # each image mirrored in every second pass, instead of at random
    cutout: int = 0  # side of the square that is blackened, pixels
    freezes_statistics: bool = False  # whether batch normalization keeps what it starts with: fine-tuning
    lookahead: bool = False  # whether the weights are brought together with their running mean
    flip_tta: bool = False  # whether the answer is the mean over an image and its mirror image
    temperature: float = 1.0  # by which the answer's scores are divided


QUICK = Recipe("Adam, one cycle", learning_rate=0.012, rise=0.4)
BOOK = Recipe("Adam", learning_rate=0.001)
STRONG = Recipe("momentum, one cycle, crop and flip", learning_rate=0.2, weight_decay=5e-4, translate=4)
# Jordan 2024: 11.5 for losses summed over 1,024 images is 11.5 / (1 + 1 / (1 - 0.85)) for their mean, and so on.
AIRBENCH = Recipe("momentum, smoothed labels, shift and flip, mean weights", learning_rate=1.5, batch_size=1024,
                  momentum=0.85, weight_decay=1.33e-3, decays_biases=True, bias_lr_scale=64, label_smoothing=0.2,
                  translate=2, pad_mode="reflect", alternating_flip=True, lookahead=True, flip_tta=True,
                  temperature=0.52)
# The new last layer has been trained alone by then (utils/fine_tuning.py): Kumar et al. 2022.
FINE_TUNE = Recipe("Adam, one cycle, shift and flip, frozen statistics", learning_rate=1e-4, epochs=10, batch_size=32,
                   rise=0.1, translate=2, pad_mode="reflect", freezes_statistics=True, flip_tta=True)
RECIPES = {"quick": QUICK, "book": BOOK, "strong": STRONG, "fine-tune": FINE_TUNE}
FEW, FEW_BATCH = 4000, 32  # with fewer pictures of the user's own than this, batches have this many
STEPS = 1500  # steps, at least, of a network that begins with random weights, on pictures of the user's own
LONG, CUTOUT = 16, 8  # in this many passes or more, the airbench recipe blackens squares of this side, in pixels


def recipe_of(name, model, epochs, mirrors=True):
    """The recipe of this name for this network and so many passes, with or without mirror images."""
    recipe = AIRBENCH if (name, model) == ("strong", "airbench") else RECIPES[name]
    if recipe is AIRBENCH and (epochs or 2) >= LONG:
        recipe = recipe._replace(cutout=CUTOUT)
    return recipe if mirrors else recipe._replace(mirrors=False, alternating_flip=False, flip_tta=False)


def for_few(recipe, pictures, batch_size):
    """The recipe for a folder of this many pictures: small batches, and enough passes for `STEPS` steps.

    batch_size: the user's, or None. The rate is scaled as the batch for momentum, as its square root for Adam.
    Source: Malladi et al. 2022 (Adam), Goyal et al. 2017 (momentum).
    """
    size = batch_size or (FEW_BATCH if pictures < FEW else recipe.batch_size)
    share = size / recipe.batch_size
    return recipe._replace(batch_size=size, epochs=max(recipe.epochs, -(-STEPS // -(-max(pictures, 1) // size))),
                           learning_rate=recipe.learning_rate * share ** (1 if recipe.weight_decay else 0.5))
