"""The folder of a sweep: where everything lies, and reading and writing it."""

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from raynas.core.config import SearchConfig
from raynas.core.space import Space
from raynas.disk import disk_error, read_bounded, read_json, write_atomic
from raynas.errors import RaynasError, nearest, quoted
from raynas.library import load_space
from raynas.sweep.plan import VERSION, Sweep, Track, Trial
from raynas.sweep.record import TrialRecord, fold
from raynas.sweep.spool import Spool
from raynas.sweep.uri import without_passwords

__all__ = ["SweepFolder", "TrialFolder", "write_atomic"]

T = TypeVar("T")

_PUT_BACK = "put back the file as raynas wrote it, or run the sweep again under another name"


class TrialFolder:
    """The folder of one trial; stands on its own, so a trial elsewhere needs only its path."""

    def __init__(self, path: Path) -> None:
        self.path = path

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
        return (self.path / "trial.json").is_file()

    def config(self) -> SearchConfig:
        """Read the trial's configuration; raises `RaynasError` when it is missing or damaged."""
        return self._read(lambda trial: SearchConfig.model_validate(trial["config"]))

    def space(self) -> Space:
        """Read the space as it was when the trial was planned, whatever its YAML says by now."""
        return self._read(lambda trial: Space.model_validate(trial["space"]))

    def record(self) -> TrialRecord:
        """Read all there is to know about the trial."""
        config, axes = self._read(
            lambda trial: (SearchConfig.model_validate(trial["config"]), dict(trial["axes"]))
        )
        return fold(self.id, config, axes, self.spool.events()[0])

    def write(self, trial: Trial) -> None:
        """Write the trial's configuration and its whole space, making the folder."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.path) from error
        space = load_space(trial.config.space).model_dump(mode="json") if trial.config else None
        write_atomic(self.path / "trial.json", _pretty({**trial.to_json(), "space": space}))

    def _read(self, parse: Callable[[dict[str, Any]], T]) -> T:
        return _read_mapping(self.path / "trial.json", "a trial's configuration", parse)


class SweepFolder:
    """The folder of one sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sweep: Sweep | None = None
        self._made = False

    @property
    def name(self) -> str:
        """The sweep's name, which is the folder's."""
        return self.path.name

    @property
    def typed(self) -> str:
        """What a command names the sweep by: its name, with `--runs` where its folder is not in ./runs."""
        runs = self.path.parent
        elsewhere = runs.resolve() != Path("runs").resolve()
        return self.name + (f" --runs {shlex.quote(str(runs))}" if elsewhere else "")

    @property
    def best(self) -> Path:
        """Where the winner's genotype and drawings go."""
        return self.path / "best"

    @property
    def packs(self) -> Path:
        """What was measured before the first trial: steps, packs and convolution forms."""
        return self.path / "packs.json"

    @property
    def exists(self) -> bool:
        """Whether a sweep was created here."""
        return (self.path / "sweep.json").is_file()

    def create(self, sweep: Sweep, source_text: str) -> None:
        """Write a new sweep, `sweep.json` last.

        Raises `RaynasError` when there already is one, or when the disk is full or may not be written.
        """
        if self.exists or any(self.path.glob("trials/*/events.jsonl")):
            raise RaynasError(
                f"there is already a sweep {self.name!r}",
                got=self.path,
                next_step=f"raynas resume {self.typed}, or give the new one another name: "
                f"name={self.name}-2, or delete the folder of the old one",
            )
        self._made = not self.path.exists()
        try:
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.path) from error
        address = sweep.track.mlflow
        if address and without_passwords(address) != address:
            write_atomic(self._secret, address.encode(), mode=0o600)
        sweep = replace(
            sweep,
            track=Track(mlflow=address and without_passwords(address)),
            command=without_passwords(sweep.command),
            resolved=_hidden(sweep.resolved),
        )
        write_atomic(self.path / "sweep.yaml", without_passwords(source_text).encode())
        for trial in sweep.trials:
            if trial.config is not None:
                self.trial(trial.id).write(trial)
        write_atomic(self.path / "sweep.json", _pretty(sweep.to_json()))

    @property
    def mlflow(self) -> str | None:
        """The address of the sweep's MLflow store, its password included; None for none.

        The password lies in a file that only its owner may read, and nowhere else. Raises `RaynasError` when
        that file has gone.
        """
        address = self.sweep().track.mlflow
        if address is None or without_passwords(address) != address or "***" not in address:
            return address
        try:
            return read_bounded(self._secret, 10_000).decode()
        except (OSError, ValueError) as error:
            raise RaynasError(
                "the password of the sweep's MLflow store cannot be read",
                got=f"{self._secret}: {error}",
                next_step=f"write the whole address into it: {address}",
            ) from None

    @property
    def _secret(self) -> Path:
        return self.path / ".mlflow"

    def forget_unstarted(self) -> None:
        """Take back what `create` wrote if no trial has started, so that the name is free again."""
        if any(self.path.glob("trials/*/events.jsonl")) or any(self.path.glob("trials/*/checkpoint*.pt")):
            return
        with suppress(OSError):
            (self.path / "sweep.json").unlink()
            if self._made:
                shutil.rmtree(self.path)

    def sweep(self) -> Sweep:
        """Read the resolved sweep (once: it never changes); raises `RaynasError` if missing or damaged."""
        if self._sweep is None:
            self._sweep = _read_mapping(self.path / "sweep.json", "a sweep", self._parse)
        return self._sweep

    def _parse(self, data: dict[str, Any]) -> Sweep:
        if data.get("version") != VERSION:
            raise RaynasError(
                "the sweep was written by another version of raynas",
                got=f"format {data.get('version')} in {self.path}",
                expected=f"format {VERSION}",
            )
        return Sweep.from_json(data)

    def trial(self, trial_id: str) -> TrialFolder:
        """Return the folder of one trial, which need not exist yet."""
        return TrialFolder(self.path / "trials" / trial_id)

    def trials(self) -> list[TrialFolder]:
        """Return the trials in plan order; an optuna slot joins once its values were suggested."""
        folders = (self.trial(trial.id) for trial in self.sweep().trials)
        return [folder for folder in folders if folder.planned]

    def records(self) -> list[TrialRecord]:
        """Read the record of every trial of `trials`."""
        return [folder.record() for folder in self.trials()]

    @staticmethod
    def find(runs: Path, name: str) -> "SweepFolder":
        """Find a sweep by its name under ``runs``, or by its path; raises `RaynasError` with the nearest."""
        for path in (runs / name, Path(name).expanduser()):
            if (folder := SweepFolder(path.absolute())).exists:
                return folder
        known = sorted(path.parent.name for path in runs.glob("*/sweep.json"))
        raise RaynasError(
            f"no sweep {quoted(name)} in {runs}",
            expected=f"one of {', '.join(known)}" if known else None,
            near=nearest(name, known),
            next_step="raynas ls sweeps" if known else "raynas sweep quickstart",
        )


def _read_mapping(path: Path, what: str, parse: Callable[[dict[str, Any]], T]) -> T:
    """Return what ``parse`` makes of a file's JSON mapping; raises `RaynasError` for whatever is amiss."""
    try:
        data = read_json(path)
        if not isinstance(data, dict):
            raise TypeError(f"expected a JSON mapping, got a {type(data).__name__}")
        return parse(data)
    except FileNotFoundError:
        raise RaynasError(f"{what} is missing", got=path, next_step=_PUT_BACK) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise RaynasError(f"{what} cannot be read", got=f"{path}: {why[:200]}", next_step=_PUT_BACK) from None


def _hidden(value: Any) -> Any:
    """Return plain data with the passwords of all addresses hidden."""
    if isinstance(value, Mapping):
        return {key: _hidden(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(each) for each in value]
    return without_passwords(value) if isinstance(value, str) else value


def _pretty(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()
