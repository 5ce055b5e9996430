"""What parts of the supplied model look for, for inside.py: `python -m book.figures.patterns` writes patterns.png.

The pictures are kept in the repository because the search magnifies rounding: another processor or another version of
Paddle finds other pictures, as good as these.
"""
import argparse
import sys

import numpy as np
from PIL import Image

from book.figures import inside
from utils.errors import exit_status
from utils.storage.files import whole_file

STEPS, RATE, FADE = 80, 0.05, 0.06  # of the ascent; FADE: how much of a picture's contrast each step takes away
GRAY = 0.85  # share of the slope's brightness, against its color: what a network sees best are unnatural colors

HOW = ((0, 1), (2, 1.5), (4, 1.5), (4, 1.5))  # `shift` and `power` of `seek` for each row


def seek(opened, name, channels, shift, power):
    """For each of these channels a picture that raises its middle value, found by gradient ascent on the pixels.

    opened: as `open_up` returns it, for this call alone; name: a variable, [N, C, H, W] or [N, C]
    channels: int [K]; shift: by how many pixels the pictures move at most between steps; power: see `smooth`
    -> float32 [K, 3, 32, 32] in [0, 1]
    Sources: Erhan et al. 2009; slopes smoothed and pictures shifted between steps as by Olah et al. 2017.
    """
    random, count = np.random.default_rng(0), len(channels)
    pictures = (0.5 + 0.01 * random.standard_normal((count, 3, 32, 32))).astype(np.float32)
    mask = np.zeros_like(opened.run({opened.input: pictures}, [name])[0])  # has 2 K rows with mirrored copies
    mask[(np.arange(count), channels, *(size // 2 for size in mask.shape[2:]))] = 1
    gradient = gradient_of(opened, name)
    for _ in range(STEPS):
        by = random.integers(-shift, shift + 1, 2)
        moved = np.roll(pictures, by, (2, 3))
        slope = np.roll(opened.run({opened.input: moved, "patterns.mask": mask}, [gradient])[0], -by, (2, 3))
        slope = smooth(GRAY * slope.mean(axis=1, keepdims=True) + (1 - GRAY) * slope, power)
        slope /= slope.std(axis=(1, 2, 3), keepdims=True) + 1e-12
        pictures = np.clip(0.5 + (1 - FADE) * (pictures - 0.5) + RATE * slope, 0, 1).astype(np.float32)
    return pictures


def gradient_of(opened, name):
    """Extend the program by the gradient of what "patterns.mask" chooses of a variable, by the pixels -> its name."""
    import paddle

    block = opened.program.global_block()
    with paddle.static.program_guard(opened.program):
        mask = paddle.static.data("patterns.mask", block.var(name).shape, "float32")
        gradient, = paddle.static.gradients([block.var(name)], [block.var(opened.input)], target_gradients=[mask])
    return gradient.name


def smooth(slopes, power):
    """Each wave in the slopes divided by a power of its frequency: coarse ones lead. [N, 3, H, W] -> the same."""
    high, wide = slopes.shape[2:]
    frequency = np.hypot(np.fft.fftfreq(high)[:, np.newaxis], np.fft.rfftfreq(wide))
    return np.fft.irfft2(np.fft.rfft2(slopes) / np.maximum(frequency, 1 / wide) ** power, s=(high, wide))


def layers():
    """What is searched: names and channels of each stage's values before their GELU, and of the scores."""
    opened = inside.open_up(inside.shipped())
    names = inside.stages_of(opened)[1:]
    maps = opened.run({opened.input: inside.load_image("dog.png")}, names)
    writers = {op.output("Out")[0]: op for op in opened.program.global_block().ops if op.type == "gelu"}
    stages = [(writers[name].input("X")[0], inside.liveliest(stack[0])) for name, stack in zip(names, maps)]
    return [*stages, (opened.score, np.arange(len(inside.CLASSES)))]


@exit_status("end other programs")
def main(arguments=None):
    """Write the file again: a row for each stage and one for the classes, each of ten pictures."""
    argparse.ArgumentParser(prog="python -m book.figures.patterns",
                            description="Search for pictures to which parts of the supplied model respond strongly."
                            ).parse_args(arguments)
    rows = [seek(inside.open_up(inside.shipped()), *layer, *how) for layer, how in zip(layers(), HOW)]
    sheet = np.array(rows).transpose(0, 3, 1, 4, 2).reshape(len(rows) * 32, -1, 3)  # [rows, K, 3, H, W] -> [H, W, 3]
    with whole_file(inside.PATTERNS) as temporary:
        Image.fromarray((255 * sheet).round().astype(np.uint8)).save(temporary, "png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
