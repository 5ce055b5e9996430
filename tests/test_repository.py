"""What tools and visitors read about this repository: versions, metadata, workflow, and type hints."""
import ast
import json
import re
from pathlib import Path

import pytest

from utils import start

ROOT = Path(__file__).resolve().parent.parent


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def test_one_version_and_date_everywhere():
    version, date = re.search(r"^## ([\d.]+), ([\d-]+)$", text_of("CHANGELOG.md"), re.M).groups()  # the newest
    assert re.search(r'^version = "(.*?)"', text_of("pyproject.toml"), re.M).group(1) == version
    assert re.search(r"^version: (.*)$", text_of("CITATION.cff"), re.M).group(1) == version
    assert re.search(r"^date-released: (.*)$", text_of("CITATION.cff"), re.M).group(1) == date


def test_the_changelog_is_short_and_newest_first():
    assert len(text_of("CHANGELOG.md").splitlines()) <= 80
    dates = re.findall(r"^## [\d.]+, ([\d-]+)$", text_of("CHANGELOG.md"), re.M)
    assert len(dates) > 3 and dates == sorted(dates, reverse=True)


def test_the_pythons_are_those_that_the_program_accepts():
    low, high = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text_of("pyproject.toml")).groups()
    assert ((3, int(low)), (3, int(high) - 1)) == (start.OLDEST, start.NEWEST)


def test_the_card_head_has_the_measured_accuracy():
    head = text_of("models/airbench_cifar10/README.md").split("---\n")[1]
    error = json.loads(text_of("models/airbench_cifar10/measured.json"))["error"]
    assert float(re.search(r"value: ([\d.]+)", head).group(1)) == pytest.approx(1 - error, abs=1e-9)


def test_the_dockerfile_and_the_workflow_name_files_that_exist():
    docker, workflow = text_of("Dockerfile"), text_of(".github/workflows/ci.yml")
    assert len(docker.splitlines()) <= 15
    for name in re.findall(r"[\w-]+\.(?:py|txt)\b", docker + workflow) + [".ci/run"]:
        assert (ROOT / name).exists() or (ROOT / "image" / name).exists(), name
    assert "--workers 2" in workflow and '"3.9", "3.12", "3.13"' in workflow


def test_ruff_asks_for_type_hints_where_readers_look():
    """The files that ruff's configuration holds to type hints have them, without any help of ruff's."""
    globs = re.search(r'"!\{(.*?)\}" = \["ANN"\]', text_of("pyproject.toml")).group(1).split(",")
    assert {"train.py", "infer.py", "models/*.py"} <= set(globs)
    for path in [path for glob in globs for path in ROOT.glob(glob)]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                hints = [arg.annotation for arg in node.args.args if arg.arg not in ("self", "cls")]
                assert None not in hints and (node.returns or node.name == "__init__"), f"{path}: {node.name}"
