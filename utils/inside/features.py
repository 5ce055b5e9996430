"""A picture's features: the numbers from which the last fully connected layer makes its scores."""
from utils.errors import UserError
from utils.inside.layers import fetch, open_up


def features_of(model, pixels):
    """What the last fully connected layer reads: [N, 3, 32, 32] in [0, 1] -> float32 [N, F], 64 for a ResNet-32.

    model: infer.Model. Errors: UserError where it has no such layer.
    """
    opened = open_up(model)
    if opened.layers.features is None:
        raise UserError("the model has no fully connected layer, so no features before it: name another with "
                        "--model-dir")
    return fetch(opened, pixels, [opened.layers.features])[0].reshape(len(pixels), -1)
