"""Where the program runs: a CUDA device that this Paddle build can drive, or the CPU."""
import ctypes
import os

from utils.errors import UserError

# What the paddlepaddle-gpu 2.6.2 wheels hold machine code for (no PTX, so nothing newer can be made from it).
CAPABILITIES_2_6 = ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6))


def choose_place(device="auto"):
    """Return (place, sentence): the Paddle place for `device` (auto, cpu or gpu), and which and why in one line.

    Errors: UserError where `gpu` was asked for and is unavailable, with the reason.
    """
    import paddle

    if device == "cpu":
        return paddle.CPUPlace(), "CPU, as asked"
    problem = cuda_problem(paddle)
    if problem is None:
        index = current_device()
        name = paddle.device.cuda.get_device_name(index)
        return paddle.CUDAPlace(index), f"CUDA device {index}, {name}"
    if device == "gpu":
        raise UserError(f"--device gpu: {problem}; --device cpu runs here")
    return paddle.CPUPlace(), f"CPU ({problem})"


def has_driver():
    """Whether NVIDIA's driver is installed here; needs no Paddle."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def cuda_problem(paddle):
    """Say why CUDA cannot be used here, or None where it can.

    `paddle` is the module, given so that a test can pass another. The capability is looked up before any kernel
    runs: Paddle 2.6 on a device it has no code for only warns, and then each kernel fails.
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
    except (RuntimeError, OSError, ValueError) as error:
        return f"CUDA device {index} does not answer: {first_line(error)}"
    return capability_problem(capability, paddle.__version__)


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


def current_device():
    """Number of the CUDA device of this process: the launcher's choice for this rank, else 0."""
    return int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0] or 0)


def first_line(error):
    """First line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
