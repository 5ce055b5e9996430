"""What the scripts do before anything imports Paddle: see that it is there, and have it find what it needs."""
import sys
from pathlib import Path

from utils import errors, installed

ROOT = Path(__file__).resolve().parent.parent

if Path(getattr(sys.modules["__main__"], "__file__", None) or "").resolve() in map(ROOT.joinpath, installed.SCRIPTS):
    errors.end_at_once_on_signals()  # from the first moment on: the next imports take a while
installed.check()  # or the next lines fail with a traceback

from utils import flags  # noqa: E402
from utils.gpu import libraries  # noqa: E402  needs numpy


def as_script():
    """What a process that runs as a script does first."""
    libraries.restart_where_needed()
    errors.end_at_once_on_signals()
    if sys.stdout is not None:  # None where the shell has closed it
        sys.stdout.reconfigure(errors="backslashreplace")  # names may hold letters that the terminal lacks


def prepare(name):
    """Make Paddle's settings, and in a script, whose `__name__` is "__main__", what comes before."""
    if name == "__main__":
        as_script()
    flags.set_flags()
