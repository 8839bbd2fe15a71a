"""Cells side by side: what they reach under one protocol, what their networks take, what they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raynas.errors import RaynasError
from raynas.report.stats import Spread, common_share
from raynas.report.text import MISSING, spread, spread_percent
from raynas.spaces import skeletons
from raynas.spaces.skeletons.plan import Usual
from raynas.sweep.sizes import counted_size, network_for
from raynas.train.recipe import load_recipe
from raynas.trust.contenders import Contender, Tested, common_protocol, network_of
from raynas.trust.front import front
from raynas.trust.paired import Paired, paired

if TYPE_CHECKING:
    from raynas.nets.latency import Latency

USUAL = "darts-cifar"
"""The recipe whose batch is measured where none is named and nothing was trained."""


@dataclass(frozen=True)
class ComparedCell:
    """One cell of a comparison.

    ``errors`` are by seed, fractions in [0, 1] on the test images, or of ``texts`` perplexities; ``paired``
    is how much larger they are than the first cell's. ``common`` is the share of choices that it has in
    common with the first one's cell, None for that itself and for cells of other kinds, ``same`` whether both
    compute the same network. ``latency`` maps a batch to its seconds. ``on_front`` says whether no other is
    better in all that is known; None while the error of a cell is not.
    """

    label: str
    cell: str
    errors: Mapping[int, float]
    paired: Paired | None
    parameters: int
    multiply_adds: int
    network: tuple[tuple[int, ...], Usual]
    common: float | None
    same: bool
    texts: bool = False
    latency: Mapping[int, "Latency"] | None = None
    on_front: bool | None = None

    @property
    def error(self) -> Spread | None:
        """Mean and sample standard deviation over seeds."""
        return Spread.of(self.errors.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        told, found, (shape, usual) = "perplexity" if self.texts else "error", self.error, self.network
        low, high = (self.paired and self.paired.interval) or (None, None)
        return {
            "label": self.label,
            "cell": self.cell,
            f"{told}_mean": found and found.mean,
            f"{told}_sd": found and found.sd,
            "seeds": list(self.errors),
            f"{told}s": list(self.errors.values()),
            "difference": self.paired and self.paired.mean,
            "difference_low": low,
            "difference_high": high,
            "paired_seeds": list(self.paired.seeds) if self.paired else [],
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "shape": list(shape),
            "classes": usual.classes,
            "channels": usual.channels,
            "cells": usual.cells,
            "in_common": self.common,
            "same_network": self.same,
            "on_front": self.on_front,
            **{
                f"latency_{batch}_{name}": getattr(each, name)
                for batch, each in (self.latency or {}).items()
                for name in ("median", "low", "high")
            },
        }


@dataclass(frozen=True)
class Comparison:
    """Several cells, the first of which the others are held against.

    ``settings`` are those of the protocol that all errors are of, empty where nothing was trained; ``notes``
    say what the numbers leave out.
    """

    cells: tuple[ComparedCell, ...]
    recipe: str
    settings: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def texts(self) -> bool:
        """Whether these cells read texts."""
        return self.cells[0].texts

    def headers(self) -> list[str]:
        """Return the columns of `rows`."""
        told = "test perplexity" if self.texts else "test error %"
        batches = self.cells[0].latency or {}
        return [
            "cell", told, "seeds", "less the first’s (95 %)", "parameters", "multiply-adds",
            *(f"batch {batch} / ms" for batch in batches), "in common %", *["front"] * self._fronted,
        ]  # fmt: skip

    @property
    def _fronted(self) -> bool:
        return self.cells[0].on_front is not None

    def rows(self) -> list[list[str]]:
        """Return a row of texts for each cell."""
        return [self._row(each) for each in self.cells]

    def _row(self, each: ComparedCell) -> list[str]:
        common = MISSING if each.common is None else f"{100 * each.common:.0f}"
        return [
            each.label,
            (spread if self.texts else spread_percent)(each.error),
            str(len(each.errors)),
            _difference(each.paired, 1.0 if self.texts else 100.0),
            f"{each.parameters:,}",
            f"{each.multiply_adds:,}",
            *(_milliseconds(found) for found in (each.latency or {}).values()),
            common + (" (same network)" if each.same else ""),
            *["yes" if each.on_front else ""] * self._fronted,
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; errors are fractions in [0, 1], times in seconds."""
        return {
            "recipe": self.recipe or None,
            "protocol": dict(self.settings),
            "cells": [each.to_json() for each in self.cells],
            "notes": list(self.notes),
        }


def compare_cells(contenders: Sequence[Contender], recipe: str | None = None) -> Comparison:
    """Hold cells side by side; sizes are of the network that the common protocol, or the recipe, trains.

    Raises `RaynasError` for fewer than two cells, for cells of images and of texts together, and for
    trainings without a common protocol.
    """
    if len(contenders) < 2:
        raise RaynasError(
            "a comparison needs two cells",
            got=", ".join(each.label for each in contenders) or "none",
            next_step="raynas compare darts-v1 darts-v2",
        )
    reads = {skeletons.of(each.genotype).texts for each in contenders}
    if len(reads) > 1:
        words = (
            f"{each.label}: {'texts' if skeletons.of(each.genotype).texts else 'images'}"
            for each in contenders
        )
        raise RaynasError("cells of images and of texts do not compare", got=", ".join(words))
    [texts] = reads
    protocol, notes = common_protocol(contenders, recipe)
    own = [training for each in contenders for training in each.under(protocol or "")]
    found = [_compared(each, contenders[0], protocol, recipe, own[0] if own else None) for each in contenders]
    found = [replace(each, texts=texts) for each in found]
    notes += _notes(contenders, found, protocol)
    used = own[0].config.recipe if own else recipe or ""
    return Comparison(tuple(_with_front(found)), used, own[0].settings if own else {}, tuple(notes))


def batches_of(comparison: Comparison) -> tuple[int, int]:
    """Return the batches that latency is measured for: 1, and that of the protocol, else of the recipe."""
    if (batch := comparison.settings.get("batch")) is None:
        batch = load_recipe(comparison.recipe or USUAL).config("any").batch
    return 1, batch


def with_latency(comparison: Comparison, measured: Mapping[int, Sequence["Latency"]]) -> Comparison:
    """Return a comparison with the measured latencies, by batch, in the order of its cells."""
    found = [
        replace(each, latency={batch: values[place] for batch, values in measured.items()})
        for place, each in enumerate(comparison.cells)
    ]
    return replace(comparison, cells=tuple(_with_front(found)))


def _compared(
    each: Contender, first: Contender, protocol: str | None, recipe: str | None, one: Tested | None
) -> ComparedCell:
    errors = {} if protocol is None else each.errors(protocol)
    others = {} if protocol is None else first.errors(protocol)
    shape, usual = _network(each, recipe, one)
    known = next(iter(each.under(protocol or "")), None)
    size = (known.parameters, known.multiply_adds) if known else (None, None)
    if None in size:
        size = counted_size(each.genotype, shape, usual)
    parameters, multiply_adds = (count or 0 for count in size)
    same_kind = each.genotype.skeleton == first.genotype.skeleton
    return ComparedCell(
        label=each.label,
        cell=each.genotype.digest(),
        errors=errors,
        paired=None if each is first else paired(errors, others),
        parameters=parameters,
        multiply_adds=multiply_adds,
        network=(shape, usual),
        common=common_share(each.genotype, first.genotype) if same_kind and each is not first else None,
        same=each is not first and network_of(each.genotype) == network_of(first.genotype),
    )


def _network(each: Contender, recipe: str | None, one: Tested | None) -> tuple[tuple[int, ...], Usual]:
    """Return the network that the protocol of ``one`` training, or else the recipe, makes of a cell."""
    if skeletons.of(each.genotype).texts:
        return network_for(each.genotype)
    if one is None:
        return network_for(each.genotype, recipe, each.images)
    asked = {"channels": one.config.channels, "cells": one.config.cells}
    given = {name: number for name, number in asked.items() if number is not None}
    return network_for(each.genotype, None, one.images, given)


def _with_front(found: Sequence[ComparedCell]) -> list[ComparedCell]:
    """Mark the cells that no other is better than in error, sizes and latencies at once."""
    points = []
    for each in found:
        times = [latency.median for latency in (each.latency or {}).values()]
        if each.error:
            points.append([each.error.mean, each.parameters, each.multiply_adds, *times])
    if len(points) < len(found):
        return list(found)
    return [replace(each, on_front=on_it) for each, on_it in zip(found, front(points), strict=True)]


def _notes(contenders: Sequence[Contender], found: Sequence[ComparedCell], protocol: str | None) -> list[str]:
    notes = []
    if protocol is None:
        notes.append("no training of these cells has been tested: raynas retrain CELL --seeds 0,1,2")
    elif lacking := [each.label for each in found if not each.errors]:
        notes.append(f"not trained under this protocol: {', '.join(lacking)}")
    first = set(found[0].errors)
    for each in found[1:]:
        if each.errors and first and set(each.errors) != first:
            by = ", ".join(map(str, each.paired.seeds)) if each.paired else "none"
            notes.append(f"{each.label} has other seeds than {found[0].label}; paired by {by}")
    if len({each.network for each in found}) > 1:
        notes.append("the networks differ in width, depth or images: each is the usual one of its cells")
    if protocol is not None and any(len(each.errors) == 1 for each in found):
        notes.append("one seed says nothing of the spread: raynas retrain CELL --seeds 0,1,2")
    return notes


def _difference(found: Paired | None, unit: float) -> str:
    if found is None:
        return MISSING
    mean = f"{unit * found.mean:+.2f}"
    if found.interval is None:
        return f"{mean} (one pair)"
    low, high = found.interval
    return f"{mean} ({unit * low:+.2f} … {unit * high:+.2f})"


def _milliseconds(found: "Latency") -> str:
    return f"{_ms(found.median)} ({_ms(found.low)} … {_ms(found.high)})"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}"


def edge_rows(contenders: Sequence[Contender]) -> list[list[str]]:
    """Return a row for each (kind, target, source) that any cell has, with each cell's operation there."""
    held = [
        {(kind, c.target, c.source, place): c.op for kind, choices in each.genotype.cells for place, c in
         _numbered(choices)}
        for each in contenders
    ]  # fmt: skip
    places = sorted(set().union(*held))
    rows = []
    for key in places:
        kind, target, source, _ = key
        rows.append([kind, f"{source} → {target}", *(each.get(key, "·") for each in held)])
    return rows


def _numbered(choices: Sequence[Any]) -> list[tuple[int, Any]]:
    """Number the choices of one edge: two blocks of a node may read the same state."""
    seen: dict[tuple[int, int], int] = {}
    found = []
    for choice in choices:
        edge = choice.source, choice.target
        found.append((seen.get(edge, 0), choice))
        seen[edge] = seen.get(edge, 0) + 1
    return found
