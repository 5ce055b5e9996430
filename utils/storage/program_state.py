"""The state of a program: its persistable variables as arrays, out of a scope and back into it."""
import math

import numpy as np

from utils.errors import UserError


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


def count_parameters(program):
    """How many numbers a program learns."""
    return sum(math.prod(p.shape) for p in program.all_parameters() if p.trainable)
