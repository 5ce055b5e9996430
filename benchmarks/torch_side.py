"""PyTorch's side of benchmarks/throughput.py: the same networks, bare steps and bare forward passes, as JSON.

It imports nothing of this project, so that any Python with PyTorch can run it.
"""
import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F


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


def timed(work, warm_up, count):
    """Mean seconds of a call of `work`, after a few that do not count."""
    for _ in range(warm_up):
        work()
    begin = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begin) / count


def main():
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("resnet", "vgg"), required=True)
    parser.add_argument("--threads", type=int, required=True, help="CPU threads to compute with")
    parser.add_argument("--steps", type=int, required=True, help="steps to measure")
    parser.add_argument("--batch", type=int, required=True, help="images per step")
    parser.add_argument("--channels-last", action="store_true", help="lay images out as PyTorch prefers on a CPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    network = {"resnet": resnet32, "vgg": vgg}[given.model]()
    pixels, labels = torch.rand(given.batch, 3, 32, 32), torch.randint(0, 10, (given.batch,))
    if given.channels_last:
        network, pixels = (part.to(memory_format=torch.channels_last) for part in (network, pixels))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def step():
        """One step of training."""
        optimizer.zero_grad()
        loss = F.cross_entropy(network(pixels), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    training = given.batch / timed(step, 3, given.steps)
    network.eval()
    with torch.inference_mode():
        testing = given.batch / timed(lambda: network(pixels).argmax(1), 3, max(given.steps, 10))
    print(json.dumps({"train": training, "test": testing, "version": torch.__version__,
                      "parameters": sum(p.numel() for p in network.parameters()),
                      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
