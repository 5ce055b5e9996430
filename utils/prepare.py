"""What each script does first: answer signals, check what is installed, and let Paddle find its libraries and flags."""
import importlib.util
import sys
from pathlib import Path

from utils import errors, flags

PACKAGES = {"paddle": "Paddle", "numpy": "numpy", "PIL": "Pillow", "psutil": "psutil", "tqdm": "tqdm"}  # by modules
SESSIONS = "IPython", "idlelib"  # modules of programs that run a script inside of themselves, and live on
OLDEST, NEWEST = (3, 9), (3, 13)  # of the Pythons that Paddle has wheels for


def prepare(name):
    """Call this before anything that pip installs is imported; name: the script's `__name__`."""
    begin(name)
    flags.set_flags()


def begin(name):
    """`prepare` without Paddle's flags, which depend on the command line in train.py -> whether a script begins.

    A script without its packages ends in one line; it may start again as the same process. Errors: where the script is
    imported, or run in a session, ImportError with that line.
    """
    is_script = name == "__main__" and not sys.flags.interactive and not any(map(sys.modules.get, SESSIONS))
    if is_script:
        errors.end_at_once_on_signals()  # from the first moment on: the next imports take a while
    line = missing_packages()
    if not line and "paddle" in sys.modules and not flags.are_set:  # crashes 2.6, and 3.3 builds other programs
        line = "Paddle was imported before this program, which sets its flags first: import this program before paddle"
    if line and not is_script:
        raise ImportError(line)
    if line:
        errors.complain(Path(sys.argv[0]).name, line)
        sys.exit(errors.UserError.status)
    if is_script:
        if flags.has_driver():
            from utils import gpu

            gpu.restart_where_needed()
        if hasattr(sys.stdout, "reconfigure"):  # not where the shell has closed it, or another program reads it
            sys.stdout.reconfigure(errors="backslashreplace")  # names may hold letters that the terminal lacks
    return is_script


def missing_packages(version=sys.version_info[:2]):
    """One line that says what is not installed for this Python, and what to do; None where nothing is missing."""
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
    line = f"{names} {'is' if len(missing) == 1 else 'are'} not installed for this Python"
    if "Paddle" in missing and not OLDEST <= version <= NEWEST:
        this, oldest, newest = (".".join(map(str, each)) for each in (version, OLDEST, NEWEST))
        return (f"{line} {this}, and Paddle has wheels only for Python {oldest} to {newest}: take one of those, then "
                "python -m pip install -r requirements.txt")
    return (f"{line} ({sys.executable}): python -m pip install -r requirements.txt, or, smaller, requirements-cpu.txt "
            "where there is no NVIDIA GPU")
