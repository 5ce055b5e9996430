"""The benchmarks against PyTorch: which sides they measure, what they make of the figures, and one small run."""
import json
import os

import pytest

from benchmarks import scaling, throughput
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


def test_each_precision_has_pytorchs_best_of_its_own():
    rows = {"fast": [300.0, 310.0], "fast bfloat16": [600.0, 400.0], "torch": [200.0, 400.0],
            "torch channels last fused": [250.0, 100.0], "torch fused bfloat16": [500.0, 500.0]}
    told = throughput.ratios({name: [{"train": speed} for speed in side] for name, side in rows.items()}, "train")
    assert told["fast / best torch"] == [1.2, 310 / 400] and told["fast bfloat16 / best torch"] == [1.2, 0.8]
    assert told["fast bfloat16 / fast"] == [2.0, 400 / 310] and "fast / torch fused bfloat16" not in told
    sides = [{"cores": 2, "side": name, "train": side, "test": side} for name, side in rows.items()]
    first, second, *_ = scaling.with_ratios(sides)
    assert first["ratios"]["train"] == [1.2, 310 / 400] and second["ratios"]["test"] == [1.2, 0.8]


def test_bfloat16_is_measured_where_the_processor_has_it(monkeypatch):
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")  # the user's own, which float32 must not get
    for word, count in (("amx_bf16", 2), ("avx512f", 0)):
        monkeypatch.setattr(throughput.flags, "processor_says", word.__eq__)
        assert sum("bfloat16" in side for side in throughput.measurable(throughput.TORCH_SIDES)) == count
    assert "ONEDNN_DEFAULT_FPMATH_MODE" not in throughput.environment()


@pytest.mark.parametrize("name", throughput.TORCH_SIDES)
def test_pytorchs_sides_are_what_their_names_say(name):
    torch = pytest.importorskip("torch")
    from benchmarks import torch_side

    side = torch_side.Side(name, "resnet", batch=2)
    kinds = set()
    side.network[-1].register_forward_hook(lambda module, given, result: kinds.add(result.dtype))
    assert side.run("train", 1) > 0 and side.network.training
    assert side.run("test", 1) > 0 and not side.network.training
    folded = [type(module) for module in (side.folded or side.network).modules()]
    assert (torch.nn.BatchNorm2d in folded) == ("fused" not in name)
    assert kinds == {torch.bfloat16 if "bfloat16" in name else torch.float32}
    assert side.optimizer.defaults["fused"] == ("fused" in name)
    assert side.pixels.is_contiguous(memory_format=torch.channels_last) == ("channels last" in name)
    assert all(parameter.dtype == torch.float32 for parameter in side.network.parameters())


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
    row, *others = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [each["side"] for each in others] in ([], ["1 worker, 1 thread each, bfloat16"])  # as the processor can
    assert row["side"] == "1 worker, 1 thread each" and row["train"][0] > 0 and row["test"][0] > 0
