"""Regret against evaluations of searches that only propose cells, on a table of all of them.

``python -m benchmarks.proposals accuracy.csv --write docs/figures/proposals.svg``
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raynas.bilevel.slots import Proposals
from raynas.errors import RaynasError
from raynas.methods import method_names, resolve
from raynas.search.proposing import Hunt, TableJudge
from raynas.spaces.library import load_space
from raynas.spaces.space import Space
from raynas.tables.open import open_table
from raynas.tables.table import Yardstick

COLOURS = ("#6e7781", "#0969da", "#cf222e")
TOLD = (10, 30, 96, 300, 1000)
"""After how many evaluations the table has a column, as far as there are so many."""


def reached(
    rule: Proposals, space: Space, judge: TableJudge, yardstick: Yardstick, repeats: int
) -> NDArray[np.float64]:
    """Return the accuracy [repeats, evaluations] of the cell that would be chosen after each evaluation."""
    found = np.empty((repeats, rule.evaluations))
    for seed in range(repeats):
        hunt = Hunt(rule, space, seed)
        before, accuracy = None, 0.0
        while not hunt.over:
            hunt.step(judge)
            if hunt.best is not None and hunt.best is not before:
                before, accuracy = hunt.best, yardstick.accuracy(hunt.best) or 0.0
            found[seed, hunt.evaluations - 1] = accuracy
    return found


def table(curves: dict[str, NDArray[np.float64]]) -> str:
    """Return mean ± sample standard deviation over repeats, in per cent, as Markdown."""
    counts = [count for count in TOLD if all(count <= curve.shape[1] for curve in curves.values())]
    head = f"| method | {' | '.join(f'{count:,}' for count in counts)} |\n|---|{'---:|' * len(counts)}"
    rows = [
        f"| {name} | "
        + " | ".join(
            f"{100 * curve[:, count - 1].mean():.2f} ± {100 * curve[:, count - 1].std(ddof=1):.2f}"
            for count in counts
        )
        + " |"
        for name, curve in curves.items()
    ]
    return "\n".join([head, *rows])


def draw(curves: dict[str, NDArray[np.float64]], best: float, path: Path, title: str) -> None:
    """Draw the mean regret over repeats with its quartiles, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "raynas"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        evaluations = np.arange(1, curve.shape[1] + 1)
        regret = 100 * (best - curve)
        low, high = np.quantile(regret, [0.25, 0.75], axis=0)
        axes.fill_between(evaluations, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(evaluations, regret.mean(0), color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="regret / points of accuracy")
    axes.set_title(title, fontsize=9)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    """Run every method that proposes cells, print the table, and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--space", default="nas-bench-201")
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--write", type=Path, required=True)
    given = parser.parse_args()
    try:
        space = load_space(given.space)
        yardstick = Yardstick.of(open_table(given.table), given.data, [space])
        judge = TableJudge(yardstick.judge(), "")
        methods = {name: resolve(name, space) for name in method_names()}
        curves = {}
        for name, method in methods.items():
            if method.proposals is None:
                continue
            settings = {"evaluations": given.evaluations}
            rule = resolve({"base": name, "proposals": {"use": method.proposals.use, **settings}}).proposals
            if rule is not None:
                curves[name] = reached(rule, space, judge, yardstick, given.repeats)
        best = yardstick.bests[space.name]
    except (RaynasError, KeyError) as error:
        print(error, file=sys.stderr)
        return 2
    title = (
        f"{given.repeats} searches each, mean and quartiles: {yardstick.column} of the cell\n"
        f"that is best so far by {judge.yardstick.column}"
    )
    draw(curves, best, given.write, title)
    print(table(curves))
    return 0


if __name__ == "__main__":
    sys.exit(main())
