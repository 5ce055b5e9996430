"""Chapter 3, "Image Classification", in one file of plain Paddle: ResNet-32 on CIFAR-10.

python book/minimal.py [ARCHIVE]                trains for two passes (Paddle downloads CIFAR-10)
python book/minimal.py classify image/dog.png   classifies a picture with the network it trained
"""
import os
import sys
import zlib  # before Paddle 2.6, which has a zlib of its own: loaded later, Python's would crash

os.environ.setdefault("FLAGS_enable_pir_api", "0")  # Paddle 3 then builds programs as Paddle 2 does

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import static
from PIL import Image

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
MODEL = "minimal.inference.model/resnet32"  # .pdmodel: the program; .pdiparams: its weights
PLACE = paddle.CUDAPlace(0) if paddle.device.cuda.device_count() else paddle.CPUPlace()
paddle.enable_static()  # what follows builds programs; an executor runs them


def conv_bn_layer(x, ch_out, filter_size, stride, padding, act="relu", bias_attr=False):
    """Convolution, batch normalization, activation: [N, C, H, W] -> [N, ch_out, H', W']."""
    x = static.nn.conv2d(x, ch_out, filter_size, stride, padding, bias_attr=bias_attr)
    return static.nn.batch_norm(x, act=act, momentum=0.9, epsilon=1e-5)


def shortcut(x, ch_in, ch_out, stride):
    """The path around a block: [N, ch_in, H, W] -> [N, ch_out, H/stride, W/stride]."""
    if ch_in == ch_out:
        return x
    return conv_bn_layer(x, ch_out, filter_size=1, stride=stride, padding=0, act=None)


def basicblock(x, ch_in, ch_out, stride):
    """Two convolutions plus the shortcut: [N, ch_in, H, W] -> [N, ch_out, H/stride, W/stride]."""
    y = conv_bn_layer(x, ch_out, filter_size=3, stride=stride, padding=1)
    y = conv_bn_layer(y, ch_out, filter_size=3, stride=1, padding=1, act=None, bias_attr=True)
    return F.relu(paddle.add(y, shortcut(x, ch_in, ch_out, stride)))


def layer_warp(block_func, x, ch_in, ch_out, count, stride):
    """A stage of `count` blocks: [N, ch_in, H, W] -> [N, ch_out, H/stride, W/stride]."""
    x = block_func(x, ch_in, ch_out, stride)
    for _ in range(count - 1):
        x = block_func(x, ch_out, ch_out, stride=1)
    return x


def resnet_cifar10(image, depth=32):
    """A residual network of 6n + 2 layers: [N, 3, 32, 32] -> probabilities [N, 10]."""
    n = (depth - 2) // 6
    x = conv_bn_layer(image, ch_out=16, filter_size=3, stride=1, padding=1)  # [N, 16, 32, 32]
    x = layer_warp(basicblock, x, ch_in=16, ch_out=16, count=n, stride=1)    # [N, 16, 32, 32]
    x = layer_warp(basicblock, x, ch_in=16, ch_out=32, count=n, stride=2)    # [N, 32, 16, 16]
    x = layer_warp(basicblock, x, ch_in=32, ch_out=64, count=n, stride=2)    # [N, 64, 8, 8]
    x = F.avg_pool2d(x, kernel_size=8, stride=1)                             # [N, 64, 1, 1]
    return static.nn.fc(x, size=len(CLASSES), activation="softmax")          # [N, 10]


def inference_program():
    """The network: its input, [N, 3, 32, 32] in [0, 1], and its probabilities, [N, 10]."""
    image = static.data("pixel", [None, 3, 32, 32], "float32")
    return image, resnet_cifar10(image)


def train_program(probabilities):
    """Probabilities [N, 10] -> cross entropy and accuracy, two scalars: means over the batch."""
    label = static.data("label", [None, 1], "int64")
    loss = F.cross_entropy(probabilities, label, use_softmax=False)
    return loss, static.accuracy(probabilities, label)


def load_data(archive, mode):
    """Pictures of "train" or "test", float32 [N, 3, 32, 32] in [0, 1]; labels, int64 [N, 1]."""
    pixels, labels = zip(*paddle.vision.datasets.Cifar10(archive, mode).data)  # uint8 [3072] each
    images = np.stack(pixels).reshape(-1, 3, 32, 32) * np.float32(1 / 255)
    return images, np.array(labels, "int64").reshape(-1, 1)


def test(executor, program, probabilities, images, labels):
    """Cross entropy and accuracy, means over all images [N, 3, 32, 32], labels [N, 1]."""
    p = np.concatenate([
        executor.run(program, feed={"pixel": images[i:i + 50]}, fetch_list=[probabilities])[0]
        for i in range(0, len(images), 50)])             # [N, 10]
    likelihoods = np.take_along_axis(p, labels, axis=1)  # [N, 1], of the right class
    return -np.log(np.maximum(likelihoods, 1e-20)).mean(), (p.argmax(1) == labels[:, 0]).mean()


def train(archive=None, epochs=2, batch_size=128, seed=0):
    """Train on [N, 3, 32, 32], exactly as train.py --plain --workers 1 --recipe book --seed 0."""
    image, probabilities = inference_program()
    test_program = static.default_main_program().clone(for_test=True)
    metrics = train_program(probabilities)
    paddle.optimizer.Adam(learning_rate=0.001).minimize(metrics[0])
    executor = static.Executor(PLACE)
    paddle.seed(seed)
    executor.run(static.default_startup_program())  # sets the weights to their initial values
    images, labels = load_data(archive, "train")
    test_data = load_data(archive, "test")
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        for batch, first in enumerate(range(0, len(images), batch_size)):
            indices = order[first:first + batch_size]
            feed = {"pixel": images[indices], "label": labels[indices]}
            cost, acc = executor.run(feed=feed, fetch_list=metrics)
            if batch % 100 == 0:
                print(f"Pass {epoch}, Batch {batch}, Cost {cost.item():.2f}, Acc {acc.item():.2f}")
        loss, accuracy = test(executor, test_program, probabilities, *test_data)
        print(f"Test with Pass {epoch}, Loss {loss:.2f}, Acc {accuracy:.2f}")
    static.save_inference_model(MODEL, [image], [probabilities], executor, program=test_program)


def classify(name):
    """Read a picture as [1, 3, 32, 32] in [0, 1] -> the name of its class, and its probability."""
    picture = Image.open(name).convert("RGB").resize((32, 32), Image.LANCZOS)
    pixels = np.asarray(picture, "float32").transpose(2, 0, 1)[np.newaxis] / 255  # [1, 3, 32, 32]
    executor = static.Executor(PLACE)
    program, inputs, outputs = static.load_inference_model(MODEL, executor)
    probabilities, = executor.run(program, feed={inputs[0]: pixels}, fetch_list=outputs)  # [1, 10]
    return CLASSES[probabilities.argmax()], probabilities.max()


if __name__ == "__main__":
    if sys.argv[1:2] == ["classify"]:
        print(*classify(sys.argv[2]))
    else:
        train(*sys.argv[1:])
