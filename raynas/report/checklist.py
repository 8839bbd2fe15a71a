"""What a paper on architecture search is asked to say, as far as a sweep's records answer it.

The questions are those of the checklist of Lindauer & Hutter 2020 (Best Practices for Scientific Research on
Neural Architecture Search, JMLR 21(243), version 1.0.1), in other words; an answer says what the records
show, and nothing else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from raynas.errors import RaynasError, plural
from raynas.report.facts import Facts
from raynas.report.stats import Spread
from raynas.report.text import spread_percent
from raynas.sweep.folder import SweepFolder, TrainSweep
from raynas.sweep.record import TrainRecord
from raynas.trust.contenders import Tested, trainings_of
from raynas.trust.trust import Trust

CHECKLIST = (
    "What the checklist of Lindauer & Hutter (2020, JMLR 21(243)) asks of a paper on architecture search, "
    "answered from the records of this sweep. What they do not show is not answered, with what would."
)

FEWEST_SEEDS = 3
"""Seeds of a setting below which its spread is a guess: of two values it has one degree of freedom."""


@dataclass(frozen=True)
class Item:
    """One question, whether the records answer it, in which words, and the command that would."""

    question: str
    answered: bool
    words: str
    command: str = ""


@dataclass(frozen=True)
class OnRecord:
    """What the questions are answered from: a sweep's facts, what its choice is worth, its trainings.

    ``name`` is the sweep's as commands take it.
    """

    name: str
    facts: Facts
    trust: Trust
    trained: Sequence[tuple[TrainSweep, Sequence[TrainRecord], Sequence[Tested]]]

    @cached_property
    def tested(self) -> list[Tested]:
        """Every training that has been tested."""
        return [each for _, _, tested in self.trained for each in tested]

    @cached_property
    def starts(self) -> list[Mapping[str, Any]]:
        """The last start of every search that has begun."""
        return [record.start for record in self.facts.records if record.start]

    def told(self, key: str) -> list[str]:
        """Return what the searches' starts say under a key, each once."""
        return list(dict.fromkeys(str(start[key]) for start in self.starts if start.get(key)))

    @property
    def retrain(self) -> str:
        """The command that trains the winner."""
        return f"raynas retrain {self.name} --seeds 0,1,2"


def checklist_of(folder: SweepFolder, facts: Facts, trust: Trust) -> list[Item]:
    """Return every question in order; trainings that cannot be read count as none."""
    trained = []
    for name in folder.trained():
        sweep = TrainSweep(folder.trained_path(name))
        try:
            trained.append((sweep, sweep.records(), [tested for _, tested in trainings_of(sweep)]))
        except RaynasError:
            continue  # its own section of the report says so
    known = OnRecord(facts.sweep.name, facts, trust, trained)
    return [question(known) for question in QUESTIONS] if facts.records else []


def device_hours(sweep: Any, records: Iterable[Any]) -> dict[str, float]:
    """Return the hours that the epochs on record took, by kind: ``GPU-hours``, ``CPU-hours``.

    Members of a pack share the time of an epoch. A share of a GPU counts as that share, a CPU as often as it
    was asked for; epochs that were lost, loading and waiting are not on record.
    """
    taken: dict[tuple[object, ...], tuple[float, str, float]] = {}
    for record in records:
        start = record.start or {}
        company = tuple(sorted(start.get("pack") or [record.id]))
        gpu = str(start.get("device", "")).startswith("cuda")
        cpus = sweep.resources.cpu or record.config.threads
        unit, share = ("GPU-hours", sweep.resources.gpu or 1.0) if gpu else ("CPU-hours", cpus)
        for report in record.ran:
            key = (company, report.restart, report.epoch)
            seconds = max(report.seconds, taken.get(key, (0.0, "", 0.0))[0])
            taken[key] = (seconds, unit, share)
    hours: dict[str, float] = {}
    for seconds, unit, share in taken.values():
        hours[unit] = hours.get(unit, 0.0) + seconds * share / 3600
    return hours


def _hours(hours: Mapping[str, float]) -> str:
    return " and ".join(f"{value:.3g} {unit}" for unit, value in hours.items()) or "no time on record"


def code(known: OnRecord) -> Item:
    """Ask whether others can run the very code of the search and of its space."""
    question = "Is the code of the method and of the space there to run?"
    sweep = known.facts.sweep
    version, git = sweep.versions.get("raynas"), sweep.git
    if not version:
        return Item(question, False, "The records do not say which raynas ran.")
    words = f"raynas {version}; spaces and methods’ records are in the sweep’s folder; own parts are not."
    if git and git.get("dirty"):
        return Item(
            question, False, f"{words} It was begun in a folder with uncommitted changes.", "git commit"
        )
    return Item(question, True, words + (f" Begun at commit {git['commit']}." if git else ""))


def settings(known: OnRecord) -> Item:
    """Ask for hyperparameters and seeds of the search."""
    seeds = sorted({record.config.seed for record in known.facts.records})
    words = f"All settings are below, under “Resolved YAML”; seeds {_some(seeds)}."
    return Item("Are the settings and seeds of the searches reported?", True, words)


def final_training(known: OnRecord) -> Item:
    """Ask for code, hyperparameters and seeds of the training that the final numbers come from."""
    question = "Are code, settings and seeds of the final training reported?"
    if not known.tested:
        return Item(question, False, "No cell was trained from scratch and tested.", known.retrain)
    seeds = sorted({each.seed for each in known.tested})
    recipes = sorted({each.config.recipe for each in known.tested})
    return Item(
        question, True, f"Recipe {', '.join(recipes)}, seeds {_some(seeds)}; each has its own report."
    )


def one_setup(known: OnRecord) -> Item:
    """Ask whether all methods searched the same space on the same data."""
    question = "Do all methods search the same space on the same data and split?"
    records = known.facts.records
    data = {record.config.data.model_dump_json() for record in records}
    spaces = {record.config.space for record in records}
    hashes = {str(found) for start in known.starts if (found := (start.get("data") or {}).get("hash"))}
    if len(data) == len(spaces) == 1 and len(hashes) <= 1:
        [space] = spaces
        return Item(question, True, f"Space {space}, data {records[0].config.data.name}, one split for all.")
    differ = [
        f"{len(found)} {what}"
        for found, what in (
            (spaces, "spaces"),
            (data, "settings of the data"),
            (hashes, "hashes of the data"),
        )
        if len(found) > 1
    ]
    return Item(question, False, f"The searches have {', '.join(differ)}.")


def confounders(known: OnRecord) -> Item:
    """Ask whether hardware and library versions were the same."""
    question = "Did all run on the same hardware with the same versions?"
    found = {"devices": known.told("device"), "sets of versions": known.told("versions")}
    if not known.starts:
        return Item(question, False, "No search has started.")
    if lacking := [key for key, values in found.items() if not values]:
        return Item(question, False, f"The records do not say: {', '.join(lacking)}.")
    several = [f"{len(values)} {key}" for key, values in found.items() if len(values) > 1]
    if several:
        return Item(question, False, f"The searches had {' and '.join(several)}: see the provenance below.")
    return Item(question, True, f"{found['devices'][0]}, one set of versions.")


def protocol(known: OnRecord) -> Item:
    """Ask whether one protocol evaluates all that is compared."""
    question = "Is one protocol used to evaluate everything that is compared?"
    protocols = {each.protocol for each in known.tested}
    if not protocols:
        return Item(question, False, "No cell was trained from scratch and tested.", known.retrain)
    if len(protocols) > 1:
        words = (
            f"There are {len(protocols)} protocols of training; errors of one do not compare with another’s."
        )
        return Item(question, False, words)
    return Item(question, True, "One: every error is of trainings that differ in cell and seed alone.")


def ablation(known: OnRecord) -> Item:
    """Ask for ablations: methods that differ in a part from another of the same sweep."""
    question = "Is it shown which part of the method matters?"
    methods = {str(record.config.method): record.config.method for record in known.facts.records}
    bases = [each if isinstance(each, str) else str(each.get("base")) for each in methods.values()]
    ablated = sorted({base for base in bases if bases.count(base) > 1})
    if ablated:
        return Item(
            question, True, f"Methods made of {', '.join(ablated)} with other parts ran beside each other."
        )
    words = (
        "No two methods of this sweep differ in a part alone: `grid: {method: [darts, {base: darts, …}]}`."
    )
    return Item(question, False, words, "raynas ls parts")


def over_time(known: OnRecord) -> Item:
    """Ask for performance over time."""
    question = "Is performance reported over time?"
    if any(record.reports for record in known.facts.records):
        return Item(question, True, "Losses, accuracies and seconds of every epoch: see “Curves”.")
    return Item(question, False, "No epoch has finished.", f"raynas resume {known.name}")


def random_control(known: OnRecord) -> Item:
    """Ask for random search: the best of random cells under the same budget."""
    question = "Is it compared with random search?"
    random = known.trust.random
    again = f"raynas sweep sweep.yaml name={known.name}-control control.random=20"
    if random is None:
        return Item(question, False, "No random cell was judged.", again)
    share = f"{100 * random.as_good:.1f} % of {len(random.values):,} random cells are as good ({random.how})"
    if random.search is None:
        return Item(
            question,
            False,
            f"{share}; random search, the best of as many as there were searches, was not measured: "
            "`benchmark: {table: …}` does.",
        )
    words = f"{share}; random search reaches {100 * random.search:.2f} % error, the chosen cell "
    return Item(question, True, f"{words}{100 * random.chosen:.2f} %.")


def runs(known: OnRecord) -> Item:
    """Ask for several runs of each setting, with their seeds."""
    question = "Are there several runs of everything, with seeds?"
    seeds: dict[object, set[int]] = {}
    for record, setting in zip(known.facts.records, known.facts.settings, strict=True):
        if record.status == "finished":
            seeds.setdefault(setting, set()).add(record.config.seed)
    if not seeds:
        return Item(question, False, "No search has finished.", f"raynas resume {known.name}")
    fewest = min(map(len, seeds.values()))
    words = (
        f"{plural(len(seeds), 'setting')}, each with {fewest} finished {'seed' if fewest == 1 else 'seeds'}"
    )
    words += " or more." if len(set(map(len, seeds.values()))) > 1 else "."
    if fewest < FEWEST_SEEDS:
        again = f"raynas sweep sweep.yaml name={known.name}-seeds grid.seed=[0,1,2,3]"
        return Item(question, False, f"{words} A spread needs {FEWEST_SEEDS}.", again)
    return Item(question, True, words)


def benchmark(known: OnRecord) -> Item:
    """Ask for a tabular or surrogate benchmark."""
    question = "Is a tabular or surrogate benchmark used?"
    if (found := known.facts.yardstick) is not None:
        kind = "which predicts" if found.table.predicts else "which was measured"
        return Item(question, True, f"{found.column} of {found.table.name}, {kind}.")
    why = f" ({known.facts.no_yardstick})" if known.facts.no_yardstick else ""
    return Item(
        question,
        False,
        f"No cell was looked up{why}.",
        f"raynas report {known.name} --table FILE --data NAME",
    )


def tuning(known: OnRecord) -> Item:
    """Ask what was tuned, and what that took."""
    question = "Is it said what was tuned, and what that took?"
    facts = known.facts
    axes = {axis for record in facts.records for axis in record.axes} - {"seed"}
    how = "drawn" if facts.sweep.strategy == "random-paired" else facts.sweep.strategy
    spent = _hours(device_hours(facts.sweep, facts.records))
    varied = f"{', '.join(sorted(axes))} ({how})" if axes else "Nothing"
    rules = ", ".join(facts.sweep.select.rules)
    words = f"{varied} varied over {plural(facts.total, 'trial')}, {spent} in all, by {rules}."
    return Item(question, True, f"{words} What was tried before this sweep is not on its record.")


def cost(known: OnRecord) -> Item:
    """Ask for the cost of everything, beside the accuracy that it bought."""
    question = "Is the time of everything reported, beside the accuracy?"
    searched = _hours(device_hours(known.facts.sweep, known.facts.records))
    if not known.tested:
        words = f"Searching took {searched}; no cell was trained from scratch and tested."
        return Item(question, False, words, known.retrain)
    hours: dict[str, float] = {}
    for folder, records, _ in known.trained:
        for unit, value in device_hours(folder.sweep(), records).items():
            hours[unit] = hours.get(unit, 0.0) + value
    images = Spread.of(each.value for each in known.tested if not each.texts)
    error = f"; test error of all that was trained {spread_percent(images)} %" if images else ""
    return Item(question, True, f"Searching took {searched}, training {_hours(hours)}{error}.")


def setup(known: OnRecord) -> Item:
    """Ask for every detail of the experiment."""
    question = "Are all details of the set-up reported?"
    if not known.starts:
        return Item(question, False, "No search has started.", f"raynas resume {known.name}")
    trains = any(not record.proposed for record in known.facts.records)
    keys = ("device", "host", "threads", "versions", *(["data"] if trains else []))
    lacking = [key for key in keys if not known.told(key)]
    if lacking:
        return Item(question, False, f"The records lack {', '.join(lacking)}.")
    return Item(question, True, "Device, host, threads, versions, hash and split of the data: at the end.")


def _some(numbers: Sequence[int]) -> str:
    """List numbers, of many the ends."""
    if len(numbers) <= 8:
        return ", ".join(map(str, numbers))
    return f"{numbers[0]} to {numbers[-1]} ({len(numbers)})"


QUESTIONS: Sequence[Callable[[OnRecord], Item]] = (
    code, final_training, settings, one_setup, confounders, ablation, protocol, over_time, random_control,
    runs, benchmark, tuning, cost, setup,
)  # fmt: skip
"""In the order of the checklist: releasing code, comparing methods, reporting details."""
