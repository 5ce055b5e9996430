"""Where the program runs: a CUDA device on which this Paddle works, or the CPU."""
import contextlib
import io
import os
import platform
import signal
import sys
import threading

from utils import flags
from utils.errors import STOP_SIGNALS, UserError, hold_signals, shown
from utils.parallel.launch import number_in

CUDA_FAILURE = "IMAGE_CLASSIFICATION_CUDA_FAILURE"  # environment variable, empty where CUDA works; workers inherit it


def choose_place(device="auto"):
    """Return (place, sentence): the Paddle place for `device` (auto, cpu or gpu), and which and why in one line.

    Errors: UserError where `gpu` was asked for and is unavailable, with the reason.
    """
    paddle = import_paddle()
    if device == "cpu":
        return paddle.CPUPlace(), "CPU, as asked"
    failure = cuda_failure()
    if failure is None:
        index = current_device()
        return paddle.CUDAPlace(index), f"CUDA device {index}, {paddle.device.cuda.get_device_name(index)}"
    if device == "gpu":
        raise UserError(f"--device gpu: {failure}; --device cpu runs here")
    return paddle.CPUPlace(), f"CPU ({failure})"


def import_paddle():
    """Import Paddle. Errors: UserError, with the cure, where it is installed but cannot be imported."""
    if sys.platform == "linux" and "paddle" not in sys.modules:  # checked first: the import may crash without a message
        if platform.machine() == "x86_64" and flags.processor_says("flags") and not flags.processor_says("avx"):
            raise UserError("Paddle needs a processor with AVX, which this one lacks: take another machine, or have "
                            "the virtual one pass on the host's processor (QEMU: -cpu host)")
        if not flags.is_found("libgomp.so.1"):
            raise UserError("Paddle needs libgomp.so.1: apt-get install libgomp1, or dnf install libgomp")
    try:
        hold_signals([signal.SIGTERM], True)  # during the import, it would print C++ calls
        with contextlib.redirect_stderr(io.StringIO()):  # a line of Paddle's that names no cure
            import paddle
        for number in STOP_SIGNALS:  # Paddle's import took them over: give them back to Python
            if signal.getsignal(number) is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, signal.getsignal(number))
        return paddle
    except Exception as error:  # of any type, as from a library that is missing
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        cure = f"{sys.executable} -m pip install --force-reinstall -r requirements.txt"
        if "DLL" in reason or "WinError" in reason:
            cure = f"install Microsoft's Visual C++ Redistributable (x64), then {cure}"
        raise UserError(f"Paddle is installed, but cannot be imported ({shown(reason)}): {cure}") from error
    finally:
        hold_signals([signal.SIGTERM], False)


def cuda_failure():
    """Why CUDA cannot be used here, or None where it can; found out once for this process and those that it starts."""
    if CUDA_FAILURE not in os.environ:
        paddle = sys.modules.get("paddle")  # the watching process has not imported it
        if paddle and not paddle.is_compiled_with_cuda():
            os.environ[CUDA_FAILURE] = flags.CPU_ONLY
        elif not flags.has_driver():
            os.environ[CUDA_FAILURE] = flags.NO_DEVICE
        else:
            from utils import gpu

            os.environ[CUDA_FAILURE] = gpu.failure(current_device()) or ""
    return os.environ[CUDA_FAILURE] or None


def current_device():
    """Number of the CUDA device of this process: the launcher's choice for this rank, else 0."""
    first = os.environ.get("FLAGS_selected_gpus", "").split(",")[0]
    return number_in({"FLAGS_selected_gpus": first}, "FLAGS_selected_gpus", 0)
