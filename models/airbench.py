"""Airbench: a plain network of 3x3 convolutions, made to be trained in few passes (Jordan 2024).

The network of airbench94: a fixed layer that whitens 2x2 patches, then three groups of two
convolutions. Its input's normalization is part of the first layer's numbers.
"""
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import ParamAttr
from paddle.nn.initializer import Assign, Constant, Initializer, Uniform
from paddle.static import Variable, nn

WHITENED = 1000  # images, at most, whose 2x2 patches are looked at
SCALE = 1 / 9  # of the scores, so that the first probabilities are nearly equal


def whitening(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filters that turn the 12 numbers of a 2x2 patch into 12 uncorrelated ones of equal spread.

    images: uint8 [N, 3, H, W] -> filters [24, 3, 2, 2] and biases [24], for pixels in [0, 1].
    The filters are 12 directions and their opposites.
    Source: Jordan 2024, section 3.2, after Page 2019.
    """
    pixels = images[::-(-len(images) // WHITENED)] / np.float32(255)          # from all classes
    mean, deviation = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))           # [3]
    pixels = (pixels - mean[:, None, None]) / deviation[:, None, None]
    patches = np.lib.stride_tricks.sliding_window_view(pixels, (2, 2), axis=(2, 3))
    patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)             # [patches, 12]
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / np.sqrt(variances + 5e-4)).T.reshape(12, 3, 2, 2)
    filters = np.concatenate([filters, -filters]) / deviation[:, None, None]  # [24, 3, 2, 2]
    return filters.astype("float32"), -(filters.sum((2, 3)) @ mean).astype("float32")


class IdentityFirst(Initializer):
    """Filters of which the first pass their input channels on unchanged; the rest are random.

    Source: Jordan 2024, section 3.3, after Zagoruyko and Komodakis 2017.
    """

    def forward(self, weights: Variable, block: Any = None) -> None:
        """Write the first values of the weights, [ch_out, ch_in, 3, 3], in the startup program."""
        ch_out, ch_in = weights.shape[:2]
        identity = np.zeros([ch_in, ch_in, 3, 3], "float32")
        identity[:, :, 1, 1] = np.eye(ch_in)
        first = Assign(identity)
        rest = Uniform(-(ch_in * 9) ** -0.5, (ch_in * 9) ** -0.5)
        parts = []
        for values, count in ((first, ch_in), (rest, ch_out - ch_in)):
            if count:
                shape = [count, ch_in, 3, 3]
                parts.append(block.create_var(shape=shape, dtype=weights.dtype))
                values(parts[-1], block)
        block.append_op(type="concat", inputs={"X": parts}, outputs={"Out": [weights]},
                        attrs={"axis": 0})


def conv(x: Variable, ch_out: int) -> Variable:
    """A 3x3 convolution without bias: [N, C, H, W] -> [N, ch_out, H, W]."""
    return nn.conv2d(x, ch_out, filter_size=3, stride=1, padding=1, bias_attr=False,
                     param_attr=ParamAttr(initializer=IdentityFirst()))


def gelu(x: Variable) -> Variable:
    """The activation x * (the share of a normal distribution below x) (Hendrycks and Gimpel 2016).

    The operator is appended by hand: Paddle 3 has no other way to it in a program like this.
    """
    y = x.block.create_var(shape=x.shape, dtype=x.dtype)
    x.block.append_op(type="gelu", inputs={"X": [x]}, outputs={"Out": [y]})
    return y


def norm_gelu(x: Variable) -> Variable:
    """Batch normalization that learns shifts alone (its scales stay 1), then the activation.

    x: [N, C, H, W] -> the same
    """
    x = nn.batch_norm(x, momentum=0.6, epsilon=1e-5, param_attr=ParamAttr(learning_rate=0.0))
    return gelu(x)


def group(x: Variable, ch_out: int) -> Variable:
    """Two convolutions with a pooling: [N, C, H, W] -> [N, ch_out, H // 2, W // 2]."""
    x = norm_gelu(F.max_pool2d(conv(x, ch_out), kernel_size=2, stride=2))
    return norm_gelu(conv(x, ch_out))


def airbench(image: Variable, classes: int = 10) -> Variable:
    """Class probabilities of a network of seven convolutions and a fully connected layer.

    image: [N, 3, 32, 32] in [0, 1] -> [N, classes]
    The first layer begins with zeros: its numbers, which are made from images, are `whitening`'s.
    """
    x = nn.conv2d(image, 24, filter_size=2, bias_attr=ParamAttr(initializer=Constant(0)),
                  param_attr=ParamAttr(initializer=Constant(0), trainable=False))
    x = gelu(x)                                                  # [N, 24, 31, 31]
    x = group(x, 64)                                             # [N, 64, 15, 15]
    x = group(x, 256)                                            # [N, 256, 7, 7]
    x = group(x, 256)                                            # [N, 256, 3, 3]
    x = F.max_pool2d(x, kernel_size=3)                           # [N, 256, 1, 1]
    x = nn.fc(x, size=classes, bias_attr=False,
              weight_attr=ParamAttr(initializer=Uniform(-1 / 16, 1 / 16)))
    return F.softmax(paddle.scale(x, SCALE))                     # [N, classes]
