"""Writes grad_cam.npz: features, and Grad-CAM's heat maps, as PyTorch computes them in float64 with its own autograd.

    pip install torch==2.13.0
    python tests/golden/make_grad_cam.py

The networks, their weights and pictures are those of make_golden.py; the last feature maps are caught on their way.
"""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from make_golden import NETWORKS, Network
from recipe import batch

# Whose last result with four dimensions has the network's last feature maps: a ResNet's sum of block and shortcut
# and a VGG's last convolution go through a ReLU, airbench's through a GELU; GoogLeNet's last inception block lays its
# paths on one stack.
LAST = {"resnet": F.relu, "vgg": F.relu, "googlenet": torch.cat, "airbench": F.gelu}


class Catch(TorchFunctionMode):
    """Keeps the last result, with four dimensions, of one of PyTorch's functions."""

    def __init__(self, function):
        super().__init__()
        self.function, self.maps = function, None

    def __torch_function__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        if function is self.function and result.ndim == 4:
            self.maps = result
        return result


class Watched(Network):
    """A network in test mode that remembers what went into each fully connected layer."""

    def __init__(self, model):
        super().__init__(model, training=False)
        self.read = {}

    def fc(self, x, size):
        scores = super().fc(x, size)
        self.read[id(scores)] = x.flatten(1)
        return scores


def explain(model, network, golden):
    """Add a network's features, its heat maps for the two best classes of each picture, and the first ones enlarged."""
    net, catch = Watched(model), Catch(LAST[model])
    with catch:
        scores = network(net, torch.tensor(batch(model)[0]).double())[0]
    best = scores.detach().numpy().argsort(axis=1)[:, ::-1][:, :2]
    heats = []
    for row, classes in enumerate(best):
        for number in classes:
            gradient, = torch.autograd.grad(scores[row, number], catch.maps, retain_graph=True)
            weights = gradient[row].mean(dim=(1, 2))
            heats.append(F.relu(torch.einsum("c,chw->hw", weights, catch.maps[row])))
    heats = torch.stack(heats).reshape(*best.shape, *catch.maps.shape[2:]).detach()
    golden[f"{model}/classes"] = best
    features = catch.maps.amax(dim=(2, 3)) if model == "airbench" else net.read[id(scores)]
    golden[f"{model}/features"] = features.detach().numpy().astype(np.float32)
    golden[f"{model}/heats"] = heats.numpy().astype(np.float32)
    large = F.interpolate(heats[:1], size=(32, 32), mode="bilinear", align_corners=False)
    golden[f"{model}/large"] = large.numpy().astype(np.float32)
    print(f"{model}: heat maps {list(heats.shape)}, largest {heats.amax(dim=(2, 3)).numpy().round(4).tolist()}, "
          f"places above 0: {(heats > 0).double().mean():.2f}")


def main():
    golden = {}
    for model, network in NETWORKS.items():
        explain(model, network, golden)
    path = Path(__file__).with_name("grad_cam.npz")
    np.savez_compressed(path, **golden)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
