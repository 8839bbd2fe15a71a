"""The state of searches between two epochs: what a checkpoint of one holds, and whose it is."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from raynas.bilevel.records import EpochReport
from raynas.config import SearchConfig
from raynas.data.split import Splits
from raynas.methods.identity import another_search, check_identity, identity_of
from raynas.search.calendar import Calendar
from raynas.search.streams import stream
from raynas.search.trainer import Trainer
from raynas.spaces import skeletons
from raynas.spaces.space import Space

VERSION = 2


class State:
    """All that the epochs of K searches change: ``epoch`` counts those that are over, the rest is per lane.

    ``streams`` deal out data, ``history`` holds the reports, ``past`` what `snapshot` returned after those
    epochs that a search may go back to, and ``restarts`` how often it has.
    """

    def __init__(
        self,
        configs: Sequence[SearchConfig],
        space: Space,
        splits: Splits,
        trainer: Trainer,
        calendar: Calendar,
    ) -> None:
        self.configs, self.trainer, self.calendar = configs, trainer, calendar
        self._space, self._splits = space, splits
        self.epoch = 0
        self.streams: dict[str, list[torch.Generator]] = {
            name: [stream(config.seed, name) for config in configs] for name in ("train", "valid")
        }
        self.history: list[list[EpochReport]] = [[] for _ in configs]
        self.past: list[dict[int, dict[str, Any]]] = [{} for _ in configs]
        self.restarts = [0 for _ in configs]

    def state_dict(self, lane: int) -> dict[str, Any]:
        """Return everything one search needs to go on from here, as tensors and plain values."""
        return {
            "version": VERSION,
            "identity": identity_of(self.configs[lane], self.calendar.method, **self._shared()),
            "epoch": self.epoch,
            **self.snapshot(lane),
            "history": [report.to_json() for report in self.history[lane]],
            # As many states again as the stop rule may go back by, so that a resumed search can go back as
            # well.
            "past": dict(self.past[lane]),
            "restarts": self.restarts[lane],
        }

    def load_state_dict(self, state: Mapping[str, Any], lane: int) -> None:
        """Put one search back to where ``state`` was taken; raises `RaynasError` if it is another's."""
        if state.get("version") != VERSION:
            raise another_search(f"version: {state.get('version')}", f"version: {VERSION}")
        theirs = state.get("identity", {})
        check_identity(theirs, self.configs[lane], self.calendar.method, **self._shared())
        self.epoch = state["epoch"]
        self.restore(lane, state)
        self.history[lane] = [EpochReport.from_json(report) for report in state["history"]]
        self.past[lane] = dict(state["past"])
        self.restarts[lane] = state["restarts"]
        # Weight decay is not part of a snapshot: a search that goes back takes the earlier state up with more
        # of it.
        self.trainer.regularise(lane, self.restarts[lane])

    def snapshot(self, lane: int) -> dict[str, Any]:
        """Return what every step changes."""
        streams = {name: generators[lane].get_state() for name, generators in self.streams.items()}
        return {**self.trainer.state(lane), "streams": streams}

    def restore(self, lane: int, snapshot: Mapping[str, Any]) -> None:
        """Put back what every step changes, as it was before ``epoch`` began."""
        # Stages may have rebuilt the supernet (P-DARTS): shapes first, or the numbers would not fit.
        self.trainer.take_shape_of(self.calendar.progress(self.epoch - 1).stage)
        self.trainer.restore(lane, snapshot)
        for name, generators in self.streams.items():
            generators[lane].set_state(snapshot["streams"][name])

    def _shared(self) -> dict[str, str]:
        """Return the fingerprints of space and data."""
        return {
            "space_fingerprint": skeletons.fingerprint(self._space),
            "data_fingerprint": str(self._splits.record()["hash"]),
        }
