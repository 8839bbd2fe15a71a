"""The report's section on what a choice is worth: rank table, and the curve over numbers of searches."""

from dataclasses import dataclass

from raynas.report import figures
from raynas.report.curves import Band, Curve
from raynas.report.facts import Facts
from raynas.report.pictures import Key, Multiple, Picture
from raynas.report.remarks import remarks
from raynas.report.text import MISSING, slug
from raynas.sweep.folder import SweepFolder
from raynas.sweep.sections import Criterion
from raynas.trust.agreement import TOPS, Agreement
from raynas.trust.curve import Point
from raynas.trust.trust import Bench, RuleRow, Trust, trust_of
from raynas.trust.verdict import Verdict, verdict_of
from raynas.trust.words import worth

RULE_NAMES: dict[Criterion, str] = {
    "valid_loss": "validation loss",
    "select_loss": "loss on the third part",
    "discrete_loss": "discrete loss",
    "short_training": "error after a short training",
    "eig_max": "λmax",
    "table": "validation error in the table",
}

COLOURS: dict[Criterion, str] = {
    "valid_loss": "s0",
    "select_loss": "s6",
    "discrete_loss": "s1",
    "short_training": "s7",
    "eig_max": "s2",
    "table": "s3",
}
"""Of each rule's line."""

HEADERS = ("rule", "searches", "τ (95 %)", "sparse τ", "ρ", *(f"P@{k}" for k in TOPS), "regret", "at random")


TRUST = (
    "Every rule beside what is known of the searches’ cells, lowest first on both sides. τ: Kendall’s, with "
    "its bootstrap interval over searches; sparse τ: errors less than 0.1 points apart are ties; ρ: "
    "Spearman’s; P@k: how many of the rule’s first k are among the truly first k; regret: by how many points "
    "of error the rule’s choice misses the best search; at random: the same of a search drawn blindly. The "
    "curve is the mean over all sub-sweeps of n searches, the band the 95 % interval over searches of the "
    "validation loss’ line."
)


@dataclass(frozen=True)
class BenchSection:
    """One truth's part of the section: a title, the rank table as texts, the curve."""

    title: str
    rows: list[list[str]]
    curve: Multiple | None


@dataclass(frozen=True)
class Worth:
    """What the templates say of a choice: its ``remarks`` for the verdict, a part for each truth."""

    remarks: list[str]
    benches: list[BenchSection]
    trust: Trust
    verdict: Verdict
    headers: tuple[str, ...] = HEADERS


def worth_of(folder: SweepFolder, facts: Facts) -> Worth:
    """Return what a sweep's choice is worth, as far as its table, trainings and random cells tell."""
    trust = trust_of(folder, facts.sweep, facts.records, facts.selection, facts.yardstick)
    benches = [
        BenchSection(bench.truth.source, [_row(row) for row in bench.rows], _curve(bench, trust, place))
        for place, bench in enumerate(trust.benches)
    ]
    rule = RULE_NAMES[facts.selection.by]
    warnings = len(remarks(facts.selection, facts.space))
    verdict = verdict_of(facts.selection, trust, facts.sweep.name, rule, warnings)
    return Worth(worth(trust, facts.selection), benches, trust, verdict)


def _row(row: RuleRow) -> list[str]:
    found = row.agreement
    name = RULE_NAMES[row.rule] + (f", {row.kind}" if row.kind else "")
    precisions = [f"{found.precision[k]:.2f}" if k in found.precision else MISSING for k in TOPS]
    return [
        name,
        str(found.count),
        _tau(found),
        _signed(found.sparse),
        _signed(found.rho),
        *precisions,
        f"{100 * found.regret:.2f}",
        f"{100 * found.blind:.2f}",
    ]


def _tau(found: Agreement) -> str:
    if found.tau is None:
        return MISSING
    interval = f" ({found.tau_interval[0]:+.2f} … {found.tau_interval[1]:+.2f})" if found.tau_interval else ""
    return _signed(found.tau) + interval


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2f}"


def _curve(bench: Bench, trust: Trust, place: int) -> Multiple | None:
    """Draw a line for each rule between the best possible and a choice at random; None for one search."""
    if len(bench.best) < 2:
        return None
    drawn = [_line(points, COLOURS[rule]) for rule, points in bench.curves.items()]
    keys = [Key(RULE_NAMES[rule], f"var(--{COLOURS[rule]})", "line") for rule in bench.curves]
    first, last = bench.best[0].size, bench.best[-1].size
    levels = [("best possible", _line(bench.best, "s5", dashes=1), "dash")]
    levels.append(("a search at random", _level(bench.mean, (first, last), 2), "dot"))
    if bench.random is not None:
        levels.append(("a random cell", Curve((first, last), (100 * bench.random.mean,) * 2, "s4", 2), "dot"))
    keys += [Key(label, f"var(--{curve.colour})", mark) for label, curve, mark in levels]
    shown = [*drawn, *(curve for _, curve, _ in levels)]
    svg = figures.choice_panel(
        f"choice-{place}", shown, _band(bench), "expected error of the chosen cell / %", trust.seconds / 3600
    )
    title = f"What more searches buy, by {bench.truth.source}"
    alt = "The expected error of the chosen cell over the number of searches, a line for each rule"
    return Multiple(title, (Picture(f"choice-{slug(bench.truth.source)}", "", alt, svg),), tuple(keys), 1)


def _line(points: list[Point], colour: str, dashes: int = 0) -> Curve:
    return Curve(tuple(p.size for p in points), tuple(100 * p.error for p in points), colour, dashes)


def _level(error: float, span: tuple[int, int], dashes: int) -> Curve:
    return Curve(span, (100 * error, 100 * error), "s5", dashes)


def _band(bench: Bench) -> Band | None:
    """Return the interval of the validation loss' line, the rule that selects unless another is asked for."""
    points = bench.curves.get("valid_loss")
    if not points:
        return None
    low, high = zip(*(point.interval for point in points), strict=True)
    return Band(
        tuple(p.size for p in points),
        tuple(100 * value for value in low),
        tuple(100 * p.error for p in points),
        tuple(100 * value for value in high),
        "s0",
    )
