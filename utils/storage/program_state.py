"""The state of a program: its persistable variables as arrays, out of Paddle's current scope and back into it."""
import contextlib
import math

import numpy as np

from utils.errors import UserError

MEAN = ".mean"  # ending of the name of a variable's running mean, in runs that have one
OTHERS = ("feed", "fetch", "learning_rate_0")  # persistable, and no state: the loop sets the rate before each step


@contextlib.contextmanager
def own_scope():
    """In the block Paddle's variables are in a scope of its own; their memory is given back after it."""
    import paddle

    scope = paddle.static.Scope()
    try:
        with paddle.static.scope_guard(scope):
            yield scope
    finally:
        scope._remove_from_pool()  # Paddle would keep it until the process ends


def tensor(name, scope=None):
    """The tensor of a variable in a scope, or None: in Paddle's current one, unless another is named."""
    import paddle

    variable = (scope or paddle.static.global_scope()).find_var(name)
    return variable and variable.get_tensor()


def variables(program):
    """The variables that a run keeps from step to step, by name: the persistable ones that hold numbers."""
    return sorted((each for each in program.list_vars() if each.persistable and each.name not in OTHERS),
                  key=lambda variable: variable.name)


def take(program, scope=None):
    """Copy a program's state out of a scope: {name: array}."""
    tensors = {each.name: tensor(each.name, scope) for each in variables(program)}
    return {name: np.array(each) for name, each in tensors.items() if each is not None and each._is_initialized()}


def put(program, place, arrays):
    """Copy {name: array} into the scope. Errors: UserError when names or shapes are not this initialized program's."""
    arrays = {name: array for name, array in arrays.items() if name not in OTHERS}  # an earlier version kept the rate
    own, saved = ({(name, array.shape) for name, array in state.items()} for state in (take(program), arrays))
    if own != saved:
        name, _ = min(own ^ saved)
        raise UserError(f"the checkpoint does not fit this network: variable {name} is missing or differs")
    for name, array in arrays.items():
        tensor(name).set(array, place)


def put_weights(program, place, arrays):
    """Copy some weights, {name: array}, into the scope; their running means begin as they do."""
    names = set(program.global_block().vars)
    for name, array in arrays.items():
        for each in {name, name + MEAN} & names:
            tensor(each).set(np.ascontiguousarray(array), place)


def running_statistics(program):
    """The tensors of batch normalization's running means and variances, and of their means, in the program's order."""
    block = program.global_block()
    return [tensor(name) for variable in statistics_of(program)
            for name in (variable.name, variable.name + MEAN) if block.has_var(name)]


def statistics_of(program):
    """The variables of batch normalization's running means and variances, in the program's order."""
    block = program.global_block()
    return [block.var(name) for op in block.ops if op.type == "batch_norm"
            for slot in ("Mean", "Variance") for name in op.input(slot)]


def count_parameters(program):
    """How many numbers a program learns."""
    return sum(math.prod(parameter.shape) for parameter in learned(program))


def learned(program):
    """The parameters that a program learns: all but those that are fixed, or have a learning rate of 0."""
    return [parameter for parameter in program.all_parameters()
            if parameter.trainable and parameter.optimize_attr["learning_rate"] > 0]
