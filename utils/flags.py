"""The flags that Paddle reads while it is imported, and glibc's memory: `set_flags()` before the first `import paddle`.

Gains are ResNet-32 training, batch 128, one core; benchmarks/LOG.md has the rows, and what was tried and dropped.
"""
import ctypes
import functools
import os
import platform
import sys
import warnings
from pathlib import Path

from utils.errors import print_error, shown
from utils.parallel.launch import core_share, usable_cores

# Never on: other programs than Paddle 2's, oneDNN for each op that has it (speed/ chooses), checks that fail in 2.6,
# and a choice of algorithms by their time, which differs each time.
OFF = ("FLAGS_enable_pir_api", "FLAGS_enable_pir_in_executor", "FLAGS_prim_all", "FLAGS_prim_backward",
       "FLAGS_use_mkldnn", "FLAGS_use_onednn", "FLAGS_check_nan_inf", "FLAGS_benchmark",
       "FLAGS_cudnn_exhaustive_search")
FOR_SPEED = {
    # One thread hands out the ops. With the usual four oneDNN has four sets of buffers: 4.7 GB instead of 2.1.
    "FLAGS_new_executor_serial_run": "1",
    # The thread that frees tensors spins, and so takes the core from the ops. 10 MB at a time: 1.07 times as fast.
    "FLAGS_eager_delete_tensor_gb": "0.01",
    # An op may write its result where its input was, which nobody needs any more: 1.05 times as fast for 8 images.
    "FLAGS_new_executor_use_inplace": "1",
}
# Paddle's MKL takes its slowest (SSE2) path on AMD processors; 5 asks for AVX2. 1.6 to 2 times as fast there.
FOR_SPEED_ON_AMD = {"MKL_DEBUG_CPU_TYPE": "5"}
MALLOC_VARIABLES = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")
CPU_ONLY, NO_DEVICE = "this Paddle is a CPU-only build", "no CUDA device or no driver found"
HEAP = 1920 << 20  # bytes of address space, most of what a step of 128 images touches; from 1984 MB on it is trimmed
are_set = keeps_memory = False  # whether set_flags was called before Paddle was imported, and had glibc keep memory


def set_flags(plain=False):
    """Set the flags that Paddle reads while it is imported; after its import, do nothing.

    plain: only what correctness needs. What the environment sets stays, unless it would break the program.
    """
    global are_set, keeps_memory
    if "paddle" in sys.modules:
        return
    import zlib  # noqa: F401  Paddle 2.6 carries a zlib of its own, and a first import after Paddle would crash in it

    for name in OFF:
        value = os.environ.get(name, "0")
        if value.lower() not in ("", "0", "false"):
            del os.environ[name]
            print_error(f"{name}={shown(value)} in the environment is ignored: this program needs it off")
    os.environ["FLAGS_enable_pir_api"] = "0"  # which Paddle 3 has on
    os.environ.setdefault("FLAGS_cudnn_deterministic", "1")  # the same numbers each time on a GPU too
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors only
    if core_share() < len(usable_cores()):
        os.environ.setdefault("OMP_NUM_THREADS", str(core_share()))  # not one for each core of the machine
    for said_better_elsewhere in ("You are using GPU version Paddle", "No ccache found",
                                  r"\W+(\d+m)?\s*Warning:\s+API .paddle\.static\.nn\."):  # Paddle 3, of static layers
        warnings.filterwarnings("ignore", message=said_better_elsewhere)
    are_set = True
    if plain:
        return
    os.environ["FLAGS_new_executor_sequential_run"] = "1"  # in the program's order: see channels_last.pool_again
    for name, value in {**FOR_SPEED, **(FOR_SPEED_ON_AMD if processor_says("AuthenticAMD") else {})}.items():
        os.environ.setdefault(name, value)
    keeps_memory = platform.libc_ver()[0] == "glibc" and not any(os.environ.get(name) for name in MALLOC_VARIABLES)
    if keeps_memory:
        _keep_memory()


def processor_says(word):
    """Whether Linux's description of the processor has this word (elsewhere False)."""
    return sys.platform == "linux" and word.encode() in Path("/proc/cpuinfo").read_bytes().split()


def has_bfloat16():
    """Whether this processor has instructions for bfloat16."""
    return any(map(processor_says, ("amx_bf16", "avx512_bf16")))


def has_driver():
    """Whether NVIDIA's driver is installed here; needs no Paddle."""
    return is_found("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")


def is_found(library):
    """Whether the loader finds a library; a cuDNN only in a version that Paddle 2 works with."""
    try:
        version = getattr(ctypes.CDLL(library), "cudnnGetVersion", lambda: 0)
    except OSError:
        return False
    return version() < 9000


def _keep_memory():
    """Have glibc keep freed memory instead of giving it back and faulting it in again at every op.

    2 million page faults in 12 steps become 0.4 million, nearly all of them at the start.
    """
    libc, trim_threshold, top_pad, mmap_max, arena_max = ctypes.CDLL(None), -1, -2, -4, -8  # malloc.h
    for option, value in ((arena_max, 1), (mmap_max, 0), (trim_threshold, 2 ** 31 - 1), (top_pad, 64 << 20)):
        libc.mallopt(option, value)


@functools.cache
def take_large_pages():
    """Have the memory that training will use come in pages of 2 MB: tests are 1.05 times as fast.

    Call it after Paddle's import, which needs address space as well. Memory is taken only when it is touched.
    """
    policy = Path("/proc/sys/vm/overcommit_memory")  # 2: what is not touched counts as well
    if not keeps_memory or policy.is_file() and policy.read_text().strip() == "2":
        return
    libc, huge_pages = ctypes.CDLL(None), 14  # sys/mman.h
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    heap = libc.malloc(HEAP)  # large blocks come from one heap, of which this is the end
    if heap:
        libc.madvise(-(-heap // 4096) * 4096, HEAP - 4096, huge_pages)
        libc.free(heap)
