"""Optimizers beside each other, on pictures held out of the training set: `python -m benchmarks.recipes --data-file A`.

This is how the numbers of the strong recipe are chosen. 5,000 of the 50,000 training pictures are kept for judging;
the test pictures take no part. Everything but what RECIPES names is train.py's own: network, crop and flip, batches, loop.
"""
import argparse
import subprocess
import sys

from benchmarks import runs
from utils.parallel import launch

HELD_OUT = 5000


def momentum(train, decay):
    """train.py's strong recipe with another decay."""
    train.WEIGHT_DECAY = decay


def smoothed(train, decay):
    """train.py's strong recipe with a tenth of each label spread over all classes (Szegedy et al. 2015, section 7)."""
    momentum(train, decay)
    train_program = train.train_program

    def smoothed_program(probabilities, auxiliaries):
        loss, accuracy = train_program(probabilities, auxiliaries)
        return 0.9 * loss - 0.1 * train.paddle.mean(train.paddle.log(probabilities)), accuracy
    train.train_program = smoothed_program


def adamw(train, decay):
    """Adam with decoupled decay on the weights of convolutions and fully connected layers, and one cycle."""
    def optimizer_program(_recipe, peak, steps, _parameters):
        schedule = train.paddle.optimizer.lr.OneCycleLR(max_learning_rate=peak, total_steps=steps)
        return train.paddle.optimizer.AdamW(schedule, weight_decay=decay,
                                            apply_decay_param_fun=train.is_decayed), schedule
    train.optimizer_program = optimizer_program


RECIPES = {  # name -> what it changes in train.py, its peak learning rate, its decay
    "momentum 0.2, decay 5e-4": (momentum, 0.2, 5e-4), "the same, labels smoothed": (smoothed, 0.2, 5e-4),
    "adamw 0.005, decay 0.05": (adamw, 0.005, 0.05), "adamw 0.005, decay 0.2": (adamw, 0.005, 0.2),
    "adamw 0.01, decay 0.1": (adamw, 0.01, 0.1),
}


def held_out(data, seed):
    """The training pictures without HELD_OUT of them, which take the place of the test pictures."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(data.train_labels))
    kept, judged = order[HELD_OUT:], order[:HELD_OUT]
    return data._replace(train_images=data.train_images[kept], train_labels=data.train_labels[kept],
                         test_images=data.train_images[judged], test_labels=data.train_labels[judged])


def measure(given):
    """Train with one recipe and print its cost and error on the held-out pictures."""
    import train

    change, peak, decay = RECIPES[given.recipe]
    change(train, decay)
    with runs.ready(given.data_file, lambda data: held_out(data, seed=0), recipe="strong", learning_rate=peak,
                    seed=given.seed, epochs=given.epochs) as run:
        for epoch in range(given.epochs):
            train.train_epoch(run, epoch)
            run.progress.update(epoch=epoch + 1, batch=0)
        cost, accuracy = train.test(run)
    if run.workers.rank == 0:
        print(f"{given.recipe}: {given.epochs} passes, seed {given.seed}: cost {cost:.4f}, error {1 - accuracy:.2%} on "
              f"{HELD_OUT:,} held-out pictures", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-file", required=True, help="a CIFAR-10 archive")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", choices=RECIPES, help="only this one")
    given = parser.parse_args()
    if given.recipe is None:
        again = [sys.executable, "-m", "benchmarks.recipes", *sys.argv[1:], "--recipe"]
        sys.exit(max(subprocess.run([*again, name]).returncode for name in RECIPES))
    runs.in_workers(launch.default_count(batch_size=128), lambda: measure(given))


if __name__ == "__main__":
    main()
