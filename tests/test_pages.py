"""The page of methods and the figure of eigenvalues that are made from a finished sweep."""

from pathlib import Path
from statistics import fmean, stdev

import pytest
from helpers.simulated_sweep import simulate

from benchmarks import eigenvalues, methods
from benchmarks.eigenvalues import Band
from benchmarks.methods import FAMILIES, Span, at_once, family, packs
from raynas.config import SearchConfig
from raynas.errors import RaynasError
from raynas.methods import method_names, resolve
from raynas.report.facts import gather
from raynas.sweep.folder import SweepFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    return simulate(tmp_path_factory.mktemp("runs") / "robust")


def test_every_method_has_a_family_and_its_neighbours_share_it() -> None:
    relaxations, training, supernet, pruning, selection = FAMILIES
    expected = {
        training: ["darts", "darts-2nd", "sdarts-adv", "r-darts-l2", "r-darts-dp", "darts-plus"],
        relaxations: ["snas", "gdas", "parsec", "drnas", "vim-nas", "proxyless", "fair-darts", "nasp"],
        supernet: ["darts-minus", "pc-darts"],
        pruning: ["dsnas", "dso-nas", "asap", "sgas"],
        selection: ["darts-pt", "darts-pt-fixed"],
    }  # fmt: skip
    for title, members in expected.items():
        assert {name: family(resolve(name)) for name in members} == dict.fromkeys(members, title)
    assert {family(resolve(name)) for name in method_names()} == set(FAMILIES)


def test_processes_and_packs_are_counted_where_they_meet() -> None:
    found = [
        Span("a", ("here", 1), 0, 10),
        Span("b", ("here", 1), 1, 10),
        Span("c", ("here", 2), 5, 20),
        Span("d", ("here", 1), 10, 15),
        Span("e", ("there", 1), 16, 17),
    ]
    assert packs(found) == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 1}
    assert at_once(found) == 2
    assert at_once([]) == 0


def test_the_page_has_the_means_of_the_finished_trials(folder: SweepFolder) -> None:
    facts = gather(folder)
    text = methods.page(folder, "python -m benchmarks.methods X --write Y")
    done = [r for r in facts.records if r.status == "finished" and r.id.startswith("darts-wd0.0003-")]
    losses = [record.reports[-1].valid_loss for record in done]
    [row] = [line for line in text.splitlines() if line.startswith("| darts, weight\\_decay 0.0003")]
    cells = [cell.strip() for cell in row.split("|")]
    assert len(losses) == 2
    assert cells[2] == f"{fmean(losses):.4f} ± {stdev(losses):.4f}"
    assert (
        f"{len([r for r in facts.records if r.status == 'finished'])} of {facts.total} searches finished"
        in text
    )
    assert "at work at the same time" in text
    for method in facts.methods:
        assert f"- **{method}" in text
        assert resolve(method).source.split(",")[0] in text


def test_what_is_not_as_in_the_recipe_is_said() -> None:
    changed = {
        "base": "darts-pt",
        "name": "darts-pt",
        "stages": {"use": "perturb-and-project", "interval": 1},
    }
    assert methods._changes(SearchConfig(space="tiny", method=changed)) == ("stages.interval 1 (5)",)
    config = SearchConfig(
        space="tiny", method="pc-darts", epochs=10, warmup=3, learning_rate=0.1, learning_rate_min=0,
        arch_learning_rate=6e-4, batch=32,
    )  # fmt: skip
    assert methods._changes(config) == ("batch 32 (256)",)
    assert methods._changes(SearchConfig(space="tiny")) == ()


def test_bands_hold_every_trial_that_has_the_epoch(folder: SweepFolder) -> None:
    records = [record for record in gather(folder).records if record.reports]
    band = Band.of(records, lambda report: report.valid_loss)
    for place, epoch in enumerate(band.epochs):
        values = [r.valid_loss for record in records for r in record.reports if r.epoch == epoch]
        values = [value for value in values if value == value]
        assert (band.low[place], band.high[place]) == (min(values), max(values))
        assert band.mean[place] == pytest.approx(fmean(values))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_figure_is_drawn(
    folder: SweepFolder, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / f"figure.{suffix}"
    assert eigenvalues.main([str(folder.path), "--write", str(file)]) == 0
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    if suffix == "svg":
        assert all(word in content.decode() for word in ("λmax / nats", "skips in the cell", "drnas"))
    assert "darts, weight_decay 0.0003: 2 seeds" in capsys.readouterr().out


def test_what_cannot_be_drawn_is_told(
    folder: SweepFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = gather(folder)
    with pytest.raises(RaynasError, match="unknown space of this sweep 's3'"):
        eigenvalues.groups(facts, "s3")
    for arguments in (
        [str(tmp_path / "none"), "--write", str(tmp_path / "x.png")],
        [str(folder.path), "--write", str(tmp_path / "x.word")],
    ):
        assert eigenvalues.main(arguments) == 2
    assert methods.main([str(tmp_path / "none"), "--write", str(tmp_path / "x.md")]) == 2
    assert methods.main([str(folder.path), "--write", str(tmp_path / "no" / "x.md")]) == 2
    assert "Traceback" not in capsys.readouterr().err
