"""A small training program for tests/test_workers.py: a network without batch norm on made-up pictures.

Run by a launcher or alone; `python rank_program.py OUT [option=value ...]`. Each worker writes OUT/<rank>.npz: the
summed cost of each step, the weights at the end, and the indices that it trained on.
"""
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from utils import engine, launch

OPTIONS = {"workers": 1, "count": 640, "batch": 128, "norm": 0, "kill": -1, "fail": -1, "slow": 0.0, "seeds": 0, "steps": 0,
           "alone": 0.0}


def build(paddle, workers, norm):
    """A two-layer network on [N, 12] with one classifier; with `norm`, batch normalization between the layers."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [None, 12], "float32")
        y = paddle.static.data("y", [None, 1], "int64")
        share = paddle.static.data("share", [1], "float32")
        stop = paddle.static.data("stop", [1], "float32")
        hidden = paddle.static.nn.fc(x, 16, activation=None if norm else "tanh")
        if norm:
            hidden = paddle.static.nn.batch_norm(hidden, act="relu")
        probabilities = paddle.static.nn.fc(hidden, 4, activation="softmax")
        cost = paddle.mean(paddle.nn.functional.cross_entropy(probabilities, y, reduction="none", use_softmax=False))
        optimizer = paddle.optimizer.Adam(0.01)
        weighted = cost * share
        gradients, figures = workers.add_gradients(optimizer.backward(weighted), [weighted, stop])
        optimizer.apply_gradients(gradients)
    return main, startup, figures


def main(folder, options):
    """Train for one epoch as one of the workers, and write down what happened."""
    import numpy as np
    import paddle

    from utils import workers as together

    paddle.enable_static()
    workers = together.from_environment()
    executor = paddle.static.Executor(paddle.CPUPlace())
    workers.connect(executor)
    main, startup, figures = build(paddle, workers, options["norm"])
    paddle.seed(7 + (workers.rank if options["seeds"] else 0))
    executor.run(startup)
    if options["seeds"]:
        workers.copy_state(main)
    made = np.random.default_rng(1)
    x, y = made.normal(size=(options["count"], 12)).astype("float32"), made.integers(0, 4, (options["count"], 1))
    order, costs, seen = made.permutation(options["count"]), [], []
    asked = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    for first in range(0, options["count"], options["batch"]):
        mine, share = together.share_of(order[first:first + options["batch"]], workers.rank, workers.world)
        if len(costs) == 2 and workers.rank == options["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(costs) == 2 and workers.rank == options["fail"]:
            raise SystemExit("this worker cannot go on")
        feed = {"x": x[mine], "y": y[mine], "share": np.float32([share]), "stop": np.float32([len(asked)])}
        with workers.together():
            cost, stop = executor.run(main, feed=feed, fetch_list=figures)
        costs.append(float(np.asarray(cost).reshape(())))
        seen += list(mine) if share else []
        if workers.rank == 0:
            print(f"step {len(costs)} cost {costs[-1]:.4f} tty {sys.stdout.isatty()}", flush=True)
        if options["slow"]:
            time.sleep(options["slow"])
        if float(np.asarray(stop).reshape(())) > 0:
            print(f"worker {workers.rank} stops after step {len(costs)}", flush=True)
            return 128 + (asked or [signal.SIGINT])[0]
    if options["alone"] and workers.rank == 0:
        time.sleep(options["alone"])
    workers.wait_for_rank_0()
    state = {v.name: np.array(paddle.static.global_scope().find_var(v.name).get_tensor()) for v in main.list_vars()
             if v.persistable and v.name not in ("feed", "fetch", "learning_rate_0")}
    workers.average_statistics(main)
    after = {v: np.array(paddle.static.global_scope().find_var(v).get_tensor()) for v in state}
    np.savez(Path(folder) / f"{workers.rank}.npz", costs=costs, seen=seen, total=workers.add_up([workers.rank, 0.5]),
             told=workers.tell("a list", [3, "x"] if workers.rank == 0 else None)[0],
             cores=sorted(os.sched_getaffinity(0)),
             **{f"before {k}": v for k, v in state.items()}, **{f"after {k}": v for k, v in after.items()})
    return 0


if __name__ == "__main__":
    chosen = {**OPTIONS, **{name: type(OPTIONS[name])(value) for name, value in (a.split("=") for a in sys.argv[2:])}}
    if chosen["workers"] > 1 and not launch.is_worker():
        sys.exit(launch.start(chosen["workers"]))
    launch.take_cores()
    engine.prepare()
    from utils.errors import UserError
    try:
        sys.exit(main(sys.argv[1], chosen))
    except UserError as error:
        print(f"rank_program.py: error: {error}", file=sys.stderr)
        sys.exit(2)
