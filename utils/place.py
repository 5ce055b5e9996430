"""Where the program runs: a CUDA device on which this Paddle works, or the CPU."""
import os

from utils.errors import UserError, restore_signals
from utils.gpu import trial

# The paddlepaddle-gpu 2.6.2 wheels have machine code for these, and no PTX from which more could be compiled.
CAPABILITIES_2_6 = ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6))
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
        import paddle

        os.environ[CUDA_FAILURE] = diagnose_cuda(paddle) or ""
    return os.environ[CUDA_FAILURE] or None


def diagnose_cuda(paddle):
    """Find out why CUDA cannot be used here: first what costs no time, then a training step, which takes seconds.

    paddle: the module, or what a test has in its place.
    """
    if not paddle.is_compiled_with_cuda():
        return "this Paddle is a CPU-only build"
    cuda, version, index = paddle.device.cuda, paddle.__version__, current_device()
    try:
        if cuda.device_count() < 1:
            return "no CUDA device or no driver found"
        capability = tuple(cuda.get_device_capability(index))
    except (RuntimeError, OSError, ValueError) as error:
        first_line = str(error).strip().split("\n")[0]
        return f"CUDA device {index} does not answer: {first_line or type(error).__name__}"
    cudnn = paddle.device.get_cudnn_version()
    return unsupported(capability, cudnn, version) or trial.failed_step(version, index)


def unsupported(capability, cudnn, version):
    """Say what this Paddle version lacks on a device, code for it or a cuDNN that fits; None where it lacks nothing.

    capability: (major, minor). Code for x.y also runs on x.z with z >= y: that for 8.6 on 8.9, none of 2.6 on 9.0.
    cudnn: as Paddle reports it, 8600 for 8.6 and 91400 for 9.14; None or -1 where it finds none.
    """
    is_2, (major, minor) = version.startswith("2."), capability
    if is_2 and not any(major == built and minor >= least for built, least in CAPABILITIES_2_6):
        return (f"Paddle {version} has no code for compute capability {major}.{minor}: install a 3.x GPU build of "
                "Paddle from paddlepaddle.org.cn")
    if cudnn is None or cudnn < 0:
        return trial.missing("cudnn64_8.dll" if os.name == "nt" else "libcudnn.so", version)
    if is_2 and cudnn // 1000 != 8:
        return trial.missing(f"cuDNN 8, but another ({cudnn})", version)
    return None


def current_device():
    """Number of the CUDA device of this process: the launcher's choice for this rank, else 0."""
    return int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0] or 0)
