"""How far α can move in the steps that a sweep's searches have: said before they run."""

from typing import Any

from raynas.data.catalogue import counted
from raynas.errors import plural
from raynas.methods import proposes, resolve
from raynas.sweep.file.resolve import method_label
from raynas.sweep.plan import Sweep

LEAST_REACH = 0.3
"""How far Adam must be able to carry a logit of α, steps times rate: a third more weight than the others."""

PUBLISHED_REACH = 5.85
"""The same of DARTS' search: 50 epochs of 390 steps at 3e-4."""

HIGHEST_RATE = 0.03
"""The largest rate of α that is suggested, the quickstart's; beyond, single batches decide."""


MOST_NAMED = 4
"""Methods that are named with their steps."""


def alpha_steps(sweep: Sweep) -> list[str]:
    """Say how many steps α gets, as far as the images are counted, and what to change where these are few."""
    said: dict[str, dict[str, None]] = {}
    known = {}
    for trial in sweep.trials:
        if (config := trial.config) is None or proposes(config.method):
            continue
        data = config.data
        if (mark := data.model_dump_json()) not in known:
            known[mark] = counted(data)
        if (images := known[mark]) is None:
            continue
        each = max(int(images * data.trains_weights) // config.batch, 1)
        every = each * max(config.epochs - config.warmup, 0)
        rate = config.arch_learning_rate
        line = f"{plural(each, 'step')} per epoch, {every:,} of α in all, at α rate {rate:g}"
        if every * rate < LEAST_REACH and _by_adam(config.method):
            wanted = float(f"{min(PUBLISHED_REACH / max(every, 1), HIGHEST_RATE):.0e}")
            faster = f"arch_learning_rate={wanted:g}, " if wanted > rate else ""
            line += (
                f": α will hardly move (each by {every * rate:.2g} at most; a published search's by "
                f"{PUBLISHED_REACH:g}). {faster}more epochs, or a smaller batch"
            )
        said.setdefault(line, {})[method_label(config.method)] = None
    apart = len({tuple(names) for names in said.values()}) > 1
    return [f"{_listed(list(names))}: {line}" if apart else line for line, names in said.items()]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _by_adam(name: str | dict[str, Any]) -> bool:
    """Tell whether a method moves logits by Adam, no step of which is longer than its rate."""
    method = resolve(name)
    return method.updater.use == "adam" and method.store.use == "table" and method.estimator is not None
