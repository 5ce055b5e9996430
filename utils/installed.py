"""What the scripts need from pip, looked for without importing any of it, so that a missing package is one line."""
import importlib.util
import sys
from pathlib import Path

from utils.errors import UserError, complain

NEEDED = {"paddle": "Paddle", "numpy": "numpy", "PIL": "Pillow", "psutil": "psutil"}  # by the names of their modules
OLDEST, NEWEST = (3, 9), (3, 13)  # of the Pythons that Paddle has wheels for
SCRIPTS = ("train.py", "infer.py", "evaluate.py")


def check():
    """End a script in one line where a package is missing. Errors: ImportError with that line elsewhere."""
    line = what_is_missing()
    program = Path(sys.argv[0]).name if sys.argv else ""
    if line and program in SCRIPTS:
        complain(program, line)
        sys.exit(UserError.status)
    if line:
        raise ImportError(line)


def what_is_missing(version=sys.version_info[:2]):
    """One line that says what is not installed for this Python, and what to do; None where nothing is missing."""
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
    line = f"{names} {'is' if len(missing) == 1 else 'are'} not installed for this Python"
    if "Paddle" in missing and not OLDEST <= version <= NEWEST:
        return (f"{line} {dotted(version)}, and Paddle has wheels for Python {dotted(OLDEST)} to {dotted(NEWEST)} "
                "alone: take one of those, then python -m pip install -r requirements.txt")
    return (f"{line} ({sys.executable}): python -m pip install -r requirements.txt, or, smaller, requirements-cpu.txt "
            "where there is no NVIDIA GPU")


def dotted(version):
    """(3, 9) as "3.9"."""
    return ".".join(map(str, version))
