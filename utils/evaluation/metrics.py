"""How good a model's probabilities are: the confusion matrix, the calibration, and the costliest mistakes."""
import numpy as np

BINS = 15  # of the calibration error: Guo et al. 2017, section 5
FEW = 1000  # pictures, below which chance moves an accuracy by several hundredths
LEAST = 1e-20  # a probability below it costs no more than it


def confusion(best, labels, count):
    """How often each class (row) was classified as each (column): int64 [count, count]."""
    return np.bincount(labels * count + best, minlength=count * count).reshape(count, count)


def reliability(probabilities, labels, bins=BINS):
    """What answers of about the same probability are worth, for equal intervals from 0 to 1.

    Returns [(images in the interval, their mean probability, share classified correctly), ...]
    """
    best, right = probabilities.max(1), probabilities.argmax(1) == labels
    interval, rows = np.minimum((best * bins).astype(int), bins - 1), []
    for number in range(bins):
        inside = interval == number
        rows.append((int(inside.sum()), float(best[inside].mean()), float(right[inside].mean()))
                    if inside.any() else (0, 0.0, 0.0))
    return rows


def calibration_error(rows):
    """The mean distance of probability and share classified correctly, over all images.

    rows: as `reliability` returns them. Source: Guo et al. 2017, equation 3.
    """
    distances = [count * abs(mean - share) for count, mean, share in rows]
    return sum(distances) / sum(count for count, _, _ in rows)


def interval(share, count):
    """The 95% confidence interval of an accuracy measured on `count` images: (least, most). Source: Wilson 1927."""
    square = 1.959964 ** 2 / count
    middle, half = share + square / 2, (square * (share * (1 - share) + square / 4)) ** 0.5
    return (middle - half) / (1 + square), (middle + half) / (1 + square)


def interval_words(share, count):
    """Words about that interval where the images are few and so it is wide; otherwise none."""
    return " (95% interval {:.3f} to {:.3f})".format(*interval(share, count)) if count < FEW else ""


def measure(probabilities, labels, classes):
    """What probabilities [N, classes] of labeled images, int64 [N], say about a model, ready for JSON."""
    best, rows = probabilities.argmax(1), reliability(probabilities, labels)
    error = float((best != labels).mean())
    return {"pictures": len(labels), "classes": list(classes), "error": error,
            "accuracy_interval": interval(1 - error, len(labels)), "cost": float(costs(probabilities, labels).mean()),
            "confusion": confusion(best, labels, len(classes)).tolist(),
            "calibration_error": calibration_error(rows), "reliability": rows}


def costs(probabilities, labels):
    """Cross entropy of each image: -ln(probability of the right class), float [N]."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], LEAST))


def worst_mistakes(probabilities, labels, classes, most):
    """The wrong answers that cost most, worst first: which image, what it was named, what it is, both probabilities."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    worst = wrong[np.argsort(-costs(probabilities[wrong], labels[wrong]), kind="stable")][:most]
    return [{"image": int(i), "named": classes[probabilities[i].argmax()], "probability": float(probabilities[i].max()),
             "is": classes[labels[i]], "probability_of_right": float(probabilities[i, labels[i]])} for i in worst]
