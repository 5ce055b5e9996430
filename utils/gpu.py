"""NVIDIA's libraries, made findable for Paddle 2 on Linux, and whether a CUDA device works.

Paddle 2.6 opens libcudnn.so, but pip's package holds libcudnn.so.8: links are made in a cache folder. The loader reads
LD_LIBRARY_PATH when a process begins, so the script is started again.

A device is tried in a process of its own, because a wrong library may end it, and a device may never answer. On one
that it has no code for, Paddle 2.6 skips its kernels without a word, so the numbers are compared with the CPU's.
"""
import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from utils import flags

# What Paddle 2.6 opens, and the file that it was built with.
NAMES = {"libcudnn.so": "libcudnn.so.8", "libcublas.so": "libcublas.so.11", "libcublasLt.so": "libcublasLt.so.11",
         "libnccl.so": "libnccl.so.2"}
RESTARTED = "IMAGE_CLASSIFICATION_RESTARTED"  # in the environment of a script that was started again
ROOT = Path(__file__).resolve().parent.parent
TRIAL = "import sys; sys.path.insert(0, sys.argv[1]); from utils import gpu; gpu.main(int(sys.argv[2]))"
LIMIT = 120  # seconds: enough to read Paddle and cuDNN from a slow disk
TOLERANCE = 0.05  # of the largest number: tensor cores round to 3 digits, a device without code gives zeros
SAME, DIFFERENT, REASON = "the same numbers as on the CPU", "other numbers than on the CPU", "Reason: "  # it prints one
NO_CODE = (DIFFERENT, "no kernel image", "invalid device function", "ARCH_MISMATCH")
NO_MEMORY = ("ResourceExhausted", "out of memory", "ALLOC_FAILED", "cudaErrorMemoryAllocation")
MISSING = re.compile(r"cannot open shared object|third-party dynamic library|Could not (?:load library|locate)")
LIBRARY = re.compile(r"lib[\w+-]+\.so(?:\.\d+)*|\w+\.dll")
PIP_LIBRARIES = "nvidia-cudnn-cu11==8.6.0.163 nvidia-cublas-cu11==11.11.3.6"  # what the 2.6.2 wheel was built with
PAGE = "see 'Which Paddle for which machine' in book/running.md"


def restart_where_needed():
    """Start this script again, as the same process, where that lets Paddle find libraries that pip installed."""
    environment = environment_with_libraries()
    if environment:
        arguments = sys.orig_argv[1:] if hasattr(sys, "orig_argv") else sys.argv  # Python 3.9 keeps no options
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *arguments], environment)


def environment_with_libraries():
    """The environment in which Paddle finds pip's libraries; None where a restart would not help."""
    if sys.platform != "linux" or RESTARTED in os.environ or not paddle_version().startswith("2."):
        return None
    installed = {name: path for folder in filter(None, reversed(sys.path)) for name, file in NAMES.items()
                 for path in Path(folder).glob(f"nvidia/*/lib/{file}")}  # "" is the current folder, where none are
    libraries = {name: path for name, path in installed.items() if not flags.is_found(name)}
    if not libraries:
        return None
    files = hashlib.sha256(os.fsencode(repr(sorted(libraries.items())))).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    links = Path(cache, "image_classification", f"libraries-{files}")
    try:
        links.mkdir(parents=True, exist_ok=True)
        for name, path in libraries.items():
            with contextlib.suppress(FileExistsError):  # from an earlier start, to the same file
                (links / name).symlink_to(path)
    except OSError:
        return None
    folders = [links, *sorted({path.parent for path in libraries.values()}), os.environ.get("LD_LIBRARY_PATH")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(str(each) for each in folders if each), RESTARTED: "1"}


def paddle_version():
    """The version of the installed GPU build of Paddle, without importing it; "" where there is none."""
    import importlib.metadata  # slow, and seldom needed

    return next((each.version for each in importlib.metadata.distributions(name="paddlepaddle-gpu")), "")


def failure(index):
    """Why Paddle cannot train on a CUDA device, in one line with what to do next; None where it can."""
    return explain(*run([sys.executable, "-c", TRIAL, str(ROOT), str(index)]), paddle_version(), index)


def run(command, limit=LIMIT):
    """Run a command for at most `limit` seconds -> (exit status, None where it did not end; the lines it printed)."""
    environment = {**os.environ, "GLOG_minloglevel": "1",  # a warning of Paddle's names a missing library
                   "PYTHONIOENCODING": "utf-8:replace"}
    try:
        child = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", timeout=limit)
    except subprocess.TimeoutExpired:
        return None, []
    return child.returncode, [line.strip() for line in child.stdout.splitlines() if line.strip()]


def explain(status, lines, version, index):
    """Why a trial ended so, in one line with what to do next; None where the device gave the CPU's numbers."""
    device, output = f"CUDA device {index}", "\n".join(lines)
    reasons = [line[len(REASON):] for line in lines if line.startswith(REASON)]
    if status == 0 and (SAME in lines or reasons):
        return reasons[0] if reasons else None
    if any(words in output for words in NO_CODE):
        build = "a 3.x GPU build" if version.startswith("2.") else "another GPU build"
        return (f"Paddle {version} seems to have no code for {device} (a training step there fails or gives wrong "
                f"numbers): install {build} of Paddle from paddlepaddle.org.cn, {PAGE}")
    if any(words in output for words in NO_MEMORY):
        return (f"{device} has no memory left: end programs that nvidia-smi shows on it, or choose another device with "
                "CUDA_VISIBLE_DEVICES")
    missing = [name for line in lines if MISSING.search(line) for name in LIBRARY.findall(line)]
    if missing:
        pip = f"pip install {'nvidia-nccl-cu11' if 'nccl' in missing[-1] else PIP_LIBRARIES}"
        how = pip if version.startswith("2.") and sys.platform == "linux" else PAGE
        return f"Paddle {version} does not find {missing[-1]}: {how}"
    errors = [line for line in lines if "Error" in line] or lines or [f"exit status {status}"]
    how = f"did not end in {LIMIT} seconds" if status is None else f"failed ({errors[-1][:200]})"
    if status is not None and status < 0:
        how = f"crashed ({signal.strsignal(-status)})"
    return f"a training step on {device} {how}: driver, CUDA and cuDNN may not fit Paddle {version}, {PAGE}"


def main(index):
    """Print what this Paddle lacks; else take a step on the CPU and on CUDA device `index`, and compare the numbers."""
    flags.set_flags()
    import paddle

    if not paddle.is_compiled_with_cuda() or paddle.device.cuda.device_count() < 1:
        print(REASON + (flags.NO_DEVICE if paddle.is_compiled_with_cuda() else flags.CPU_ONLY), flush=True)
        return
    paddle.enable_static()
    if int(os.environ.get("PADDLE_TRAINERS_NUM") or 1) > 1:
        paddle.base.core.nccl_version()  # fails where NCCL is missing, which sums over GPUs need
    pairs = zip(step(paddle.CPUPlace()), step(paddle.CUDAPlace(index)))
    print(SAME if all(agree(*pair) for pair in pairs) else DIFFERENT, flush=True)


def agree(expected, array):
    """Whether an array has the expected numbers, up to rounding."""
    return expected.shape == array.shape and bool((abs(array - expected) <= TOLERANCE * abs(expected).max()).all())


def step(place):
    """Loss, and gradient of the convolution, in the first step of a small network of the chapter's layers."""
    import numpy as np
    import paddle
    import paddle.nn.functional as F
    from paddle.static import nn

    rng, main, startup = np.random.default_rng(0), paddle.static.Program(), paddle.static.Program()
    feed = {"image": rng.random((16, 3, 8, 8), np.float32), "label": rng.integers(0, 10, (16, 1))}
    filters, weights = (paddle.nn.initializer.Assign(rng.normal(0, 0.1, shape).astype(np.float32))
                        for shape in ((8, 3, 3, 3), (512, 10)))
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image = paddle.static.data("image", [None, 3, 8, 8], "float32")
        label = paddle.static.data("label", [None, 1], "int64")
        x = nn.conv2d(image, num_filters=8, filter_size=3, padding=1, param_attr=filters, bias_attr=False)
        loss = F.cross_entropy(nn.fc(F.relu(nn.batch_norm(x)), 10, weight_attr=weights), label)
        paddle.optimizer.Adam(0.001).minimize(loss)
    executor, scope = paddle.static.Executor(place), paddle.static.Scope()
    executor.run(startup, scope=scope)
    return executor.run(main, feed=feed, fetch_list=[loss, "conv2d_0.w_0@GRAD"], scope=scope)
