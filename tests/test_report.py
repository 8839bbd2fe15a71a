"""The report against simulated sweeps: what it states, that it is one safe file, and that it never fails."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev

import pytest
import yaml
from helpers import cli_folders, track_folders
from helpers.simulated_sweep import EPOCHS, LAST, Life, Scribe, losses, plan, simulate, sweep_of

from raynas.bilevel.records import End
from raynas.cli import tables as cli_tables
from raynas.config import SearchConfig
from raynas.errors import RaynasError
from raynas.report import pictures, text
from raynas.report.build import build_report
from raynas.report.facts import gather, setting_rows
from raynas.report.provenance import resolved_yaml
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_to_text, load_genotype
from raynas.sweep.folder import SweepFolder
from raynas.sweep.plan import Trial
from raynas.sweep.sections import Select
from raynas.sweep.select import rank


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A sweep that has ended: 6 trials finished, darts-wd0.0027-s1 diverged, drnas-wd0.0027-s1 failed."""
    return simulate(tmp_path_factory.mktemp("runs") / "robust")


@pytest.fixture(scope="module")
def built(folder: SweepFolder) -> tuple[str, str]:
    """Its report: HTML and Markdown."""
    return build(folder)


def build(folder: SweepFolder) -> tuple[str, str]:
    """Build the report and return both texts."""
    html, markdown = build_report(folder)
    return html.read_text(), markdown.read_text()


class Page(HTMLParser):
    """Parses HTML strictly: every tag closed in order, every id once; collects text and tables."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text.append(data)
        if any(tag in ("td", "th") for tag in self.open):
            self.rows[-1][-1] += data

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def row(self, *start: str) -> list[str]:
        """Return the one table row that starts with these cells."""
        cells = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        (found,) = [row for row in cells if row[: len(start)] == list(start)]
        return found


def settled(folder: SweepFolder) -> dict[str, bytes]:
    """Return every file the report writes, by path."""
    names = ("report.html", "report.md", "selection.json", "best/genotype.json")
    paths = [folder.path / name for name in names] + sorted((folder.path / "report").glob("*.svg"))
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}


def test_verdict_names_the_trial_with_the_lowest_validation_loss(
    folder: SweepFolder, built: tuple[str, str]
) -> None:
    html, markdown = built
    record = folder.trial("drnas-wd0.0027-s0").record()
    assert record.newest is not None
    best = load_genotype(folder.best / "genotype.json")
    assert best == record.newest.genotype
    assert {path.name for path in folder.best.iterdir()} >= {"cell-normal.svg", "cell-reduce.png"}
    assert json.loads((folder.path / "selection.json").read_text())["winner"] == "drnas-wd0.0027-s0"
    page = Page(html)
    assert "Chosen by the supernet’s validation loss, of 6 trials; second is drnas-wd0.0003-s0." in page.words
    assert re.search(
        r"validation loss 0\.5900 .*validation accuracy 55\.43 % margin to the second 0\.0300", page.words
    )
    assert genotype_to_text(best) in page.words
    assert page.row("1")[1] == "drnas-wd0.0027-s0"
    assert "**drnas-wd0.0027-s0**" in markdown
    assert genotype_to_text(best) in markdown


def test_the_loss_named_in_the_sweep_decides(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "by-discrete")
    folder.create(sweep_of(plan()[:2], select=Select(by="discrete_loss")), "")
    for trial, valid, discrete in zip(folder.trials(), (0.5, 0.6), (0.9, 0.7), strict=True):
        scribe, life = Scribe(folder, trial.id), Life(load_space("tiny"), trial.id)
        scribe.start()
        made = life.report(0, valid).to_json() | {"discrete_loss": discrete}
        scribe.write("epoch", report=made)
        scribe.write("end", status="finished", reason="")
    html, _ = build(folder)
    assert "Chosen by the derived cell’s validation loss" in Page(html).words
    assert Page(html).row("1")[1] == "darts-wd0.0003-s1"


def test_means_over_seeds_equal_those_by_hand(built: tuple[str, str]) -> None:
    page = Page(built[0])
    pair = [LAST["darts-wd0.0003-s0"], LAST["darts-wd0.0003-s1"]]
    row = page.row("darts", "0.0003")
    assert row[2:7] == ["2", f"{fmean(pair):.4f}", f"± {stdev(pair):.4f}", "1.2450", "± 0.0424"]
    accuracies = [100 * math.exp(-loss) for loss in pair]
    assert row[7:9] == [f"{fmean(accuracies):.2f}", f"± {stdev(accuracies):.2f}"]
    assert page.row("drnas", "0.0027")[2:5] == ["1 of 2", "0.5900", ""]


def test_ranking_lists_every_trial_and_why_it_was_left_out(built: tuple[str, str]) -> None:
    page = Page(built[0])
    for place, trial in enumerate(sorted(LAST, key=lambda trial: LAST[trial]), start=1):
        assert page.row(str(place))[1:5] == [trial, "finished", "6", f"{LAST[trial]:.4f}"]
    outside = [row for row in page.rows if row[0] == "–"]
    assert [row[1] for row in outside] == [
        "darts-wd0.0027-s1NaN loss in epoch 3, learning rate 0.025",
        "drnas-wd0.0027-s1gave up after 2 attempts",
    ]


def test_failures_have_all_messages_and_the_log(built: tuple[str, str]) -> None:
    html, markdown = built
    for words in (Page(html).words, markdown):
        for part in ("worker died", "CUDA out of memory", "gave up after 2 attempts", "NaN loss in epoch 3"):
            assert part in words
        assert "trials/drnas-wd0.0027-s1/log.txt" in words
        assert "trials/darts-wd0.0027-s1/log.txt" not in words


def test_how_to_run_it_again_is_complete(folder: SweepFolder, built: tuple[str, str]) -> None:
    for words in (Page(built[0]).words, built[1]):
        for part in (
            "raynas sweep robust.yaml epochs=6",
            "torch 2.9.0",
            "0123abc",
            "feed0123",
            "split seed",
            "node-a",
        ):
            assert part in words
    sweep = folder.sweep()
    assert yaml.safe_load(resolved_yaml(sweep)) == sweep.resolved


def test_html_is_one_file_that_reaches_for_nothing(built: tuple[str, str]) -> None:
    html, _ = built
    page = Page(html)
    bare = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert not re.search(r"https?://|//\w|@import|url\((?!#)", bare)
    assert "<script" not in html.lower()
    ids = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [
        value
        for _, attributes in page.seen
        for name, value in attributes.items()
        if name in ("href", "src", "xlink:href")
    ]
    assert targets
    assert all(target and target[0] == "#" and target[1:] in ids for target in targets)
    assert "default-src 'none'" in html


def test_markdown_links_to_files_that_are_there(folder: SweepFolder, built: tuple[str, str]) -> None:
    _, markdown = built
    links = re.findall(r"\]\(([^)]*)\)", markdown)
    assert len(links) == 2 + 2 + 4 + 4 + 2 + 1  # cells, sizes, curves, mixes, skips, likeness
    assert all((folder.path / link).is_file() for link in links)


def test_same_folder_gives_the_same_bytes(folder: SweepFolder, tmp_path: Path) -> None:
    build(folder)
    first = settled(folder)
    build(folder)
    assert settled(folder) == first
    other = simulate(tmp_path / "elsewhere")
    build(other)
    assert settled(other) == first
    moment = text.moment(max(e["time"] for t in folder.trials() for e in t.spool.events()[0]))
    assert f"State of {moment}" in Page(first["report.html"].decode()).words


def test_sweep_before_its_first_trial(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "fresh")
    folder.create(sweep_of(plan()), "")
    html, markdown = build(folder)
    page = Page(html)
    assert "There is no verdict yet: no trial has finished." in page.words
    assert "0 running, 8 waiting of 8" in page.words
    assert "no trial has started" in page.words
    assert page.row("–", "darts-wd0.0003-s0")[2:5] == ["waiting", "–", "–"]
    assert not folder.best.exists()
    assert not (folder.path / "report").exists()
    assert "Left out: means over seeds (no trial has finished); curves (no epoch has finished)" in markdown


def test_running_sweep_gives_a_verdict_so_far(tmp_path: Path) -> None:
    folder, space = SweepFolder(tmp_path / "robust"), load_space("tiny")
    folder.create(sweep_of(plan()), "")
    done, going, *_ = folder.trials()
    for trial, count in ((done, EPOCHS), (going, 2)):
        scribe = Scribe(folder, trial.id)
        scribe.start()
        scribe.epochs(space, losses(0.7)[:count])
        if trial is done:
            scribe.write("end", status="finished", reason="")
    html, markdown = build(folder)
    page = Page(html)
    assert (
        "1 running, 6 waiting of 8. The verdict holds for the trials that have finished so far." in page.words
    )
    assert "The only trial that finished" in page.words
    assert "margin to the second –" in page.words
    assert "raynas resume robust" in markdown
    assert "how alike the cells are (fewer than two to compare)" in page.words
    assert page.row("–", f"{going.id}not finished: 2 of 6 epochs")[2:4] == ["running", "2"]


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "robust")
    folder.create(sweep_of(plan()[:1]), "")
    scribe = Scribe(folder, folder.trials()[0].id)
    scribe.start()
    scribe.write("end", status="failed", reason="no such data")
    assert "No trial finished with a finite loss, so there is no winner." in Page(build(folder)[0]).words


def test_one_trial_one_epoch_without_curvature(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "robust")
    folder.create(sweep_of(plan()[:1]), "")
    scribe = Scribe(folder, folder.trials()[0].id)
    scribe.start()
    scribe.epochs(load_space("tiny"), [1.5], curvature=False)
    scribe.write("end", status="finished", reason="")
    html, markdown = build(folder)
    assert "λmax (curvature was not measured)" in Page(html).words
    assert "eig_max" not in markdown
    assert Page(html).row("1")[7] == "–"
    assert (folder.path / "report" / "mix-normal-1-darts.svg").is_file()


def test_optuna_slots_without_values_are_counted_as_waiting(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "tuned")
    slots = [Trial(f"darts-n{n}-s0", None, {"method": "darts", "seed": 0}, ("darts", n)) for n in range(3)]
    folder.create(sweep_of([plan()[0], *slots], strategy="optuna"), "")
    page = Page(build(folder)[0])
    assert "1 running" not in page.words
    assert "4 waiting of 4" in page.words
    assert "3 more trials wait for their values to be suggested." in page.words


def test_many_sampled_strengths_get_a_scale_and_its_two_ends(tmp_path: Path) -> None:
    folder, space = SweepFolder(tmp_path / "sampled"), load_space("tiny")
    strengths = [10.0 ** (-4 + place / 10) for place in range(9)]
    folder.create(
        sweep_of(
            Trial(
                f"darts-n{n}-s0", SearchConfig(space="tiny", weight_decay=s), {"weight_decay": s, "seed": 0}
            )
            for n, s in enumerate(reversed(strengths))
        ),
        "",
    )
    for trial in folder.trials():
        scribe = Scribe(folder, trial.id)
        scribe.start()
        scribe.epochs(space, losses(1.0))
        scribe.write("end", status="finished", reason="")
    html, _ = build(folder)
    assert gather(folder).strengths == tuple((f"{s:g}",) for s in strengths)
    assert html.count('<i class="line" style="border-color: #') == 6  # two ends in each of three legends


def test_foreign_text_is_escaped_everywhere(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)> | `x` ]( & \"'\n# {{ 7*7 }} $x$ ```"
    folder, space = SweepFolder(tmp_path / "evil"), load_space("tiny")
    trials = [
        Trial(f"darts-{n}", SearchConfig(space="tiny"), {"method": "darts", evil: f"{evil}{n}"})
        for n in range(4)
    ]
    resolved = {evil: evil}
    folder.create(sweep_of(trials, evil, command=evil, git={"commit": evil}, resolved=resolved), evil)
    for trial in folder.trials():
        scribe = Scribe(folder, trial.id)
        scribe.write("start", host=evil, device=evil, data={"hash": evil}, versions={evil: evil})
        scribe.write("error", message=evil, kind_of_error="crash", attempt=1)
        scribe.epochs(space, losses(1.0))
        if not trial.id.endswith("3"):
            scribe.write("end", status="diverged" if trial.id.endswith("2") else "finished", reason=evil)
    html, markdown = build(folder)
    page = Page(html)
    tags = {tag for tag, _ in page.seen}
    assert not tags & {"script", "img"}
    assert not any(name.startswith("on") for _, attributes in page.seen for name in attributes)
    assert "{{ 7*7 }}" in page.words
    fenced = re.compile(r"^(`{3,})\w*\n.*?^\1$", re.MULTILINE | re.DOTALL)
    outside = fenced.sub("", markdown)
    assert "<script" not in outside
    assert "<img" not in outside
    assert "`x`" not in outside.replace(r"\`x\`", "")
    assert not re.search(r"^# \{\{", outside, re.MULTILINE)


def test_report_reads_the_space_as_it_was_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = simulate(tmp_path / "robust")
    before = build(folder)[0]
    monkeypatch.setattr("raynas.spaces.library.load_space", lambda name: load_space("darts"))
    assert build(folder)[0] == before


def test_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    folder = simulate(tmp_path / "robust")
    (folder.path / "report").write_text("in the way")
    with pytest.raises(RaynasError, match="cannot write"):
        build_report(folder)


def test_cells_are_grouped_by_setting_or_else_by_method(folder: SweepFolder, tmp_path: Path) -> None:
    by_setting = pictures.likeness(gather(folder))
    assert by_setting is not None
    assert list(by_setting.alike.by_group) == ["darts, weight_decay 0.0003", "drnas, weight_decay 0.0003"]
    assert by_setting.alike.between is not None
    assert by_setting.alike.between.count == 6 * 5 // 2 - 2
    single = simulate(tmp_path / "single", trials=[trial for trial in plan() if trial.axes["seed"] == 0])
    by_method = pictures.likeness(gather(single))
    assert by_method is not None
    assert list(by_method.alike.by_group) == ["darts", "drnas"]


def test_too_many_cells_give_the_table_without_the_map(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LARGEST_MAP", 5)
    found = pictures.likeness(gather(folder))
    assert found is not None
    assert found.picture is None
    assert found.alike.within is not None


def test_each_kind_of_validation_loss_has_a_best_setting(folder: SweepFolder) -> None:
    facts = gather(folder)
    records = [
        replace(each, start={**(each.start or {}), "validated": "cells" if "drnas" in each.id else "mixture"})
        for each in facts.records
    ]
    marked = {}
    for config in (Select(), Select(by="discrete_loss")):
        found = replace(facts, records=tuple(records), selection=rank(records, config))
        marked[config.by] = [row.setting.method for row in setting_rows(found) if row.best]
    assert marked["valid_loss"] == ["darts", "drnas"]
    assert len(marked["discrete_loss"]) == 1


@pytest.mark.parametrize(("name", "form"), [("nas-bench-201", "|"), ("nb1shot1-2", "ModelSpec(matrix=")])
def test_a_space_with_one_kind_of_cell(tmp_path: Path, name: str, form: str) -> None:
    folder = simulate(tmp_path / "robust", name)
    html, markdown = build(folder)
    Page(html)
    chosen = gather(folder).chosen
    assert chosen is not None
    assert genotype_to_text(chosen).startswith(form)
    assert genotype_to_text(chosen) in markdown
    assert "reduce" not in html + markdown
    assert "| skips | time |" in markdown
    assert "| λmax | skips |" in markdown
    assert (folder.best / "cell-normal.png").is_file()


def test_kinds_of_cell_that_only_some_trials_have(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "mixed")
    spaces = ("nas-bench-201", "tiny")
    trials = [Trial(space, SearchConfig(space=space, epochs=EPOCHS), {"space": space}) for space in spaces]
    folder.create(sweep_of(trials, "mixed"), "name: mixed\n")
    for space in spaces:
        scribe = Scribe(folder, space)
        scribe.start()
        scribe.epochs(load_space(space), losses(0.7))
        scribe.write("end", status="finished", reason="all epochs done")
    html, markdown = build(folder)
    Page(html)
    skips = {record.id: record.newest.skips for record in gather(folder).records if record.newest}
    assert [line.split("|")[-3].strip() for line in markdown.splitlines() if "| finished |" in line] == [
        str(skips["nas-bench-201"]["normal"]),
        f"{skips['tiny']['normal']} / {skips['tiny']['reduce']}",
    ]


def test_the_epoch_that_counts_is_stated_everywhere_with_the_skips_of_any_kind_of_cell(
    tmp_path: Path,
) -> None:
    """A method that goes back (R-DARTS-ES) is ranked, and shown, by the epoch it went back to."""
    folder = cli_folders.make_sweep(tmp_path / "runs")
    for place, trial in enumerate(cli_folders.IDS[:2]):
        track_folders.start(folder, trial)
        for epoch, loss in enumerate((2.5, 2.3137 + place, 2.61)):
            changes = {**cli_folders.TINY, "skips": {"body": epoch + 4}, "valid_loss": loss}
            ended = End(1, "went back") if epoch == 2 else None
            track_folders.epochs(folder, trial, track_folders.report(epoch, ended=ended, **changes))
        track_folders.end(folder, trial, "finished")
    html, markdown = build(folder)
    for words in (" ".join(Page(html).words.split()), markdown):
        assert "2.3137" in words
        assert "2.6100" not in words
    [row] = [line for line in markdown.splitlines() if line.startswith(f"| 1 | {cli_folders.IDS[0]}")]
    assert [cell.strip() for cell in row.split("|")][4:6] == ["2", "2.3137"]
    assert " 5 |" in row
    assert "skips |" in markdown
    [first, _] = gather(folder).selection.ranking
    assert cli_tables._deciding_numbers(first.trial)[-1] == "5"
