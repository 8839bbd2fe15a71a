"""One damaged file never blocks a sweep: the reading verbs go on with the rest and say what is damaged."""

import json
from pathlib import Path

import pytest
from helpers.cli_folders import IDS, make_sweep, play, raynas
from helpers.odd_files import ODD, make_odd

from raynas.sweep.folder import SweepFolder

Capture = pytest.CaptureFixture[str]
DEEP = "[" * 100_000

CONTENTS = {
    "empty": "",
    "garbage": "\0no JSON\n",
    "cut": '{"a": [1,',
    "deep": DEEP + "\n",
    "other type": "[1, 2]\n",
}
FILES = {
    "trial.json": f"trials/{IDS[0]}/trial.json",
    "events.jsonl": f"trials/{IDS[0]}/events.jsonl",
    "packs.json": "packs.json",
    "track.json": "track.json",
    "lock": ".driver.lock",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    monkeypatch.chdir(tmp_path)
    made = make_sweep(tmp_path / "runs")
    for place, trial in enumerate(IDS):
        play(made, trial, [0.9, 0.8, 0.7, 0.5 + place / 10])
    return made


def spoil(folder: SweepFolder, file: str, damage: str) -> None:
    path = folder.path / FILES[file]
    if damage in ODD:
        make_odd(path, damage, folder.path / "target")
    else:
        path.write_text(CONTENTS[damage])


@pytest.mark.parametrize("damage", [*CONTENTS, *ODD])
@pytest.mark.parametrize("file", FILES)
def test_reading_goes_on(capsys: Capture, folder: SweepFolder, file: str, damage: str) -> None:
    (folder.path / "target").write_text("mine")
    spoil(folder, file, damage)
    status = raynas(capsys, "status", "four", "--json")
    facts = json.loads(status.out)
    assert status.code == 0
    assert len(facts["trials"]) == 4
    finished = 3 if file == "events.jsonl" else 4
    assert facts["counts"]["finished"] == finished
    ranked = raynas(capsys, "select", "four")
    assert (ranked.code, "winner:" in ranked.out) == (0, True)
    listed = raynas(capsys, "ls", "sweeps", "--json")
    assert f"{finished} finished" in json.loads(listed.out)[0]["state"]
    # A link to nothing is no record of packs, and a cut line is left for the next attempt.
    quiet = {"packs.json": ["loose link"], "events.jsonl": ["empty", "cut"]}
    told = file in ("trial.json", "packs.json", "events.jsonl") and damage not in quiet.get(file, [])
    assert bool(facts["damage"]) == told == ("damaged:" in ranked.out)
    if told:
        assert "raynas resume four" in ranked.out
    assert (folder.path / "target").read_text() == "mine"


def test_another_trials_records_are_told_and_the_rest_goes_on(capsys: Capture, folder: SweepFolder) -> None:
    best, other = (folder.path / f"trials/{IDS[place]}/events.jsonl" for place in (0, 1))
    other.write_bytes(best.read_bytes())
    facts = json.loads(raynas(capsys, "status", "four", "--json").out)
    assert (facts["counts"]["finished"], facts["counts"]["waiting"]) == (3, 1)
    [told] = facts["damage"]
    assert told == f"{IDS[1]}: events.jsonl holds the records of another search: trial '{IDS[0]}'"
    ranked = raynas(capsys, "select", "four")
    assert f"winner: {IDS[0]}" in ranked.out
    assert f"left out: {IDS[1]}: waiting" in ranked.out
    assert "raynas resume four" in ranked.out


@pytest.mark.parametrize("kind", ["file", "loose link"])
def test_what_is_no_folder_is_said_with_what_to_do(capsys: Capture, folder: SweepFolder, kind: str) -> None:
    for name, words in (("best", ["report", "four"]), ("trials", ["resume", "four", "--local"])):
        path = folder.path / name
        if path.exists():
            path.rename(folder.path / "moved")
        path.write_text("mine") if kind == "file" else path.symlink_to("nowhere")
        outcome = raynas(capsys, *words)
        assert outcome.code == 2
        for what in ("this is not a folder, where one is needed", str(path), f"move {path} away"):
            assert what in " ".join(outcome.err.split())
        path.unlink()


def test_the_report_is_written_and_names_what_is_damaged(capsys: Capture, folder: SweepFolder) -> None:
    spoil(folder, "events.jsonl", "garbage")
    outcome = raynas(capsys, "report", "four")
    assert outcome.code == 0
    assert "not an event" in (folder.path / "report.md").read_text()
    assert "damaged: darts-wd0.0003-s0: events.jsonl at byte 0" in outcome.out


def test_another_sweeps_damage_is_its_own(
    capsys: Capture, folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path.parent / "broken").mkdir()
    (folder.path.parent / "broken" / "sweep.json").write_text("{")
    listed = json.loads(raynas(capsys, "ls", "sweeps", "--json").out)
    assert [row["name"] for row in listed] == ["broken", "four"]
    shown = raynas(capsys, "ui")
    assert "broken is left out: a sweep cannot be read" in shown.out
    assert "no sweep in runs is tracked" in shown.err


def test_many_trials_are_summed_up(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_sweep(tmp_path / "runs", [f"grid.seed={list(range(60))}"])
    ids = [trial.id for trial in folder.trials()]
    play(folder, ids[-1], [0.1])
    play(folder, ids[-2], [0.9], status=None)
    for trial in ids[:15]:
        play(folder, trial, [], status="failed", reason="a bug")
    said = raynas(capsys, "status", "four").out
    rows = [line.split()[0] for line in said.splitlines() if line.startswith("darts-wd") and "/4" in line]
    assert len(rows) == 40
    assert {ids[-1], ids[-2], *ids[:15]} <= set(rows)
    assert "+ 80 more; --json has them all" in said
    assert "+ 3 more that failed or diverged" in said
    assert len(json.loads(raynas(capsys, "status", "four", "--json").out)["trials"]) == 120
