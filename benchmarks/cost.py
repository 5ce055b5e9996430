"""What a network costs: its trainable parameters, and its multiply-adds for one picture."""


def multiply_adds(block, op):
    """Multiplications, each with its addition, of one operator for one picture; only the large kinds count.

    A convolution makes one product per weight and output pixel, a fully connected layer one per weight.
    """
    if op.type == "conv2d":
        _, ch_in, height, width = block.var(op.input("Filter")[0]).shape
        _, ch_out, out_height, out_width = block.var(op.output("Output")[0]).shape
        return ch_out * ch_in * height * width * out_height * out_width
    if op.type in ("mul", "matmul_v2"):
        rows, columns = block.var(op.input("Y")[0]).shape
        return rows * columns
    return 0


def cost(program, outputs):
    """Trainable parameters and multiply-adds a picture of the operators that `outputs` depend on.

    outputs: variables of the program, so that GoogLeNet can be counted without its auxiliary classifiers.
    """
    block = program.global_block()
    trainable = {parameter.name: parameter for parameter in program.all_parameters() if parameter.trainable}
    needed, total = {output.name for output in outputs}, 0
    for op in reversed(block.ops):
        if needed.intersection(op.output_arg_names):
            needed.update(op.input_arg_names)
            total += multiply_adds(block, op)
    parameters = 0
    for name in needed.intersection(trainable):
        size = 1
        for length in trainable[name].shape:
            size *= length
        parameters += size
    return parameters, total
