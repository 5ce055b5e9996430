"""The same networks in PyTorch, and how fast they train and test: the other side of benchmarks/throughput.py.

Runs with an interpreter that has PyTorch (`pip install torch==2.13.0`); needs nothing of this project.
"""
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

TEST_BATCH = 500


def conv_bn(ch_in, ch_out, size, stride=1, padding=0, bias=False):
    return nn.Sequential(nn.Conv2d(ch_in, ch_out, size, stride, padding, bias=bias), nn.BatchNorm2d(ch_out))


class BasicBlock(nn.Module):
    def __init__(self, ch_in, ch_out, stride):
        super().__init__()
        self.first = conv_bn(ch_in, ch_out, 3, stride, 1)
        self.second = conv_bn(ch_out, ch_out, 3, 1, 1, bias=True)
        self.shortcut = conv_bn(ch_in, ch_out, 1, stride) if ch_in != ch_out else nn.Identity()

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def resnet(depth=32):
    layers, channels = [conv_bn(3, 16, 3, 1, 1), nn.ReLU()], 16
    for ch_out, stride in ((16, 1), (32, 2), (64, 2)):
        for index in range((depth - 2) // 6):
            layers.append(BasicBlock(channels, ch_out, stride if index == 0 else 1))
            channels = ch_out
    return nn.Sequential(*layers, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def vgg():
    layers, channels = [], 3
    for ch_out, drops in ((64, (.3, 0)), (128, (.4, 0)), (256, (.4, .4, 0)), (512, (.4, .4, 0)), (512, (.4, .4, 0))):
        for drop in drops:
            layers += [conv_bn(channels, ch_out, 3, 1, 1, bias=True), nn.ReLU(), nn.Dropout(drop)]
            channels = ch_out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(.5), nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(),
                         nn.Dropout(.5), nn.Linear(512, 512), nn.Linear(512, 10))


def median_rate(step, pictures, warm_up, steps):
    """Pictures a second at the median of `steps` steps."""
    seconds = []
    for number in range(warm_up + steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return pictures / statistics.median(seconds[warm_up:])


def measure(name, threads, steps, tests, batch=128):
    """Training and test speed of one network in both memory formats, pictures a second."""
    torch.set_num_threads(threads)
    rates = {}
    for layout, memory_format in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
        net = {"resnet": resnet, "vgg": vgg}[name]().to(memory_format=memory_format)
        pixels = torch.rand(batch, 3, 32, 32).to(memory_format=memory_format)
        labels = torch.randint(0, 10, (batch,))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.001)

        def train_step():
            optimizer.zero_grad()
            loss = F.cross_entropy(net(pixels), labels)
            loss.backward()
            optimizer.step()
            loss.item()

        rates[f"train {layout}"] = median_rate(train_step, batch, 3, steps)
        net.eval()
        many = torch.rand(TEST_BATCH, 3, 32, 32).to(memory_format=memory_format)
        with torch.no_grad():
            rates[f"test {layout}"] = median_rate(lambda: net(many).softmax(1), TEST_BATCH, 2, tests)
    a = torch.rand(2048, 2048)
    rates["GFLOP/s"] = median_rate(lambda: a @ a, 2 * 2048 ** 3 / 1e9, 2, 7)
    return rates


if __name__ == "__main__":
    print(json.dumps({"version": torch.__version__, **measure(sys.argv[1], *map(int, sys.argv[2:5]))}))
