"""The state of a program: its persistable variables as arrays, out of a scope and back into it."""
import math

import numpy as np

from utils.errors import UserError

MEAN = ".mean"  # ending of the name of a variable's running mean, in runs that keep one


def names(program):
    """Names of the variables that a run keeps from step to step: the persistable ones that hold numbers."""
    return sorted(v.name for v in program.list_vars() if v.persistable and v.name not in ("feed", "fetch"))


def take(program, scope):
    """Copy a program's state out of a scope: {name: array}."""
    state = {}
    for name in names(program):
        variable = scope.find_var(name)
        if variable is not None and variable.get_tensor()._is_initialized():
            state[name] = np.array(variable.get_tensor())
    return state


def put(program, scope, place, arrays):
    """Copy {name: array} into a scope in which the program has been initialized.

    Errors: UserError when names or shapes are not this program's.
    """
    now = take(program, scope)
    for name in sorted(set(now) | set(arrays)):
        if name not in arrays or name not in now or now[name].shape != arrays[name].shape:
            raise UserError(f"the checkpoint does not fit this network: variable {name} is missing or differs")
    for name, array in arrays.items():
        scope.find_var(name).get_tensor().set(array, place)


def running_statistics(program, scope):
    """Batch normalization's running means and variances, one after another: float64 [n]."""
    arrays = [np.array(tensor, np.float64).ravel() for tensor in _statistics_tensors(program, scope)]
    return np.concatenate(arrays) if arrays else np.zeros(0)


def put_running_statistics(program, scope, place, numbers):
    """Put what `running_statistics` returned back."""
    tensors = _statistics_tensors(program, scope)
    arrays = [np.array(tensor) for tensor in tensors]
    ends = np.cumsum([array.size for array in arrays], dtype=int)
    for tensor, array, part in zip(tensors, arrays, np.split(numbers, ends[:-1]) if arrays else []):
        tensor.set(part.reshape(array.shape).astype(array.dtype), place)


def _statistics_tensors(program, scope):
    """The tensors of the running means and variances, and of their own means, in the program's order."""
    known = program.global_block().vars
    return [scope.find_var(name).get_tensor() for variable in statistics_of(program)
            for name in (variable.name, variable.name + MEAN) if name in known]


def statistics_of(program):
    """The variables of batch normalization's running means and variances, in the program's order."""
    block = program.global_block()
    return [block.var(name) for op in block.ops if op.type == "batch_norm"
            for slot in ("Mean", "Variance") for name in op.input(slot)]


def free(scope):
    """Give back what a scope holds; Paddle would keep it until the process ends."""
    scope._remove_from_pool()


def count_parameters(program):
    """How many numbers a program learns."""
    return sum(math.prod(parameter.shape) for parameter in learned(program))


def learned(program):
    """The parameters that a program learns: all but those that are fixed, or have a learning rate of 0."""
    return [parameter for parameter in program.all_parameters()
            if parameter.trainable and parameter.optimize_attr["learning_rate"] > 0]
