"""How Paddle is made fast on this CPU: flags set before `import paddle`, and oneDNN for the operators that gain by it.

Call `set_flags()` before the first `import paddle`, and `accelerate(program)` after `minimize` where the place is a
CPU; each returns what it chose, for `describe`. Gains are ResNet-32 training, batch 128, one core; RESULTS.md has the
rows, and what was tried and dropped.
"""
import ctypes
import os
import platform
import sys
import warnings

from utils.speed import channels_last, dropout, fold_batch_norm, joined
from utils.storage import program_state

# Op kinds that are both faster on oneDNN and right there: 60 -> 122 pictures a second with the convolutions, 148 with
# relu. Others are left out for a reason: sum and reduce_mean gave wrong numbers or errors, elementwise_add no gain.
ONEDNN_OPS = ("conv2d", "conv2d_grad", "relu")
# These gain only with the channels last: 148 -> 182. Both halves of batch norm or neither, since the backward half
# reads statistics that oneDNN's forward half keeps in a form of its own; and of pooling (VGG: 1.03 times), likewise.
CHANNELS_LAST_OPS = ("batch_norm", "batch_norm_grad", "pool2d", "pool2d_grad", "gelu", "gelu_grad")
PADDLE_2_OPS = ("relu_grad",)  # with the channels last: 1.05 times as fast in 2.6, 4 times slower in 3.3
SERIAL_RUN, FREE_AFTER, MKL_PATH = "FLAGS_new_executor_serial_run", "FLAGS_eager_delete_tensor_gb", "MKL_DEBUG_CPU_TYPE"
IN_PLACE = "FLAGS_new_executor_use_inplace"
FOR_SPEED = {SERIAL_RUN: "1", FREE_AFTER: "0.01", IN_PLACE: "1", MKL_PATH: "5"}  # what `set_flags` sets them to
ONEDNN_ATTRIBUTE = "use_mkldnn"  # oneDNN's old name; Paddle 3 still answers to it
MALLOC_VARIABLES = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")
HEAP = 2 << 30  # bytes of address space; a training step at batch 128 touches about this much


def set_flags(plain=False):
    """Set the flags that Paddle reads while it is imported -> what was chosen, in words.

    plain: only what correctness needs, nothing for speed. What the environment already sets stays; once Paddle is
    imported nothing is set any more.
    """
    if "paddle" in sys.modules:
        return ()
    import zlib  # noqa: F401  Paddle 2.6 carries a zlib of its own, and a first import after Paddle would crash in it

    os.environ.setdefault("FLAGS_enable_pir_api", "0")  # Paddle 3: build programs of ops, as Paddle 2 does
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors only
    for said_better_elsewhere in ("You are using GPU version Paddle", "No ccache found",
                                  r"\W+(\d+m)?\s*Warning:\s+API .paddle\.static\.nn\."):  # Paddle 3, of static layers
        warnings.filterwarnings("ignore", message=said_better_elsewhere)
    return ("plain",) if plain else _set_flags_for_speed()


def _set_flags_for_speed():
    """The part of `set_flags` that `--plain` omits."""
    chosen = []
    # One thread hands out the ops. oneDNN keeps its buffers per thread, so with the usual four each op ends up
    # with four sets of them: 4.7 GB instead of 2.1 at batch 128, and every new set is memory not yet touched.
    chosen += _set(SERIAL_RUN, "ops in order")
    # Tensors that are no longer needed are freed by another thread, which spins while it waits for the next ones and
    # so takes the core from the ops. Freeing them 10 MB at a time instead of one by one: 1.07 times as fast.
    chosen += _set(FREE_AFTER, "freed together")
    # An op may write its result where its input was, which nobody needs any more: 1.05 times as fast for 8 images.
    chosen += _set(IN_PLACE, "in place")
    # Paddle's MKL takes its slowest (SSE2) path on AMD processors; 5 asks for AVX2. 1.6 to 2 times as fast there.
    if _is_amd():
        chosen += _set(MKL_PATH, "MKL on AVX2")
    if not any(os.environ.get(name) for name in MALLOC_VARIABLES) and _keep_memory():
        chosen.append("memory kept")
    return tuple(chosen)


def is_plain_process():
    """Whether this process runs Paddle as it comes: its flags were never set for speed."""
    return os.environ.get(SERIAL_RUN) != "1"


def flags_set_for_speed():
    """Names of the environment variables that are as `set_flags` sets them for speed: a plain process omits them."""
    return tuple(name for name, value in FOR_SPEED.items() if os.environ.get(name) == value)


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


def describe(chosen):
    """One line for the log: what `set_flags` and `accelerate` chose, and for which processor."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    several = "" if threads == 1 else "s"
    return f"{', '.join(chosen) or 'nothing chosen'} ({platform.machine()}, {threads} thread{several} a process)"


def _set(name, what):
    """Set a variable of `FOR_SPEED` unless the user has -> [what], or [] where the user's value is another."""
    return [what] if os.environ.setdefault(name, FOR_SPEED[name]) == FOR_SPEED[name] else []


def _is_amd():
    """Whether this is an x86 processor by AMD (Linux only; elsewhere False)."""
    return processor_says("AuthenticAMD")


def processor_says(word):
    """Whether Linux's description of the processor has this word (elsewhere False)."""
    try:
        with open("/proc/cpuinfo") as lines:
            return any(word in line.split() for line in lines)
    except OSError:
        return False


def paddle_version():
    """Paddle's version, as "2.6.2"."""
    import paddle

    return paddle.__version__


def _has_onednn():
    """Whether this Paddle was built with oneDNN (Arm builds are not)."""
    from paddle.base import core
    return bool(getattr(core, "is_compiled_with_mkldnn", getattr(core, "is_compiled_with_onednn", bool))())


def _keep_memory():
    """Have glibc keep freed memory instead of giving it back and faulting it in again at every op; True if done.

    2 million page faults in 12 steps become 0.4 million, nearly all of them at the start. Elsewhere than on Linux
    with glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    trim_threshold, top_pad, mmap_max, arena_max, huge_pages = -1, -2, -4, -8, 14  # malloc.h, sys/mman.h
    for option, value in ((arena_max, 1), (mmap_max, 0), (trim_threshold, 2 ** 31 - 1), (top_pad, 64 << 20)):
        libc.mallopt(option, value)
    # Large blocks now come from one heap; ask for 2 MB pages on the part of it that a training run will use.
    # Nothing is taken until it is touched.
    heap = libc.malloc(HEAP)
    if heap:
        libc.madvise(-(-heap // 4096) * 4096, HEAP - 4096, huge_pages)
        libc.free(heap)
    return True
