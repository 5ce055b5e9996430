"""Each number that is in several places is the same in all: pages, model card, help texts, RESULTS.md and the program.

A row of FACTS says how the pages word a number. Each place where they do must agree with the source: a value of the
program or of the model's files, or a row or paragraph of RESULTS.md or benchmarks/LOG.md that has the fact's words.
There a number may have more digits than on the page, be a share instead of per cent, or be the mean of a cell.
"""
import functools
import json
import re
from typing import NamedTuple, Union

import pytest

pytest.importorskip("markdown_it", reason="the pages are read with markdown-it-py of requirements-dev.txt")

import infer
from book import chapter
from book.chapter import ROOT
from utils import recipes
from utils.storage.program_state import count_parameters

CARD = f"models/{infer.SHIPPED.name}/README.md"
PLACES = {path: " ".join(chapter.read(path).split()) for path in (*chapter.PAGES, CARD, "CONTRIBUTING.md")}
SOURCES = [path for path in ("RESULTS.md", "benchmarks/LOG.md") if (ROOT / path).exists()]
N = r"(\d[\d,]*(?:\.\d+)?%?)"  # a number
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?%?")
MEASURED = json.loads((infer.SHIPPED / "measured.json").read_text(encoding="utf-8"))


class Fact(NamedTuple):
    """A number of the pages, and where it comes from."""

    name: str
    pattern: str  # with a group for each number
    source: Union[tuple, list]  # words of a row of SOURCES, or the numbers themselves
    places: int = 1  # that say it, at least


def share(text):
    """A number and the unit of its last digit, per cent as a share: "8.7%" -> (0.087, 0.001)."""
    digits = text.rstrip("%").replace(",", "")
    unit = 10.0 ** -len(digits.partition(".")[2])
    return (float(digits) / 100, unit / 100) if text.endswith("%") else (float(digits), unit)


def agrees(told, known):
    """Whether a written number is another one, rounded."""
    value, unit = share(told)
    return any(abs(value - each) <= unit / 2 + 1e-9 for each in (known, known / 100 if told.endswith("%") else known))


def rows_of(text):
    """A file's table rows, with its headings and the table's head, and its paragraphs: pairs (words, numbers)."""
    heading, head = "", ""
    for part in re.split(r"\n\s*\n", text):
        lines = part.splitlines()
        if part.startswith("#"):
            heading = lines.pop(0)
        if not lines:
            continue
        if part.startswith("|"):
            head = lines[0]
            for line in lines[2:]:
                cells = [[share(found)[0] for found in NUMBER.findall(cell)] for cell in line.split("|")]
                yield f"{heading} {head} {line}".lower(), [
                    number for cell in cells for number in (*cell, sum(cell) / max(len(cell), 1))]
        else:
            yield f"{heading} {' '.join(lines)}".lower(), [share(found)[0] for found in NUMBER.findall(part)]


ROWS = [row for path in SOURCES for row in rows_of(chapter.read(path))]


def known(words):
    """All numbers of rows that have these words."""
    return [number for text, numbers in ROWS if all(word in text for word in words) for number in numbers]


@functools.cache
def weights(model, training=False):
    """Parameters of a network: those of its training program, or those that its answer needs."""
    import paddle

    import models
    paddle.enable_static()
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()), paddle.utils.unique_name.guard():
        built = models.build(model, paddle.static.data("pixel", [None, 3, 32, 32], "float32"))
        if not training:
            program = program.clone(for_test=True)._prune([built[0] if isinstance(built, tuple) else built])
    return count_parameters(program)


STRONG = recipes.AIRBENCH
FACTS = (
    Fact("error of the supplied model", rf"(?:Error {N} on 10,000|32 passes, with an error of {N})",
         [MEASURED["error"]], 3),
    Fact("accuracy of the supplied model",
         rf"(?:CIFAR-10, test accuracy {N}; supplied|Undisturbed, it classifies {N})", [1 - MEASURED["error"]], 2),
    Fact("its mistakes", rf"of the {N} mistakes", [round(MEASURED["error"] * MEASURED["pictures"])]),
    Fact("its calibration error", rf"calibration error (?:is )?{N}(?: \(15)?", [MEASURED["calibration_error"]], 3),
    *(Fact(f"accuracy under {kind}", rf"\| {kind} \| {N} \| {N} \| {N} \|", shares, 2)
      for kind, shares in MEASURED["disturbed_accuracy"].items()),
    Fact("temperature", rf"temperature\*? of {N}", [STRONG.temperature], 3),
    Fact("Airbench's learning rate", rf"{N} for `--model airbench` with the strong", [STRONG.learning_rate]),
    Fact("Airbench's batch", rf"(?:A batch has {N} pictures|batch {N}, smoothed|128; {N} for airbench)",
         [STRONG.batch_size], 3),
    Fact("Airbench's momentum", rf"momentum (?:is )?{N}", [STRONG.momentum], 2),
    Fact("rates of the recipes", rf"\(default: {N}, {N}, {N}, {N} for quick, book, strong, fine-tune",
         [recipe.learning_rate for recipe in recipes.RECIPES.values()]),
    Fact("two passes, least and most", r"between (0\.\d+) and (0\.\d+) (?:after two passes|\(two)",
         ("training runs",), 2),
    Fact("two passes, seed 1", rf"Done: test accuracy {N}", ("training runs",)),
    Fact("two passes, 16 workers", rf"two passes end at {N}, {N} and {N} with 16", ("training runs",)),
    Fact("two passes, two workers", rf"with 16 workers, and at {N}, {N} and {N} with two", ("training runs",)),
    Fact("recipe book, two passes", rf"test accuracies of {N}, {N} and {N}\.", ("book", "seeds")),
    Fact("recipe book, one pass", rf"{N} to {N} after one pass", ("epochs 1", "seeds")),
    Fact("held-out error, momentum and AdamW", rf"held-out pictures was {N} with momentum, and {N} with AdamW",
         ("adamw", "training pictures")),
    Fact("ResNet-32 after 40 passes", rf"ResNet-32 ends with an error of {N}", ("40",)),
    Fact("the same on original pictures", rf"has an error of {N} on the re-encoded test pictures, but of[ >]+{N}",
         ("1,017",)),
    Fact("VGG after ten passes", rf"\| VGG \(error: PyTorch\) \|[^|]*\|[^|]*\| (?:\d+) \| {N}", ("vgg",)),
    Fact("ResNet-32 after ten passes", rf"\| ResNet-32 \|[^|]*\|[^|]*\| (?:\d+) \| {N}", ("resnet-32",)),
    Fact("GoogLeNet after ten passes", rf"\| GoogLeNet \(error: PyTorch\) \|[^|]*\|[^|]*\| (?:\d+) \| {N}",
         ("googlenet",)),
    Fact("Airbench after ten passes", rf"\| Airbench \|[^|]*\|[^|]*\| (?:\d+) \| \*\*{N}", ("airbench",)),
    Fact("minutes of Airbench", rf"ten passes took {N} minutes", ("airbench",)),
    *(Fact(f"pictures a second, {network}", rf"\| {network}(?: \(error: PyTorch\))? \|[^|]*\|[^|]*\| {N} \|", words)
      for network, words in (("VGG", ("vgg", "train")), ("ResNet-32", ("resnet-32", "train")),
                             ("GoogLeNet", ("googlenet", "train")), ("Airbench", ("airbench", "train")))),
    Fact("flowers, default flags", rf"seeds 1, 2 and 3 the test accuracy ends between {N} and {N}\.",
         ("flowers, resnet-32",)),
    Fact("flowers, an unlucky run", rf"random seed, ended at {N}", ("flowers", "without `--seed`")),
    Fact("flowers, from the supplied model", rf"accuracy ends at {N} \(three seeds",
         ("flowers, airbench", "start-from")),
    Fact("digits, default flags", rf"ResNet-32 ends between {N} and {N} with these", ("digits, resnet-32",)),
    Fact("digits, 40 steps", rf"40 steps in all, ended at {N}\.", ("digits, resnet-32",)),
    Fact("digits, from the supplied model", rf"never seen any, it ends between {N} and {N}\.",
         ("digits, airbench", "start-from")),
    Fact("digits, never mirrored", rf"accuracy with it ends between {N} and {N}\.", ("no-mirror",)),
    Fact("few pictures, their batch", rf"\*\*Batches\*\* of {N} for fewer than {N} pictures",
         [recipes.FEW_BATCH, recipes.FEW]),
    Fact("few pictures, their steps", rf"at least {N} steps", [recipes.STEPS]),
    Fact("rate of fine-tuning", rf"peak learning rate of {N}, batches of {N},",
         [recipes.FINE_TUNE.learning_rate, recipes.FINE_TUNE.batch_size]),
    Fact("few photographs, from random weights", rf"\| random weights \| {N}", ("your own pictures", "few")),
    Fact("few photographs, from sketches", rf"\| a model trained on sketches \| {N}", ("start-from", "sketches")),
    Fact("few photographs, from others", rf"other photographs of the same ten classes \| {N}",
         ("start-from", "other photographs")),
    Fact("without the shortcut", rf"chain classifies {N} of the test sketches", ("without",)),
    Fact("with the shortcut", rf"ResNet-32 reaches {N} and {N} \(Paddle", ("without",)),
    Fact("memory of two workers", rf"take {N} GB for ResNet-32 and {N} GB for VGG", ("train", "memory")),
    Fact("memory of many cores", rf"{N} GB on 8 cores and {N} GB on 16", ("workers", "memory")),
)
NETWORKS = (  # what a number of parameters of each network looks like, wherever it is
    ("vgg", False, r"\b15,2\d\d,\d{3}\b"), ("resnet", False, r"\b467,\d{3}\b"),
    ("googlenet", False, r"\b1,50\d,\d{3}\b"), ("googlenet", True, r"\b1,67\d,\d{3}\b"),
    ("airbench", False, r"\b1,9[67]\d,\d{3}\b"))


def told(fact, places=None):
    """What the places say of a fact: triples (place, written number, which of the fact's numbers)."""
    for path, text in (places or PLACES).items():
        for found in re.finditer(fact.pattern, text):
            groups = [group for group in found.groups() if group is not None]
            yield from ((path, group.rstrip(",."), number) for number, group in enumerate(groups))


def differing(fact, places=None):
    """Where the pages say something else than the source of a fact."""
    if isinstance(fact.source, tuple):
        numbers = known(fact.source)
        return [(path, text) for path, text, _ in told(fact, places) if not any(agrees(text, each) for each in numbers)]
    return [(path, text, fact.source[number]) for path, text, number in told(fact, places)
            if not agrees(text, fact.source[number])]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_a_number_is_the_same_in_all_places(fact):
    assert len({(path, number) for path, _, number in told(fact)}) >= 1, "no page says it: change the row of FACTS"
    assert sum(number == 0 for _, _, number in told(fact)) >= fact.places, "fewer places say it than before"
    assert differing(fact) == []


@pytest.mark.parametrize("model, training, pattern", NETWORKS)
def test_the_number_of_weights_is_the_same_in_all_places(model, training, pattern):
    found = [number for text in (*PLACES.values(), *map(chapter.read, SOURCES)) for number in re.findall(pattern, text)]
    assert len(found) >= 2 and set(found) == {f"{weights(model, training):,}"}


@pytest.mark.parametrize("text, number, same", [
    ("8.7%", 0.0869, True), ("8.69%", 0.0869, True), ("8.6%", 0.0869, False), ("0.9131", 0.9131, True),
    ("33%", 0.334, True), ("0.72", 0.7204, True), ("0.72", 0.7412, False),
    ("1,024", 1024, True), ("19.3%", 19.32, True), ("25", 25.0, True)])
def test_a_number_and_the_same_one_rounded(text, number, same):
    assert agrees(text, number) == same


def test_a_number_that_was_changed_in_one_place_is_seen():
    fact = Fact("error", rf"(?:Error {N} on|error of {N})", [0.0869])
    assert differing(fact, {"a": "Error 8.69% on", "b": "an error of 8.7%."}) == []
    assert differing(fact, {"a": "Error 8.69% on", "b": "an error of 8.8%."}) == [("b", "8.8%", 0.0869)]


def test_rows_know_their_heading_and_the_mean_of_a_cell():
    rows = list(rows_of("## Speed\n\n| VGG | x |\n|---|---|\n| this | 19.58% (19.06%) |\n\nA mean of 0.5 here."))
    assert rows[0][0].startswith("## speed | vgg | x | | this |") and pytest.approx(0.1932) == rows[0][1][-2]
    assert rows[1] == ("## speed a mean of 0.5 here.", [0.5])
