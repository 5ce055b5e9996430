"""ResNet for CIFAR-10: stacked residual blocks, 6n+2 layers deep (He et al. 2015, section 4.2)."""
from typing import Callable, Optional

import paddle
import paddle.nn.functional as F
from paddle.static import Variable, nn


def conv_bn_layer(x: Variable, ch_out: int, filter_size: int, stride: int, padding: int,
                  act: Optional[str] = "relu", bias_attr: bool = False) -> Variable:
    """A convolution, then batch normalization, then the activation.

    x: [N, C, H, W] -> [N, ch_out, H', W'] with H' = (H + 2 * padding - filter_size) // stride + 1
    act: "relu", or None for none. Weights start as Normal(0, sqrt(2 / (filter_size^2 * C))).
    """
    x = nn.conv2d(x, num_filters=ch_out, filter_size=filter_size, stride=stride, padding=padding,
                  bias_attr=bias_attr)
    return nn.batch_norm(x, act=act, momentum=0.9, epsilon=1e-5)


def shortcut(x: Variable, ch_in: int, ch_out: int, stride: int) -> Variable:
    """The path round a block: nothing at all, or a 1x1 convolution where the shape changes.

    x: [N, ch_in, H, W] -> [N, ch_out, H/stride, W/stride]
    """
    if ch_in == ch_out:
        return x
    return conv_bn_layer(x, ch_out, filter_size=1, stride=stride, padding=0, act=None)


def basicblock(x: Variable, ch_in: int, ch_out: int, stride: int) -> Variable:
    """Two 3x3 convolutions, plus the shortcut (left half of Figure 9).

    x: [N, ch_in, H, W] -> [N, ch_out, H/stride, W/stride]
    Source: He et al. 2015, section 4.2. The projection shortcut is the book's; the paper pads with
    zeros.
    """
    y = conv_bn_layer(x, ch_out, filter_size=3, stride=stride, padding=1)
    # Batch normalization cancels the bias; the book has it, so the parameter counts agree.
    y = conv_bn_layer(y, ch_out, filter_size=3, stride=1, padding=1, act=None, bias_attr=True)
    return F.relu(paddle.add(y, shortcut(x, ch_in, ch_out, stride)))


def layer_warp(block_func: Callable, x: Variable, ch_in: int, ch_out: int, count: int,
               stride: int) -> Variable:
    """One stage: `count` blocks in a row, of which the first changes channels and size.

    x: [N, ch_in, H, W] -> [N, ch_out, H/stride, W/stride]
    """
    x = block_func(x, ch_in, ch_out, stride)
    for _ in range(count - 1):
        x = block_func(x, ch_out, ch_out, stride=1)
    return x


def blocks_per_stage(depth: int) -> int:
    """The n of depth = 6n + 2: three stages of n two-layer blocks, the first and the last layer.

    Raises ValueError for any other depth.
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError("a ResNet for CIFAR-10 has 6n+2 layers: its depth can be "
                         f"8, 14, 20, 26, 32, 38, 44, 50, 56, ... 110 ..., not {depth}")
    return (depth - 2) // 6


def resnet_cifar10(image: Variable, depth: int = 32, classes: int = 10) -> Variable:
    """Class probabilities of a residual network with `depth` layers.

    image: [N, 3, 32, 32] in [0, 1] -> [N, classes]
    Raises ValueError where depth is not 6n+2.
    """
    n = blocks_per_stage(depth)
    x = conv_bn_layer(image, ch_out=16, filter_size=3, stride=1, padding=1)      # [N, 16, 32, 32]
    x = layer_warp(basicblock, x, ch_in=16, ch_out=16, count=n, stride=1)        # [N, 16, 32, 32]
    x = layer_warp(basicblock, x, ch_in=16, ch_out=32, count=n, stride=2)        # [N, 32, 16, 16]
    x = layer_warp(basicblock, x, ch_in=32, ch_out=64, count=n, stride=2)        # [N, 64, 8, 8]
    x = F.avg_pool2d(x, kernel_size=8, stride=1)                                 # [N, 64, 1, 1]
    return nn.fc(x, size=classes, activation="softmax")                          # [N, classes]
