"""The progress bar: seen on a terminal and nowhere else, lines above it, and no need of tqdm."""
import os
import subprocess
import sys

import pytest

from conftest import ROOT

pty = pytest.importorskip("pty", reason="a terminal is made with pty")
CODE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
MISSING
from utils.progress import progress, write
with progress(total=4, initial=1, unit=" images", desc="Pass 0", shown=SHOWN) as bar:
    bar.update(3)
    write("a line")
print([x for x in progress(range(3), shown=SHOWN)])
"""


def outputs(on_terminal, shown=True, missing=False, code=CODE):
    """What a program prints -> (standard output, standard error), the latter on a terminal or not."""
    code = code.replace("SHOWN", str(shown)).replace("MISSING", "sys.modules['tqdm'] = None" if missing else "")
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    out, err = child.stdout.read(), b""
    try:
        while block := os.read(ours, 4096):
            err += block
    except OSError:  # Linux's word for the end of a terminal
        pass
    os.close(ours)
    child.stdout.close()
    assert child.wait(30) == 0, err
    return out, err.decode()


def test_a_bar_on_a_terminal():
    out, err = outputs(on_terminal=True)
    assert out == "a line\n[0, 1, 2]\n" and "Pass 0" in err and "4/4" in err and "images" in err


@pytest.mark.parametrize("on_terminal, shown, missing", [
    (False, True, False), (True, False, False), (True, True, True),
])
def test_no_bar_elsewhere_and_none_without_tqdm(on_terminal, shown, missing):
    assert outputs(on_terminal, shown, missing) == ("a line\n[0, 1, 2]\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_line_that_cannot_be_written_is_an_error_though_a_bar_is_seen():
    code = CODE.replace('write("a line")', """
    from utils.errors import OutputLost
    sys.stdout = open("/dev/full", "w")
    try:
        write("a line")
    except OutputLost as error:
        sys.stdout = sys.__stdout__
        print(error)""")
    out, _ = outputs(on_terminal=True, code=code)
    assert out == "cannot write the output: No space left on device\n[0, 1, 2]\n"


def test_without_standard_error_there_is_no_bar():
    code = CODE.replace("SHOWN", "True").replace("MISSING", "sys.stderr = None")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a line\n[0, 1, 2]\n")
