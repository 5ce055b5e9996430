"""Where in a picture a class is seen: Grad-CAM (Selvaraju et al. 2017)."""
import numpy as np

from utils.errors import UserError
from utils.inside.layers import batches_of, open_up

MASK = "inside.mask"  # fed: [N, classes], 1 for each picture's class that is meant


def grad_cam(model, pixels, classes):
    """Heat maps: how much each place of the last feature maps adds to the score of a class; 0 where it takes away.

    model: a loaded one (utils.storage.saved_model); pixels: [N, 3, 32, 32] in [0, 1]
    classes: int [N, K], the numbers of K classes for each picture -> float32 [N, K, H, W], 8x8 for a ResNet-32
    Errors: UserError where the model has no such maps. Source: the paper's equations 1 and 2.
    """
    opened = open_up(model)
    layers = opened.layers
    if layers.maps is None:
        raise UserError("the model has no convolution before a fully connected layer, so no heat maps: name another "
                        "with --model-dir")
    rows, count = opened.run({opened.input: pixels[:1]}, [layers.score])[0].shape  # 2 rows with a mirrored copy
    gradient = add_gradient(opened)
    heats = []
    for part, numbers in zip(batches_of(pixels), batches_of(classes)):
        heats.append([])
        for chosen in numbers.T:
            mask = np.zeros([rows * len(part), count], np.float32)
            mask[np.arange(len(part)), chosen] = 1  # mirrored copies come last and have no say
            maps, slope = opened.run({opened.input: part, MASK: mask}, [layers.maps, gradient])
            weights = slope.mean(axis=(2, 3), keepdims=True)  # alpha: [N, C, 1, 1]
            heats[-1].append(np.maximum((weights * maps).sum(axis=1), 0)[:len(part)])
    return np.concatenate([np.stack(each, axis=1) for each in heats])


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
