"""GoogLeNet for CIFAR-10: blocks that look at several scales at once (Szegedy et al. 2014).

The nine blocks of the paper's table 1 with half of its channels, for images of 32x32 instead of
224x224: the first layers keep the full size, and three poolings lead from there to 4x4. As in the
batch-normalized Inception (Ioffe and Szegedy 2015), each convolution has batch normalization, and
there is no dropout and no local response normalization.
"""
import paddle
import paddle.nn.functional as F
from paddle.static import Variable, nn

from models.resnet import conv_bn_layer


def inception(x: Variable, ch_1x1: int, ch_3x3: tuple[int, int], ch_5x5: tuple[int, int],
              ch_pool: int) -> Variable:
    """1x1, 3x3 and 5x5 convolutions and a pooling side by side, joined along the channels.

    x: [N, C, H, W] -> [N, ch_1x1 + ch_3x3[1] + ch_5x5[1] + ch_pool, H, W]
    ch_3x3, ch_5x5: channels after the 1x1 convolution that makes the large one cheap, and after it.
    """
    path_1x1 = conv_bn_layer(x, ch_1x1, filter_size=1, stride=1, padding=0)
    path_3x3 = conv_bn_layer(x, ch_3x3[0], filter_size=1, stride=1, padding=0)
    path_3x3 = conv_bn_layer(path_3x3, ch_3x3[1], filter_size=3, stride=1, padding=1)
    path_5x5 = conv_bn_layer(x, ch_5x5[0], filter_size=1, stride=1, padding=0)
    path_5x5 = conv_bn_layer(path_5x5, ch_5x5[1], filter_size=5, stride=1, padding=2)
    path_pool = F.max_pool2d(x, kernel_size=3, stride=1, padding=1)
    path_pool = conv_bn_layer(path_pool, ch_pool, filter_size=1, stride=1, padding=0)
    return paddle.concat([path_1x1, path_3x3, path_5x5, path_pool], axis=1)


def auxiliary_classifier(x: Variable, classes: int) -> Variable:
    """Class probabilities from the middle of the network, for training alone.

    x: [N, C, 8, 8] -> [N, classes]
    """
    x = F.avg_pool2d(x, kernel_size=5, stride=3)                # [N, C, 2, 2]
    x = conv_bn_layer(x, 64, filter_size=1, stride=1, padding=0)# [N, 64, 2, 2]
    x = nn.fc(x, size=256, activation="relu")                   # [N, 256]
    return nn.fc(x, size=classes, activation="softmax")         # [N, classes]


def halve(x: Variable) -> Variable:
    """Maximum over 3x3 at every second place: [N, C, H, W] -> [N, C, H/2, W/2]."""
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


def googlenet(image: Variable, classes: int = 10) -> tuple[Variable, list[Variable]]:
    """Class probabilities of the network, and those of its two auxiliary classifiers for training.

    image: [N, 3, 32, 32] in [0, 1] -> [N, classes] and a list of two such
    """
    x = conv_bn_layer(image, 32, filter_size=3, stride=1, padding=1)              # [N, 32, 32, 32]
    x = conv_bn_layer(x, 32, filter_size=1, stride=1, padding=0)                  # [N, 32, 32, 32]
    x = conv_bn_layer(x, 96, filter_size=3, stride=1, padding=1)                  # [N, 96, 32, 32]
    x = halve(x)                                                                  # [N, 96, 16, 16]
    x = inception(x, ch_1x1=32, ch_3x3=(48, 64), ch_5x5=(8, 16), ch_pool=16)      # [N, 128, 16, 16]
    x = inception(x, ch_1x1=64, ch_3x3=(64, 96), ch_5x5=(16, 48), ch_pool=32)     # [N, 240, 16, 16]
    x = halve(x)                                                                  # [N, 240, 8, 8]
    x = inception(x, ch_1x1=96, ch_3x3=(48, 104), ch_5x5=(8, 24), ch_pool=32)     # [N, 256, 8, 8]
    first = auxiliary_classifier(x, classes)
    x = inception(x, ch_1x1=80, ch_3x3=(56, 112), ch_5x5=(12, 32), ch_pool=32)    # [N, 256, 8, 8]
    x = inception(x, ch_1x1=64, ch_3x3=(64, 128), ch_5x5=(12, 32), ch_pool=32)    # [N, 256, 8, 8]
    x = inception(x, ch_1x1=56, ch_3x3=(72, 144), ch_5x5=(16, 32), ch_pool=32)    # [N, 264, 8, 8]
    second = auxiliary_classifier(x, classes)
    x = inception(x, ch_1x1=128, ch_3x3=(80, 160), ch_5x5=(16, 64), ch_pool=64)   # [N, 416, 8, 8]
    x = halve(x)                                                                  # [N, 416, 4, 4]
    x = inception(x, ch_1x1=128, ch_3x3=(80, 160), ch_5x5=(16, 64), ch_pool=64)   # [N, 416, 4, 4]
    x = inception(x, ch_1x1=192, ch_3x3=(96, 192), ch_5x5=(24, 64), ch_pool=64)   # [N, 512, 4, 4]
    x = F.avg_pool2d(x, kernel_size=4)                                            # [N, 512, 1, 1]
    return nn.fc(x, size=classes, activation="softmax"), [first, second]          # [N, classes]
