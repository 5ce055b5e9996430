"""A run that starts from a trained model: its network and its weights, and a new last layer for the new classes."""
from utils.errors import UserError, shown
from utils.storage import program_state, saved_model


def network_of(folder):
    """The model in a folder: its network, depth or None, what it is in words, and its files. Needs no Paddle."""
    description, files = saved_model.check(folder)
    model, depth = description["model"], description["depth"]
    return model, depth, f"{model}{f'-{depth}' if depth else ''} trained on {description['dataset']}", files


def put(folder, programs, executor):
    """Copy a saved model's weights into the current scope, where a run's programs have been initialized.

    Returns a line about it, and the names of the last layer's parameters, which are not copied.
    Errors: UserError where the model cannot be read or is another network.
    """
    import paddle

    main, (*_, words, files) = programs.main, network_of(folder)
    with saved_model.one_line(folder), program_state.own_scope():
        program, _, _ = paddle.static.load_inference_model(None, paddle.static.Executor(paddle.CPUPlace()), **files)
        weights = program_state.take(program)
    last, current = last_layer(programs.test, programs.probabilities), program_state.take(main)
    weights = {name: array for name, array in sorted(weights.items()) if name not in last}
    for name, array in weights.items():
        if name not in current or current[name].shape != array.shape:
            raise UserError(f"--start-from: the model in {shown(folder)} is another network than its description "
                            f"says (variable {name}): name another model")
    program_state.put_weights(main, executor.place, weights)
    new = {parameter.name for parameter in main.all_parameters()} - set(weights)
    # What only training needs is not in a saved model: GoogLeNet's auxiliary classifiers.
    return f"{words}, with a new last layer{' and new auxiliary classifiers' * (new > last)}", last


def last_layer(program, probabilities):
    """Names of the parameters of the last fully connected layer: from the probabilities back to its weights."""
    writers = {name: op for op in program.global_block().ops for name in op.output_arg_names}
    parameters = {parameter.name: parameter for parameter in program.all_parameters()}
    layer, name = set(), probabilities.name
    while not any(len(parameters[each].shape) == 2 for each in layer):
        inputs = writers[name].input_arg_names
        layer.update(each for each in inputs if each in parameters)
        name = next((each for each in inputs if each not in parameters), None)
    return layer
