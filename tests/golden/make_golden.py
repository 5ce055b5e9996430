"""Writes golden.npz: what PyTorch computes, in float64, for the networks of models/.

    pip install torch==2.13.0
    python tests/golden/make_golden.py

The networks are written here a second time, from the papers and the book, without a look into models/.
Parameters are numbered in the order in which they are drawn.
`python tests/golden/make_golden.py search MODEL` lists seeds for recipe.py.
"""
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from recipe import SEED, Weights, batch, samples


class Network:
    """Layers that draw their weights when they are first called, in training or in test mode."""

    def __init__(self, model, training):
        self.weights = Weights(model)
        self.training = training
        self.parameters = []        # gradients are taken of these
        self.statistics = {}        # number -> running mean or variance after the step
        self.margin = float("inf")  # how near a ReLU's input comes to 0, or a pooling's second to its first

    def parameter(self, kind, shape):
        values = torch.tensor(self.weights.draw(kind, shape), dtype=torch.float64)
        self.parameters.append(values.requires_grad_(kind not in ("mean", "variance")))
        return values

    def conv(self, x, ch_out, size, stride=1, padding=0, bias=True, learned=True):
        weight = self.parameter("conv", [ch_out, x.shape[1], size, size])
        weight.requires_grad_(learned)
        return F.conv2d(x, weight, self.parameter("bias", [ch_out]) if bias else None, stride, padding)

    def batch_norm(self, x, kept=0.9):
        channels = x.shape[1]
        gamma, beta, mean, variance = [
            self.parameter(kind, [channels]) for kind in ("gamma", "beta", "mean", "variance")]
        if not self.training:
            return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=1e-5)
        new_mean, new_variance = mean.clone(), variance.clone()
        y = F.batch_norm(x, new_mean, new_variance, gamma, beta, training=True, momentum=1 - kept, eps=1e-5)
        # PyTorch's running variance takes the sum of squares over m - 1, Paddle's the one over m.
        m = x.numel() // channels
        new_variance = kept * variance + (new_variance - kept * variance) * (m - 1) / m
        number = len(self.parameters)
        self.statistics[number - 2], self.statistics[number - 1] = new_mean, new_variance
        return y

    def fc(self, x, size):
        x = x.flatten(1)
        return x @ self.parameter("fc", [x.shape[1], size]) + self.parameter("bias", [size])

    def relu(self, x):
        self.margin = min(self.margin, x.detach().abs().min().item())
        return F.relu(x)

    def max_pool(self, x, size, stride, padding=0):
        windows = F.pad(x.detach(), [padding] * 4).unfold(2, size, stride).unfold(3, size, stride)
        first, second = windows.flatten(4).topk(2).values.unbind(-1)
        gaps = (first - second)[first > second]     # equal ones are two zeros, or one value in two windows
        self.margin = min(self.margin, gaps.min().item())
        return F.max_pool2d(x, size, stride, padding)

    def dropout(self, x, probability):
        """The golden training step is without dropout; test mode scales."""
        return x if self.training else x * (1 - probability)


def resnet(net, x, depth=32):
    def block(x, ch_out, stride):
        y = net.relu(net.batch_norm(net.conv(x, ch_out, 3, stride, 1, bias=False)))
        y = net.batch_norm(net.conv(y, ch_out, 3, 1, 1, bias=True))
        if x.shape[1] != ch_out:
            x = net.batch_norm(net.conv(x, ch_out, 1, stride, 0, bias=False))
        return net.relu(x + y)

    x = net.relu(net.batch_norm(net.conv(x, 16, 3, 1, 1, bias=False)))
    for ch_out in 16, 32, 64:
        for index in range((depth - 2) // 6):
            x = block(x, ch_out, 2 if index == 0 and ch_out != 16 else 1)
    return [net.fc(x.mean(dim=(2, 3)), 10)]


def vgg(net, x):
    twice = [0.4, 0.4]
    for ch_out, dropouts in (64, [0.3]), (128, [0.4]), (256, twice), (512, twice), (512, twice):
        for probability in [*dropouts, 0]:
            x = net.dropout(net.relu(net.batch_norm(net.conv(x, ch_out, 3, 1, 1))), probability)
        x = net.max_pool(x, 2, 2)
    x = net.fc(net.dropout(x, 0.5), 512)
    x = net.dropout(net.relu(net.batch_norm(x)), 0.5)
    return [net.fc(net.fc(x, 512), 10)]


def googlenet(net, x):
    def conv(x, ch_out, size):
        return net.relu(net.batch_norm(net.conv(x, ch_out, size, 1, size // 2, bias=False)))

    def inception(x, one, reduce3, three, reduce5, five, pool):
        return torch.cat([conv(x, one, 1), conv(conv(x, reduce3, 1), three, 3),
                          conv(conv(x, reduce5, 1), five, 5), conv(net.max_pool(x, 3, 1, 1), pool, 1)], dim=1)

    def auxiliary(x):
        return net.fc(net.relu(net.fc(conv(F.avg_pool2d(x, 5, 3), 64, 1), 256)), 10)

    x = conv(conv(conv(x, 32, 3), 32, 1), 96, 3)
    x = inception(net.max_pool(x, 3, 2, 1), 32, 48, 64, 8, 16, 16)
    x = inception(x, 64, 64, 96, 16, 48, 32)
    x = inception(net.max_pool(x, 3, 2, 1), 96, 48, 104, 8, 24, 32)
    first = auxiliary(x)
    x = inception(x, 80, 56, 112, 12, 32, 32)
    x = inception(x, 64, 64, 128, 12, 32, 32)
    x = inception(x, 56, 72, 144, 16, 32, 32)
    second = auxiliary(x)
    x = inception(x, 128, 80, 160, 16, 64, 64)
    x = inception(net.max_pool(x, 3, 2, 1), 128, 80, 160, 16, 64, 64)
    x = inception(x, 192, 96, 192, 24, 64, 64)
    return [net.fc(x.mean(dim=(2, 3)), 10), first, second]


def airbench(net, x):
    def gelu_of_norm(x):
        return F.gelu(net.batch_norm(x, kept=0.6))

    x = F.gelu(net.conv(x, 24, 2, learned=False))
    for ch_out in 64, 256, 256:
        x = gelu_of_norm(net.max_pool(net.conv(x, ch_out, 3, 1, 1, bias=False), 2, 2))
        x = gelu_of_norm(net.conv(x, ch_out, 3, 1, 1, bias=False))
    x = net.max_pool(x, 3, 3).flatten(1)
    return [x @ net.parameter("fc", [256, 10]) / 9]


def run(model, network, training, golden):
    """Add this network's probabilities and loss, in training its gradients and running statistics too."""
    pictures, labels = (torch.tensor(array) for array in batch(model))
    net = Network(model, training)
    logits = network(net, pictures.double())
    losses = [F.cross_entropy(output, labels[:, 0]) for output in logits]
    loss = losses[0] + 0.3 * sum(losses[1:])
    mode = "train" if training else "test"
    probabilities = torch.stack([F.softmax(output, dim=1) for output in logits]).detach().numpy()
    print(f"{model} {mode}: loss {loss.item():.4f}, greatest probability {probabilities.max():.3f}, "
          f"spread from picture to picture {probabilities.std(axis=1).mean():.3f}, "
          f"margin {net.margin:.1e}")
    golden[f"{model}/{mode}/probabilities"] = probabilities
    golden[f"{model}/{mode}/loss"] = loss.item()
    if not training:
        return
    loss.backward()
    for number, parameter in enumerate(net.parameters):
        if number in net.statistics:
            golden[f"{model}/statistics/{number}"] = net.statistics[number].numpy().astype(np.float32)
        elif parameter.requires_grad:
            gradient = parameter.grad.numpy()
            golden[f"{model}/gradient/{number}"] = samples(gradient).astype(np.float32)
            golden[f"{model}/norm/{number}"] = np.linalg.norm(gradient)


NETWORKS = {"resnet": resnet, "vgg": vgg, "googlenet": googlenet, "airbench": airbench}


@torch.no_grad()
def search(model, seeds=range(1, 800)):
    """Print the seeds whose training step keeps furthest from the kinks of ReLU and of max pooling."""
    margins = {}
    for SEED[model] in seeds:
        net = Network(model, training=True)
        NETWORKS[model](net, torch.tensor(batch(model)[0]).double())
        margins[SEED[model]] = net.margin
    for seed in sorted(margins, key=margins.get)[-5:]:
        print(f"{model}: seed {seed}, margin {margins[seed]:.1e}")


def main():
    if sys.argv[1:2] == ["search"]:
        search(sys.argv[2])
        return
    golden = {}
    for model, network in NETWORKS.items():
        run(model, network, False, golden)
        run(model, network, True, golden)
    path = Path(__file__).with_name("golden.npz")
    np.savez_compressed(path, **golden)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
