"""Convolutions in bfloat16, for processors with instructions for it: numbers of 16 bits with the range of float32.

In training only the factors of their products are rounded, to 8 significant bits; in a test also the maps between
convolutions, sums with the shortcut included. What is added up inside a convolution, weights, batch norm and the
optimizer stay float32, as in mixed precision on a GPU (Kalamkar et al. 2019). As the other files here this changes the
program that the executor runs: a checkpoint or a saved model does not depend on it.
"""
import paddle
from paddle.base import core

from utils import flags
from utils.speed.edit import Edits, insert

FLOAT32, BFLOAT16 = core.VarDesc.VarType.FP32, core.VarDesc.VarType.BF16
# Casts are oneDNN's, which rounds to the nearest number: Paddle's own cuts the lower bits off.
TO_BFLOAT16 = {"in_dtype": FLOAT32, "out_dtype": BFLOAT16, "use_mkldnn": True}
TO_FLOAT32 = {"in_dtype": BFLOAT16, "out_dtype": FLOAT32, "use_mkldnn": True}


def missing():
    """What this computer lacks for bfloat16, in words; "" where it lacks nothing."""
    if not paddle.__version__.startswith("2."):
        return "it was made for Paddle 2"
    return "" if flags.has_bfloat16() else "this processor has no instructions for it"


def convolve_in_bfloat16(program):
    """Have the convolutions of a turned program, and those of its gradients, compute in bfloat16.

    oneDNN rounds a convolution's inputs by itself. The gradient of its weights takes rounded maps from casts, and is
    put back into float32. Left in float32: gradients whose maps no op on oneDNN makes, and those with a stride.
    In training they give float32; in a test a map stays bfloat16 where only convolutions and poolings read it.
    """
    edits, narrowed = Edits(program.global_block()), {}
    makers = {name: op for op in edits.ops for name in op.output_arg_names}
    ordered = {name for name, op in makers.items() if op.has_attr("use_mkldnn") and op.attr("use_mkldnn")}
    for op in edits.ops:
        maps = [name for slot in ("Input", "Output@GRAD") if slot in op.input_names for name in op.input(slot)]
        if op.type in ("conv2d", "fused_conv2d"):
            result, = op.output("Output")
            op._set_attr("mkldnn_data_type", "bfloat16")
            op._set_attr("force_fp32_output", op.type == "conv2d" or not keep_bfloat16(edits, result))
        elif op.type == "conv2d_grad" and not op.output("Input@GRAD") and ordered >= {*maps}:  # in oneDNN's order
            for name in maps:
                if name not in narrowed:
                    narrowed[name] = name + ".bfloat16"
                    insert(edits, edits.after[makers[name]], "cast", name, narrowed[name], **TO_BFLOAT16)
                op._rename_input(name, narrowed[name])
            widen_gradient(edits, op)
    edits.make()


def keep_bfloat16(edits, name):
    """Say whether all readers of a test program's map take bfloat16; poolings among them give float32 where need be."""
    readers = edits.readers[name]
    takers = [op for op in readers if op.type == "fused_conv2d" or op.type == "pool2d" and not op.attr("adaptive")]
    if not readers or len(takers) < len(readers):
        return False
    for pool in [op for op in readers if op.type == "pool2d"]:
        result, = pool.output("Out")
        if not keep_bfloat16(edits, result):
            pool._rename_output(result, result + ".bfloat16")
            insert(edits, edits.after[pool], "cast", result + ".bfloat16", result, **TO_FLOAT32)
    return True


def widen_gradient(edits, op):
    """Put the gradient of a convolution's weights back into float32, for the transpose that reads it.

    oneDNN casts it, as a matrix: with four axes Paddle would take it for a picture and reorder it. Paddle's own cast
    and transpose of bfloat16 took 6% of a step of 8 images.
    """
    name, (ch_out, ch_in, *size) = op.output("Filter@GRAD")[0], edits.block.var(op.input("Filter")[0]).shape
    place, matrix, wide = edits.after[op], name + ".matrix", name + ".wide"
    edits.only_reader(name)._rename_input(name, wide)
    insert(edits, place, "reshape2", name, matrix, shape=[ch_out, -1], use_mkldnn=True)
    insert(edits, place, "cast", matrix, matrix + ".wide", **TO_FLOAT32)
    insert(edits, place, "reshape2", matrix + ".wide", wide, shape=[ch_out, *size, ch_in])
