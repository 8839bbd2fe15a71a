"""All parts as a page, made of their docstrings and defaults.

``python -m benchmarks.parts --write docs/parts.md``
"""

import argparse
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.bilevel.part import Part
from raynas.disk import disk_error
from raynas.methods.about import part_facts
from raynas.methods.kinds import INNER, PARTS, use_of
from raynas.parts import BASES

INTRODUCTION = """# Parts

A method is a record of parts, one or several for each slot; `raynas show METHOD` prints those of a method. A
trial file puts others in their place (`method: {base: darts, sampler: {use: gumbel, hard: true}}`); what
makes no sense together is refused with the reason. How the slots work together is drawn at the head of
[`raynas/bilevel/slots.py`](../raynas/bilevel/slots.py). Where a setting takes a schedule, write
`{use: linear, start: 10, end: 0.1}` or another of those at the end.

A part of your own needs no package. It is a frozen dataclass below its slot's class, in a file of the
folder that raynas runs in; its fields are its settings, and a trial file names it: with
[`examples/own_penalty.py`](../examples/own_penalty.py) beside it `method: {base: darts, weight_penalties:
{use: "own_penalty:Filters", strength: 1.0e-4}}`. As with data, code of no other place is run. `raynas
check` and whatever else only looks imports nothing of it and says so, unless it gets `--import`. A method's
fingerprint has its module, class, fields and `version: ClassVar[int]`, to be raised when it computes
something else. `raynas.testing.check_part` tests it.

This page is made from docstrings, by `python -m benchmarks.parts --write docs/parts.md`. `raynas show PART`
says the same, and which methods use the part."""

INNER_WORDS = {
    "schedule": "wherever a number may change from epoch to epoch",
    "before": "`before` in an updater",
    "after": "`after` in an updater",
    "then": "`then` in `eigenvalue-growth`",
}


def page() -> str:
    """Return the page, with the parts that come with raynas."""
    sections = [INTRODUCTION]
    done: set[type] = set()
    for slot, kinds in (*PARTS.items(), *INNER.items()):
        new = {use: kind for use, kind in kinds.items() if kind not in done and use_of(kind) == use}
        if not new:
            continue
        done |= set(new.values())
        sections.append(f"## {_heading(slot)}\n\n{_slot(BASES[slot])}")
        sections += [_section(part_facts(use, kind)) for use, kind in new.items()]
    return "\n\n".join(sections) + "\n"


def _slot(base: type[Part]) -> str:
    """Return what a part of a slot does, then what it may say that it is."""
    above = [kind for kind in base.__mro__ if issubclass(kind, Part) and kind is not Part]
    return "\n\n".join(_text(inspect.getdoc(kind) or "") for kind in above)


def _heading(slot: str) -> str:
    if slot in INNER_WORDS:
        return f"`{slot}`: {INNER_WORDS[slot]}"
    return " and ".join(f"`{each}`" for each in BASES[slot].slots if each in PARTS)


def _section(facts: Mapping[str, Any]) -> str:
    lines = [f"### {facts['name']}", "", _text(facts["about"])]
    if facts["settings"]:
        lines += ["", "| setting | default | takes |", "|---|---|---|"]
        lines += [
            f"| `{each['name']}` | {_default(each['default'])} | {each['takes']} |"
            for each in facts["settings"]
        ]
    return "\n".join(lines)


def _text(docstring: str) -> str:
    """Return a docstring as Markdown."""
    return docstring.replace("``", "`").replace("|", "\\|")


def _default(value: Any) -> str:
    if value == "required":
        return "required"
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parts", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="as docs/parts.md")
    chosen = parser.parse_args(arguments)
    try:
        chosen.write.write_text(page(), encoding="utf-8")
    except OSError as error:
        print(disk_error(error, chosen.write), file=sys.stderr)
        return 2
    print(chosen.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
