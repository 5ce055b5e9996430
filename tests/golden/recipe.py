"""Weights and batches of the golden outputs, alike for PyTorch (make_golden.py) and Paddle (test_models.py).

Only NumPy's frozen RandomState and its uniform numbers are used, so every machine draws the same bits,
and the .npz need not hold fifteen million weights.
"""
import numpy as np

# Ranges that keep every network's probabilities away from 0 and 1, in test mode as in training.
GAMMA = {"resnet": (0.6, 1.0), "vgg": (1.2, 1.8), "googlenet": (0.8, 1.2), "airbench": (0.8, 1.2)}
FULLY_CONNECTED = {"resnet": 1, "vgg": 0.5, "googlenet": 1, "airbench": 9}
BATCH = {"resnet": 2, "vgg": 8, "googlenet": 2, "airbench": 4}
# Chosen by `make_golden.py search`: no input of a ReLU lies so near 0, and no two of a max pooling so near
# each other, that float32 might decide otherwise.
SEED = {"resnet": 83, "vgg": 26, "googlenet": 685, "airbench": 55}
SAMPLES = 128


class Weights:
    """Draws one array after the other; both sides must ask in the same order, layer by layer."""

    def __init__(self, model):
        self.random = np.random.RandomState(SEED[model])
        self.gamma = GAMMA[model]
        self.fully_connected = FULLY_CONNECTED[model]

    def draw(self, kind, shape):
        """kind: conv [C_out, C_in, k, k], fc [in, out], or bias, gamma, beta, mean, variance [C]; float32."""
        fan_in = int(np.prod(shape[1:])) if kind == "conv" else shape[0]
        bound = (6 / fan_in) ** 0.5 * (self.fully_connected if kind == "fc" else 1)
        low, high = {"conv": (-bound, bound), "fc": (-bound, bound), "gamma": self.gamma,
                     "variance": (0.5, 1.5)}.get(kind, (-0.1, 0.1))
        return (low + (high - low) * self.random.random_sample(shape)).astype(np.float32)


def batch(model):
    """Pictures float32 [N, 3, 32, 32] in [0, 1], of four squares each and noise, and labels int64 [N, 1]."""
    random, count = np.random.RandomState(SEED[model] + 1), BATCH[model]
    squares = random.random_sample([count, 3, 2, 2]).repeat(16, axis=2).repeat(16, axis=3)
    noise = random.random_sample([count, 3, 32, 32])
    return (0.8 * squares + 0.2 * noise).astype(np.float32), np.arange(count, dtype=np.int64)[:, None]


def samples(gradient):
    """At most SAMPLES of its values, evenly spread; gradient: any shape, as Paddle lays it out."""
    flat = gradient.reshape(-1)
    return flat[::-(-flat.size // SAMPLES)]
