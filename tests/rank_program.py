"""A small training program for tests/test_workers.py: two layers on made-up numbers, one worker or several.

`python rank_program.py OUT [option=value ...]`: each worker writes OUT/<rank>.npz with the summed cost of
each step, the indices that it trained on, its state before and after averaging, and what it received.
"""
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from utils import errors, flags
from utils.errors import UserError
from utils.parallel import launch

OPTIONS = {
    "workers": 1, "count": 641, "batch": 128,
    "norm": 0,  # 1: batch normalization between the layers
    "seeds": 0,  # 1: each worker draws other weights at first, and copies rank 0's
    "kill": -1,  # this rank is killed after 2 steps
    "fail": -1,  # this rank gives up after 2 steps; with 9 all do
    "save": -1,  # rank 1 asks all to save in this step
    "slow": 0.0,  # seconds of sleep in each step
    "alone": 0.0,  # seconds that rank 0 is busy alone at the end
    "silence": 30.0,  # seconds until rank 0 says for whom it waits
}


def build(paddle, workers, norm):
    """Two layers on x [N, 12] and y [N, 1], Adam: (main, startup, what a step fetches)."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [None, 12], "float32")
        y = paddle.static.data("y", [None, 1], "int64")
        hidden = paddle.static.nn.fc(x, 16, activation=None if norm else "tanh")
        if norm:
            hidden = paddle.static.nn.batch_norm(hidden, act="relu")
        probabilities = paddle.static.nn.fc(hidden, 4, activation="softmax")
        costs = paddle.nn.functional.cross_entropy(probabilities, y, reduction="none", use_softmax=False)
        optimizer, cost = paddle.optimizer.Adam(0.01), paddle.mean(costs)
        gradients, metrics = workers.sum(optimizer.backward(cost), [cost, paddle.static.accuracy(probabilities, y)])
        optimizer.apply_gradients(gradients)
    return main, startup, metrics


def hurt(rank, options):
    """Do to this worker what the options ask for."""
    if rank == options["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if options["fail"] in (rank, 9):
        raise UserError("this worker cannot go on")


def train(workers, executor, program, metrics, options):
    """One epoch: returns (summed cost of each step, own indices, exit status)."""
    import numpy as np

    rng, count = np.random.default_rng(1), options["count"]
    x, y = rng.normal(size=(count, 12)).astype("float32"), rng.integers(0, 4, (count, 1))
    order, costs, seen = rng.permutation(count), [], []
    workers.interrupts.holds = True
    for step, first in enumerate(range(0, count, options["batch"])):
        if step == 2:
            hurt(workers.rank, options)
        own = workers.share_of(order[first:first + options["batch"]])
        workers.wants_to_save = lambda step=step: (workers.rank, step) == (1, options["save"])
        cost, _ = executor.run(program, feed={"x": x[own], "y": y[own]}, fetch_list=metrics)
        costs.append(cost.item())
        seen += list(own) if workers.weight else []
        workers.log(f"worker {workers.rank} step {step} cost {costs[-1]:.4f}")
        time.sleep(options["slow"])
        stop, save = workers.agreement()
        if save:
            Path(sys.argv[1], f"saved-{workers.rank}-after-{step}").touch()
        if stop is not None:
            Path(sys.argv[1], f"stopped-{workers.rank}-after-{step}").touch()
            return costs, seen, 128 + stop
    return costs, seen, 0


def train_as_worker(workers, folder, options):
    """Train as one of the workers, and write down what happened; returns the exit status."""
    import numpy as np
    import paddle

    from utils.storage import program_state

    place = paddle.CPUPlace()
    workers.connect(place)
    executor = paddle.static.Executor(place)
    program, startup, metrics = build(paddle, workers, options["norm"])
    paddle.seed(7 + (workers.rank if options["seeds"] else 0))
    executor.run(startup)
    drawn = program_state.take(program)
    if options["seeds"]:
        workers.broadcast_state(program)
    costs, seen, status = train(workers, executor, program, metrics, options)
    if status:
        return status
    before, statistics = program_state.take(program), workers.gather_statistics(program)
    workers.average_statistics(program)
    after = program_state.take(program)
    workers.put_statistics(program, statistics if workers.rank == 0 else None)
    if workers.rank == 0:
        time.sleep(options["alone"])
    workers.barrier()
    received = workers.broadcast([3, "three"] if workers.rank == 0 else None)
    total = workers.all_reduce([[workers.rank + 0.1, 10.0 ** 9]])
    shelves = {"drawn": drawn, "before": before, "after": after, "restored": program_state.take(program)}
    arrays = {f"{shelf} {name}": array for shelf, state in shelves.items() for name, array in state.items()}
    np.savez(Path(folder) / f"{workers.rank}.npz", costs=costs, seen=seen, received=str(received), total=total,
             is_shared=workers.block is not None, cores=sorted(os.sched_getaffinity(0)), **arrays)
    return 0


def main(folder, options):
    """Train, however many workers there are."""
    import paddle

    from utils.parallel import shared_memory
    from utils.parallel.workers import Workers

    shared_memory.SILENCE = options["silence"]
    paddle.enable_static()
    with Workers() as workers:
        return train_as_worker(workers, folder, options)


if __name__ == "__main__":
    texts = dict(argument.split("=") for argument in sys.argv[2:])
    values = {name: type(value)(texts.get(name, value)) for name, value in OPTIONS.items()}
    if values["workers"] > 1 and not launch.is_worker():
        sys.exit(launch.start_workers([sys.executable, *sys.argv], values["workers"]))
    errors.end_at_once_on_signals()
    flags.set_flags()
    try:
        sys.exit(main(sys.argv[1], values))
    except Exception as error:
        sys.exit(errors.report("rank_program.py", error, ""))
