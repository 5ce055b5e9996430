"""VGG with batch normalization and dropout for CIFAR-10 (after Simonyan and Zisserman 2014)."""
import paddle.nn.functional as F
from paddle.static import Variable, nn


def dropout(x: Variable, probability: float) -> Variable:
    """Zero elements at random while training; at inference scale all by 1 - probability.

    Scaling at inference is the book's way; most do it while training, which comes to the same.
    """
    return F.dropout(x, p=probability, mode="downscale_in_infer")


def conv_block(x: Variable, ch_out: int, dropouts: list[float]) -> Variable:
    """A 3x3 convolution for each entry of `dropouts`, then a pooling that halves height and width.

    x: [N, C, H, W] -> [N, ch_out, H/2, W/2]
    dropouts: the probability with which an element is dropped after each convolution; 0 for none.
    """
    for probability in dropouts:
        x = nn.conv2d(x, ch_out, filter_size=3, stride=1, padding=1)  # [N, ch_out, H, W]
        x = nn.batch_norm(x, act="relu", momentum=0.9, epsilon=1e-5)
        if probability:
            x = dropout(x, probability)
    return F.max_pool2d(x, kernel_size=2, stride=2)


def vgg_bn_drop(image: Variable, classes: int = 10) -> Variable:
    """Class probabilities of a VGG of 13 convolutions and 3 fully connected layers.

    image: [N, 3, 32, 32] in [0, 1] -> [N, classes]
    """
    x = conv_block(image, ch_out=64, dropouts=[0.3, 0])             # [N, 64, 16, 16]
    x = conv_block(x, ch_out=128, dropouts=[0.4, 0])                # [N, 128, 8, 8]
    x = conv_block(x, ch_out=256, dropouts=[0.4, 0.4, 0])           # [N, 256, 4, 4]
    x = conv_block(x, ch_out=512, dropouts=[0.4, 0.4, 0])           # [N, 512, 2, 2]
    x = conv_block(x, ch_out=512, dropouts=[0.4, 0.4, 0])           # [N, 512, 1, 1]
    x = dropout(x, 0.5)
    x = nn.fc(x, size=512)                                          # [N, 512]
    x = nn.batch_norm(x, act="relu", momentum=0.9, epsilon=1e-5)
    x = dropout(x, 0.5)
    x = nn.fc(x, size=512)                                          # [N, 512]
    return nn.fc(x, size=classes, activation="softmax")             # [N, classes]
