"""What depth costs: benchmarks/depth.py, on a network that is not deep."""
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import depth
from small_archives import contents, write

ROOT = Path(__file__).resolve().parent.parent


def test_seconds_are_written_down_and_nothing_else_changes():
    def work(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return 1 / (seconds - 0.5)

    owner, told = SimpleNamespace(work=work), {}
    depth.timed(owner, "work", told, "long")
    assert owner.work(seconds=0.25) == -4 and 0.25 <= told["long"] < 0.4
    with pytest.raises(ZeroDivisionError):
        owner.work(0.5)
    assert 0.5 <= told["long"] < 0.8


@pytest.mark.slow
def test_a_row_for_each_depth(tmp_path):
    """ResNet-26's program has 18 * 12.5 ops more than ResNet-8's.

    A layer has 16, the fast path counted, without the Adams of its weights, its batch norm's two parameters and, in
    every second one, its bias: one op does them all.
    """
    archive = write(tmp_path / "cifar-10-python.tar.gz", contents())
    done = subprocess.run([sys.executable, "-m", "benchmarks.depth", "--depths", "8", "26", "--steps", "1",
                           "--data-file", str(archive)], cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr[-2000:]
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["depth", "ops", "build", "rewrite", "fold", "first", "step", "ms/picture", "peak", "MB"]
    small, larger = [[float(cell.replace(",", "")) for cell in row.split()] for row in rows]
    assert (small[0], larger[0]) == (8, 26) and larger[1] - small[1] == 18 * (16 - 3.5)
    assert all(0 < a <= b for a, b in zip(small[2:4], larger[2:4]))
    assert 200 < small[-1] < 2000
