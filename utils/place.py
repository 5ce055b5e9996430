"""Where the program runs: a CUDA device on which this Paddle works, or the CPU."""
import ctypes
import os

from utils.errors import UserError
from utils.gpu import trial

# What the paddlepaddle-gpu 2.6.2 wheels hold machine code for (no PTX, so nothing newer can be made from it).
CAPABILITIES_2_6 = ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6))
FOUND = "IMAGE_CLASSIFICATION_CUDA_PROBLEM"  # in the environment: what was found, empty for a device that works


def choose_place(device="auto"):
    """Return (place, sentence): the Paddle place for `device` (auto, cpu or gpu), and which and why in one line.

    Errors: UserError where `gpu` was asked for and is unavailable, with the reason.
    """
    import paddle

    if device == "cpu":
        return paddle.CPUPlace(), "CPU, as asked"
    problem = known_problem(paddle)
    if problem is None:
        index = current_device()
        name = paddle.device.cuda.get_device_name(index)
        return paddle.CUDAPlace(index), f"CUDA device {index}, {name}"
    if device == "gpu":
        raise UserError(f"--device gpu: {problem}; --device cpu runs here")
    return paddle.CPUPlace(), f"CPU ({problem})"


def known_problem(paddle):
    """As `cuda_problem`, found out once for this process and those that it starts."""
    if FOUND not in os.environ:
        os.environ[FOUND] = cuda_problem(paddle) or ""
    return os.environ[FOUND] or None


def has_driver():
    """Whether NVIDIA's driver is installed here; needs no Paddle."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def cuda_problem(paddle):
    """Say why CUDA cannot be used here, or None where it can.

    `paddle` is the module, given so that a test can pass another. What costs no time is looked up first; then a
    training step is tried, which takes some seconds once (utils/gpu/trial.py).
    """
    if not paddle.is_compiled_with_cuda():
        return "this Paddle is a CPU-only build"
    try:
        count = paddle.device.cuda.device_count()
    except (RuntimeError, OSError, ValueError) as error:
        return f"the CUDA driver does not answer: {first_line(error)}"
    if count < 1:
        return "no CUDA device or no driver found"
    index = current_device()
    if index >= count:
        return f"there are {count} CUDA devices and this process is to take number {index}"
    try:
        capability = tuple(paddle.device.cuda.get_device_capability(index))
        name = paddle.device.cuda.get_device_name(index)
    except (RuntimeError, OSError, ValueError) as error:
        return f"CUDA device {index} does not answer: {first_line(error)}"
    version, cudnn = paddle.__version__, paddle.device.get_cudnn_version()
    return (capability_problem(capability, version) or cudnn_problem(cudnn, version) or nccl_problem(paddle)
            or trial.problem(version, index, name, cudnn))


def capability_problem(capability, version):
    """Say why a device of this compute capability (major, minor) cannot run this Paddle version, or None.

    Code built for x.y also runs on x.z with z >= y, so 8.9 is served by 8.6, but 9.0 and 12.0 by nothing in 2.6.
    """
    if not version.startswith("2."):
        return None
    major, minor = capability
    if any(major == have and minor >= least for have, least in CAPABILITIES_2_6):
        return None
    return (f"Paddle {version} has no code for compute capability {major}.{minor}: install a 3.x GPU build of "
            "Paddle from paddlepaddle.org.cn")


def cudnn_problem(cudnn, version):
    """Say why a cuDNN does not do for this Paddle version, or None.

    cudnn: as Paddle gives it, 8600 for 8.6 and 91400 for 9.14; None or -1 where it finds none.
    """
    if cudnn is None or cudnn < 0:
        return trial.missing("cudnn64_8.dll" if os.name == "nt" else "libcudnn.so", version)
    major, minor = (cudnn // 1000, cudnn // 100 % 10) if cudnn < 10000 else (cudnn // 10000, cudnn // 100 % 100)
    if version.startswith("2.") and major != 8:
        return f"Paddle {version} needs cuDNN 8 and finds {major}.{minor}: {trial.advice(version)}"
    return None


def nccl_problem(paddle):
    """Say why a launcher's processes cannot add up their gradients on GPUs, or None; Paddle looks for the library."""
    look = getattr(paddle.base.core, "nccl_version", None)
    if int(os.environ.get("PADDLE_TRAINERS_NUM") or 1) == 1 or look is None:
        return None
    try:
        look()
    except (RuntimeError, OSError):
        return trial.missing("libnccl.so", paddle.__version__)
    return None


def current_device():
    """Number of the CUDA device of this process: the launcher's choice for this rank, else 0."""
    return int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0] or 0)


def first_line(error):
    """First line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
