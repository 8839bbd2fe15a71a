"""All methods of a finished sweep as a page: what each is, and what it came to in this one setting.

``python -m benchmarks.methods runs/methods --write docs/methods.md``
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.lines import DIGITS
from raynas.config import SearchConfig
from raynas.disk import disk_error
from raynas.errors import RaynasError, plural
from raynas.methods import PARTS, Method, defaults_of, method_names, resolve
from raynas.methods.build import as_written
from raynas.parts.derivations import Strongest
from raynas.parts.objectives import OneDraw
from raynas.parts.relaxations import Softmax
from raynas.parts.rules import Proximal
from raynas.parts.samplers import Mean
from raynas.parts.stages.perturb_and_project import PerturbAndProject
from raynas.parts.stores import Table
from raynas.report.facts import Facts, gather, measured
from raynas.report.pictures import strength_label
from raynas.report.provenance import provenance
from raynas.report.stats import Spread
from raynas.report.text import MISSING, markdown, spread, spread_count
from raynas.spaces import library
from raynas.sweep.folder import SweepFolder
from raynas.sweep.record import TrialRecord

FAMILIES = (
    "Relaxations and samplers",
    "Training of the weights and of α",
    "Architecture of the supernet",
    "One-stage searches and pruning",
    "Selection",
)
SHARED = ("space", "data", "epochs", "batch", "channels", "cells", "arch_learning_rate", "hessian")
"""Keys of a search that the page states where all trials agree."""

HEADER = (
    "| method | validation loss | discrete loss | λmax | skips, normal / reduce | s / epoch | peak MiB |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)


def family(method: Method) -> str:
    """Say where a method differs from DARTS most, by its parts."""
    relaxations, training, supernet, pruning, selection = FAMILIES
    if isinstance(method.stages, PerturbAndProject):
        return selection
    if method.stages is not None or isinstance(method.updater, Proximal):
        return pruning
    usual = {"store": Table, "relaxation": Softmax, "sampler": Mean, "objective": OneDraw}
    if any(not isinstance(getattr(method, slot), kind) for slot, kind in usual.items()):
        return relaxations
    if any(modifier.build().given() or modifier.extras for modifier in method.modifiers):
        return supernet
    return training if isinstance(method.derivation, Strongest) else selection


@dataclass(frozen=True)
class Span:
    """When a trial was alive in which process (host and process id), in unix seconds."""

    trial: str
    process: tuple[str, int]
    began: float
    ended: float

    def meets(self, other: "Span") -> bool:
        """Tell whether both were alive at some time."""
        return self.began < other.ended and other.began < self.ended


def spans(folder: SweepFolder) -> list[Span]:
    """Return the last attempt of every trial that has started."""
    found = []
    for trial in folder.trials():
        events = trial.spool.events()[0]
        starts = [event for event in events if event["kind"] == "start"]
        if starts:
            process = (str(starts[-1].get("host", "")), int(starts[-1].get("pid", 0)))
            found.append(Span(trial.id, process, float(starts[-1]["time"]), float(events[-1]["time"])))
    return found


def packs(found: Sequence[Span]) -> dict[str, int]:
    """Return how many trials shared a trial's process at the same time, itself included."""
    return {
        one.trial: sum(other.process == one.process and one.meets(other) for other in found) for one in found
    }


def at_once(found: Sequence[Span]) -> int:
    """Return the most processes that were at work at the same time."""
    return max(
        (len({other.process for other in found if other.began <= one.began < other.ended}) for one in found),
        default=0,
    )


@dataclass(frozen=True)
class Row:
    """A method's numbers over the seeds that finished; ``changes`` say where it is not its recipe."""

    name: str
    method: Method
    finished: int
    planned: int
    cells: tuple[str, ...]
    changes: tuple[str, ...]


def rows(facts: Facts, sizes: Mapping[str, int]) -> list[Row]:
    """Return a row per method and strength, in the order in which methods are taught.

    Raises `RaynasError` when no trial has finished.
    """
    order = {name: place for place, name in enumerate(method_names())}
    found = []
    for setting in dict.fromkeys(facts.settings):
        every = [r for r, own in zip(facts.records, facts.settings, strict=True) if own == setting]
        done = [record for record in every if record.status == "finished" and record.deciding]
        config = every[0].config
        several = len({own.strength for own in facts.settings if own.method == setting.method}) > 1
        name = f"{setting.method}, {strength_label(facts.strength_axes, setting.strength)}"
        row = Row(
            name if several else setting.method,
            resolve(config.method),
            len(done),
            len(every),
            _cells(done, sizes),
            _changes(config),
        )
        found.append(row)
    if not any(row.finished for row in found):
        raise RaynasError("no trial of this sweep has finished", next_step="raynas status SWEEP")
    return sorted(
        found, key=lambda row: (FAMILIES.index(family(row.method)), order.get(row.method.name, len(order)))
    )


def _cells(done: Sequence[TrialRecord], sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Write the numbers of the epoch whose cell counts; seconds are a pack's divided by its size."""

    def over(name: str) -> Spread | None:
        return Spread.of(measured(record.deciding, name) for record in done)

    seconds = [fmean(report.seconds for report in record.ran) / sizes.get(record.id, 1) for record in done]
    memory = [max(report.peak_memory for report in record.ran) for record in done]
    skips = [spread_count(over(f"skips_{kind}")) for kind in ("normal", "reduce")]
    return (
        spread(over("valid_loss")),
        spread(over("discrete_loss")),
        spread(Spread.of(_eigenvalue(record) for record in done)),
        " / ".join(text for text in skips if text != MISSING),
        _rounded(Spread.of(seconds), DIGITS["s"]),
        _rounded(Spread.of(memory), 0),
    )


def _eigenvalue(record: TrialRecord) -> float | None:
    """Return λmax where it was measured last, no later than the epoch whose cell counts."""
    last = record.deciding.epoch if record.deciding else -1
    values = [measured(report, "eig_max") for report in record.reports if report.epoch <= last]
    return next((value for value in reversed(values) if value is not None), None)


def _rounded(value: Spread | None, decimals: int) -> str:
    if value is None:
        return MISSING
    return f"{value.mean:.{decimals}f}" + ("" if value.sd is None else f" ± {value.sd:.{decimals}f}")


def _changes(config: SearchConfig) -> tuple[str, ...]:
    """Say what of a method's recipe this sweep replaced, as `key here (recipe)`."""
    values = config.model_dump()
    found = []
    for key, usual in defaults_of(config.method, config.epochs).items():
        group, _, leaf = key.partition(".")
        here = values[group][leaf] if leaf else values[group]
        if here != usual:
            found.append(f"{key} {here:g} ({usual:g})" if isinstance(usual, int | float) else f"{key} {here}")
    if isinstance(config.method, Mapping):
        base, here = (_leaves(resolve(each)) for each in (config.method["base"], config.method))
        found += [
            f"{key} {here.get(key, 'none')} ({base.get(key, 'none')})"
            for key in {**base, **here}
            if here.get(key) != base.get(key)
        ]
    return tuple(found)


def _leaves(method: Method) -> dict[str, Any]:
    """Return every setting of every part under a dotted key."""
    return dict(
        _walk("", {slot: as_written(getattr(method, slot)) for slot in (*PARTS, "order", "every", "without")})
    )


def _walk(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _walk(f"{path}[{place}]", item)
    else:
        yield path, value


def page(folder: SweepFolder, command: str) -> str:
    """Return the page as Markdown; raises `RaynasError` when no trial has finished."""
    facts, alive = gather(folder), spans(folder)
    found = rows(facts, packs(alive))
    parts = [_introduction(facts, found), _setting(facts, alive, command)]
    for title, members in groupby(found, key=lambda row: family(row.method)):
        parts.append(_section(title, list(members)))
    if changed := [row for row in found if row.changes]:
        lines = (f"- {markdown(row.name)}: {', '.join(map(markdown, row.changes))}" for row in changed)
        parts.append("\n".join(["## Not as in the recipe", "", "Here (recipe):", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _introduction(facts: Facts, found: Sequence[Row]) -> str:
    several = len({record.config.arch_learning_rate for record in facts.records}) > 1
    rates = "its own" if several else "the same whatever a method's own is"
    return f"""# Methods

What the {len(found)} methods of the sweep `{facts.sweep.name}` are, and what each came to.
`raynas show METHOD` prints a method's parts, defaults and source; with `--measure` also what an epoch costs
beside one of DARTS.

**What the numbers say.** That each method runs from end to end here, what it costs beside the others on the
same machine, and roughly what its curvature and its skip connections are in this one setting.

**What they do not say.** Which method is better. The data are small and the epochs few, the rate of α is
{rates}, and no derived cell is trained from scratch, as the published comparisons
do. λmax is taken in each method's own α: a Dirichlet's concentrations, the logits that a generator gives and
plain logits are different coordinates, so it compares between epochs and strengths of one method better than
between methods; it is 0 once every edge is decided. The validation loss is that of a method's mixture or,
where it draws single cells (`raynas show METHOD`: validated cells), the mean over such cells under each
batch's own statistics: the two do not compare. The discrete loss is that of the derived cell with the
supernet's weights, which is hard on methods whose supernet never trained single operations. Differences
within the deviations mean nothing."""


def _setting(facts: Facts, alive: Sequence[Span], command: str) -> str:
    configs = [
        # Of the data only what is not usual: half of its keys are about texts, or about images.
        record.config.model_dump()
        | {"data": {"name": record.config.data.name, **record.config.data.model_dump(exclude_defaults=True)}}
        for record in facts.records
    ]
    agreed = {
        key: configs[0][key] for key in SHARED if all(config[key] == configs[0][key] for config in configs)
    }
    seeds = sorted({config["seed"] for config in configs})
    done = facts.count("finished")
    sizes = set(packs(alive).values())
    shared = (
        f", in packs of up to {max(sizes)} searches a process: seconds are a pack's divided by its size, the "
        "memory is that of the whole process"
        if max(sizes, default=1) > 1
        else ""
    )
    lines = [f"- {key.replace('_', ' ')}: {_plain_text(value)}" for key, value in agreed.items()]
    about = {key: value for key, value in provenance(facts).items() if key in ("versions", "device", "git")}
    return "\n".join(
        [
            "## Setting",
            "",
            *lines,
            f"- seeds: {', '.join(map(str, seeds))}; mean ± sample standard deviation over them",
            f"- {done} of {facts.total} searches finished; a method's numbers are those of its finished ones",
            f"- up to {plural(at_once(alive), 'process', 'processes')} at work at the same time{shared}",
            "- seconds of an epoch: training, two looks at the validation half, curvature; searches side by "
            "side share caches and cores, so they are noisy",
            "- peak memory: the most of the whole process during an epoch, Python, torch and what earlier "
            "trials of the process left included, so it grows down the page; on a GPU of tensors only. "
            "`raynas show METHOD --measure` measures a method's memory in a process of its own",
            "- losses in nats, at the epoch whose cell counts",
            *(f"- {key}: {markdown(value)}" for key, value in about.items()),
            "",
            f"Searched with `{_typed(facts.sweep.command)}`, written with `{command}`.",
        ]
    )


def _typed(command: str) -> str:
    """Name packaged trial files as they are typed, wherever they lie."""
    packaged = library.names("trials")
    words = command.split()
    return " ".join(Path(word).stem if Path(word).stem in packaged else word for word in words)


def _plain_text(value: Any) -> str:
    if isinstance(value, Mapping):
        shown = {key: item for key, item in value.items() if item not in (None, {}, False) and key != "path"}
        return ", ".join(f"{key} {item}" for key, item in shown.items())
    return "the space's own" if value is None else str(value)


def _section(title: str, members: Iterable[Row]) -> str:
    members = list(members)
    table = [HEADER]
    for row in members:
        mark = "\\*" if row.changes else ""
        lacking = f" ({row.finished} of {row.planned})" if row.finished < row.planned else ""
        table.append(f"| {markdown(row.name)}{mark}{lacking} | {' | '.join(row.cells)} |")
    about = [
        f"- **{markdown(row.name)}**: {markdown(_title(row))}. {markdown(row.method.source)}."
        for row in members
    ]
    marked = ["\\* not as in its recipe, see the end."] if any(row.changes for row in members) else []
    return "\n".join([f"## {title}", "", *table, "", *marked, *([""] if marked else []), *about])


def _title(row: Row) -> str:
    """Return what a method is: of one that a trial file changes, what its base is."""
    base = row.method.title.partition(", changed: ")[0]
    head, _, rest = base.partition(": ")
    return rest or head


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.methods", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="of a sweep, as runs/methods")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="as docs/methods.md")
    chosen = parser.parse_args(arguments)
    try:
        folder = SweepFolder.find(chosen.folder.parent, str(chosen.folder))
        text = page(folder, f"python -m benchmarks.methods runs/{folder.name} --write {chosen.write}")
        chosen.write.write_text(text, encoding="utf-8")
    except RaynasError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(disk_error(error, chosen.write), file=sys.stderr)
        return 2
    print(chosen.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
