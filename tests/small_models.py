"""Models that the tests can tell right from wrong by hand, and a ResNet to carry from one Paddle to another.

`python tests/small_models.py FOLDER` exports that ResNet with this Paddle and writes its answers to
FOLDER/expected.npz; the tests under another Paddle find both through the environment variable
OTHER_VERSION_MODEL=FOLDER.
"""
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from utils import flags

    flags.set_flags()

COLORS = ["red", "green", "blue"]
SHARPNESS = 4.0  # the color model's weight: its probabilities are softmax(SHARPNESS * mean color)


def describe(**facts):
    """A description as training writes it."""
    return {"model": "colors", "depth": None, "dataset": "three colors", "classes": COLORS, "epochs": 1,
            "test_accuracy": 0.75, **facts}


def color_model(classes=3, sharpness=SHARPNESS, scope=None):
    """A fully connected layer on the image's mean color -> (executor, program, image, probabilities)."""
    import paddle

    paddle.enable_static()
    main, startup = paddle.static.Program(), paddle.static.Program()
    weights = np.eye(3, classes, dtype=np.float32) * sharpness
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        logits = paddle.static.nn.fc(paddle.mean(image, axis=[2, 3]), classes, weight_attr=paddle.ParamAttr(
            name="color_weights", initializer=paddle.nn.initializer.Assign(weights)))
        probabilities = paddle.nn.functional.softmax(logits)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup, scope=scope)
    return executor, main, image, probabilities


def save(folder, executor, program, image, probabilities, description, scope=None):
    """Save a model as train.py saves; scope: where its variables are, Paddle's current one where None is given."""
    import paddle

    from utils.storage.saved_model import new_model

    with new_model(folder, description) as prefix, paddle.static.scope_guard(scope or paddle.static.global_scope()):
        paddle.static.save_inference_model(prefix, [image], [probabilities], executor,
                                           program=program.clone(for_test=True))


def save_colors(folder, **options):
    """Save the color model from a scope of its own; `sharpness` tells two of them apart."""
    import paddle

    scope = paddle.static.Scope()
    save(folder, *color_model(scope=scope, **options), describe(), scope)


def redescribe(folder, **changes):
    """Change keys of a saved model's description.json."""
    path = Path(folder) / "description.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace(folder, **contents):
    """Put other bytes in the place of a saved model's `program` or `parameters`; sizes and hashes agree with them."""
    files = json.loads((Path(folder) / "description.json").read_text())["files"]
    for part, content in contents.items():
        (Path(folder) / files[part]["name"]).write_bytes(content)
        files[part].update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    redescribe(folder, files=files)


def change_program(folder, change):
    """Have `change` make something else of a saved model's program, as paddle.static.Program."""
    import paddle

    program = paddle.static.deserialize_program(next(Path(folder).glob("*.pdmodel")).read_bytes())
    change(program)
    replace(folder, program=program.desc.serialize_to_string())


def resnet(depth, seed=1, scope=None):
    """A ResNet whose batch norm has seen some batches -> (executor, test program, image, probabilities)."""
    import paddle

    import models

    paddle.enable_static()
    main, startup = paddle.static.Program(), paddle.static.Program()
    main.random_seed = startup.random_seed = seed
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        probabilities, _ = models.build("resnet", image, depth=depth)
        test = main.clone(for_test=True)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup, scope=scope)
    rng = np.random.RandomState(seed)
    for _ in range(20):
        executor.run(main, feed={"pixel": rng.rand(8, 3, 32, 32).astype(np.float32)}, scope=scope)
    return executor, test, image, probabilities


def export_resnet(folder):
    """Write the ResNet-32 and its answers to four images into `folder`."""
    import paddle

    executor, test, image, probabilities = resnet(32)
    save(folder, executor, test, image, probabilities,
         describe(model="resnet", depth=32, classes=list("abcdefghij")))
    pixels = np.random.RandomState(2).rand(4, 3, 32, 32).astype(np.float32)
    answers = executor.run(test, feed={"pixel": pixels}, fetch_list=[probabilities.name])[0]
    np.savez(Path(folder) / "expected.npz", pixels=pixels, answers=answers, paddle=paddle.__version__)


if __name__ == "__main__":
    export_resnet(sys.argv[1])
