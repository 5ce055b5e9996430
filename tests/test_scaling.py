"""The benchmark of more and more cores: what it makes of the figures, and one small run of it."""
import json
import os

import pytest

from benchmarks import scaling
from utils.parallel import launch

ROWS = [
    {"cores": 2, "side": "2 workers, 1 thread each", "train": [300.0, 200.0, 330.0], "test": [900.0, 900.0, 1000.0],
     "memory_mb": [2000.0, 1500.0]},
    {"cores": 2, "side": "1 worker, 2 threads each", "train": [100.0] * 3, "test": [450.0] * 3,
     "memory_mb": [1000.0, 900.0]},
    {"cores": 2, "side": "torch", "train": [200.0, 250.0, 100.0], "test": [500.0] * 3, "memory_mb": None},
    {"cores": 2, "side": "torch channels last", "train": [150.0, 100.0, 220.0], "test": [600.0, 450.0, 400.0],
     "memory_mb": None},
]


def test_ratios_are_over_the_better_layout_of_each_round():
    first, second, *torch = scaling.with_ratios([dict(row) for row in ROWS])
    assert first["ratios"]["train"] == [1.5, 0.8, 1.5] and first["ratios"]["test"] == [1.5, 1.8, 2.0]
    assert second["ratios"]["train"] == [0.5, 0.4, 100 / 220]
    assert not any("ratios" in row for row in torch)


def test_the_table_has_medians_and_spreads():
    lines = scaling.table(scaling.with_ratios([dict(row) for row in ROWS])).splitlines()
    assert " ".join(lines[1].split()) == ("2 2 workers, 1 thread each 300 1.50 (0.80 to 1.50) 900 1.80 (1.50 to 2.00) "
                                          "2000 MB, shared once 1500")
    assert lines[3].split() == ["2", "torch", "200", "500"]


def test_the_best_side_is_drawn(tmp_path):
    more = [{**row, "cores": 4, "train": [2 * speed for speed in row["train"]]} for row in ROWS]
    assert scaling.best([*ROWS[:2], *more[:2]], "train") == {2: 300.0, 4: 600.0}
    pytest.importorskip("matplotlib")
    for name, rows in (("both.png", [*ROWS, *more]), ("one.png", [*ROWS[:2], *more[:2]])):
        scaling.draw(rows, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "both.png").read_bytes() != (tmp_path / "one.png").read_bytes()


@pytest.mark.parametrize("cores", ["0,1", "1,4096"])
def test_cores_that_are_not_there_are_refused(cores, capsys):
    assert scaling.main(["--cores", cores]) == 2
    assert f"--cores {cores}" in capsys.readouterr().err


def test_where_cores_cannot_be_chosen_it_says_so(monkeypatch, capsys):
    monkeypatch.delattr(os, "sched_setaffinity")
    assert scaling.main([]) == 2
    assert "sched_setaffinity" in capsys.readouterr().err


def test_a_side_that_fails_is_told_in_its_own_words(tmp_path, capsys):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named torch' >&2\nexit 4\n", encoding="ascii")
    python.chmod(0o755)
    with scaling.contextlib.ExitStack() as held:
        side = scaling.Side("torch", *scaling.begin(held, str(python), launch.usable_cores()[:1], []))
        with pytest.raises(scaling.UserError, match="torch ended with status 4: No module named torch"):
            side.ask("train", 1)


@pytest.mark.slow
def test_a_small_run(tmp_path):
    path = tmp_path / "out.json"
    assert scaling.main(["--cores", "1", "--rounds", "1", "--seconds", "0.1", "--output", str(path)]) == 0
    row, = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert row["side"] == "1 worker, 1 thread each" and row["train"][0] > 0 and row["test"][0] > 0
