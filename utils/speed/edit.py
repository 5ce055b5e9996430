"""Small changes to a program's operators, of which the other files here are made."""
FIRST_TO_LAST, LAST_TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # orders of axes: [N, C, H, W] to [N, H, W, C], and back


def kind(op):
    """The op's type, the same for forward and backward."""
    return op.type[:-len("_grad")] if op.type.endswith("_grad") else op.type


def rename_inputs(ops, old, new):
    """Have ops that read `old` read `new`."""
    for op in ops:
        op._rename_input(old, new)


def transpose_output(block, op, name, order):
    """Insert a transpose after an op that writes `name`, so that `name` has the axes in another order."""
    op._rename_output(name, name + ".untransposed")
    insert_transpose(block, block.ops.index(op) + 1, name + ".untransposed", name, order)


def insert_transpose(block, place, source, target, order):
    """Insert an op before op number `place` that writes `source`, its four axes in another order, to `target`."""
    for name in (source, target, target + ".shape"):
        if not block.has_var(name):
            block.create_var(name=name, shape=[-1] * 4, dtype="float32", stop_gradient=True)
    block._insert_op(place, type="transpose2", inputs={"X": [source]}, attrs={"axis": order},
                     outputs={"Out": [target], "XShape": [target + ".shape"]})
