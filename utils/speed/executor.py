"""Paddle's executor, made several times as fast on a CPU behind the same `run`: `executor_on(place)`.

A training program is rewritten at its first run: channels last, oneDNN for the operators that gain by it, one Adam
for all parameters. A test program runs with its batch norms folded into the convolutions. The numbers stay the same up
to rounding, but for what dropout drops. Gains are ResNet-32 training, one core; benchmarks/LOG.md has the rows.
"""
import numpy as np
import paddle
from paddle.base import core

from utils import flags
from utils.speed import bfloat16, channels_last, fold_batch_norm
from utils.storage import program_state

# Op kinds that are both faster on oneDNN and right there: 60 -> 122 pictures a second with the convolutions, 148 with
# relu. Others are left out for a reason: sum and reduce_mean gave wrong numbers or errors, elementwise_add no gain.
ONEDNN_OPS = ("conv2d", "conv2d_grad", "relu")
# These gain only with the channels last: 148 -> 182. Both halves of batch norm or neither, since the backward half
# reads statistics that oneDNN's forward half keeps in a form of its own; and of pooling (VGG: 1.03 times), likewise.
CHANNELS_LAST_OPS = ("batch_norm", "batch_norm_grad", "pool2d", "pool2d_grad", "gelu", "gelu_grad")
PADDLE_2_OPS = ("relu_grad",)  # with the channels last: 1.05 times as fast in 2.6, 4 times slower in 3.3
DEEP = 2500  # ops; a training program has 12 or 13 for each layer, and one Adam for all


def executor_on(place, plain=False, precision="float32"):
    """Paddle's executor for a place; on a CPU a faster one with the same `run`, unless plain.

    precision: "bfloat16" or "auto" for convolutions in that type where this computer can; else they are float32
    """
    if plain or not isinstance(place, paddle.CPUPlace):
        return paddle.static.Executor(place)
    return FastExecutor(place, precision != "float32" and not bfloat16.missing())


class FastExecutor(paddle.static.Executor):
    """Paddle's executor on a CPU, with a faster way through training and test programs.

    It rereads a test program's weights only after another program has run: a change by hand alone goes unnoticed.
    """

    def __init__(self, place, in_bfloat16=False):
        super().__init__(place)
        flags.take_large_pages()
        self.in_bfloat16 = in_bfloat16
        self.faster = {}  # by program: what `prepare` returned at its first run
        self.changes = 0  # how often a program has run that may have changed weights

    def run(self, program=None, feed=None, fetch_list=None, scope=None, **options):
        """Run a program as `paddle.static.Executor.run` does."""
        program = program or paddle.static.default_main_program()
        if program not in self.faster:
            self.faster[program] = self.prepare(program)
        faster, scope = self.faster[program], scope or paddle.static.global_scope()
        if isinstance(faster, FoldedProgram) and isinstance(feed, dict) and faster.can_fetch(fetch_list):
            return faster.run(feed, scope, self.changes)
        self.changes += 1
        if isinstance(faster, DeepProgram):
            return faster.run(self, feed, fetch_list, scope)
        return super().run(program, feed, fetch_list=fetch_list, scope=scope, **options)

    def prepare(self, program):
        """Rewrite a training program -> what runs a program: a FoldedProgram, a DeepProgram, or None for Paddle."""
        ops = program.global_block().ops
        types = {op.type for op in ops}
        if "conv2d_grad" in types:
            accelerate(program, self.in_bfloat16)
        is_for_test = all(not op.type.endswith("_grad") and (not op.has_attr("is_test") or op.attr("is_test"))
                          for op in ops)
        if "conv2d" in types and is_for_test and has_onednn():
            return FoldedProgram(program, self.place, self.in_bfloat16)
        return DeepProgram(program) if len(ops) > DEEP and "all_reduce" not in types else None


def accelerate(program, in_bfloat16=False):
    """Turn a training program to oneDNN's order, and run on oneDNN the ops that gain by it."""
    if not has_onednn():
        return
    is_turned = channels_last.turn(program)
    kinds = ONEDNN_OPS + (CHANNELS_LAST_OPS if is_turned else ())
    put_on_onednn(program, kinds + (PADDLE_2_OPS if is_turned and paddle.__version__.startswith("2.") else ()))
    if is_turned:
        channels_last.pool_again(program.global_block())
    channels_last.join_adams(program.global_block())
    if is_turned and in_bfloat16:
        bfloat16.convolve_in_bfloat16(program)


class FoldedProgram:
    """A test program with its batch norms folded, in a scope of its own (source: fold_batch_norm.py)."""

    def __init__(self, program, place, in_bfloat16=False):
        self.program, self.place, self.in_bfloat16 = program, place, in_bfloat16
        self.folded = self.taken = None  # taken: what its weights are from, (changes, scope)
        self.executor, self.scope = paddle.static.Executor(place), paddle.static.Scope()

    def can_fetch(self, fetch_list):
        """Whether the folded program makes what is asked for: the one variable that it was folded for.

        That is no map larger than 1x1, which would come in another order.
        """
        names, found = [getattr(each, "name", each) for each in fetch_list or ()], self.program.global_block().vars
        if len(names) != 1 or names[0] not in found or found[names[0]].shape[2:] not in ((), (1, 1)):
            return False
        if self.folded is None:
            self.output = names[0]
            self.folded, self.folds = fold_batch_norm.fold(self.program, found[self.output])
            turned = channels_last.turn(self.folded)  # exactly if the training program is turned
            put_on_onednn(self.folded, ("conv2d", "fused_conv2d", "pool2d"))
            if turned and self.in_bfloat16:
                bfloat16.convolve_in_bfloat16(self.folded)
        return names[0] == self.output

    def run(self, feed, scope, changes):
        """Run it with the weights that are in the scope, which is looked at where they may have changed."""
        feed = {name: feed[name] for name in sorted(feed) if self.folded.global_block().has_var(name)}
        if self.taken != (changes, scope):
            state = program_state.take(self.program, scope)
            for name, array in fold_batch_norm.values(self.folds, state).items():
                self.scope.var(name).get_tensor().set(array, self.place)
            _, inner = self.executor._executor_cache.get_program_and_executor(
                self.folded, feed, [self.output], "feed", "fetch", self.place, self.scope)
            # A new executor in C++, since oneDNN keeps the weights that the old one worked with; a new one in Python
            # would prepare the program again, which takes 40 ms.
            inner._new_exe = inner._create_new_executor()
            self.taken = changes, scope
        return self.executor.run(self.folded, feed=feed, scope=self.scope, fetch_list=[self.output])


def put_on_onednn(program, kinds):
    """Mark the ops of these kinds to run on oneDNN, except those that give wrong gradients there."""
    for op in program.global_block().ops:
        if op.type in kinds and not (op.type.startswith("batch_norm")  # over [N, C], or with frozen statistics
                                     and (op.attr("data_layout") == "NCHW" or op.attr("use_global_stats"))):
            op._set_attr("use_mkldnn", True)  # oneDNN's old name; Paddle 3 still answers to it


def has_onednn():
    """Whether this Paddle was built with oneDNN (Arm builds are not)."""
    return bool(getattr(core, "is_compiled_with_mkldnn", getattr(core, "is_compiled_with_onednn", bool))())


class DeepProgram:
    """A very deep program, run op by op in its own order; it always fetches what it did at first.

    Paddle's executor first works out which ops each op has to wait for: 65 s and 3.6 GB for training a network of 302
    layers, and out of reach for 1,202. Its older executor, which Paddle still has, does not. It gives the same numbers,
    bit for bit, and takes 0.02 ms an op longer, since it chooses the ops' kernels again in each step.
    That executor does not connect all_reduce with other machines.
    """

    def __init__(self, program):
        self.program, self.nothing = program, paddle.static.Program()
        self.ops = None

    def run(self, executor, feed, fetch_list, scope):
        names, core = [variable.name for variable in fetch_list or ()], executor._default_executor
        if self.ops is None:
            self.scope = scope.new_scope()  # for what is not kept between runs
            core.create_variables(self.program.desc, self.scope, 0)
            self.ops = core.prepare(self.program.desc, 0, names, False)
        schedule = getattr(self.program, "lr_scheduler", None)
        rate = {schedule._var_name: np.array(schedule(), np.float32)} if schedule else {}
        for name, array in {**(feed or {}), **rate}.items():
            self.scope.find_var(name).get_tensor().set(array, executor.place)
        # Only in `run` does Paddle note which executor works in this thread, and so whose results oneDNN has kept.
        core.run(self.nothing.desc, self.scope, 0, False, False, [])
        core.run_prepared_ctx(self.ops, self.scope, False, False, False)
        return [np.array(self.scope.find_var(name).get_tensor()) for name in names]
