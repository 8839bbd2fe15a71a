"""The end of a search before its last epoch, and its return to an earlier one (R-DARTS-ADA)."""

from dataclasses import replace

from raynas.bilevel.records import End
from raynas.bilevel.slots import Ending
from raynas.errors import Diverged
from raynas.search.report import EpochOutcome
from raynas.search.state import State
from raynas.spaces.space import Space


def judge(state: State, lane: int, report: EpochOutcome, space: Space) -> EpochOutcome:
    """Enter a lane's report and ask the stop rule about all of them; the last one says if the search is over.

    A search that goes back has an earlier ``state.epoch`` afterwards; one that diverged is over anyhow.
    """
    if isinstance(report, Diverged):
        return report
    calendar, history = state.calendar, state.history[lane]
    history.append(report)
    if calendar.method.returning and report.curvature is not None:
        _remember(state, lane)
    # The last epoch is the end anyhow.
    stop = calendar.method.stop if state.epoch < calendar.epochs else None
    ending = stop and stop(history, space)
    if ending and ending.again:
        if state.restarts[lane] < ending.again.times:
            _go_back(state, lane, ending)
    elif ending:
        history[-1] = replace(report, ended=End(ending.epoch, ending.reason))
        return history[-1]
    return report


def _remember(state: State, lane: int) -> None:
    """Keep this epoch's state as long as the stop rule may go back to it."""
    reach = max(rule.reach for rule in state.calendar.method.returning)
    past = state.past[lane]
    # The epoch just reported has been counted by now.
    past[state.epoch - 1] = state.snapshot(lane)
    state.past[lane] = dict(sorted(past.items())[-reach:])


def _go_back(state: State, lane: int, ending: Ending) -> None:
    """Return to the end of an earlier epoch, with more weight decay from there on."""
    state.epoch = ending.epoch + 1
    past = state.past[lane]
    state.restore(lane, past[ending.epoch])
    # What came after belongs to a course that has been taken back; it will come again, with other numbers.
    state.past[lane] = {epoch: kept for epoch, kept in past.items() if epoch <= ending.epoch}
    state.history[lane] = state.history[lane][: state.epoch]
    state.restarts[lane] += 1
    state.trainer.regularise(lane, state.restarts[lane])
