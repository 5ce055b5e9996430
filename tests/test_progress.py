"""The progress bar: seen on a terminal and nowhere else, and lines above it."""
import os
import subprocess
import sys

import pytest

from conftest import ROOT

pty = pytest.importorskip("pty", reason="a terminal is made with pty")
CODE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from utils.progress import progress, write
with progress(total=4, initial=1, unit=" images", desc="Pass 0", shown=SHOWN) as bar:
    bar.update(3)
    write("a line")
print([x for x in progress(range(3), shown=SHOWN)])
"""


def outputs(on_terminal, shown=True, code=CODE):
    """What a program prints -> (standard output, standard error), the latter on a terminal or not."""
    code = code.replace("SHOWN", str(shown))
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


@pytest.mark.parametrize("on_terminal, shown", [(False, True), (True, False)])
def test_no_bar_elsewhere(on_terminal, shown):
    assert outputs(on_terminal, shown) == ("a line\n[0, 1, 2]\n", "")


def test_a_bar_over_a_range_begins_where_the_range_does():
    out, err = outputs(True, code=CODE.replace("progress(range(3), shown", "progress(range(5, 8), 'Pass 7', shown"))
    assert out.endswith("[5, 6, 7]\n") and "Pass 7:  62%" in err and "5/8" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_line_that_cannot_be_written_is_an_error_though_a_bar_is_seen():
    code = CODE.replace('write("a line")', """
    from utils.errors import UserError
    sys.stdout = open("/dev/full", "w")
    try:
        write("a line")
    except UserError as error:
        sys.stdout = sys.__stdout__
        print(error)""")
    out, _ = outputs(on_terminal=True, code=code)
    assert out == "cannot write the output: No space left on device\n[0, 1, 2]\n"


def test_without_standard_error_there_is_no_bar():
    code = CODE.replace("SHOWN", "True").replace("from utils.progress", "sys.stderr = None\nfrom utils.progress", 1)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a line\n[0, 1, 2]\n")
