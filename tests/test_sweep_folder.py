"""The folder of a sweep: created once, found by name, read back exactly."""

import json
from pathlib import Path

import pytest
from helpers.sweeping import create, run, sweep_of

from raynas.errors import RaynasError
from raynas.sweep.folder import SweepFolder

TEXT = "name: small\nspace: tiny\ngrid: {weight_decay: [3e-4, 1.0e-3], seed: [0, 1]}\n"


def test_create_writes_everything_and_reads_it_back(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, TEXT)
    folder = SweepFolder(tmp_path / "runs" / "small")
    assert not folder.exists
    folder.create(sweep, TEXT)
    assert folder.exists
    assert SweepFolder(folder.path).sweep() == sweep
    assert (folder.path / "sweep.yaml").read_text() == TEXT
    trials = folder.trials()
    assert [trial.id for trial in trials] == [trial.id for trial in sweep.trials]
    assert [trial.config() for trial in trials] == [trial.config for trial in sweep.trials]
    assert [record.axes for record in folder.records()] == [trial.axes for trial in sweep.trials]
    assert {record.status for record in folder.records()} == {"waiting"}


def test_the_paths_are_those_of_the_contract(tmp_path: Path) -> None:
    folder = create(tmp_path, TEXT)
    run(folder, "darts-wd0.0003-s0")
    trial = folder.trial("darts-wd0.0003-s0")
    assert (folder.name, trial.id) == ("small", "darts-wd0.0003-s0")
    assert trial.path == folder.path / "trials" / "darts-wd0.0003-s0"
    assert {path.name for path in trial.path.iterdir()} == {"trial.json", "events.jsonl"}
    assert (trial.checkpoint, trial.log) == (trial.path / "checkpoint.pt", trial.path / "log.txt")
    assert folder.best == folder.path / "best"
    assert set(json.loads((trial.path / "trial.json").read_text())) >= {"id", "config", "axes"}


def test_the_record_is_folded_from_the_spool(tmp_path: Path) -> None:
    folder = create(tmp_path, TEXT)
    run(folder, "darts-wd0.001-s1", loss=0.25)
    statuses = {record.id: record.status for record in folder.records()}
    assert statuses["darts-wd0.001-s1"] == "finished"
    assert list(statuses.values()).count("waiting") == 3
    record = folder.trial("darts-wd0.001-s1").record()
    assert record.newest is not None
    assert (record.newest.valid_loss, record.config.weight_decay, record.axes["seed"]) == (0.25, 1e-3, 1)


def test_an_existing_sweep_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = create(tmp_path, TEXT)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(RaynasError, match="already a sweep 'small'") as caught:
        create(tmp_path, TEXT, "seed=5")
    assert "raynas resume small" in str(caught.value)
    assert "name=small-2" in str(caught.value)
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_a_creation_cut_short_can_be_done_again_unless_a_trial_has_run(tmp_path: Path) -> None:
    folder = create(tmp_path, TEXT)
    (folder.path / "sweep.json").unlink()
    create(tmp_path, TEXT)
    run(folder, "darts-wd0.001-s1")
    (folder.path / "sweep.json").unlink()
    with pytest.raises(RaynasError, match="already a sweep"):
        create(tmp_path, TEXT)


def test_an_unwritable_place_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    with pytest.raises(RaynasError, match="cannot write"):
        create(tmp_path, TEXT)


def test_find_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create(tmp_path, TEXT)
    assert SweepFolder.find(tmp_path / "runs", "small").path == made.path
    assert SweepFolder.find(Path("elsewhere"), str(made.path)).path == made.path
    monkeypatch.chdir(tmp_path)
    assert SweepFolder.find(Path("runs"), "small").path == made.path


def test_an_unknown_name_lists_the_nearest(tmp_path: Path) -> None:
    create(tmp_path, TEXT)
    with pytest.raises(RaynasError, match="no sweep 'smal'") as caught:
        SweepFolder.find(tmp_path / "runs", "smal")
    assert caught.value.near == "small"
    with pytest.raises(RaynasError, match="no sweep '~0nobody'"):
        SweepFolder.find(tmp_path / "runs", "~0nobody")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 99}', '{"version": 1}', '{"version": 1, "name": 3, "trials": [7]}'],
)
def test_a_damaged_sweep_is_an_error(tmp_path: Path, content: str) -> None:
    folder = create(tmp_path, TEXT)
    (folder.path / "sweep.json").write_text(content)
    with pytest.raises(RaynasError):
        SweepFolder(folder.path).sweep()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("versions", "x"),
        ("command", 0.5),
        ("created", None),
        ("git", "abc"),
        ("resolved", []),
        ("name", 3),
        ("base", [1]),
        ("strategy", "guess"),
        ("methods", ["darts"]),
    ],
)
def test_a_value_of_another_kind_is_damage(tmp_path: Path, key: str, value: object) -> None:
    folder = create(tmp_path, TEXT)
    path = folder.path / "sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(RaynasError, match=f"(?s)a sweep cannot be read.*{key if key != 'methods' else ''}"):
        SweepFolder(folder.path).sweep()


def test_a_missing_trial_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RaynasError, match="missing"):
        SweepFolder(tmp_path).trial("nobody").config()


def test_a_command_names_a_sweep_by_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SweepFolder(tmp_path / "runs" / "small").typed == "small"
    assert SweepFolder(tmp_path / "else where" / "small").typed == f"small --runs '{tmp_path / 'else where'}'"
