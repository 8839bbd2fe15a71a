"""Folding a trial's events into its record."""

from typing import Any

import pytest
from helpers.sweeping import report

from raynas.config import SearchConfig
from raynas.sweep.record import TrialRecord, fold

CONFIG = SearchConfig(space="tiny")


def folded(*events: dict[str, Any]) -> TrialRecord:
    return fold("darts-s0", CONFIG, {"seed": 0}, events)


def epoch(number: int, loss: float = 1.0) -> dict[str, Any]:
    return {"kind": "epoch", "report": report(number, loss).to_json()}


START = {"kind": "start", "attempt": 1}


def test_no_event_is_waiting() -> None:
    record = folded()
    assert (record.status, record.reason, record.reports, record.start, record.newest) == (
        "waiting", "", (), None, None,
    )  # fmt: skip
    assert record.axes == {"seed": 0}


def test_a_start_is_running_and_an_end_says_how_it_ended() -> None:
    assert folded(START).status == "running"
    for status in ("finished", "diverged", "failed"):
        record = folded(START, {"kind": "end", "status": status, "reason": "because"})
        assert (record.status, record.reason) == (status, "because")


def test_reports_come_back_exactly() -> None:
    record = folded(START, epoch(0), epoch(1, 0.1))
    assert record.reports == (report(0), report(1, 0.1))
    assert record.newest == report(1, 0.1)


def test_an_epoch_run_again_after_a_kill_keeps_its_first_report() -> None:
    record = folded(
        START, epoch(0, 1.0), epoch(1, 2.0), {**START, "attempt": 2}, epoch(1, 9.0), epoch(2, 3.0)
    )
    assert [(r.epoch, r.valid_loss) for r in record.reports] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert record.start == {"kind": "start", "attempt": 2}


def test_reports_are_ordered_by_epoch() -> None:
    assert [r.epoch for r in folded(epoch(2), epoch(0), epoch(1)).reports] == [0, 1, 2]


def test_failed_attempts_are_remembered_and_a_new_attempt_runs() -> None:
    failed = (
        START,
        {"kind": "error", "message": "out of memory"},
        {"kind": "end", "status": "failed", "reason": "x"},
    )
    assert folded(*failed).errors == ("out of memory",)
    again = folded(*failed, START)
    assert (again.status, again.reason, again.errors) == ("running", "", ("out of memory",))


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_finished_and_diverged_are_final(status: str) -> None:
    end = {"kind": "end", "status": status, "reason": ""}
    assert folded(START, end, START, {"kind": "end", "status": "failed", "reason": "late"}).status == status


def test_unknown_events_are_passed_over() -> None:
    assert folded(START, {"kind": "sneeze"}) == folded(START)


def test_method_name() -> None:
    assert folded().method_name == "darts"
    config = SearchConfig(space="tiny", method={"base": "darts", "name": "mine"})
    assert fold("x", config, {}, []).method_name == "darts-mine"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"kind": "epoch"},
        {"kind": "epoch", "report": {"epoch": 0}},
        {"kind": "epoch", "report": {"epoch": 0, "genotype": {}}},
        {"kind": "epoch", "report": 3},
        {**START, "pack": [{}]},
        {**START, "mended": 3},
        {**START, "versions": {"torch": 2}},
        {**START, "epochs": "many"},
        {"kind": "error"},
        {"kind": "end"},
        {"kind": "end", "status": "asleep", "reason": ""},
        {"kind": "start", "attempt": "first"},
        {"kind": "epoch", "report": {**report(0).to_json(), "valid_loss": "low"}},
        {"kind": "epoch", "report": {**report(0).to_json(), "weights": 3}},
        {"kind": "epoch", "report": {**report(0).to_json(), "weights": {"normal": [["x"]]}}},
        {"kind": "epoch", "report": {**report(0).to_json(), "skips": {"normal": [1]}}},
    ],
)
def test_an_event_that_is_not_whole_is_told_and_costs_no_other(event: dict[str, Any]) -> None:
    record = folded(START, event, epoch(0))
    assert "not whole" in record.damage[0]
    assert (record.status, record.reports, record.start) == ("running", (report(0),), START)


def test_a_search_that_finished_with_epochs_missing_is_not_finished() -> None:
    start, end = {**START, "epochs": 3}, {"kind": "end", "status": "finished", "reason": ""}
    for there in ((0, 1), (0, 2), (1, 2), ()):
        record = folded(start, *map(epoch, there), end)
        assert record.status == "running"
        assert f"{3 - len(there)} of 3 epochs" in record.damage[0]
    assert folded(start, *map(epoch, range(3)), end).status == "finished"
    ended = {**epoch(1)["report"], "ended": {"epoch": 0, "reason": "λ"}}
    assert folded(start, epoch(0), {"kind": "epoch", "report": ended}, end).status == "finished"


def test_another_versions_records_are_neither_ranked_nor_run() -> None:
    record = folded(START, {"kind": "damage", "why": "events.jsonl: format 2", "foreign": True})
    assert (record.status, record.foreign, record.damage) == ("failed", True, ("events.jsonl: format 2",))


def test_an_epoch_from_before_a_search_went_back_can_be_restored_later() -> None:
    def at(number: int, restart: int) -> dict[str, Any]:
        return {"kind": "epoch", "report": {**report(number).to_json(), "restart": restart}}

    record = folded(at(0, 0), at(2, 1), at(3, 1), at(1, 0), at(3, 0))
    assert [(each.epoch, each.restart) for each in record.reports] == [(0, 0), (1, 0), (2, 1), (3, 1)]


def test_a_search_that_goes_back_replaces_what_it_had_said() -> None:
    def again(number: int, restart: int) -> dict[str, Any]:
        event = epoch(number, loss=10.0 * restart)
        return {**event, "report": {**event["report"], "restart": restart}}

    record = folded(*(again(number, 0) for number in range(4)), again(2, 1), again(2, 1))
    assert [(report.epoch, report.restart) for report in record.reports] == [(0, 0), (1, 0), (2, 1)]
    assert [(report.epoch, report.restart) for report in record.replaced] == [(2, 0), (3, 0)]
    assert record.ran == (*record.reports[:2], *record.replaced, record.reports[2])


def test_the_epoch_that_counts_may_be_an_earlier_one() -> None:
    last = epoch(2)
    last = {**last, "report": {**last["report"], "ended": {"epoch": 1, "reason": "why"}}}
    record = folded(epoch(0), epoch(1), last)
    assert record.newest is not None
    assert record.deciding is not None
    assert (record.newest.epoch, record.deciding.epoch) == (2, 1)
