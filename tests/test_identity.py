"""What a search is: fingerprints of methods, checkpoints that fit, and folders that other versions began."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from helpers.cli_folders import make_sweep, raynas
from helpers.fingerprints import kept, present

from raynas.bilevel.slots import Penalty
from raynas.data.load import load_data
from raynas.errors import RaynasError
from raynas.launch.trial import run_trials
from raynas.methods import identity, method_names, resolve
from raynas.methods.identity import changes, check_identity, identity_of, record_of
from raynas.parts.relaxations import Softmax
from raynas.parts.samplers import Gumbel, Mean
from raynas.parts.schedules import Linear
from raynas.sweep.folder import SweepFolder
from raynas.sweep.identity import check_unchanged, records_of
from raynas.sweep.propose import Proposer

Capture = pytest.CaptureFixture[str]
OLD = Path(__file__).parent / "data" / "raynas-0.1.0"
IDS = ("darts-s0", "darts-2nd-s0", "gdas-s0")


@pytest.mark.parametrize("name", sorted({*method_names(), *kept()}))
def test_no_method_changes_unnoticed(name: str) -> None:
    then, now = kept().get(name), present().get(name)
    if now == then:
        return
    found = changes(then["record"], resolve(name)) if then and now else ["it is new" if now else "it is gone"]
    pytest.fail(
        f"{name} is not what it was: {'; '.join(found) or 'it has settings that it had not'}. Restore it, or "
        "raise `version` of the part or method that computes something else (raynas/methods/identity.py says "
        "when), and then run: python tests/helpers/fingerprints.py"
    )


def test_words_and_ways_of_typing_numbers_do_not_count() -> None:
    gdas = resolve("gdas")
    assert gdas.with_("mine", "another title", "another source").fingerprint == gdas.fingerprint
    temperature = {"use": "linear", "start": 10.0, "end": 0.1}
    sampler = {"use": "gumbel", "temperature": temperature, "hard": True, "execute": "chosen"}
    assert resolve({"base": "gdas", "sampler": sampler}).fingerprint == gdas.fingerprint


def test_every_setting_and_every_version_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    darts, gdas = resolve("darts"), resolve("gdas")
    before = {"darts": darts.fingerprint, "gdas": gdas.fingerprint}
    others = [
        replace(gdas, sampler=Gumbel(Linear(10, 0.2), hard=True, execute="chosen")),
        replace(gdas, order="joint"),
        replace(gdas, without=("none",)),
        replace(gdas, defaults={**gdas.defaults, "epochs": 3}),
        replace(gdas, version=gdas.version + 1),
    ]
    assert len({before["gdas"], *(each.fingerprint for each in others)}) == 6
    then = record_of(gdas)
    assert changes(then, others[0]) == ["sampler.temperature.end: 0.1 then, 0.2 now"]
    assert "sampler: gumbel then, mean now" in changes(then, darts)
    monkeypatch.setattr(Linear, "version", 2, raising=False)
    assert darts.fingerprint == before["darts"]
    assert gdas.fingerprint != before["gdas"]
    assert changes(then, gdas) == ["sampler.temperature (linear): version 1 then, 2 now"]
    monkeypatch.setattr(identity, "LOOP_VERSION", identity.LOOP_VERSION + 1)
    assert darts.fingerprint != before["darts"]


@dataclass(frozen=True)
class Outside(Penalty):
    """A part that no trial file can name."""

    version: ClassVar[int] = 3
    strength: float = 0.5

    def __call__(self, losses, policy, flat, draw, costs=None):  # type: ignore[no-untyped-def]
        return losses


def test_parts_from_outside_are_covered() -> None:
    method = resolve("darts").with_("mine", "mine", penalties=(Outside(),))
    [recorded] = record_of(method)["penalties"]
    assert recorded == {"use": f"{__name__}:Outside", "version": 3, "strength": 0.5}
    [found] = changes(record_of(method), replace(method, penalties=(Outside(0.25),)))
    assert found == "penalties[0].strength: 0.5 then, 0.25 now"


def test_a_setting_that_a_record_lacks_counts_as_its_default() -> None:
    record = record_of(resolve("darts"))
    del record["sampler"]["execute"]
    assert changes(record, resolve("darts")) == []
    sampled = resolve("darts").with_("mine", "mine", sampler=Mean("chosen"))
    assert changes(record, sampled) == ['sampler.execute: not there then, "chosen" now']
    record["sampler"]["tempo"] = 2
    assert changes(record, resolve("darts")) == ["sampler.tempo: 2 then, not there now"]
    record = record_of(resolve("drnas"))
    assert (record.pop("version"), record["sampler"].pop("version")) == (2, 2)
    raised = ["the method: version 1 then, 2 now", "sampler (dirichlet): version 1 then, 2 now"]
    assert changes(record, resolve("drnas")) == raised


def test_a_key_that_a_checkpoint_lacks_counts_as_its_default(make_search_config: Any) -> None:
    config, method = make_search_config(), resolve("darts")
    theirs = identity_of(config, method, space_fingerprint="a")
    del theirs["recompute"], theirs["data"]["cutout"]
    check_identity(theirs, config, method, space_fingerprint="a")
    for changed in (make_search_config(recompute=True), make_search_config(data={"cutout": 4})):
        with pytest.raises(RaynasError, match="another search"):
            check_identity(theirs, changed, method, space_fingerprint="a")
    with pytest.raises(RaynasError, match="space_fingerprint: a"):
        check_identity(theirs, config, method, space_fingerprint="b")
    with pytest.raises(RaynasError, match="of_tomorrow"):
        check_identity({**theirs, "of_tomorrow": 1}, config, method, space_fingerprint="a")
    with pytest.raises(RaynasError, match=r"darts, fingerprint .*: the method: version 1 then, 2 now"):
        check_identity(theirs, config, replace(method, version=method.version + 1), space_fingerprint="a")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sweeps `finished` and `halfway` (all its trials killed), as raynas 0.1.0 left them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD, tmp_path / "runs")
    return tmp_path / "runs"


def bytes_of(folder: Path) -> Mapping[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("sweep", ["finished", "halfway"])
def test_what_another_version_left_can_be_read(capsys: Capture, runs: Path, sweep: str) -> None:
    for words in (["status", sweep], ["show", sweep], ["select", sweep], ["report", sweep], ["ls", "sweeps"]):
        assert raynas(capsys, *words).code == 0, words
    cell = "best/genotype.json" if sweep == "halfway" else "trials/gdas-s0/genotype.json"
    if (path := runs / sweep / cell).exists():
        assert raynas(capsys, "draw", str(path)).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", IDS)
def test_a_search_of_another_version_goes_on_as_it_would_have_or_not_at_all(runs: Path, name: str) -> None:
    trial = SweepFolder(runs / "halfway").trial(name)
    run_trials([trial], dataset=load_data(trial.config().data), device=torch.device("cpu"), heartbeat=print)
    record = trial.record()
    if found := changes(None, resolve(trial.config().method)):
        assert record.status == "failed"
        assert found[0] in record.reason
        assert "not recorded (raynas 0.1.0)" in record.reason
        return
    assert record.status == "finished"
    whole = SweepFolder(runs / "finished").trial(name).record()
    assert [each.genotype for each in record.reports] == [each.genotype for each in whole.reports]
    for found, expected in zip(record.reports, whole.reports, strict=True):
        # Everything but the order of a sum is the same on every machine.
        for key in ("train_loss", "valid_loss", "discrete_loss"):
            assert getattr(found, key) == pytest.approx(getattr(expected, key), rel=1e-5)
        assert found.curvature.eig_max == pytest.approx(expected.curvature.eig_max, rel=1e-3)


def test_a_changed_method_is_refused_before_anything_starts(
    capsys: Capture, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Softmax, "version", 7, raising=False)
    before = bytes_of(runs)
    outcome = raynas(capsys, "resume", "halfway", "--local")
    assert outcome.code == 2
    assert "begun with raynas 0.1.0" in outcome.err
    assert "3 methods that it has still to run compute something else" in outcome.err
    for name in ("darts", "darts-2nd", "gdas"):
        assert f"{name}: " in outcome.err
        assert resolve(name).fingerprint in outcome.err
    assert "relaxation (softmax): version 1 then, 7 now" in outcome.err
    assert f"raynas sweep {runs}/halfway/sweep.yaml name=halfway-2" in outcome.err
    assert bytes_of(runs) == before
    assert Proposer(SweepFolder(runs / "finished")).pending() == 0


def test_a_sweep_records_its_methods(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    methods = ["darts", {"base": "gdas", "sampler": {"use": "gumbel", "hard": True}}]
    folder = make_sweep(tmp_path / "runs", [f"grid.method={json.dumps(methods)}"])
    recorded = {json.dumps(each["method"]): each for each in SweepFolder(folder.path).sweep().methods}
    for given in methods:
        found = recorded[json.dumps(given)]
        assert found["fingerprint"] == resolve(given).fingerprint
        assert changes(found["record"], resolve(given)) == []
    Proposer(SweepFolder(folder.path))
    monkeypatch.setattr(Gumbel, "version", 9, raising=False)
    outcome = raynas(capsys, "resume", "four", "--local")
    assert outcome.code == 2
    assert "a method that it has still to run computes something else" in outcome.err
    assert recorded[json.dumps(methods[1])]["fingerprint"] in outcome.err
    assert "darts:" not in outcome.err


def test_what_counts_is_the_method_on_the_spaces_that_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    darts = resolve("darts")
    now = [replace(darts, on={"tiny": {"order": "joint"}, "residual": {"every": 2}})]
    monkeypatch.setattr("raynas.methods.resolve", lambda *given: now[0])
    sweep = make_sweep(tmp_path / "runs", ["method=darts"]).sweep()
    begun = [(trial.config.method, trial.config.space) for trial in sweep.trials if trial.config]
    unsuited = {"method": "darts", "fingerprint": now[0].fingerprint, "record": record_of(now[0])}
    for methods in (sweep.methods, (unsuited,)):  # of sweeps that are begun now, and that were begun before
        recorded = replace(sweep, methods=methods)
        for same in (now[0], replace(darts, on={"tiny": {"order": "joint"}, "residual": {"every": 3}})):
            monkeypatch.setattr("raynas.methods.resolve", lambda *given, found=same: found)
            check_unchanged(recorded, "four", "four.yaml", begun)
        for other in (
            darts,
            replace(darts, order="joint", every=2),
            replace(darts, on={"tiny": {"order": "joint", "defaults": {"warmup": 1}}}),
            replace(darts, on={"tiny": {"order": "joint", "sampler": Gumbel(Linear(10, 1))}}),
            replace(darts, on={"tiny": {"order": "weights-first"}}),
        ):
            monkeypatch.setattr("raynas.methods.resolve", lambda *given, found=other: found)
            with pytest.raises(
                RaynasError, match="a method that it has still to run computes something else"
            ):
                check_unchanged(recorded, "four", "four.yaml", begun)


def test_a_method_has_a_record_for_each_form_that_it_takes() -> None:
    spaces = ("tiny", "nas-bench-201", "darts")
    one, other = records_of(("drnas", space) for space in spaces)
    assert (one["spaces"], other["spaces"]) == (["tiny", "darts"], ["nas-bench-201"])
    assert (one["record"]["without"], other["record"]["without"]) == (["none"], [])
    assert one["fingerprint"] != other["fingerprint"]
