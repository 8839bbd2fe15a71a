"""What stands above a verdict: each remark where it holds, and silence beside it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.cli_folders import CELL, TINY, make_sweep, raynas
from helpers.cli_folders import play as play_trial

from raynas.report.facts import gather
from raynas.report.remarks import remarks
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.sweep.folder import SweepFolder
from raynas.sweep.record import TrialRecord
from raynas.sweep.sections import Select
from raynas.sweep.select import rank

TOLD = {"data": {"train": 400, "valid": 400, "classes": 3}}
LEARNED = {
    "valid_accuracy": 0.8,
    "weights": {"normal": [[0.7, 0.1, 0.1, 0.1]], "reduce": [[0.25, 0.25, 0.25, 0.25]]},
}


@pytest.fixture
def finished(tmp_path: Path) -> Callable[..., list[TrialRecord]]:
    """Return a function that gives four finished records, 2 strengths x 2 seeds, with these last losses."""

    def make(losses: Sequence[float], cells: Sequence[Genotype] = (), **changes: object) -> list[TrialRecord]:
        folder = make_sweep(tmp_path / f"runs{len(list(tmp_path.iterdir()))}")
        found = []
        for place, (trial, loss) in enumerate(zip(folder.trials(), losses, strict=True)):
            play_trial(folder, trial.id, [loss])
            record = trial.record()
            cell = cells[place] if cells else record.reports[-1].genotype
            report = replace(record.reports[-1], genotype=cell, **{**LEARNED, **changes})  # type: ignore[arg-type]
            found.append(replace(record, reports=(report,), start={**(record.start or {}), **TOLD}))
        return found

    return make


def said(records: Sequence[TrialRecord]) -> list[str]:
    return remarks(rank(records, Select()), load_space("tiny"))


APART = (0.5, 0.51, 0.9, 0.91)


def test_a_sound_verdict_gets_no_remark(finished: Callable[..., list[TrialRecord]]) -> None:
    assert said(finished(APART)) == []
    assert remarks(rank([], Select()), None) == []


@pytest.mark.parametrize(("accuracy", "learned"), [(1 / 3, False), (0.38, False), (0.382, True), (0.8, True)])
def test_chance_is_two_deviations_of_a_guess(
    finished: Callable[..., list[TrialRecord]], accuracy: float, learned: bool
) -> None:
    # √(1/3 · 2/3 / 400) = 0.02357: a guess of 400 images stays below 0.3805.
    found = said(finished([1.0993, 1.2, 1.9, 2.0], valid_accuracy=accuracy))
    assert (not found) == learned
    if not learned:
        assert found[0].startswith(
            f"Nothing was learned: {100 * accuracy:.0f} % right of 3 classes is what guessing"
        )
        assert "(loss 1.099; ln 3 = 1.099)" in found[0]
        assert "too few steps (6 of batch 64)" in found[0]


@pytest.mark.parametrize(
    ("accuracy", "loss", "learned"),
    [(0.58, 1.0, False), (0.62, 0.93, False), (0.66, 1.0, True), (0.58, 0.8, True), (0.4, 1.1, False)],
)
def test_of_uneven_classes_the_commonest_is_the_best_guess(
    finished: Callable[..., list[TrialRecord]], accuracy: float, loss: float, learned: bool
) -> None:
    # 232 of 400 are of one class: √(.58 · .42 / 400) = .0247; the entropy of .58, .30, .12 is .9315.
    told = {"data": {**TOLD["data"], "valid_counts": [48, 232, 120]}}
    records = finished([loss, 1.2, 1.9, 2.0], valid_accuracy=accuracy)
    found = said([replace(each, start={**(each.start or {}), **told}) for each in records])
    assert (not found) == learned
    if not learned:
        assert "is no more than always naming the commonest gets, 58 % of the images" in found[0]
        assert f"(loss {loss:.3f}; by the shares of the classes alone 0.932)" in found[0]


@pytest.mark.parametrize(("most", "moved"), [(0.26, False), (0.274, False), (0.276, True)])
def test_alpha_is_nearly_uniform_below_a_tenth_more_than_its_share(
    finished: Callable[..., list[TrialRecord]], most: float, moved: bool
) -> None:
    rest = (1 - most) / 3
    found = said(finished(APART, weights={"normal": [[rest, most, rest, rest], [0.25] * 4]}))
    assert (not found) == moved
    if not moved:
        assert f"no operation has more than {4 * most:.2f} times an equal share" in found[0]
        assert "arch_learning_rate (0.0003)" in found[0]


def test_weights_that_are_no_shares_are_not_judged(finished: Callable[..., list[TrialRecord]]) -> None:
    assert said(finished(APART, weights={"normal": [[0.5, 0.5, 0.5, 0.5]]})) == []
    assert said(finished(APART, weights={"normal": [[0.0, 1.0, 0.0, 0.0]]})) == []


def test_a_margin_is_noise_below_the_pooled_deviation_over_seeds(
    finished: Callable[..., list[TrialRecord]],
) -> None:
    # Deviations 0.1/√2 in both settings, so 0.0707 pooled.
    (found,) = said(finished([0.5, 0.6, 0.56, 0.66]))
    assert "next setting, 0.06000, is below the spread over seeds of one (0.07071)" in found
    assert said(finished([0.5, 0.6, 0.58, 0.68])) == []


def test_one_seed_of_each_setting_tells_nothing_of_seeds(finished: Callable[..., list[TrialRecord]]) -> None:
    records = finished(APART)
    (found,) = said([records[0], records[2]])
    assert found.startswith("The margin of 0.4000 stands on one seed of each setting")
    assert said(records[:2]) == []


def test_cells_of_one_setting_that_are_no_more_alike_than_random_ones(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "runs", ["grid.weight_decay=[0.001]", "grid.seed=[0,1,2]"])
    other = [Choice("max_pool_3x3", 1, 2), Choice("skip_connect", 0, 2)]
    other += [Choice("skip_connect", 1, 3), Choice("sep_conv_3x3", 2, 3)]
    third = [Choice("max_pool_3x3", 0, 2), Choice("skip_connect", 1, 2)]
    third += [Choice("max_pool_3x3", 1, 3), Choice("skip_connect", 0, 3)]
    cells = [Genotype.of("tiny", 2, {"normal": each, "reduce": each}) for each in (CELL, other, third)]

    def found(cells: Sequence[Genotype]) -> list[str]:
        records = []
        for place, (trial, cell) in enumerate(zip(folder.trials(), cells, strict=True)):
            if not trial.record().reports:
                play_trial(folder, trial.id, [0.5 + place / 10])
            record = trial.record()
            report = replace(record.reports[-1], genotype=cell, **LEARNED)  # type: ignore[arg-type]
            records.append(replace(record, reports=(report,)))
        return said(records)

    (told,) = found(cells)
    # Cells of tiny keep 2 of 2 and 2 of 3 edges of 3 operations that count: (2/3 + 3·(4/9)/3) / 4 = 28 %.
    assert told.startswith("Cells of one setting have 8% of their choices in common, two drawn at random 28%")
    assert found([cells[0]] * 3) == []


def test_terminal_and_report_say_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_sweep(tmp_path / "runs")
    for trial, loss in zip(folder.trials(), (0.5, 0.6, 0.56, 0.66), strict=True):
        play_trial(folder, trial.id, [loss])
    assert raynas(capsys, "report", "four").code == 0
    outcome = raynas(capsys, "select", "four")
    sentences = [
        line.removeprefix("careful: ") for line in outcome.out.splitlines() if line.startswith("careful: ")
    ]
    assert outcome.out.startswith("verdict: ")
    assert sentences[0].startswith("α is nearly uniform")
    assert "Not sure: there are 2 reasons to be careful, below" in outcome.out
    assert len(sentences) == 2
    page = " ".join((folder.path / "report.html").read_text(encoding="utf-8").split())
    markdown = (folder.path / "report.md").read_text(encoding="utf-8")
    for sentence in sentences:
        assert page.index(sentence) < page.index('class="card verdict"')
        assert sentence.partition("_")[0] in markdown
    assert gather(SweepFolder(folder.path)).space == load_space("tiny")
    assert set(TINY["weights"]) == {"normal", "reduce"}
    assert math.isclose(sum(TINY["weights"]["normal"][0]), 1)
