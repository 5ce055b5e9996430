"""The recipe fine-tune begins here: the new last layer of a trained model learns alone, before all weights do."""
import itertools

import numpy as np

from utils.data.batches import batches_of, to_float
from utils.storage import program_state

ENOUGH, BATCH = 5000, 50  # pictures that the new last layer learns alone from, at most, and at a time
DECAY, STEPS, SMALL = 0.005, 2000, 1e-5  # of its regression; it ends where no slope is steeper than SMALL


def train_last_layer(programs, layer, executor, data):
    """Train the new last layer alone, on the features of pictures and, where the answer has both, their mirror images.

    layer: names of its parameters; data: a Dataset. Returns words about it.
    Source: Kumar et al. 2022, "Fine-tuning can distort pretrained features": linear probing, then fine-tuning.
    """
    test, block = programs.test.clone(), programs.test.global_block()
    name = next(each for each in layer if len(block.var(each).shape) == 2)
    ops = list(itertools.dropwhile(lambda op: name not in op.input_arg_names, block.ops))
    to_softmax = itertools.takewhile(lambda op: op.type != "softmax", ops)
    scale = next((op.attr("scale") for op in to_softmax if op.type == "scale"), 1)  # of the scores: Airbench
    chosen, features = np.random.default_rng(0).permutation(len(data.train_labels))[:ENOUGH], []
    for indices in batches_of(chosen, BATCH):
        found, = executor.run(test, feed={"pixel": to_float(data.train_images[indices])}, fetch_list=ops[0].input("X"))
        features.append(found.reshape(-1, len(indices), block.var(name).shape[0]))
    features = np.concatenate(features, axis=1)  # [1, n, F], or [2, n, F] with the mirror images
    labels = np.tile(data.train_labels[chosen], len(features))
    features = features.reshape(len(labels), -1).astype(np.float64)
    features = np.pad(features, ((0, 0), (0, len(layer) - 1)), constant_values=1)  # 1 for the bias, where there is one
    weights = logistic_regression(features, np.eye(len(data.classes))[labels]) / scale
    weights, biases = np.split(weights.astype(np.float32), [block.var(name).shape[0]])
    arrays = {each: weights if each == name else biases[0] for each in layer}
    program_state.put_weights(programs.main, executor.place, arrays)
    return f", trained alone on {len(chosen):,} pictures"


def logistic_regression(features, targets):
    """Weights [F, classes] with the least mean cross entropy + DECAY |w|^2.

    features: [n, F]; targets: [n, classes], 1 for the right class
    Source: Nesterov 1983, accelerated gradient, with steps of 1 / a bound of the curvature.
    """
    bound = np.linalg.eigvalsh(features.T @ features / len(features))[-1] / 2 + 2 * DECAY
    weights = ahead = np.zeros((features.shape[1], targets.shape[1]))
    for step in range(STEPS):
        scores = features @ ahead
        shares = np.exp(scores - scores.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        slope = features.T @ (shares - targets) / len(features) + 2 * DECAY * ahead
        last, weights = weights, ahead - slope / bound
        ahead = weights + step / (step + 3) * (weights - last)
        if abs(slope).max() < SMALL:
            break
    return weights
