"""One training step on a CUDA device and the same on the CPU: what a child process of trial.py runs."""
import json
import signal

import numpy as np

from utils import flags
from utils.storage import program_state

LONGEST = 150  # seconds, after which the system ends this process, though nobody may wait for it any more


def main(index):
    """Take the step on CUDA device `index` and on the CPU, and print what both gave as one line of JSON."""
    if hasattr(signal, "alarm"):
        signal.alarm(LONGEST)
    flags.set_flags()
    import paddle

    paddle.enable_static()
    print(json.dumps(compare(paddle.CUDAPlace(index))), flush=True)


def compare(place):
    """The same step from the same weights on a place and on the CPU: {"device": numbers, "cpu": numbers}.

    numbers: {"loss": [1 number], "gradient": a tenth of that of the convolution, as Adam keeps it}
    """
    import paddle

    program, startup, loss = build()
    rng = np.random.default_rng(0)
    feed = {"image": rng.random((16, 3, 8, 8), np.float32), "label": rng.integers(0, 10, (16, 1))}
    weights, results = None, []
    for each in (paddle.CPUPlace(), place):
        executor, scope = paddle.static.Executor(each), paddle.static.Scope()
        executor.run(startup, scope=scope)
        weights = weights or program_state.take(program, scope)
        for name, array in weights.items():
            scope.var(name).get_tensor().set(array, each)
        value, = executor.run(program, feed=feed, fetch_list=[loss], scope=scope)
        moment = next(array for name, array in program_state.take(program, scope).items()
                      if name.startswith("conv2d_0.w_0_moment1"))
        results.append({"loss": value.ravel().tolist(), "gradient": moment.ravel().tolist()})
    return {"cpu": results[0], "device": results[1]}


def build():
    """A small network of the layers that the chapter's are made of, with Adam -> (program, startup program, loss).

    image: [N, 3, 8, 8]; label: [N, 1]
    """
    import paddle
    import paddle.nn.functional as F
    from paddle.static import nn

    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        image = paddle.static.data("image", [None, 3, 8, 8], "float32")
        label = paddle.static.data("label", [None, 1], "int64")
        x = nn.conv2d(image, num_filters=8, filter_size=3, padding=1, bias_attr=False)
        x = F.relu(nn.batch_norm(x))
        loss = F.cross_entropy(nn.fc(x, 10), label)
        paddle.optimizer.Adam(0.001).minimize(loss)
    return program, startup, loss
