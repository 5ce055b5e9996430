"""The strong recipe in PyTorch: `python -m benchmarks.torch_recipe --data-file ARCHIVE --epochs 10`.

Trains one of the chapter's networks to compare with train.py's after as many passes: the same network, first weights
of the same spread, images, order, crop and flip, batches, optimizer, schedule and decay. It needs PyTorch but not
Paddle, and takes a CUDA device where PyTorch has one.
"""
import argparse
import sys
import time

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import torch_side
from utils.data import batches, dataset
from utils.errors import exit_status

BATCH, TEST_BATCH = 128, 500
NETWORKS = {name: torch_side.NETWORKS[name] for name in ("resnet", "vgg", "googlenet")}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def build(model, epochs, steps):
    """The network with its optimizer and schedule."""
    network = NETWORKS[model]().to(DEVICE, memory_format=torch.channels_last)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter)
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 5e-4}, {"params": others}], lr=0.2, momentum=0.9,
                                nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=epochs * steps,
                                                   cycle_momentum=False, final_div_factor=80)  # ends at Paddle's 1e-4
    return network, optimizer, schedule


def tensors(images, labels, indices, rng=None):
    """A batch as PyTorch takes it."""
    feed = batches.feed_of(images, labels, indices, rng and batches.augment(images[indices], rng, 4, "constant"))
    pixels, label = torch.from_numpy(feed["pixel"]), torch.from_numpy(feed["label"][:, 0])
    return pixels.to(DEVICE, memory_format=torch.channels_last), label.to(DEVICE)


def train_one_epoch(network, optimizer, schedule, data, seed, epoch):
    """Train on every image once, in train.py's order."""
    network.train()
    order = batches.epoch_order(len(data.train_labels), seed, epoch)
    for batch, indices in enumerate(batches.batches_of(order, BATCH)):
        rng = np.random.default_rng([seed, epoch, batch])
        pixels, labels = tensors(data.train_images, data.train_labels, indices, rng)
        optimizer.zero_grad()
        torch_side.loss_of(network(pixels), labels).backward()
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def test_pass(network, data):
    """Mean cost and error over the test images."""
    network.eval()
    cost, right, count = 0.0, 0, len(data.test_labels)
    for indices in batches.batches_of(np.arange(count), TEST_BATCH):
        pixels, labels = tensors(data.test_images, data.test_labels, indices)
        scores = network(pixels)
        cost += F.cross_entropy(scores, labels, reduction="sum").item()
        right += (scores.argmax(1) == labels).sum().item()
    return cost / count, 1 - right / count


@exit_status("end other programs")
def main(arguments=None):
    """Train as the command line asks, and print cost and error after each pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-file", required=True, help="a CIFAR-10 archive")
    parser.add_argument("--model", choices=NETWORKS, default="resnet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.manual_seed(given.seed)
    data = dataset.read("cifar10", given.data_file, say=lambda text: None)
    network, optimizer, schedule = build(given.model, given.epochs, steps=-(-len(data.train_labels) // BATCH))
    begin = time.monotonic()
    for epoch in range(given.epochs):
        train_one_epoch(network, optimizer, schedule, data, given.seed, epoch)
        cost, error = test_pass(network, data)
        minutes = (time.monotonic() - begin) / 60
        print(f"Pass {epoch}: cost {cost:.4f}, error {error:.2%}, {minutes:.1f} min", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
