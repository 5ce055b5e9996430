"""Where the program runs: a CUDA device on which this Paddle works, or the CPU."""
import os
import sys

from utils.errors import UserError, restore_signals
from utils.gpu import libraries

CUDA_FAILURE = "IMAGE_CLASSIFICATION_CUDA_FAILURE"  # environment variable, empty where CUDA works; workers inherit it


def choose_place(device="auto"):
    """Return (place, sentence): the Paddle place for `device` (auto, cpu or gpu), and which and why in one line.

    Errors: UserError where `gpu` was asked for and is unavailable, with the reason.
    """
    import paddle

    restore_signals()  # at SIGTERM Paddle would print C++ calls
    if device == "cpu":
        return paddle.CPUPlace(), "CPU, as asked"
    failure = cuda_failure()
    if failure is None:
        index = current_device()
        return paddle.CUDAPlace(index), f"CUDA device {index}, {paddle.device.cuda.get_device_name(index)}"
    if device == "gpu":
        raise UserError(f"--device gpu: {failure}; --device cpu runs here")
    return paddle.CPUPlace(), f"CPU ({failure})"


def cuda_failure():
    """Why CUDA cannot be used here, or None where it can; found out once for this process and those that it starts."""
    if CUDA_FAILURE not in os.environ:
        paddle = sys.modules.get("paddle")  # the watching process has not imported it
        if paddle and not paddle.is_compiled_with_cuda():
            os.environ[CUDA_FAILURE] = libraries.CPU_ONLY
        elif not libraries.has_driver():
            os.environ[CUDA_FAILURE] = libraries.NO_DEVICE
        else:
            from utils.gpu import trial  # seldom needed

            os.environ[CUDA_FAILURE] = trial.failure(current_device()) or ""
    return os.environ[CUDA_FAILURE] or None


def current_device():
    """Number of the CUDA device of this process: the launcher's choice for this rank, else 0."""
    return int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0] or 0)
