"""`raynas show FILE --measure`: each search in a process of its own, so that none finds another's memory."""

import os

import pytest

from raynas.cli import measured as measuring
from raynas.config import SearchConfig
from raynas.errors import RaynasError

CONFIGS = [SearchConfig(space="tiny", batch=batch, channels=4, cells=3) for batch in (16, 17)]


def _whose(config: SearchConfig) -> dict[str, int]:
    return {"batch": config.batch, "process": os.getpid()}


def _dies(config: SearchConfig) -> None:
    os._exit(9)


@pytest.mark.slow
def test_each_search_is_measured_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_measure_alone", _whose)
    measured = measuring.measured_each([*CONFIGS, CONFIGS[0]])
    assert [each["batch"] for each in measured] == [16, 17]  # what does not differ in size is measured once
    assert len({os.getpid(), *(each["process"] for each in measured)}) == 3


@pytest.mark.slow
def test_a_process_that_was_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_measure_alone", _dies)
    with pytest.raises(RaynasError, match="measured darts on tiny was ended"):
        measuring.measured_each(CONFIGS[:1])
