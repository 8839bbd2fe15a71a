"""The folder of one trial: what it is, what it has told, and where it can go on from."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from raynas.disk import disk_error, read_json, set_aside, write_atomic
from raynas.errors import RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_json
from raynas.spaces.space import Space
from raynas.spaces.space_file import sound_space
from raynas.sweep.feed import SpoolFeed
from raynas.sweep.plan import CONFIGS, C, Kind, Trial, kind_of
from raynas.sweep.record import Fold, T
from raynas.sweep.spool import Spool
from raynas.train.records import CARD, WEIGHTS

P = TypeVar("P")

PUT_BACK = "put back the file as raynas wrote it, or run the sweep again under another name"

NETWORK = "network"
"""The folder of a trial that holds its trained network."""


@dataclass(frozen=True)
class Known:
    """What a trial is: its configuration, what varies, its space as JSON text (None where nothing has it).

    One of the kind ``train`` has its cell there instead. ``damage`` says what is wrong with the file that
    should say so, where the sweep's own had to. A search judges ``control`` random cells at its end.
    """

    config: Any
    axes: dict[str, object]
    space: str | None
    damage: str = ""
    kind: Kind = "search"
    control: int = 0


class TrialFolder(Generic[C, T]):
    """The folder of one trial; stands on its own, so a trial elsewhere needs only its path.

    ``planned`` returns what the sweep knows of the trial, or None: it counts where the trial's own file is
    missing or damaged. What was read is kept, and the records are read on from where they were read to.
    """

    def __init__(self, path: Path, planned: Callable[[], Known | None] = lambda: None) -> None:
        self.path = path
        self._planned = planned

    @property
    def id(self) -> str:
        """The trial's id, which is the folder's name."""
        return self.path.name

    @property
    def spool(self) -> Spool:
        """The trial's own record of events."""
        return Spool(self.path / "events.jsonl")

    @property
    def checkpoint(self) -> Path:
        """The exact state after the last finished epoch."""
        return self.path / "checkpoint.pt"

    @property
    def network(self) -> Path:
        """The trained network of a training that has ended; see `raynas.train.deployed`."""
        return self.path / NETWORK

    @property
    def kept(self) -> bool:
        """Whether the trained network is there, by its files' names."""
        return all((self.network / name).is_file() for name in (CARD, WEIGHTS))

    @property
    def following(self) -> Path:
        """The state one epoch later, until those of the whole pack are on disk and take their places."""
        return self.path / "checkpoint.next.pt"

    @property
    def log(self) -> Path:
        """Tracebacks and warnings."""
        return self.path / "log.txt"

    @property
    def planned(self) -> bool:
        """Whether the configuration is known; False for an optuna slot that was not yet suggested."""
        try:
            return bool(self.known)
        except RaynasError:
            return False

    @cached_property
    def known(self) -> Known:
        """What the trial is; raises `RaynasError` when neither its own file nor the sweep's can say."""
        try:
            return self._read()
        except RaynasError as error:
            if (planned := self._planned()) is None:
                raise
            return replace(planned, damage=" ".join(f"{error.what}: {error.got}".split()))

    @property
    def as_planned(self) -> bool:
        """Whether the trial has the configuration that its sweep gives it, where that can say."""
        try:
            planned = self._planned()
        except RaynasError:
            return True
        return planned is None or planned.config == self.config()

    @cached_property
    def feed(self) -> SpoolFeed[T]:
        """The trial's events as far as they were read; raises as `known`."""
        return SpoolFeed[T](self.id, self.spool, self.known.config, self.known.axes)

    def own(self) -> Known | None:
        """Return what the trial's own file says; None when it is missing or damaged."""
        try:
            return self._read()
        except RaynasError:
            return None

    def config(self) -> C:
        """Return the trial's configuration; raises `RaynasError` when it is missing or damaged."""
        return cast("C", self.known.config)

    @property
    def kind(self) -> Kind:
        """Whether the trial searches for a cell or trains one; raises as `known`."""
        return self.known.kind

    def subject(self) -> Space | Genotype:
        """Return what the trial is about: the space that it searches, or the cell that it trains."""
        return self.space() if self.kind == "search" else self.genotype()

    def genotype(self) -> Genotype:
        """Return the cell that the trial trains."""
        return genotype_from_json(json.loads(self.known.space or "null"))

    def space(self) -> Space:
        """Return the space as it was when the trial was planned, whatever its YAML says by now."""
        if self.known.space is None:
            return load_space(self.known.config.space)
        return _space(self.known.space)

    def record(self) -> T:
        """Return all there is to know about the trial by now."""
        record, damage = self.feed.read(), [self.known.damage] if self.known.damage else []
        if record.start is None and not record.reports and (self.path / "genotype.json").is_file():
            # Written at the end of a search: a folder that was copied in part.
            damage.append("events.jsonl is missing, though the search has ended: is the copy whole?")
        return replace(record, damage=(*damage, *record.damage)) if damage else record

    def glance(self) -> T:
        """Return a record that has the last report alone where that is the one that counts; else the whole.

        A tenth of the work, for what asks only how a trial stands.
        """
        if (outline := self.spool.outline()) is None:
            return self.record()
        events, count = outline
        known = self.known
        fold = Fold[T](self.id, known.config, known.axes)
        whole = all(fold.take(event) for event in events)
        record = fold.record(checked=False)
        last = record.newest
        ended = None if last is None else last.ended
        # Where any doubt is left, all of the file is read: this is a shortcut and must never say anything
        # else.
        lacks = record.status == "finished" and ended is None and count < record.epochs
        apart = last is not None and (last.epoch != count - 1 or (ended and ended.epoch != last.epoch))
        if not whole or lacks or apart:
            return self.record()
        return replace(record, damage=(known.damage,)) if known.damage else record

    def set_aside(self, *paths: Path) -> list[str]:
        """Rename those files that are there, as they cannot be used any more; return their new names."""
        return [set_aside(path).name for path in paths if os.path.lexists(path)]

    def write(self, trial: Trial[Any], subject: Space | Genotype | None = None, *, control: int = 0) -> None:
        """Write the trial's configuration and its cell or its whole space (its name's by now)."""
        if os.path.lexists(self.path) and not self.path.is_dir():
            set_aside(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.path) from error
        if isinstance(subject, Genotype):
            written = {"kind": "train", **trial.to_json(), "cell": subject.to_json()}
        else:
            if subject is None and trial.config is not None:
                subject = load_space(trial.config.space)
            space = subject.model_dump(mode="json") if subject else None
            written = {**trial.to_json(), "control": control, "space": space}
        write_atomic(self.path / "trial.json", pretty(written))
        self.forget()

    def forget(self) -> None:
        """Read everything anew when it is asked for again."""
        self.__dict__.pop("known", None)
        self.let_go()

    def let_go(self) -> None:
        """Keep the records no longer in memory; they are read again when they are asked for."""
        self.__dict__.pop("feed", None)

    def _read(self) -> Known:
        return read_mapping(self.path / "trial.json", "a trial's configuration", self._parse)

    def _parse(self, data: dict[str, Any]) -> Known:
        if data["id"] != self.id:
            raise ValueError(f"it is that of {data['id']!r:.40}")
        kind = kind_of(data)
        subject = json.dumps(data["space" if kind == "search" else "cell"], sort_keys=True)
        _ = _space(subject) if kind == "search" else genotype_from_json(json.loads(subject))
        config = CONFIGS[kind].model_validate(data["config"])
        return Known(config, dict(data["axes"]), subject, kind=kind, control=int(data.get("control", 0)))


@lru_cache(maxsize=64)
def _space(text: str) -> Space:
    """Return a space from its JSON text; the trials of a sweep share a few."""
    return sound_space(json.loads(text))


def read_mapping(path: Path, what: str, parse: Callable[[dict[str, Any]], P]) -> P:
    """Return what ``parse`` makes of a file's JSON mapping; raises `RaynasError` for whatever is amiss."""
    try:
        data = read_json(path)
        if not isinstance(data, dict):
            raise TypeError(f"expected a JSON mapping, got a {type(data).__name__}")
        return parse(data)
    except FileNotFoundError:
        raise RaynasError(f"{what} is missing", got=path, next_step=PUT_BACK) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise RaynasError(f"{what} cannot be read", got=f"{path}: {why[:200]}", next_step=PUT_BACK) from None


def pretty(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()
