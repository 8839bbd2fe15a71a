"""What a choice among n searches is worth, printed."""

from raynas.cli.output import say, show_table, table
from raynas.errors import RaynasError
from raynas.report.text import duration, percent
from raynas.report.trust import RULE_NAMES
from raynas.trust.trust import Bench, Trust


def print_curves(trust: Trust) -> None:
    """Print, for every truth, the expected error of each rule's choice among n searches.

    Raises `RaynasError` where nothing is known of any cell.
    """
    if not trust.benches:
        raise RaynasError(
            "there is no curve: no cell of this sweep has been trained, and no table knows any",
            expected="a benchmark in the sweep's file, or trained cells",
            next_step="retrain: {top: 4, seeds: [0, 1, 2]} in the file, or raynas retrain",
        )
    for bench in trust.benches:
        _print(bench, trust.seconds)


def _print(bench: Bench, seconds: float) -> None:
    say(f"expected error of the chosen cell / %, by {bench.truth.source}")
    names = [RULE_NAMES[rule] for rule in bench.curves]
    numbers = ("searches", "time", *names, "best possible")
    shown = table(*numbers, right=numbers)
    for best in bench.best:
        # A rule that cannot rank every search has other sizes at its end.
        found = [{p.size: p.error for p in points}.get(best.size) for points in bench.curves.values()]
        row = [percent(error) for error in (*found, best.error)]
        shown.add_row(str(best.size), duration(best.size * seconds), *row)
    show_table(shown)
    if bench.random is not None:
        say(f"a random cell: {percent(bench.random.mean)} %")
