"""Searches that only propose cells: what they draw, learn and select, judged by a table."""

import json
import math
import random
from collections import Counter, deque
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli_folders import raynas
from helpers.policies import small_space
from helpers.sweeping import create, sweep_of

from raynas import load as load_results
from raynas.bilevel.records import EpochReport
from raynas.config import SearchConfig
from raynas.data.load import load_data
from raynas.data.split import split
from raynas.errors import FileProblems, RaynasError
from raynas.launch.local import LocalLauncher
from raynas.launch.trial import run_trials
from raynas.methods import method_names, resolve
from raynas.parts.proposals import Factors, PolicyGradient, RegularisedEvolution, UniformCells
from raynas.report.build import build_report
from raynas.search.checkpoint import dump, load
from raynas.search.loop import Search
from raynas.search.proposing import Hunt, Judgement, Proposing, TableJudge
from raynas.spaces import skeletons
from raynas.spaces.derive import selected
from raynas.spaces.draw import draw_cells, mutated
from raynas.spaces.genotype import Genotype
from raynas.spaces.library import load_space
from raynas.spaces.library import names as library_names
from raynas.spaces.reading import genotype_from_text
from raynas.sweep.folder import SweepFolder
from raynas.tables.file import open_file
from raynas.tables.table import Yardstick
from raynas.track.content import metrics, note
from raynas.trust.control import looked_up

PUBLISHED = Path(__file__).parents[2] / "shared/data/nasbench201/accuracy.csv"
PROPOSING = [name for name in method_names() if resolve(name).proposals is not None]
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


class Rule:
    """A judge that likes some cells, each the same every time; of every seventh it knows nothing."""

    name, identity = "a rule", "1"

    def __init__(self, seconds: float | None = None, lacks: bool = False) -> None:
        self.seconds, self.lacks, self.asked = seconds, lacks, list[Genotype]()

    def __call__(self, cell: Genotype) -> Judgement:
        self.asked.append(cell)
        value = int(cell.digest(), 16) % 1009
        return Judgement(None if self.lacks and not value % 7 else value / 1009, self.seconds)


def config(method: Any, **changes: Any) -> SearchConfig:
    return SearchConfig(**{"space": "nas-bench-201", "method": method, "epochs": 4, **changes})


def small(rule: str, **settings: Any) -> dict[str, Any]:
    base = {"random-cells": "random", "regularised-evolution": "evolution", "policy-gradient": "reinforce"}
    return {"base": base[rule], "name": "mine", "proposals": {"use": rule, "evaluations": 30, **settings}}


def test_they_are_all_here() -> None:
    assert PROPOSING == ["random", "evolution", "reinforce"]


@pytest.mark.parametrize("name", PROPOSING)
@pytest.mark.parametrize("space", ["nas-bench-201", "darts"])
def test_a_search_goes_on_from_a_checkpoint_bit_for_bit_and_a_pack_changes_nothing(
    tmp_path: Path, name: str, space: str
) -> None:
    found, judge = load_space(space), Rule()
    configs = [config(name, space=space, seed=seed) for seed in (0, 3)]
    alone = Proposing(configs[1:], found, judge)
    reports = [report for [report] in alone]
    assert len(judge.asked) == 96
    assert [report.extra["evaluations"] for report in reports] == [24, 48, 72, 96]
    assert reports[-1].valid_accuracy == max(judge(cell)[0] for cell in judge.asked[:96])
    assert judge(reports[-1].genotype)[0] == reports[-1].valid_accuracy
    assert all(report.valid_loss is report.train_loss is report.learning_rate is None for report in reports)
    together = list(Proposing(configs, found, Rule()))
    assert [outcomes[1] for outcomes in together] == reports
    assert [outcomes[0] for outcomes in together] != reports
    text = json.dumps([report.to_json() for report in reports], allow_nan=False)
    assert [EpochReport.from_json(data) for data in json.loads(text)] == reports
    begun = Proposing(configs[1:], found, Rule())
    first = begun.advance()
    (tmp_path / "checkpoint.pt").write_bytes(dump(begun.state_dict()))
    again = Proposing(configs[1:], found, Rule())
    again.load_state_dict(load(tmp_path / "checkpoint.pt"))
    assert [*first, *(report for [report] in again)] == reports
    kept = Proposing(configs, found, Rule())
    kept.advance()
    assert [report for [report] in kept.keep([1])] == reports[1:]


def test_a_checkpoint_of_another_search_or_another_table_is_refused() -> None:
    space = load_space("nas-bench-201")
    begun = Proposing([config("random")], space, Rule())
    state = begun.state_dict()
    for other in (config("evolution"), config("random", seed=1)):
        with pytest.raises(RaynasError, match="belongs to another search"):
            Proposing([other], space, Rule()).load_state_dict(state)
    judge = Rule()
    judge.identity = "2"
    with pytest.raises(RaynasError, match="judge: 1"):
        Proposing([config("random")], space, judge).load_state_dict(state)


# One of two edges is kept into the second node, an operation on each: 3 · 2·3 = 18 cells.
FEW = small_space(("skip_connect", "nor_conv_3x3", "avg_pool_3x3"), nodes=2, keep=1, skeleton="residual",
                  cells={"normal": {"ops": ["skip_connect", "nor_conv_3x3", "avg_pool_3x3"]}},
                  default_cells=1)  # fmt: skip


def every_cell() -> list[Genotype]:
    cells = dict.fromkeys(draw_cells(FEW, 500, 0))
    assert len(cells) == skeletons.of(FEW).architectures(FEW) == 18
    return list(cells)


@pytest.mark.parametrize("baseline", [0.0, 0.5, 2.0])
def test_the_gradient_of_drawn_cells_is_that_of_all_of_them(baseline: float) -> None:
    drawn = np.random.default_rng(1).normal(size=Factors(FEW).logits.shape)
    factors, cells, judge = Factors(FEW, drawn), every_cell(), Rule()
    chances = np.array([math.exp(factors.log_probability(cell)) for cell in cells])
    rewards = np.array([judge(cell).accuracy for cell in cells])
    assert chances.sum() == pytest.approx(1, abs=1e-12)
    # ∇ Σ p R by differences: independent of any formula for ∇ log p.
    exact = np.zeros_like(drawn)
    for place in range(len(drawn)):
        for sign in (1, -1):
            moved = Factors(FEW, drawn + sign * 1e-5 * (np.arange(len(drawn)) == place))
            values = [math.exp(moved.log_probability(cell)) for cell in cells]
            exact[place] += sign * float(np.dot(values, rewards)) / 2e-5
    source, count = random.Random(2), 6000
    terms = []
    for _ in range(count):
        cell = factors.draw(source)
        terms.append((float(judge(cell).accuracy or 0) - baseline) * factors.slope(cell))
    error = np.std(terms, axis=0, ddof=1) / math.sqrt(count)
    assert bool((np.abs(np.mean(terms, axis=0) - exact) <= 4 * error + 1e-9).all())
    assert bool((error > 0).any())


def test_every_factor_of_a_reinforce_step_is_as_the_formulas_have_it() -> None:
    """Plain numpy for six independent categoricals, with torch's Adam as its documentation has it."""
    rule, space = PolicyGradient(rate=0.1, memory=0.9), load_space("nas-bench-201")
    proposer = rule.start(space, "x")
    rows = np.array(proposer.weights()["normal"])
    logits, first, second = np.log(rows), np.zeros((6, 5)), np.zeros((6, 5))
    judge, num, den = Rule(), 0.0, 0.0
    for step in range(1, 40):
        cell = proposer.propose()
        reward = float(judge(cell).accuracy or 0)
        proposer.tell(cell, reward)
        num, den = 0.9 * num + 0.1 * reward, 0.9 * den + 0.1
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        hot = np.zeros((6, 5))
        for row, option in selected(space, cell)["normal"]:
            hot[row, option] = 1
        gradient = (shares - hot) * (reward - num / den)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        logits -= 0.1 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert proposer.weights()["normal"] == pytest.approx(expected, abs=1e-9)


def test_reinforce_finds_what_is_separably_best() -> None:
    space = load_space("nas-bench-201")
    proposer = PolicyGradient(rate=0.1).start(space, "0")
    for _ in range(1500):
        cell = proposer.propose()
        proposer.tell(cell, sum(choice.op == "nor_conv_3x3" for choice in cell.cell("normal")) / 6)
    shares = np.array(proposer.weights()["normal"])
    assert bool((shares[:, OPS.index("nor_conv_3x3")] > 0.9).all())


def plainly_evolved(population: int, tournament: int, count: int, seed: str) -> list[tuple[str, ...]]:
    """Regularised evolution on six letters, in the words of R_EA.py, with no code of raynas."""
    source, judge, space = random.Random(seed), Rule(), load_space("nas-bench-201")
    alive: deque[tuple[tuple[str, ...], float]] = deque()
    history = []
    while len(history) < count:
        if len(alive) < population:
            [cell] = [source_cell(space, source)]
        else:
            sample = []
            while len(sample) < tournament:
                sample += source.choices(list(alive), k=1)
            parent = sample[0]
            for member in sample[1:]:
                parent = member if member[1] > parent[1] else parent
            edge = source.choice(range(6))
            child = list(parent[0])
            child[edge] = source.choice([op for op in OPS if op != parent[0][edge]])
            cell = tuple(child)
        history.append(cell)
        text = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*cell)
        alive.append((cell, float(judge(genotype_from_text(text)).accuracy or 0)))
        if len(alive) > population:
            alive.popleft()
    return history


def source_cell(space: Any, source: random.Random) -> tuple[str, ...]:
    return tuple(choice.op for choice in skeletons.of(space).draw(space, source)["normal"])


@pytest.mark.parametrize(("population", "tournament"), [(10, 3), (5, 1), (1, 1)])
def test_evolution_is_that_of_a_plain_implementation(population: int, tournament: int) -> None:
    rule = RegularisedEvolution(population=population, tournament=tournament)
    proposer, judge = rule.start(load_space("nas-bench-201"), "proposals/5"), Rule()
    found = []
    for count in range(1, 121):
        cell = proposer.propose()
        proposer.tell(cell, float(judge(cell).accuracy or 0))
        found.append(tuple(choice.op for choice in cell.cell("normal")))
        alive = proposer.state()["population"]
        assert len(alive) == min(count, population)
        assert [value for _, value in alive] == [
            judge(each).accuracy for each in judge.asked[:count:][-population:]
        ]
        judge.asked = judge.asked[:count]
    assert found == plainly_evolved(population, tournament, 120, "proposals/5")


@pytest.mark.parametrize("space", sorted(library_names("search_spaces")))
def test_a_child_differs_from_its_parent_in_one_choice_or_one_block(space: str) -> None:
    found, source = load_space(space), random.Random(0)
    for parent in draw_cells(found, 6, 1):
        child = mutated(found, parent, source)
        different = {
            (kind, choice.target)
            for kind in parent.kinds
            for choice in set(parent.cell(kind)) ^ set(child.cell(kind))
        }
        assert len(different) >= 1
        if skeletons.of(found).edgewise:
            [(kind, _)] = different
            assert len(set(parent.cell(kind)) - set(child.cell(kind))) == 1
        assert not list(skeletons.of(found).unsearchable(found, child))


def test_without_selection_the_walk_of_mutations_is_uniform() -> None:
    source, cell, steps = random.Random(0), draw_cells(FEW, 1, 0)[0], 9000
    seen: Counter[Genotype] = Counter()
    for _ in range(steps):
        cell = mutated(FEW, cell, source)
        seen[cell] += 1
    # Two steps apart are nearly independent: of 17 degrees, stretched by 2.
    assert sum((seen[each] - steps / 18) ** 2 / (steps / 18) for each in every_cell()) < 2 * 46


def test_a_cell_that_the_judge_lacks_counts_and_a_search_ends_with_its_seconds() -> None:
    space = load_space("nas-bench-201")
    *_, [last] = Proposing([config("random")], space, Rule(lacks=True))
    assert 0 < last.extra["not_in_table"] < 40
    method = small("random-cells", seconds=100.0)
    reports = [report for [report] in Proposing([config(method, epochs=10)], space, Rule(seconds=9.0))]
    assert len(reports) == 4  # 12 evaluations take 108 s, three of them an epoch
    assert reports[-1].ended is not None
    assert reports[-1].ended.reason == "its 100 simulated seconds are spent after 12 evaluations"
    assert reports[-1].extra["simulated_seconds"] == 108
    with pytest.raises(RaynasError, match=r"(?s)a rule, which has none.*`evaluations`"):
        list(Proposing([config(method)], space, Rule()))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all cells of NAS-Bench-201's space: convolutions are good, and chance decides a little."""
    path, source = tmp_path_factory.mktemp("table") / "made.csv", random.Random(0)
    rows = ["arch,cifar10_test_200,cifar10_val_12"]
    for ops in product(OPS, repeat=6):
        true = 60 + 5 * sum("conv" in op for op in ops) + source.random()
        text = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops)
        rows.append(f"{text},{true:.3f},{true - 10 + 2 * source.random():.3f}")
    path.write_text("\n".join(rows))
    return path


def file(table: Path | None, **keys: Any) -> str:
    benchmark = {"benchmark": {"table": str(table), "data": "cifar10"}} if table else {}
    grid = {"method": ["random", "evolution", "reinforce"], "seed": [0, 1]}
    given = {"name": "try", "space": "nas-bench-201", "epochs": 4, **benchmark, "grid": grid}
    return json.dumps({**given, "track": {"mlflow": None}, "resources": {"pack": 2}, **keys})


@pytest.fixture(scope="module")
def folder(table: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    found = create(tmp_path_factory.mktemp("sweep"), file(table))
    LocalLauncher("cpu").run(found)
    return found


def test_a_sweep_of_them_selects_by_the_tables_error(folder: SweepFolder, table: Path) -> None:
    records, yardstick = folder.records(), Yardstick.of(open_file(table), "cifar10_val_12")
    assert {record.status for record in records} == {"finished"}
    for record in records:
        assert record.deciding is not None
        assert (record.start or {})["judge"] == "cifar10_val_12 of made.csv"
        assert record.deciding.valid_accuracy == yardstick.accuracy(record.deciding.genotype)
        assert not any("loss" in key or key == "lr" for key in metrics(record.deciding))
        assert "loss" not in note(record)
        again = Proposing([record.config], load_space("nas-bench-201"), TableJudge(yardstick, ""))
        assert tuple(report for [report] in again) == record.reports
    build_report(folder)
    chosen = json.loads((folder.path / "selection.json").read_text())
    best = max(records, key=lambda record: record.deciding.valid_accuracy if record.deciding else 0)
    assert chosen["winner"] == best.id
    assert "lowest error in the table of the best cell that was proposed" in chosen["reasons"][0]
    assert any("(cifar10_val_12 of made.csv)" in reason for reason in chosen["reasons"])
    page = (folder.path / "report.md").read_text()
    assert "best of 576 random cells" in page  # six searches of 96
    assert "supernet’s validation loss" not in page
    rows = load_results(folder.path).rows()
    assert {row["valid_loss"] for row in rows} == {None}
    assert all(0.5 < row["valid_accuracy"] < 1 for row in rows)


def test_a_sweep_that_was_interrupted_goes_on_to_the_same_reports(
    folder: SweepFolder, table: Path, tmp_path: Path
) -> None:
    again = create(tmp_path, file(table))
    pair = [again.trial("evolution-s0"), again.trial("evolution-s1")]

    def interrupt(epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(
            pair, dataset=load_data(pair[0].config().data), device=torch.device("cpu"), heartbeat=interrupt
        )
    assert [len(trial.record().reports) for trial in pair] == [2, 2]
    LocalLauncher("cpu").run(again)
    assert {each.id: each.reports for each in again.records()} == {
        each.id: each.reports for each in folder.records()
    }
    starts = [each for each in pair[0].spool.events()[0] if each["kind"] == "start"]
    assert [start["from_epoch"] for start in starts] == [0, 2]


def test_the_verbs_show_what_there_is(
    capsys: pytest.CaptureFixture[str], folder: SweepFolder, tmp_path: Path, table: Path
) -> None:
    runs = str(folder.path.parent)
    shown = raynas(capsys, "status", folder.name, "--runs", runs)
    assert "random-s0" in shown.out
    ranked = raynas(capsys, "select", folder.name, "--runs", runs, "--by", "discrete_loss")
    assert "trains nothing: a table judged its cells" in " ".join(ranked.out.split())
    (tmp_path / "try.yaml").write_text(file(table))
    said = " ".join(raynas(capsys, "check", str(tmp_path / "try.yaml")).out.split())
    assert "selected by the table's error of the best cell" in said
    assert "cifar10_val_12 of made.csv judges 96 cells (random)" in said
    assert "steps per epoch" not in said


def test_beside_trained_searches_they_are_a_kind_of_their_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, table: Path
) -> None:
    grid = {"method": ["darts", "rsps", "random", "evolution", "reinforce"], "seed": [0, 1]}
    (tmp_path / "try.yaml").write_text(file(table, grid=grid))
    said = " ".join(raynas(capsys, "check", str(tmp_path / "try.yaml")).out.split())
    assert "their validation losses do not compare" in said
    assert (
        "the table's error of the best cell that its method proposed (random, evolution, reinforce)" in said
    )


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("random", ["a table has to judge them", "benchmark"]),
        (small("random-cells", evaluations=0), ["greater than or equal to 1"]),
        (small("random-cells", evaluations=3), ["cannot be spread over 4 epochs"]),
        (small("regularised-evolution", population=30), ["30 evaluations are no more than"]),
        (small("regularised-evolution", tournament=11, replacement=False), ["11 different members"]),
        (small("random-cells", seconds=5.0), ["made.csv, which has none"]),
        (small("random-cells", seconds=0), ["greater than 0"]),
        ({**small("random-cells"), "sampler": "gumbel"}, ["`sampler` means nothing"]),
        ({**small("random-cells"), "without": ["none"]}, ["`without` means nothing"]),
        ({"base": "darts", "proposals": "random-sells"}, ["random-cells"]),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said_before_anything_runs(
    tmp_path: Path, table: Path, method: Any, words: list[str]
) -> None:
    text = file(None if method == "random" else table, grid={"method": [method]})
    with pytest.raises(FileProblems) as error:
        sweep_of(tmp_path, text)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("rule", ["eig_max", "discrete_loss", "select_loss"])
def test_a_rule_that_can_rank_none_of_them_is_told_before_anything_runs(
    tmp_path: Path, table: Path, rule: str
) -> None:
    asked = file(table, select={"by": ["valid_loss", rule]}, hessian={"every": 1}, data={"select": 0.1})
    with pytest.raises(FileProblems, match=f"{rule} ranks no method here, for they train nothing"):
        sweep_of(tmp_path, asked)


def test_random_search_is_as_large_as_it_is_said(table: Path) -> None:
    """Of fewer cells than the searches judged, nothing is said of a search that may judge as many."""
    space, yardstick = load_space("nas-bench-201"), Yardstick.of(open_file(table), "cifar10_test_200")
    cell = draw_cells(space, 1, "a cell")[0]
    found = looked_up(space, cell, yardstick, 1_500, 20)
    assert found is not None
    assert (len(found.values), found.budget) == (1_500, 1_500)
    assert found.search is not None
    beyond = looked_up(space, cell, yardstick, 20_000, 20)
    assert beyond is not None
    assert (len(beyond.values), beyond.search) == (10_000, None)


def test_a_table_that_has_gone_is_told_before_a_search_is_lost(table: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.csv"
    moved.write_bytes(table.read_bytes())
    folder = create(tmp_path, file(moved))
    moved.unlink()
    with pytest.raises(RaynasError, match="no such table"):
        LocalLauncher("cpu").run(folder)
    assert {record.status for record in folder.records()} == {"waiting"}


def test_a_policy_of_edges_is_refused_where_alpha_decides_other_things(tmp_path: Path) -> None:
    with pytest.raises(
        FileProblems, match=r"(?s)policy-gradient draws edges.*random-cells and regularised-evol"
    ):
        sweep_of(tmp_path, file(None, space="nb1shot1-1", grid={"method": ["reinforce"]}))


def test_each_runs_as_what_it_is() -> None:
    space = load_space("nas-bench-201")
    found = config("random", data={"name": "digits", "limit": 64})
    with pytest.raises(RaynasError, match=r"(?s)random trains no supernet.*benchmark"):
        Search(found, space, split(load_data(found.data), found.data))
    with pytest.raises(RaynasError, match="darts proposes no cells"):
        Proposing([config("darts")], space, Rule())


def test_a_report_without_a_loss_says_so_and_one_that_lost_it_is_damaged() -> None:
    *_, [last] = Proposing([config("random")], load_space("nas-bench-201"), Rule())
    data = last.to_json()
    assert data["valid_loss"] is None
    del data["valid_loss"]
    with pytest.raises(TypeError, match="valid_loss is missing"):
        EpochReport.from_json(data)


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_file(), reason="NAS-Bench-201's accuracies are not here")
def test_500_searches_reach_what_is_published() -> None:
    """Dong, Yang 2020: random search 93.70 ± .36, REINFORCE 93.85 ± .37 on CIFAR-10's test images."""
    found = Yardstick.of(open_file(PUBLISHED), "cifar10_test_200")
    judge, space = TableJudge(found.judge(), ""), load_space("nas-bench-201")
    assert judge.name.startswith("cifar10_val_12")
    reached = {}
    for name, mean, sd in (("random", 93.70, 0.36), ("reinforce", 93.85, 0.37)):
        values = []
        for seed in range(500):
            hunt = Hunt(resolve(name).proposals or UniformCells(), space, seed)
            while not hunt.over:
                hunt.step(judge)
            assert hunt.best is not None
            values.append(100 * (found.accuracy(hunt.best) or 0))
        reached[name] = fmean(values)
        assert abs(reached[name] - mean) < sd
        assert stdev(values) == pytest.approx(sd, abs=0.1)
    assert reached["random"] < reached["reinforce"]
