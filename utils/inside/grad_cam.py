"""Where in a picture a class is seen: Grad-CAM (Selvaraju et al. 2017)."""
import numpy as np

from utils.errors import UserError
from utils.inside.layers import BATCH, open_up

MASK = "inside.mask"  # fed: [N, classes], 1 at the class to explain, else 0


def grad_cam(model, pixels, classes):
    """Heat maps: how much each place of the last feature maps adds to the score of a class; 0 where it takes away.

    model: infer.Model; pixels: [N, 3, 32, 32] in [0, 1]
    classes: int [N, K], the numbers of K classes for each picture -> float32 [N, K, H, W], 8x8 for a ResNet-32
    Errors: UserError where the model has no such maps. Source: the paper's equations 1 and 2.
    """
    opened = open_up(model)
    if opened.layers.maps is None:
        raise UserError("the model has no convolution before a fully connected layer, so no heat maps: name another "
                        "with --model-dir")
    score, = opened.run({opened.input: pixels[:1]}, [opened.layers.score])  # 2 rows with a mirrored copy
    gradient, batches = add_gradient(opened), []
    for first in range(0, len(pixels), BATCH):
        batch, numbers = pixels[first:first + BATCH], classes[first:first + BATCH]
        heats = []
        for column in numbers.T:
            mask = np.zeros((len(score) * len(batch), score.shape[1]), np.float32)
            mask[np.arange(len(batch)), column] = 1  # rows of mirrored copies come last and stay 0
            heats.append(heat_maps(opened, gradient, batch, mask))
        batches.append(np.stack(heats, axis=1))
    return np.concatenate(batches)


def heat_maps(opened, gradient, pixels, mask):
    """Heat maps of one class for each picture of a batch: [N, H, W]; mask: what is fed as `MASK`."""
    maps, slopes = opened.run({opened.input: pixels, MASK: mask}, [opened.layers.maps, gradient])
    weights = slopes.mean(axis=(2, 3), keepdims=True)  # alpha: [N, C, 1, 1]
    return np.maximum((weights * maps).sum(axis=1), 0)[:len(pixels)]


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
