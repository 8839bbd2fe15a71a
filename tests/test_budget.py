"""Budgets: which networks may be chosen, what is said of the others, and the front of error and size."""

import itertools
import json
import math
import random
from pathlib import Path

import pytest
from helpers.cli_folders import raynas
from helpers.simulated_sweep import LAST, simulate
from helpers.sweeping import sweep_of

from raynas.errors import FileProblems
from raynas.report.build import build_report
from raynas.sweep.budget import in_words
from raynas.sweep.folder import SweepFolder
from raynas.sweep.plan import Sweep
from raynas.sweep.sections import Select
from raynas.sweep.select import rank
from raynas.trust.front import front

RECIPE = "title: small\nsource: the tests\nepochs: 2\nchannels: 4\ncells: 3\n"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """A recipe of a network that is counted at once."""
    (tmp_path / "small.yaml").write_text(RECIPE)
    return str(tmp_path / "small.yaml")


@pytest.fixture
def swept(tmp_path: Path) -> SweepFolder:
    return simulate(tmp_path / "runs" / "robust")


def limited(folder: SweepFolder, recipe: str, **most: float) -> SweepFolder:
    """Write a budget into a sweep's file."""
    data = json.loads((folder.path / "sweep.json").read_text())
    data["select"]["where"] = {**{key: {"most": value} for key, value in most.items()}, "recipe": recipe}
    (folder.path / "sweep.json").write_text(json.dumps(data))
    return SweepFolder(folder.path)


def sizes(folder: SweepFolder, recipe: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, int]]:
    """Return what `raynas size` says of every finished trial's cell, for images as they were searched on."""
    found = {}
    for record in folder.records():
        if record.status == "finished" and record.deciding:
            file = folder.path / f"{record.id}.json"
            record.deciding.genotype.save(file)
            words = ("size", str(file), "--recipe", recipe, "--image", "8", "--json")
            found[record.id] = json.loads(raynas(capsys, *words).out)
    return found


def test_what_is_too_large_is_not_chosen_and_says_by_how_much(swept, recipe, capsys):
    counted = sizes(swept, recipe, capsys)
    # One colour instead of three: what the search saw.
    stem = 2 * 9 * 12
    own = {trial: each["parameters"] - stem for trial, each in counted.items()}
    most = max(own, key=own.__getitem__)
    folder = limited(swept, recipe, parameters=own[most] - 1)
    found = rank(folder.records(), folder.sweep().select)
    assert {each.trial.id for each in found.ranking} == set(own) - {most}
    assert dict(found.left_out)[most] == (
        f"{own[most]:,} parameters, 1 (under 0.1 %) over the {own[most] - 1:,} allowed"
    )
    assert "1 beyond the budget" in "\n".join(found.reasons)
    at = limited(swept, recipe, parameters=own[most])
    assert len(rank(at.records(), at.sweep().select).ranking) == len(own)


def test_several_limits_hold_together(swept, recipe, capsys):
    counted = sizes(swept, recipe, capsys)
    most = max(each["multiply_adds"] for each in counted.values())
    folder = limited(swept, recipe, parameters=1e9, multiply_adds=most / 2)
    why = dict(rank(folder.records(), folder.sweep().select).left_out)
    assert any("multiply-adds" in each and "parameters" not in each for each in why.values())


def test_where_nothing_fits_the_nearest_is_named(swept, recipe, capsys):
    runs = ["--runs", str(swept.path.parent)]
    counted = sizes(swept, recipe, capsys)
    nearest = min(counted, key=lambda trial: counted[trial]["parameters"])
    folder = limited(swept, recipe, parameters=1)
    selected = raynas(capsys, "select", "robust", *runs)
    assert f"the nearest, of {nearest}, has" in selected.out
    refused = raynas(capsys, "draw", "robust", *runs)
    assert refused.code == 2
    assert "no best cell within its budget" in refused.err
    assert nearest in refused.err
    assert "No network is within the budget" in build_report(folder)[1].read_text()


def test_a_sweep_s_own_images_are_counted_unless_the_recipe_names_some(swept, recipe, capsys):
    runs = ["--runs", str(swept.path.parent)]
    size = json.loads(raynas(capsys, "size", "robust", "--recipe", recipe, "--json", *runs).out)
    assert (size["image"], size["channels"], size["cells"]) == (8, 4, 3)
    Path(recipe).write_text(RECIPE + "images: {side: 64, classes: 7}\n")
    size = json.loads(raynas(capsys, "size", "robust", "--recipe", recipe, "--json", *runs).out)
    assert (size["image"], size["classes"]) == (64, 7)


SWEEP = "space: tiny\ndata: digits\ntrack: {mlflow: null}\n"


@pytest.mark.parametrize(
    ("where", "path", "told"),
    [
        ("{parameters: {most: 0}}", "parameters.most", "greater than 0"),
        ("{multiply_adds: {most: -1}}", "multiply_adds.most", "greater than 0"),
        ("{parameters: {most: .nan}}", "parameters.most", "finite"),
        ("{parametrs: {most: 3}}", "parametrs", "nearest: parameters"),
        ("{flops: {most: 3}}", "flops", "select.where.multiply_adds"),
        ("{}", "", "expected a limit"),
        ("{parameters: {most: 3}, recipe: quik}", "recipe", "quick"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(tmp_path, where, path, told):
    with pytest.raises(FileProblems) as caught:
        sweep_of(tmp_path, SWEEP + f"select: {{where: {where}}}\n")
    problems = {problem.path: problem.message for problem in caught.value.problems}
    assert told in problems[f"select.where.{path}".rstrip(".")]


def test_recipes_of_images_count_no_cells_of_texts(tmp_path):
    text = "space: darts-rnn\ndata: python-docs\nselect: {where: {parameters: {most: 3}, recipe: quick}}\n"
    with pytest.raises(FileProblems, match="read texts"):
        sweep_of(tmp_path, text)


def test_the_recipe_that_trains_is_the_one_that_counts(tmp_path):
    where = "select: {where: {parameters: {most: 3.5e6}}}\n"
    alone = sweep_of(tmp_path, SWEEP + where)
    trained = sweep_of(tmp_path, SWEEP + where + "retrain: {recipe: quick}\n")
    assert (alone.select.where.recipe, trained.select.where.recipe) == (None, "quick")
    assert Sweep.from_json(json.loads(json.dumps(trained.to_json()))).select == trained.select
    words = "at most 3,500,000 parameters, of the network that the recipe quick trains"
    assert in_words(trained.select.where) == words
    assert "where" not in Select().model_dump(mode="json")  # as it was written before there were budgets


def test_the_front_is_what_nothing_dominates():
    draw = random.Random(0)
    for count in (0, 1, 2, 30):
        points = [tuple(draw.randrange(6) for _ in range(3)) for _ in range(count)]  # many ties
        dominated = {
            place
            for place, other in itertools.permutations(range(count), 2)
            if points[other] != points[place]
            and all(a <= b for a, b in zip(points[other], points[place], strict=True))
        }
        assert front(points) == [place not in dominated for place in range(count)]
    assert front([(1, 1), (1, 1), (math.nan, 0), (0, math.inf)]) == [True, True, False, False]


def test_the_report_shows_the_front_with_what_is_beyond_the_budget(swept, recipe, capsys):
    counted = sizes(swept, recipe, capsys)
    best = min(LAST, key=LAST.__getitem__)
    folder = limited(swept, recipe, parameters=max(each["parameters"] for each in counted.values()) - 300)
    html, markdown = (path.read_text() for path in build_report(folder))
    on_it = front([(LAST[t], counted[t]["parameters"], counted[t]["multiply_adds"]) for t in counted])
    section = markdown.split("## What small costs")[1].split("\n## ")[0]
    assert {line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| d")} == {
        trial for trial, is_on in zip(counted, on_it, strict=True) if is_on
    }
    assert f"| {best} |" in section
    assert '<section id="front">' in html
    assert "of 14 answered</summary>" in html
    assert "## Checklist" in markdown
    assert len(list((folder.path / "report").glob("front-*.svg"))) == 2
