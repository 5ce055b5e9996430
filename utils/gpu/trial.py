"""Whether a CUDA device works: a training step is tried there in a child process, and its end says what is wrong.

A process of its own, because a missing or wrong library may end it, and a device may never answer. Paddle 2.6 on a
device that it has no code for skips each of its kernels without a word, so the numbers are compared with the CPU's.
"""
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Optional

from utils.gpu import remembered

ROOT = Path(__file__).resolve().parent.parent.parent
STEP = "import sys; sys.path.insert(0, sys.argv[1]); from utils.gpu import step; step.main(int(sys.argv[2]))"
LIMIT = 120  # seconds: enough to read Paddle and cuDNN from a slow disk; step.py has a longer limit of its own
TOLERANCE = 0.05  # of the largest number: tensor cores round to 3 digits, a device without code gives zeros
PIP_LIBRARIES = "nvidia-cudnn-cu11==8.6.0.163 nvidia-cublas-cu11==11.11.3.6"  # what the 2.6.2 wheel was built with
README = "see 'Which Paddle for which machine' in book/running.md"
NO_MEMORY = ("ResourceExhausted", "out of memory", "ALLOC_FAILED", "cudaErrorMemoryAllocation")
NO_CODE = ("no kernel image", "invalid device function", "ARCH_MISMATCH")
MISSING = tuple(map(re.compile, (  # the library itself first, then what wanted it
    r"(lib[\w.+-]+): cannot open shared object file",
    r"third-party dynamic library \(([^\s)]+)\)",
    r"Could not (?:load library|locate) (\S+?)\.?(?:\s|$)",
    r"Cannot load (\w+) shared library")))
LOG_HEAD = r"^[A-Z]\d{4} [^\]]*\] "  # of Paddle's own log: kind, time, place in its source


class End(NamedTuple):
    """How a child process ended; status: as subprocess gives it, None where it had not ended in time."""
    status: Optional[int]
    out: str
    err: str


def problem(version, index, name, cudnn):
    """Why Paddle cannot train on a CUDA device, in one line with what to do next; None where it can.

    version: Paddle's; index and name: the device's; cudnn: the version as a number. What depends on these and the
    driver alone is remembered for the next start.
    """
    driver = driver_version()
    key = f"Paddle {version}, driver {driver}, device {index} {name}, cuDNN {cudnn}"
    works = remembered.recall(key) if driver else None
    if works is not None:
        return None if works else no_code(version, index)
    found = diagnose(run([sys.executable, "-c", STEP, str(ROOT), str(index)]), version, index)
    if driver and found in (None, no_code(version, index)):
        remembered.remember(key, found is None)
    return found


def driver_version():
    """The version of NVIDIA's driver, such as "580.65.06"; None where it does not tell."""
    text = ctypes.create_string_buffer(96)
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(text, len(text)) == 0:
            return text.value.decode(errors="replace")
    except (OSError, AttributeError):
        pass
    return None


def run(command, limit=LIMIT):
    """Run a command for at most `limit` seconds -> its End."""
    environment = {**os.environ, "GLOG_minloglevel": "1"}  # Paddle names a missing library in a mere warning
    child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
    try:
        out, err = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=5)  # one that waits for a device may not end even so
        return End(None, "", "")
    return End(child.returncode, out, err)


def diagnose(end, version, index):
    """Why a trial ended so, in one line with what to do next; None where the device gave the CPU's numbers."""
    device = f"CUDA device {index}"
    if end.status is None:
        return (f"{device} did not finish a training step in {LIMIT} seconds: nvidia-smi shows whether another program "
                "holds it; if none does, restart the machine")
    numbers = numbers_of(end.out) if end.status == 0 else None
    if numbers:
        return None if agree(*numbers) else no_code(version, index)
    if any(word in end.err for word in NO_MEMORY):
        return (f"{device} has no memory left: end programs that nvidia-smi shows on it, or choose another device with "
                "CUDA_VISIBLE_DEVICES")
    if any(word in end.err for word in NO_CODE):
        return no_code(version, index)
    library = missing_library(end.err)
    if library:
        return missing(library, version)
    return (f"a training step on {device} {how_it_ended(end)}: driver, CUDA and cuDNN may not fit Paddle {version}, "
            f"{README}")


def numbers_of(out):
    """What step.py printed in its last line -> pairs of lists (the CPU's numbers, the device's); None where unreadable.
    """
    try:
        both = json.loads(out.strip().splitlines()[-1])
        return [(list(map(float, both["cpu"][name])), list(map(float, both["device"][name])))
                for name in ("loss", "gradient")]
    except (ValueError, LookupError, TypeError):
        return None


def agree(*pairs):
    """Whether in each pair of lists the second has the numbers of the first, up to rounding."""
    return all(len(one) == len(other) > 0 and all(abs(a - b) <= TOLERANCE * max(map(abs, one))
                                                  for a, b in zip(one, other)) for one, other in pairs)


def no_code(version, index):
    """The line for a device whose kernels are missing: they fail, or are skipped and leave wrong numbers."""
    build = "a 3.x GPU build" if version.startswith("2.") else "another GPU build"
    return (f"Paddle {version} seems to have no code for CUDA device {index} (a training step there fails or gives "
            f"wrong numbers): install {build} of Paddle from paddlepaddle.org.cn, {README}")


def missing_library(text):
    """The library that a process missed, from what it wrote to standard error; None where it names none."""
    return next((found[-1] for found in (pattern.findall(text) for pattern in MISSING) if found), None)


def missing(library, version):
    """The line for a library that Paddle does not find."""
    return f"Paddle {version} does not find {library}: {advice(version, library)}"


def advice(version, library="libcudnn.so"):
    """How to install a library that Paddle needs, in a version that fits."""
    if not version.startswith("2."):
        return "install Paddle's GPU build anew, which brings it along"
    if "nccl" in library:
        return "pip install nvidia-nccl-cu11, or start a single process"
    return f"pip install {PIP_LIBRARIES}" if sys.platform == "linux" else f"install CUDA 11.8 and cuDNN 8.6, {README}"


def how_it_ended(end):
    """In words: a crash by its signal, an exit by the error that was shown last."""
    if end.status < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-end.status).name
            return f"was aborted ({name})" if name == "SIGABRT" else f"crashed ({name})"
        return f"crashed (signal {-end.status})"
    if end.status > 255:  # so Windows tells of a crash
        return f"crashed (exit status {end.status:#x})"
    lines = [re.sub(LOG_HEAD, "", line).strip(" .") for line in end.err.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(?:Error|Exception)\b", line)]
    return f"failed ({(errors or lines or [f'exit status {end.status}'])[-1][:200]})"
