"""The chapter's networks by name: each builder makes class probabilities of the image variable."""
from typing import Optional

import numpy as np
from paddle.static import Program, Variable

from models.airbench import airbench, whitening
from models.googlenet import googlenet
from models.resnet import blocks_per_stage, resnet_cifar10
from models.vgg import vgg_bn_drop

MODELS = {"resnet": resnet_cifar10, "vgg": vgg_bn_drop, "googlenet": googlenet, "airbench": airbench}


def check(name: str, depth: Optional[int] = None) -> None:
    """ValueError for a network that does not exist, or that does not come in this depth."""
    if name not in MODELS:
        raise ValueError(f"no model is called {name}: choose one of {', '.join(MODELS)}")
    if depth is not None and name != "resnet":
        raise ValueError(f"only resnet comes in different depths: omit the depth for {name}")
    if depth is not None:
        blocks_per_stage(depth)


def build(name: str, image: Variable, depth: Optional[int] = None,
          classes: int = 10) -> tuple[Variable, list[Variable]]:
    """Build the network `name` on the image variable.

    image: [N, 3, 32, 32] in [0, 1] -> probabilities [N, classes] and the list of the auxiliary
    classifiers' probabilities (each [N, classes]; empty for a network that has none).
    depth: of a ResNet, 32 where not given. Errors: as `check`.
    """
    check(name, depth)
    more = {} if depth is None else {"depth": depth}
    outputs = MODELS[name](image, classes=classes, **more)
    return outputs if isinstance(outputs, tuple) else (outputs, [])


def first_values(name: str, program: Program, images: np.ndarray) -> dict[str, np.ndarray]:
    """What a network's parameters begin with, where that is not random: {parameter's name: array}.

    program: the network's; images: uint8 [M, 3, 32, 32], from which airbench computes its first
    layer.
    """
    if name != "airbench":
        return {}
    filters, biases = program.all_parameters()[:2]
    return dict(zip((filters.name, biases.name), whitening(images)))
