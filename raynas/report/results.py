"""A sweep's results in Python: rows for pandas, figures for matplotlib, and its best cell."""

import html
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from raynas.disk import expanded, holder
from raynas.errors import RaynasError, nearest, quoted, unknown
from raynas.report import facts as f
from raynas.report.facts import Facts
from raynas.report.text import MISSING, format_number, ranked_number
from raynas.spaces.genotype import Genotype
from raynas.sweep.folder import AnySweep, trains
from raynas.sweep.ranking import Selection
from raynas.sweep.record import Record, TrainRecord, TrialRecord
from raynas.sweep.sections import Criterion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

Row = dict[str, Any]

MOST_SHOWN = 10
"""Trials that a notebook shows of a ranking; `Results.frame` has them all."""


def load_results(path: Path | str) -> "Results":
    """Open a sweep's folder, of searches or of trainings, to read what it has found by now.

    Nothing is written, ever, and what is read is as of the first question; load again for what has come
    since. Raises `RaynasError` for what is not a sweep's folder, and names the loader of a genotype or a
    network.
    """
    place = expanded(path)
    folder = AnySweep(place.absolute())
    if folder.exists:
        folder.sweep()
        return Results(folder)
    if place.name == "genotype.json" or place.is_file():
        raise RaynasError(
            "not a sweep's folder", got=place, expected="as runs/mine", next_step="raynas.load_genotype(path)"
        )
    if (place / "network.json").is_file():
        raise RaynasError(
            "a trained network, not a sweep's folder",
            got=place,
            next_step="raynas.train.deployed.Deployed.load(path)",
        )
    known = [each.parent.name for each in sorted(place.parent.glob("*/sweep.json"))]
    raise RaynasError(
        "not a sweep's folder" if place.is_dir() else f"no folder {quoted(str(path))}",
        got=place,
        expected="a folder with sweep.json, as runs/mine",
        near=nearest(place.name, known),
        next_step="raynas ls sweeps",
    )


class Results:
    """What a sweep of searches or of trainings has found; made by `load_results`, which is `raynas.load`.

    Fractions are in [0, 1], losses in nats, times in seconds, epochs count from 0 as in the records;
    ``epoch`` of a trial is how many it has finished, as in ``--json``.
    """

    def __init__(self, folder: AnySweep) -> None:
        self._folder = folder
        self.trained = trains(folder)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self._folder.name

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._folder.path

    @cached_property
    def facts(self) -> Facts:
        """What the report states of a sweep of searches; raises `RaynasError` for one of trainings."""
        if self.trained:
            raise RaynasError(f"the sweep {self.name!r} trains cells: there is no ranking, and no winner")
        return f.gather(self._folder)

    @cached_property
    def records(self) -> tuple[Record[Any, Any], ...]:
        """Each trial as its events tell it, in plan order."""
        return tuple(self._folder.records()) if self.trained else self.facts.records

    @property
    def best(self) -> str | None:
        """The id of the trial that the sweep's own rule chooses; None before any has finished."""
        winner = self.facts.selection.winner
        return winner.trial.id if winner else None

    def genotype(self, trial: str | None = None) -> Genotype:
        """Return the cell that a trial found, or trains; that of the best where none is named.

        Raises `RaynasError` for a trial that is not there, or has no cell yet.
        """
        chosen = self.best if trial is None else trial
        if chosen is None:
            raise RaynasError(f"the sweep {self.name!r} has no best cell: no trial has finished")
        by_id = {record.id: record for record in self.records}
        if chosen not in by_id:
            raise unknown("trial", chosen, by_id)
        record = by_id[chosen]
        if isinstance(record, TrainRecord):
            return self._folder.trial(chosen).genotype()
        if not isinstance(record, TrialRecord) or record.deciding is None:
            raise RaynasError(f"{chosen} has no cell yet: no epoch has finished")
        return record.deciding.genotype

    def rows(self) -> list[Row]:
        """Return a row per trial as plain data; see `frame`."""
        held = holder(self.path / ".driver.lock") is not None
        places = {} if self.trained else {r.id: place for place, r in enumerate(self.facts.ranked, start=1)}
        found = []
        for record in self.records:
            row = self._searched_row(record) if isinstance(record, TrialRecord) else _trained_row(record)
            if record.status == "running" and not held:
                row["status"] = "stopped"  # nobody drives it: it waits for resume
            if not self.trained:
                row["place"] = places.get(record.id)
            found.append(row)
        return found

    def _searched_row(self, record: TrialRecord) -> Row:
        row = trial_json(record)
        last = record.deciding
        skips = row.pop("skips") or {}
        row = _flat(row, record.axes) | {f"skips_{kind}": skips.get(kind) for kind in self.facts.kinds}
        row |= self._measured_in_table(record)
        return row | {"cell": last and last.genotype.digest()}

    def _measured_in_table(self, record: TrialRecord) -> Row:
        names = ("table_accuracy", "table_regret") if self.facts.yardstick else ()
        return {name: f.measured(record.deciding, name, self.facts.yardstick) for name in names}

    def epoch_rows(self, *, alpha: bool = False) -> list[Row]:
        """Return a row per trial and epoch as plain data; see `history`."""
        found = []
        for record in self.records:
            own = _flat({"id": record.id, "seed": record.config.seed, "axes": record.axes}, record.axes)
            if isinstance(record, TrialRecord):
                own["method"] = record.method_name
            rows = (r.to_json() if self.trained else self._epoch_row(r, alpha) for r in record.reports)
            found += [own | row for row in rows]
        return found

    def _epoch_row(self, report: Any, alpha: bool) -> Row:
        nested = {"genotype", "weights", "entropy", "skips", "curvature", "extra", "ended", "restart"}
        row: Row = {key: value for key, value in report.to_json().items() if key not in nested}
        curvature = report.curvature
        for name in ("eig_max", "eig_min", "eig_gap", "trace"):
            row[name] = getattr(curvature, name) if curvature else None
        row |= {f"skips_{kind}": count for kind, count in report.skips.items()}
        row |= {f"entropy_{kind}": nats for kind, nats in report.entropy.items()}
        row |= {name: value for name, value in report.extra.items() if name not in row}
        if self.facts.yardstick:
            for name in ("table_accuracy", "table_regret"):
                row[name] = f.measured(report, name, self.facts.yardstick)
        row["cell"] = report.genotype.digest()
        return row | (self._weights(report.weights) if alpha else {})

    def _weights(self, weights: Mapping[str, Sequence[Sequence[float]]]) -> Row:
        from raynas.spaces import skeletons

        if self.facts.space is None:
            raise RaynasError("α has columns where all trials search one space; this sweep has several")
        return {
            f"alpha_{group.name}_{row.name}_{option}": weight
            for group in skeletons.groups(self.facts.space)
            for row, values in zip(group.rows, weights.get(group.name, ()), strict=False)
            for option, weight in zip(row.options, values, strict=False)
        }

    def frame(self) -> "DataFrame":
        """Return a row per trial, by its id: status, what varies, and the numbers of the epoch that counts.

        Columns are called as in ``raynas status --json``; what varies, and the skips of each kind of cell,
        have columns of their own. ``place`` is that in the ranking.
        """
        return _frame(self.rows(), ["id"])

    def history(self, *, alpha: bool = False) -> "DataFrame":
        """Return a row per trial and epoch: losses, accuracies, curvature with its gap, skips, seconds.

        With a table also what its cell reaches there. With ``alpha`` also the weight of each operation on
        each edge (of DARTS the softmax of α), a column each.
        """
        return _frame(self.epoch_rows(alpha=alpha), ["id", "epoch"])

    def plot(self, name: str = "valid_loss", ax: "Axes | Sequence[Axes] | None" = None) -> "list[Axes]":
        """Draw one of the report's figures with matplotlib and return its axes, one per method.

        ``name`` is ``valid_loss``, ``select_loss``, ``eig_max``, ``discrete_loss``, ``valid_accuracy``,
        ``table_regret``, ``skips`` (or of a kind, ``skips_normal``), ``operations`` (shares of weight) or
        ``alike`` (the cells compared). ``ax`` are axes to draw into. Raises `RaynasError` for what is not one
        of these, and without matplotlib.
        """
        _needs("matplotlib")
        from raynas.report.plots import draw

        return draw(self.facts, name, ax)

    def __repr__(self) -> str:
        return f"<Results of {self.name}: {self._outline()}>"

    def _outline(self) -> str:
        finished = sum(record.status == "finished" for record in self.records)
        kind = "trainings" if self.trained else "searches"
        best = "" if self.trained or self.best is None else f"; best {self.best}"
        return f"{finished} of {len(self._folder.sweep().trials)} {kind} finished{best}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the state, and the best trials."""
        rows = sorted(self.rows(), key=lambda row: row.get("place") or len(self.records) + 1)[:MOST_SHOWN]
        columns = ["id", "status", "epoch", "train_loss", "valid_loss", "valid_accuracy"]
        columns += ["test_accuracy"] if self.trained else ["discrete_loss", "eig_max"]
        head = "".join(f"<th>{column}</th>" for column in columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(_shown(row[column]))}</td>' for column in columns)}</tr>"
            for row in rows
        )
        more = len(self.records) - len(rows)
        rest = f"<p>+ {more} more: .frame()</p>" if more > 0 else ""
        title = f"<p><b>{html.escape(self.name)}</b>: {html.escape(self._outline())}</p>"
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def choice_rows(
    selection: Selection, names: Mapping[Criterion, str] = MappingProxyType({})
) -> list[list[str]]:
    """Return, for each of several rules, its choice, that one's value, how many it ranks, the winner's place.

    ``names`` are what the rules are called.
    """
    return [
        [
            names.get(choice.rule, choice.rule),
            choice.first.trial.id if choice.first else MISSING,
            ranked_number(choice.first.value, choice.rule) if choice.first else MISSING,
            str(choice.ranked),
            str(choice.place or MISSING),
        ]
        for choice in selection.choices
    ]


def trial_json(record: TrialRecord) -> Row:
    """Return one search's state as plain data, with the numbers of the epoch that counts."""
    last = record.deciding
    return {
        "id": record.id,
        "status": record.status,
        "reason": record.reason,
        "method": record.method_name,
        "seed": record.config.seed,
        "axes": record.axes,
        "epoch": len(record.reports),
        "epochs": record.epochs,
        "train_loss": last and last.train_loss,
        "valid_loss": last and last.valid_loss,
        "valid_accuracy": last and last.valid_accuracy,
        **({"select_loss": last.select_loss} if last and last.select_loss is not None else {}),
        "discrete_loss": last and last.discrete_loss,
        **({"short_training": record.short} if record.short is not None else {}),
        "eig_max": last.curvature.eig_max if last and last.curvature else None,
        "skips": last.skips if last else None,
        "seconds_per_epoch": last and last.seconds,
    }


def _trained_row(record: Record[Any, Any]) -> Row:
    """Return one training's state as plain data, with the numbers of its last epoch."""
    last = record.newest
    names = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "test_loss", "test_accuracy")
    return {
        "id": record.id,
        "status": record.status,
        "reason": record.reason,
        "cell": record.config.cell,
        "seed": record.config.seed,
        **{key: value for key, value in record.axes.items() if key not in ("cell", "seed")},
        "epoch": len(record.reports),
        "epochs": record.epochs,
        **{name: getattr(last, name) if last else None for name in names},
        "parameters": getattr(record, "parameters", None),
        "seconds_per_epoch": last and last.seconds,
    }


def _flat(row: Row, axes: Mapping[str, object]) -> Row:
    """Return a row with what varies in columns of its own; a mapping, as a method may be, as its text."""
    varied = {key: value for key, value in axes.items() if key not in row}
    plain = {k: v if v is None or isinstance(v, str | int | float) else str(v) for k, v in varied.items()}
    return {key: value for each, own in row.items() for key, value in _put(each, own, plain)}


def _put(key: str, value: Any, axes: Row) -> Iterable[tuple[str, Any]]:
    return axes.items() if key == "axes" else ((key, value),)


def _shown(value: Any) -> str:
    return format_number(value) if value is None or isinstance(value, float) else str(value)


def _frame(rows: list[Row], index: list[str]) -> "DataFrame":
    _needs("pandas")
    from pandas import DataFrame

    return DataFrame(rows).set_index(index) if rows else DataFrame(columns=index).set_index(index)


def _needs(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise RaynasError(f"this needs {package}", next_step=f"pip install {package}; .rows() needs nothing")
