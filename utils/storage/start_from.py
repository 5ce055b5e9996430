"""A run that starts from a trained model: its network and its weights, and a new last layer for the new classes.

What training alone needs is not in a saved model and starts anew too: GoogLeNet's auxiliary classifiers.
"""
import contextlib

import numpy as np

from utils.errors import UserError, shown
from utils.storage import program_state, saved_model
from utils.storage.program_state import MEAN


@contextlib.contextmanager
def _named():
    """Errors of a model's folder, with the option by which it was named here."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("with --model-dir", "with --start-from")) from error


def network_of(model_dir):
    """The model in a folder, told by its description: (network, depth or None), and in words.

    Needs no Paddle. Errors: UserError where there is no whole model.
    """
    with _named():
        description = saved_model.check(model_dir).description
    return description["model"], description["depth"], words_for(description)


def words_for(description):
    """A model in words, such as: resnet-32 trained on CIFAR-10."""
    depth = f"-{description['depth']}" if description["depth"] else ""
    return f"{description['model']}{depth} trained on {description['dataset']}"


def put(model_dir, programs, scope, place):
    """Copy a saved model's weights into a scope in which a run's programs have been initialized.

    Returns a line about it. Errors: UserError where the model cannot be read or is another network.
    """
    import paddle

    with _named():
        model = saved_model.load(model_dir, paddle.CPUPlace())
    arrays = program_state.take(model.program, model.scope)
    model.executor.close()
    program_state.free(model.scope)
    last, now = last_layer(programs.test, programs.probabilities), program_state.take(programs.main, scope)
    wanted = {name: array for name, array in arrays.items() if name not in last}
    for name, array in wanted.items():
        if name not in now or now[name].shape != array.shape:
            raise UserError(f"--start-from: the model in {shown(model_dir)} is another network than its description "
                            f"says (variable {name}): name another model")
    for name, array in wanted.items():
        for each in {name, name + MEAN} & set(now):  # the strong recipe's mean of weights begins as the weights do
            scope.find_var(each).get_tensor().set(np.ascontiguousarray(array), place)
    anew = {parameter.name for parameter in programs.main.all_parameters()} - set(wanted)
    return (f"{words_for(model.description)}, with a new last layer"
            f"{' and new auxiliary classifiers' * (anew > last)}")


def last_layer(program, probabilities):
    """Names of the parameters of the last fully connected layer: from the probabilities back to its weights."""
    made_by = {name: op for op in program.global_block().ops for name in op.output_arg_names}
    parameters = {parameter.name: parameter for parameter in program.all_parameters()}
    found, name = [], probabilities.name
    while not any(len(parameters[each].shape) == 2 for each in found):
        inputs = made_by[name].input_arg_names
        found += [each for each in inputs if each in parameters]
        name = next((each for each in inputs if each not in parameters), None)
    return set(found)
