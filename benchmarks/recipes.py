"""Recipes compared, on images held out of the training set: `python -m benchmarks.recipes --data-file A`.

This is how the recipes' numbers are chosen. 5,000 of the 50,000 training images are kept for judging; the test images
take no part. Everything but what RECIPES names is train.py's own: network, augmentation, batches, loop.
"""
import argparse
import itertools
import subprocess
import sys

from benchmarks import runs
from utils import recipes
from utils.data.cifar10 import md5_of_copy
from utils.errors import exit_status
from utils.parallel import launch

HELD_OUT = 5000


def momentum(_train, decay, **more):
    """The strong recipe with another decay, and more that differs."""
    recipes.RECIPES["strong"] = recipes.STRONG._replace(weight_decay=decay, **more)


def smoothed(train, decay):
    """The strong recipe with a tenth of each label spread over all classes (Szegedy et al. 2015, section 7)."""
    momentum(train, decay, label_smoothing=0.1)


def adamw(train, decay):
    """Adam with decoupled decay on the weights of convolutions and fully connected layers, and one cycle."""
    def optimizer_program(settings, steps, _parameters):
        schedule = train.paddle.optimizer.lr.OneCycleLR(max_learning_rate=settings.learning_rate, total_steps=steps)
        return train.paddle.optimizer.AdamW(schedule, weight_decay=decay,
                                            apply_decay_param_fun=train.strong.is_weight), schedule
    train.optimizer_program = optimizer_program


def rise(train, share):
    """The quick recipe, whose rate rises for another share of the run."""
    train.one_cycle = lambda step, steps: min((step + 1) / (share * steps), (steps - step) / ((1 - share) * steps), 1)


def unchanged(_train, _number):
    """train.py's recipe, at another peak."""


QUICK = itertools.product((0.004, 0.008, 0.012, 0.016), (0.2, 0.4))  # peaks, shares of the run in which the rate rises
RECIPES = {  # name -> train.py's recipe, what is changed in it, its peak learning rate, its decay or rise
    **{f"quick {peak:g}, rise {share:g}": ("quick", rise, peak, share) for peak, share in QUICK},
    "book 0.001": ("book", unchanged, 0.001, None),
    "momentum 0.2, decay 5e-4": ("strong", momentum, 0.2, 5e-4),
    "the same, labels smoothed": ("strong", smoothed, 0.2, 5e-4),
    "adamw 0.005, decay 0.05": ("strong", adamw, 0.005, 0.05),
    "adamw 0.005, decay 0.2": ("strong", adamw, 0.005, 0.2),
    "adamw 0.01, decay 0.1": ("strong", adamw, 0.01, 0.1),
}


def held_out(data, seed):
    """The training images without HELD_OUT of them, which take the place of the test images."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(data.train_labels))
    kept, judged = order[HELD_OUT:], order[:HELD_OUT]
    return data._replace(train_images=data.train_images[kept], train_labels=data.train_labels[kept],
                         test_images=data.train_images[judged], test_labels=data.train_labels[judged])


def measure(given):
    """Train with one recipe and print its cost and error on the held-out images."""
    import train

    recipe, change, peak, number = RECIPES[given.recipe]
    change(train, number)
    with runs.ready(given.data_file, lambda data: held_out(data, seed=0), recipe=recipe, learning_rate=peak,
                    seed=given.seed, epochs=given.epochs) as run:
        for epoch in range(given.epochs):
            train.train_epoch(run, epoch)
            run.checkpoints.progress.update(epoch=epoch + 1, batch=0)
        cost, accuracy, _ = train.test(run)
    if run.workers.rank == 0:
        print(f"{given.recipe}: {given.epochs} passes, seed {given.seed}: cost {cost:.4f}, error {1 - accuracy:.2%} on "
              f"{HELD_OUT:,} held-out images", flush=True)


@exit_status(out_of_memory="measure on a larger machine")
def main(arguments=None):
    """Read the command line and measure -> exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-file", required=True, help="a CIFAR-10 archive")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", choices=RECIPES, help="only this one")
    parser.add_argument("--only", default="", help="those whose names begin so, one after another")
    given = parser.parse_args(arguments)
    md5_of_copy(given.data_file)  # a mistake is told before anything is started
    if given.recipe is None:
        names = [name for name in RECIPES if name.startswith(given.only)]
        again = [sys.executable, "-m", "benchmarks.recipes", *sys.argv[1:], "--recipe"]
        sys.exit(max(subprocess.run([*again, name]).returncode for name in names))
    runs.in_workers(launch.default_worker_count(batch_size=128), lambda: measure(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
