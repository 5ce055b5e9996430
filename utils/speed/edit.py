"""Changes to a program's operators, noted one by one and then made in one sweep; the other files here use them."""
from collections import defaultdict

FIRST_TO_LAST, LAST_TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # orders of axes: [N, C, H, W] to [N, H, W, C], and back


class Edits:
    """Ops to insert into a block and ops to remove, which `make` does all at once.

    Paddle's `_insert_op` and `_remove_op` compare the whole block in Python with the one in C++ each time: a minute
    and a half for a network of 300 layers, instead of a second.

    ops, readers: the ops in order, and {name: the ops that read it}, as they were at the beginning
    before, after: {op: the new ops around it}, places for `insert`; removed: the ops to remove
    """

    def __init__(self, block):
        self.block, self.ops, self.readers = block, list(block.ops), defaultdict(list)
        for op in self.ops:
            for name in set(op.input_arg_names):
                self.readers[name].append(op)
        self.before, self.after, self.removed = defaultdict(list), defaultdict(list), set()

    def only_reader(self, name):
        """The one op that reads a variable, or None where there is not just one."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 else None

    def insert(self, place, **what):
        """Add a new op to a place (`edits.before[op]`, `edits.after[op]`), after those that are there; returns it."""
        op = self.block._insert_op_without_sync(len(self.block.ops), **what)  # until `make` it is the block's last
        place.append(op)
        return op

    def make(self):
        """Give the block its new list of ops, each as a copy at the end; then the old ones go."""
        ops = []
        for op in self.ops:
            ops += [*self.before[op], *([] if op in self.removed else [op]), *self.after[op]]
        old = self.block.desc.op_size()
        for op in ops:
            copy = self.block.desc.append_op()
            copy.copy_from(op.desc)
            op.desc = copy
        self.block.desc._remove_op(0, old)
        self.block.ops[:] = ops


def transpose_output(edits, op, name, order):
    """Insert a transpose after an op that writes `name`, so that `name` has the axes in another order."""
    op._rename_output(name, name + ".untransposed")
    insert(edits, edits.after[op], "transpose2", name + ".untransposed", name, axis=order)


def insert(edits, place, kind, source, target, **attrs):
    """Insert an op at a place that writes `source` to `target`: transposed, reshaped, or cast to another type."""
    outputs = {"Out": [target], **({} if kind == "cast" else {"XShape": [target + ".shape"]})}
    for name in (source, *sum(outputs.values(), [])):
        if not edits.block.has_var(name):
            edits.block.create_var(name=name, shape=[-1] * 4, dtype="float32", stop_gradient=True)
    edits.insert(place, type=kind, inputs={"X": [source]}, outputs=outputs, attrs=attrs)
