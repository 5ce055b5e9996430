"""PyTorch's side of benchmarks/throughput.py: the same networks, bare steps and bare forward passes, as JSON.

It imports nothing of this project, so that any Python with PyTorch can run it.
"""
import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F

AUXILIARY_WEIGHT = 0.3
WARM_UP = 3  # steps


class BasicBlock(nn.Module):
    """As models/resnet.py: the second convolution has a bias, the shortcut is a projection where widths differ."""

    def __init__(self, ch_in, ch_out, stride):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(ch_in, ch_out, 3, stride, 1, bias=False), nn.BatchNorm2d(ch_out),
                                   nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(ch_out, ch_out, 3, 1, 1), nn.BatchNorm2d(ch_out))
        self.shortcut = nn.Identity() if ch_in == ch_out else nn.Sequential(
            nn.Conv2d(ch_in, ch_out, 1, stride, bias=False), nn.BatchNorm2d(ch_out))

    def forward(self, x):
        """x: [N, ch_in, H, W] -> [N, ch_out, H/stride, W/stride]."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


def resnet32():
    """ResNet-32 for 32x32 images."""
    layers, width = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for ch_out, stride in ((16, 1), (32, 2), (64, 2)):
        for number in range(5):
            layers.append(BasicBlock(width, ch_out, stride if number == 0 else 1))
            width = ch_out
    return nn.Sequential(*layers, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def vgg():
    """The chapter's VGG with batch norm and dropout."""
    layers, width = [], 3
    groups = (64, (0.3, 0)), (128, (0.4, 0)), (256, (0.4, 0.4, 0)), (512, (0.4, 0.4, 0)), (512, (0.4, 0.4, 0))
    for ch_out, drops in groups:
        for drop in drops:
            layers += [nn.Conv2d(width, ch_out, 3, 1, 1), nn.BatchNorm2d(ch_out), nn.ReLU()]
            layers += [nn.Dropout(drop)] if drop else []
            width = ch_out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(),
                         nn.Dropout(0.5), nn.Linear(512, 512), nn.Linear(512, 10))


def conv_bn(ch_in, ch_out, size, padding=0):
    """A convolution with batch normalization and relu."""
    return nn.Sequential(nn.Conv2d(ch_in, ch_out, size, 1, padding, bias=False), nn.BatchNorm2d(ch_out), nn.ReLU())


class Inception(nn.Module):
    """As models/googlenet.py: four paths side by side, joined along the channels."""

    def __init__(self, ch_in, ch_1x1, ch_3x3, ch_5x5, ch_pool):
        super().__init__()
        self.paths = nn.ModuleList([
            conv_bn(ch_in, ch_1x1, 1),
            nn.Sequential(conv_bn(ch_in, ch_3x3[0], 1), conv_bn(*ch_3x3, 3, 1)),
            nn.Sequential(conv_bn(ch_in, ch_5x5[0], 1), conv_bn(*ch_5x5, 5, 2)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(ch_in, ch_pool, 1))])
        self.width = ch_1x1 + ch_3x3[1] + ch_5x5[1] + ch_pool

    def forward(self, x):
        """x: [N, ch_in, H, W] -> [N, width, H, W]."""
        return torch.cat([path(x) for path in self.paths], 1)


class GoogLeNet(nn.Module):
    """The chapter's GoogLeNet: scores, and in training those of its two auxiliary classifiers too."""

    STAGES = (  # between two of them stands an auxiliary classifier; None halves
        ((32, (48, 64), (8, 16), 16), (64, (64, 96), (16, 48), 32), None, (96, (48, 104), (8, 24), 32)),
        ((80, (56, 112), (12, 32), 32), (64, (64, 128), (12, 32), 32), (56, (72, 144), (16, 32), 32)),
        ((128, (80, 160), (16, 64), 64), None, (128, (80, 160), (16, 64), 64), (192, (96, 192), (24, 64), 64)))

    def __init__(self):
        super().__init__()
        layers, width = [conv_bn(3, 32, 3, 1), conv_bn(32, 32, 1), conv_bn(32, 96, 3, 1), nn.MaxPool2d(3, 2, 1)], 96
        self.stages, self.auxiliaries = nn.ModuleList(), nn.ModuleList()
        for number, blocks in enumerate(self.STAGES):
            for block in blocks:
                layers.append(Inception(width, *block) if block else nn.MaxPool2d(3, 2, 1))
                width = layers[-1].width if block else width
            self.stages.append(nn.Sequential(*layers))
            layers = []
            if number < 2:
                self.auxiliaries.append(nn.Sequential(nn.AvgPool2d(5, 3), conv_bn(width, 64, 1), nn.Flatten(),
                                                      nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)))
        self.last = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(width, 10))

    def forward(self, x):
        """x: [N, 3, 32, 32] -> [N, 10], in training with a list of two more."""
        x = self.stages[0](x)
        first, x = x, self.stages[1](x)
        scores = self.last(self.stages[2](x))
        return (scores, [self.auxiliaries[0](first), self.auxiliaries[1](x)]) if self.training else scores


def airbench():
    """The chapter's Airbench; its first weights, which make no difference to the time, are PyTorch's own."""
    layers, width = [nn.Conv2d(3, 24, 2), nn.GELU()], 24
    for ch_out in (64, 256, 256):
        for pool in ([nn.MaxPool2d(2)], []):
            layers += [nn.Conv2d(width, ch_out, 3, 1, 1, bias=False), *pool, nn.BatchNorm2d(ch_out), nn.GELU()]
            width = ch_out
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False))


def loss_of(outputs, labels):
    """Cross entropy, with that of auxiliary classifiers where there are some."""
    scores, auxiliaries = outputs if isinstance(outputs, tuple) else (outputs, [])
    return F.cross_entropy(scores, labels) + AUXILIARY_WEIGHT * sum(F.cross_entropy(x, labels) for x in auxiliaries)


NETWORKS = {"resnet": resnet32, "vgg": vgg, "googlenet": GoogLeNet, "airbench": airbench}


class Side:
    """One of the chapter's networks in training and in use, on one batch of noise.

    name: these words in it count. "channels last": the memory format; "fused": Adam in one kernel, and in testing batch
    norm folded into convolutions; "bfloat16": autocast.
    """

    def __init__(self, name, model, batch):
        torch.manual_seed(0)
        layout = torch.channels_last if "channels last" in name else torch.contiguous_format
        self.network = NETWORKS[model]().to(memory_format=layout)
        self.is_fused, self.folded = "fused" in name, None
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3, fused=self.is_fused)
        self.pixels = torch.rand(batch, 3, 32, 32).to(memory_format=layout)
        self.labels = torch.randint(0, 10, (batch,))
        self.is_bfloat16, self.is_mirrored = "bfloat16" in name, model == "airbench"

    def autocast(self):
        """Where convolutions and matrix products compute in bfloat16, if this side does."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.is_bfloat16)

    def step(self):
        """One step of training -> the loss."""
        self.optimizer.zero_grad()
        with self.autocast():
            loss = loss_of(self.network(self.pixels), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def answer(self):
        """The class of each image; Airbench answers with the mean over an image and its mirror image."""
        pixels = torch.cat([self.pixels, self.pixels.flip(3)]) if self.is_mirrored else self.pixels
        with torch.inference_mode(), self.autocast():
            scores = (self.folded or self.network)(pixels)
            return (scores.unflatten(0, (2, -1)).mean(0) if self.is_mirrored else scores).argmax(1)

    def run(self, work, count):
        """`count` steps ("train") or batches of answers ("test") -> seconds."""
        self.network.train(work == "train")
        self.folded = fuse(self.network) if self.is_fused and work == "test" else None
        act = self.step if work == "train" else self.answer
        begin = time.perf_counter()
        for _ in range(count):
            act()
        return time.perf_counter() - begin


def main():
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=NETWORKS, required=True)
    parser.add_argument("--threads", type=int, required=True, help="CPU threads to compute with")
    parser.add_argument("--steps", type=int, required=True, help="steps to measure")
    parser.add_argument("--batch", type=int, required=True, help="images per step")
    parser.add_argument("--side", default="torch", help="with the words channels last, fused or bfloat16")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    side, told = Side(given.side, given.model, given.batch), {}
    for work, count in (("train", given.steps), ("test", max(given.steps, 10))):
        side.run(work, WARM_UP)
        told[work] = given.batch * count / side.run(work, count)
    print(json.dumps({**told, "version": torch.__version__,
                      "parameters": sum(parameter.numel() for parameter in side.network.parameters()),
                      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
