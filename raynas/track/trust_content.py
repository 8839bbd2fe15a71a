"""What MLflow gets to see of what a choice is worth: rank table, curve and control as metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

from raynas.report.text import slug
from raynas.track.content import finite

Rows = dict[int, dict[str, float]]
"""Metrics by step; the step of a point of the curve is the number of searches."""


def trust_rows(told: Mapping[str, Any]) -> Rows:
    """Return the metrics of a ``trust.json``: errors as fractions, correlations as they are.

    The curve of a rule, ``curve/RULE``, has the number of searches as its step, so that MLflow draws it. Of
    several truths each has its name in front.
    """
    truths = told.get("truths", [])
    found: Rows = {0: dict(_control(told.get("short") or told.get("inherited"), "control/"))}
    for truth in truths:
        before = f"{slug(truth['source'])}/" if len(truths) > 1 else ""
        found[0] |= dict(_control(truth["random"], f"{before}control/"))
        for row in truth["rules"]:
            kind = f"_{slug(row['kind'])}" if row["kind"] else ""
            for name in ("tau", "sparse", "rho", "regret", "blind"):
                if (value := row["agreement"][name]) is not None:
                    found[0][f"{before}rank/{name}_{row['rule']}{kind}"] = value
        for rule, points in {**truth["curves"], "best_possible": truth["best_possible"]}.items():
            for point in points:
                found.setdefault(point["size"], {})[f"{before}curve/{rule}"] = point["error"]
    return {step: finite(row) for step, row in found.items() if row}


def _control(random: Mapping[str, Any] | None, prefix: str) -> Iterator[tuple[str, float]]:
    for name in ("chosen", "place", "as_good", "mean", "sd", "improvement", "random_search"):
        if random and (value := random.get(name)) is not None:
            yield f"{prefix}{name}", float(value)
