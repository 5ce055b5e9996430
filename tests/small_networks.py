"""The chapter's networks with random weights and some statistics, saved as train.py saves: to run, not to be right."""
import numpy as np

import models
import small_models
from utils import strong

CLASSES = {"resnet": 12, "vgg": 10, "googlenet": 10, "airbench": 10}  # ResNet has more than a page shows
AGREE = ("airbench", "resnet")  # saved as the strong recipe saves them: a picture and its mirror image agree
STEPS = 8  # in which batch normalization gathers statistics


def save(folder, name):
    """Save this network with an untrained answer that depends on the picture."""
    import paddle

    paddle.enable_static()
    classes, depth = CLASSES[name], 8 if name == "resnet" else None
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    main.random_seed = startup.random_seed = 1
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        image = paddle.static.data("pixel", [None, 3, 32, 32], "float32")
        probabilities, _ = models.build(name, image, depth, classes)
        test = main.clone(for_test=True)
    executor, rng = paddle.static.Executor(paddle.CPUPlace()), np.random.RandomState(1)
    executor.run(startup, scope=scope)
    for parameter in main.all_parameters():
        variable = scope.find_var(parameter.name).get_tensor()
        shape = np.array(variable).shape
        if name == "airbench" and len(shape) == 4 and shape[2] == 2:  # its first layer begins with zeros
            variable.set(rng.randn(*shape).astype(np.float32), paddle.CPUPlace())
        elif name == "airbench" and len(shape) == 2:  # whose answers are nearly equal in the beginning
            variable.set(np.array(variable) * 50, paddle.CPUPlace())
        elif len(shape) == 1:  # biases begin with zeros too, and factors with ones
            variable.set(np.array(variable) + rng.uniform(-0.3, 0.3, shape).astype(np.float32), paddle.CPUPlace())
    for _ in range(STEPS):
        executor.run(main, feed={"pixel": rng.rand(8, 3, 32, 32).astype(np.float32)}, scope=scope)
    if name in AGREE:
        test, image, probabilities = strong.answer_program(lambda x: models.build(name, x, depth, classes)[0], 0.6)
    small_models.save(folder, executor, test, image, probabilities, small_models.describe(
        model=name, depth=depth, classes=[f"class {number}" for number in range(classes)]), scope)
