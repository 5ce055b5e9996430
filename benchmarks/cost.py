"""What a network costs: its trainable parameters, and its multiply-adds for one image."""
import math


def multiply_adds(block, op):
    """Multiplications, each with its addition, of one operator for one image; only the large kinds count.

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
    """Trainable parameters and multiply-adds per image of the operators that `outputs` depend on.

    outputs: variables of the program, so that GoogLeNet can be counted without its auxiliary classifiers.
    """
    block = program.global_block()
    needed, products = {output.name for output in outputs}, 0
    for op in reversed(block.ops):
        if needed.intersection(op.output_arg_names):
            needed.update(op.input_arg_names)
            products += multiply_adds(block, op)
    parameters = sum(math.prod(p.shape) for p in program.all_parameters() if p.trainable and p.name in needed)
    return parameters, products
