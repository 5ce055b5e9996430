"""How Paddle is made ready, and fast, on this machine: call `prepare` before anything imports paddle."""
import os
import zlib  # noqa: F401  Paddle 2.6 brings zlib symbols of its own: whoever loads Python's zlib after it crashes


def prepare(plain=False):
    """Set what has to be set before `import paddle`; settings already in the environment win."""
    os.environ.setdefault("FLAGS_enable_pir_api", "0")  # 3.x: the programs of paddle.static.nn, as in 2.6
    os.environ.setdefault("GLOG_minloglevel", "2")


def accelerate(program):
    """Put the program's operators on their fast kernels."""


def describe():
    """One line for the log: which path was chosen."""
    return "plain Paddle kernels"
