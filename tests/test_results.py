"""RESULTS.md: its summary follows from its tables, its numbers are those of the card, and its links lead somewhere."""
import json
import posixpath
import re
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("RESULTS.md", "benchmarks/LOG.md")}
ROWS = [[cell.strip().replace("*", "") for cell in line.split("|")[1:-1]]
        for line in TEXTS["RESULTS.md"].splitlines() if line.startswith("|")]


def rows(*beginning):
    """The table rows whose first cells begin with these words."""
    return [row for row in ROWS if len(row) >= len(beginning)
            and all(cell.startswith(start) for cell, start in zip(row, beginning))]


def numbers(text):
    """The numbers in a cell."""
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def errors_of(command, seeds):
    """Errors in per cent of the runs of ResNet-32 with this command, from their accuracies."""
    accuracies = next(row[5] for row in rows(f"`{command}`") if row[4] == seeds)
    return [100 * (1 - accuracy) for accuracy in numbers(accuracies.partition("(")[0])]


TRAINED = [row for row in ROWS if len(row) == 4 and "%" in row[3]]  # all networks side by side
ERRORS = {  # of each row of the summary
    ("ResNet-32", "`quick`, 2"): errors_of("python train.py", "1 to 5"),
    ("ResNet-32", "`book`, 2"): errors_of("python train.py --recipe book", "1 to 3"),
    ("ResNet-32", "`strong`, 10"): errors_of("python train.py --recipe strong --epochs 10", "1"),
    ("ResNet-32", "`strong`, 40"): errors_of("python train.py --recipe strong --epochs 40", "1"),
    **{(network, "`strong`, 10"): next(numbers(row[3]) for row in TRAINED if row[0] == network)
       for network in ("VGG", "GoogLeNet", "Airbench")},
    ("Airbench", "`strong`, 32"): next(numbers(row[3]) for row in TRAINED if "--epochs 32" in row[1])}


@pytest.mark.parametrize("network, recipe", ERRORS)
def test_the_summary_has_mean_range_and_number_of_the_seeds_below(network, recipe):
    errors, (row,) = ERRORS[network, recipe], rows(network, recipe)
    assert int(row[3]) == len(errors)
    said = numbers(row[2])
    expected = [mean(errors)] + ([min(errors), max(errors)] if len(errors) > 1 else [])
    assert said == pytest.approx(expected, abs=0.051)


@pytest.mark.parametrize("network", ["VGG", "GoogLeNet"])
def test_computed_minutes_follow_from_the_speeds(network):
    speeds = next(row for row in rows(network + ",") if len(row) == 8)
    minutes = (500_000 / numbers(speeds[2])[0] + 100_000 / numbers(speeds[3])[0]) / 60
    assert numbers(next(row for row in rows(network) if "computed" in row[4])[4])[0] == round(minutes)


def test_calibration_and_disturbances_are_those_of_the_card():
    card = json.loads((ROOT / "models" / "airbench_cifar10" / "measured.json").read_text(encoding="utf-8"))
    for kind, shares in card["disturbed_accuracy"].items():
        (row,) = rows(kind.capitalize())
        assert row[1:] == [f"{share:.1%}" for share in shares]
    assert f"{card['calibration_error']:.4f} (seed 1, the supplied model)" in " ".join(TEXTS["RESULTS.md"].split())
    assert f"{1 - card['error']:.4f} undisturbed" in TEXTS["RESULTS.md"]


@pytest.mark.parametrize("page", TEXTS)
def test_each_link_leads_somewhere(page):
    targets = [target for target in re.findall(r"\]\(([^()\s]+)\)", TEXTS[page]) if not target.startswith("http")]
    assert targets
    for target in targets:
        path, _, anchor = target.partition("#")
        file = ROOT / (posixpath.join(posixpath.dirname(page), path) if path else page)
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in [re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings], target


def test_results_fit_on_220_lines():
    assert TEXTS["RESULTS.md"].count("\n") <= 220
