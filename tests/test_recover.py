"""Damaged folders: what stands elsewhere is put back, the rest repeated to the bit, and all else goes on."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from helpers.launching import Memory, fake_trials, make_sweep, reports, starts, statuses
from helpers.odd_files import ODD, make_odd
from test_trial import Crash, crash_at, make_folder, make_pack, run

from raynas.config import SearchConfig
from raynas.launch.driver import only_driver, only_writer
from raynas.launch.local import LocalLauncher
from raynas.search.checkpoint import dump, load
from raynas.sweep.folder import SweepFolder, TrialFolder
from raynas.sweep.plan import Trial

GARBAGE = b"\x00\x00 no event\n"
CUT = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "garbage": lambda data: b"no checkpoint",
    "flipped": lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:],
}
WRONG = {
    "no mapping": lambda state: {"epoch": "two"},
    "lacking": lambda state: {key: state[key] for key in ("version", "identity", "epoch")},
    "wrong shapes": lambda state: {**state, "history": [3]},
}


CONFIG = SearchConfig(
    space="tiny", epochs=3, batch=32, channels=2, cells=3, data={"limit": 64}, hessian={"every": 0}
)


def config_of(seed):
    return CONFIG.model_copy(update={"seed": seed})


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A trial that nothing happened to, and one of the same that was interrupted after two epochs."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    place = tmp_path_factory.mktemp("ran")
    one, other = make_folder(place / "whole", CONFIG), make_folder(place / "broken", CONFIG)
    run(one)
    with pytest.raises(Crash):
        run(other, heartbeat=crash_at(1))
    return one.record().reports, other.path


@pytest.fixture
def whole(ran, tmp_path):
    """The reports of the first, and a copy of the second."""
    return ran[0], TrialFolder(Path(shutil.copytree(ran[1], tmp_path / "one")))


def mended(trial: TrialFolder) -> str:
    return "; ".join(trial.record().start["mended"])


@pytest.mark.parametrize("damage", [*CUT, *WRONG, *ODD, "missing"])
def test_a_search_whose_checkpoint_is_damaged_is_repeated_to_the_bit(whole, tmp_path, damage):
    expected, trial = whole
    data = trial.checkpoint.read_bytes()
    if damage in CUT:
        trial.checkpoint.write_bytes(CUT[damage](data))
    elif damage in WRONG:
        trial.checkpoint.write_bytes(dump(WRONG[damage](load(trial.checkpoint))))
    elif damage == "missing":
        trial.checkpoint.unlink()
    else:
        target = tmp_path / "target"
        target.write_bytes(b"mine")
        make_odd(trial.checkpoint, damage, target)
    assert run(trial) == "finished"
    assert trial.record().reports == expected
    assert trial.record().start["from_epoch"] == 0
    if damage != "missing":
        assert "checkpoint-damaged-1.pt" in mended(trial)
        assert os.path.lexists(trial.path / "checkpoint-damaged-1.pt")


@pytest.mark.parametrize("lost", ["last line", "all", "middle", "middle is garbage", "end", "file is a link"])
def test_reports_that_the_checkpoint_has_counted_are_restored_from_it(whole, tmp_path, lost):
    expected, trial = whole
    path = trial.spool.path
    lines = path.read_bytes().splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if b'"epoch",' in line)
    if lost == "end":
        run(trial)
        lines = path.read_bytes().splitlines(keepends=True)
        assert lines.pop(-2).startswith(b'{"v":1,"kind":"epoch"')
        path.write_bytes(b"".join(lines))
        assert TrialFolder(trial.path).record().status == "running"
    elif lost == "file is a link":
        make_odd(path, "link", tmp_path / "elsewhere")
    else:
        change = {
            "last line": [*lines[:last], lines[last][:-9]],
            "all": [],
            "middle": [line for place, line in enumerate(lines) if place != last - 1],
            "middle is garbage": [*lines[: last - 1], GARBAGE, *lines[last:]],
        }
        path.write_bytes(b"".join(change[lost]))
    assert run(trial) == "finished"
    record = trial.record()
    assert record.reports == expected
    assert "restored from the checkpoint" in mended(trial) or lost == "end"
    assert record.damage == ()


@pytest.mark.parametrize("how", ["cut", "missing"])
def test_a_pack_goes_back_as_a_whole_to_the_same_bits(tmp_path, how):
    configs = [config_of(seed) for seed in range(2)]
    whole, broken = make_pack(tmp_path / "whole", configs), make_pack(tmp_path / "broken", configs)
    run(*whole)
    with pytest.raises(Crash):
        run(*broken, heartbeat=crash_at(1))
    if how == "cut":
        broken[0].checkpoint.write_bytes(b"nonsense")
    else:
        broken[0].checkpoint.unlink()
    assert run(*broken) == ["finished", "finished"]
    assert [each.record().reports for each in broken] == [each.record().reports for each in whole]
    assert [each.record().start["from_epoch"] for each in broken] == [0, 0]
    assert "goes back to the start with its pack" in mended(broken[1])


def test_what_would_not_come_again_is_begun_anew_and_says_so(tmp_path):
    """The damaged member ran beside three; alone with another its numbers would round otherwise."""
    pack = make_pack(tmp_path, [config_of(seed) for seed in range(3)])
    with pytest.raises(Crash):
        run(*pack, heartbeat=crash_at(1))
    pack[0].checkpoint.write_bytes(b"nonsense")
    assert run(*pack[:2]) == ["finished", "finished"]
    assert [each.record().start["from_epoch"] for each in pack[:2]] == [0, 2]
    assert "events-damaged-1.jsonl" in mended(pack[0])
    assert [event["kind"] for event in pack[0].spool.events()[0]].count("epoch") == 3


def test_a_checkpoint_of_another_trial_is_set_aside_and_the_search_repeated(tmp_path):
    configs = [config_of(seed) for seed in range(2)]
    whole, pack = make_pack(tmp_path / "whole", configs), make_pack(tmp_path / "mixed", configs)
    run(*whole)
    with pytest.raises(Crash):
        run(*pack, heartbeat=crash_at(1))
    pack[0].checkpoint.write_bytes(pack[1].checkpoint.read_bytes())
    assert run(*pack) == ["finished", "finished"]
    assert [each.record().reports for each in pack] == [each.record().reports for each in whole]
    assert "that of another search: seed 1 there, 0 here; set aside as checkpoint-damaged-1.pt" in mended(
        pack[0]
    )


def test_another_trials_next_state_does_not_cost_the_own_one(whole):
    expected, trial = whole
    state = load(trial.checkpoint)
    theirs = {**state, "epoch": 3, "identity": {**state["identity"], "epochs": 7}}
    trial.following.write_bytes(dump(theirs))
    assert run(trial) == "finished"
    assert trial.record().start["from_epoch"] == 2
    assert trial.record().reports == expected
    assert "epochs 7 there, 3 here; set aside as checkpoint.next-damaged-1.pt" in mended(trial)


@pytest.mark.parametrize("changed", ["data", "its own file"])
def test_a_checkpoint_that_may_be_its_own_fails_its_trial_alone(tmp_path, changed):
    """Other data would be learned from without a word; a changed configuration may be meant or not."""
    pack = make_pack(tmp_path, [config_of(seed) for seed in range(2)])
    with pytest.raises(Crash):
        run(*pack, heartbeat=crash_at(0))
    trial = pack[0]
    if changed == "data":
        state = load(trial.checkpoint)
        state["identity"]["data_fingerprint"] = "another"
        trial.checkpoint.write_bytes(dump(state))
    else:
        planned = trial.known
        trial.write(Trial(trial.id, config_of(5), {}), trial.space())
        pack[0] = TrialFolder(trial.path, lambda: planned)
    assert run(*pack) == ["failed", "finished"]
    assert "belongs to another search" in pack[0].record().reason


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ('"trial":"one"', '"trial":"two"'),
        ('"pack":["one"]', '"pack":["two","three"]'),
        ('"seed":0', '"seed":1'),
        ('"channels":2', '"channels":4'),
    ],
)
@pytest.mark.parametrize("goes_on", [True, False])
def test_records_of_another_search_are_set_aside(whole, mine, theirs, goes_on):
    """They lie in the trial's folder instead of its own, or before them."""
    expected, trial = whole
    own = trial.spool.path.read_text()
    assert mine in own
    trial.spool.path.write_text(own.replace(mine, theirs, 1) + (own if goes_on else ""))
    assert (trial.record().status, len(trial.record().reports)) == (
        ("running", 2) if goes_on else ("waiting", 0)
    )
    assert any("holds the records of another search" in what for what in trial.record().damage)
    assert trial.glance() == trial.record()
    assert run(trial) == "finished"
    record = trial.record()
    assert (record.reports, record.damage) == (expected, ())
    assert "events-damaged-1.jsonl" in mended(trial)


def test_a_start_that_says_less_is_believed(whole):
    """As those of raynas 0.1.0, and of a configuration with keys that have come since or are no more."""
    _, trial = whole
    first, *rest = trial.spool.path.read_text().splitlines(keepends=True)
    for change in (
        {"config": None},
        {"config": {"space": "tiny", "seed": "?"}},
        {"pack": []},
        {"trial": "one"},
    ):
        trial.spool.path.write_text(json.dumps({**json.loads(first), **change}) + "\n" + "".join(rest))
        trial.forget()
        assert (len(trial.record().reports), trial.record().damage) == (2, ())


def test_another_versions_records_are_left_alone(whole):
    _, trial = whole
    with trial.spool.path.open("ab") as file:
        file.write(json.dumps({"v": 2, "kind": "epoch"}).encode() + b"\n")
    before = trial.spool.path.read_bytes()
    assert run(trial) == "failed"
    assert trial.spool.path.read_bytes() == before


def local(folder: SweepFolder, *observers: Memory) -> None:
    LocalLauncher("cpu", fake_trials).run(folder, observers)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"id": "b-s0", "config": {}, "axes": {}}', None, *ODD]
)
@pytest.mark.parametrize("strategy", ["grid", "optuna"])
def test_what_a_trial_is_is_put_back_from_the_sweep(tmp_path, strategy, content):
    """Whether it has run already or not; the same trials come out."""
    more = {"strategy": strategy, "samples": 2 if strategy == "optuna" else None}
    folder, plain = (make_sweep(tmp_path / name, ["a", "b"], **more) for name in ("s", "plain"))
    for each in (folder, plain):
        local(each)
    configs = [trial.config() for trial in plain.trials()]
    for trial in folder.trials()[:2]:
        path = trial.path / "trial.json"
        if content is None:
            path.unlink()
        elif content in ODD:
            make_odd(path, content, tmp_path / "target")
        else:
            path.write_text(content)
    again, memory = SweepFolder(folder.path), Memory()
    assert [trial.config() for trial in again.trials()] == configs
    assert len(again.damage()) == 2
    assert set(statuses(again).values()) == {"finished"}
    local(again, memory)
    assert len(memory.repaired) == 2
    fresh = SweepFolder(folder.path)
    assert fresh.damage() == []
    assert [trial.config() for trial in fresh.trials()] == configs
    assert [trial.space() for trial in fresh.trials()] == [trial.space() for trial in plain.trials()]
    assert reports(fresh) == reports(plain)


def test_an_older_sweep_takes_values_and_space_from_the_other_trials(tmp_path):
    folder = make_sweep(tmp_path / "s", ["a"], seeds=2, strategy="optuna", samples=1)
    local(folder)
    expected = [(trial.config(), trial.space()) for trial in folder.trials()]
    data = json.loads((folder.path / "sweep.json").read_text())
    del data["suggested"], data["spaces"]
    (folder.path / "sweep.json").write_text(json.dumps(data))
    (folder.trials()[0].path / "trial.json").unlink()
    again = SweepFolder(folder.path)
    assert [(trial.config(), trial.space()) for trial in again.trials()] == expected


def test_a_search_whose_suggested_values_are_lost_begins_anew_with_others(tmp_path):
    folder = make_sweep(tmp_path / "s", ["a"], strategy="optuna", samples=2)
    local(folder)
    data = json.loads((folder.path / "sweep.json").read_text())
    data["suggested"] = []
    (folder.path / "sweep.json").write_text(json.dumps(data))
    (folder.trial("a-0-s0").path / "trial.json").write_text("{")
    again = SweepFolder(folder.path)
    assert statuses(again) == {"a-1-s0": "finished"}
    assert again.damage() == ["a-0-s0: the values suggested for it are lost"]
    local(again)
    assert set(statuses(SweepFolder(folder.path)).values()) == {"finished"}
    assert [start["from_epoch"] for start in starts(again, "a-0-s0")] == [0]


def test_a_finished_trials_garbage_is_cut_out_and_a_lacking_one_runs_again(tmp_path):
    folder = make_sweep(tmp_path / "s", ["a", "b"])
    local(folder)
    garbled, lacking = folder.trials()
    with garbled.spool.path.open("ab") as file:
        file.write(GARBAGE)
    lines = lacking.spool.path.read_text().splitlines(keepends=True)
    lines[0] = lines[0].replace('"attempt":1', '"attempt":1,"epochs":3')
    lacking.spool.path.write_text("".join(lines[:3] + lines[4:]))
    again = SweepFolder(folder.path)
    assert statuses(again) == {"a-s0": "finished", "b-s0": "running"}
    assert len(again.damage()) == 2
    local(again)
    assert SweepFolder(folder.path).trial("a-s0").record().damage == ()
    assert (garbled.path / "events-damaged-1.jsonl").exists()
    assert len(starts(again, "b-s0")) == 2


@pytest.mark.parametrize("kind", ODD)
def test_a_lock_that_is_no_file_is_set_aside_and_its_target_left_alone(tmp_path, kind):
    folder, target = make_sweep(tmp_path / "s", ["a"]), tmp_path / "target"
    target.write_text("mine")
    trial = folder.trial("a-s0")
    for path in (folder.path / ".driver.lock", trial.path / ".lock"):
        make_odd(path, kind, target)
    with only_driver(folder), only_writer([trial]):
        assert (folder.path / ".driver.lock").read_text().startswith("process ")
    assert target.read_text() == "mine"
    assert not (tmp_path / "nothing").exists()
    assert torch.get_num_threads() == 1


def test_a_trials_folder_that_is_gone_or_no_folder_is_made_again(tmp_path):
    folder = make_sweep(tmp_path / "s", ["a", "b"])
    for trial in folder.trials():
        (trial.path / "trial.json").unlink()
        trial.path.rmdir()
    folder.trials()[1].path.write_text("a file")
    again = SweepFolder(folder.path)
    local(again)
    assert set(statuses(again).values()) == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("write", range(1, 9))
def test_a_kill_at_any_write_of_a_recovery_costs_nothing(whole, monkeypatch, write):
    """Each of them ends in an `os.fsync`: of the records, their old file, the checkpoints, the next start."""
    expected, trial = whole
    trial.checkpoint.write_bytes(b"no checkpoint")
    lines = trial.spool.path.read_bytes().splitlines(keepends=True)
    trial.spool.path.write_bytes(b"".join([*lines[:2], GARBAGE, *lines[2:]]))
    left = [write]

    def mortal(descriptor, work=os.fsync):
        left[0] -= 1
        if left[0] == 0:
            raise Crash("killed")
        work(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", mortal)
        with pytest.raises(Crash):
            run(trial)
    assert run(trial) == "finished"
    assert trial.record().reports == expected
    assert trial.record().damage == ()


@pytest.mark.parametrize("change", ["nothing", "cut", "garbage", "lacking", "end cut"])
def test_a_glance_agrees_with_the_whole_record(ran, tmp_path, change):
    trial = TrialFolder(
        Path(shutil.copytree(ran[1].parents[2] / "whole" / "trials" / "one", tmp_path / "one"))
    )
    lines = trial.spool.path.read_bytes().splitlines(keepends=True)
    changed = {
        "nothing": lines,
        "cut": [*lines[:-1], lines[-1][:-5]],
        "garbage": [*lines[:2], GARBAGE, *lines[2:]],
        "lacking": [*lines[:2], *lines[3:]],
        "end cut": [*lines[:-2], lines[-1]],
    }
    trial.spool.path.write_bytes(b"".join(changed[change]))
    glance, record = trial.glance(), TrialFolder(trial.path).record()
    assert (glance.status, glance.deciding) == (record.status, record.deciding)
    assert glance.damage == record.damage
    assert (len(glance.reports) == 1) == (change in ("nothing", "cut"))
