"""Paddle made fast on this CPU: oneDNN for the operators that gain by it, and the folded test program.

Call `accelerate(program)` after the optimizer has built its ops, where the place is a CPU. The flags: utils/flags.py.
"""
from utils.speed import channels_last, dropout, fold_batch_norm, joined
from utils.storage import program_state

# Op kinds that are both faster on oneDNN and right there: 60 -> 122 pictures a second with the convolutions, 148 with
# relu. Others are left out for a reason: sum and reduce_mean gave wrong numbers or errors, elementwise_add no gain.
ONEDNN_OPS = ("conv2d", "conv2d_grad", "relu")
# These gain only with the channels last: 148 -> 182. Both halves of batch norm or neither, since the backward half
# reads statistics that oneDNN's forward half keeps in a form of its own; and of pooling (VGG: 1.03 times), likewise.
CHANNELS_LAST_OPS = ("batch_norm", "batch_norm_grad", "pool2d", "pool2d_grad", "gelu", "gelu_grad")
PADDLE_2_OPS = ("relu_grad",)  # with the channels last: 1.05 times as fast in 2.6, 4 times slower in 3.3
ONEDNN_ATTRIBUTE = "use_mkldnn"  # oneDNN's old name; Paddle 3 still answers to it


def accelerate(program):
    """Turn a training program to the order that oneDNN works in, and put on oneDNN the ops that gain by it.

    Call it after `minimize`, for a CPU. The numbers stay the same up to rounding, but for what dropout drops by chance.
    Returns what was chosen, in words.
    """
    if not _has_onednn():
        return ()
    turned = channels_last.turn(program)
    kinds = ONEDNN_OPS + (CHANNELS_LAST_OPS if turned else ())
    if turned and paddle_version().startswith("2."):
        kinds += PADDLE_2_OPS
    count = put_on_onednn(program, kinds)
    dropout.draw_quickly(program)
    joined.join_adams(program.global_block())
    return (f"oneDNN for {count} ops{', channels last' if turned else ''}",) if count else ()


def executor_for(programs, executor):
    """The executor for programs on a CPU: the given one, or one that begins sooner where some of them are very deep."""
    from utils.speed import in_order  # imports Paddle

    deep = [program for program in programs if in_order.is_deep(program)]
    return in_order.DeepExecutor(executor.place, deep) if deep else executor


def forward(program, probabilities, place, scope):
    """A quicker way than `executor.run` through a test program on a CPU; None where Paddle has no oneDNN.

    Call what it returns when the weights in `scope` have changed: see FoldedForward.
    """
    return FoldedForward(program, probabilities, place, scope) if _has_onednn() else None


class FoldedForward:
    """A test program with its batch norms folded into the convolutions, which oneDNN does: 3.6 times as quick.

    A call takes the weights in `scope` as they are then (source: fold_batch_norm.py) and returns a function,
    pixels [N, 3, 32, 32] -> probabilities [N, 10].
    """

    def __init__(self, program, probabilities, place, scope):
        import paddle

        self.program, self.probabilities, self.place, self.scope = program, probabilities, place, scope
        self.folded, self.folds = fold_batch_norm.fold(program, probabilities)
        channels_last.turn(self.folded)  # as the training program, or not, as that
        put_on_onednn(self.folded, ("conv2d", "fused_conv2d"))
        self.own_scope = paddle.static.Scope()

    def __call__(self):
        import paddle

        state = program_state.take(self.program, self.scope)
        for name, array in fold_batch_norm.values(self.folds, state).items():
            self.own_scope.var(name).get_tensor().set(array, self.place)
        executor = paddle.static.Executor(self.place)  # a new one: oneDNN keeps the weights that one has worked with
        return lambda pixels: executor.run(self.folded, feed={"pixel": pixels}, scope=self.own_scope,
                                           fetch_list=[self.probabilities.name])[0]

    def close(self):
        """Give its memory back; it cannot be called any more."""
        program_state.free(self.own_scope)


def put_on_onednn(program, kinds):
    """Mark the ops of these kinds that are right there; returns how many there are."""
    ops = [op for op in program.global_block().ops if op.type in kinds and not is_wrong_on_onednn(op)]
    for op in ops:
        op._set_attr(ONEDNN_ATTRIBUTE, True)
    return len(ops)


def is_wrong_on_onednn(op):
    """Batch norms over [N, C], and poolings whose windows overlap: their gradients came out wrong."""
    if op.type.startswith("batch_norm"):
        return op.attr("data_layout") == "NCHW"
    return op.type.startswith("pool2d") and op.attr("ksize") != op.attr("strides")


def paddle_version():
    """Paddle's version, as "2.6.2"."""
    import paddle

    return paddle.__version__


def _has_onednn():
    """Whether this Paddle was built with oneDNN (Arm builds are not)."""
    from paddle.base import core
    return bool(getattr(core, "is_compiled_with_mkldnn", getattr(core, "is_compiled_with_onednn", bool))())
