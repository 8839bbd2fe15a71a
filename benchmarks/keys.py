"""All keys of trial files as a page, and as a schema for editors, made of their declarations.

``python -m benchmarks.keys --write docs/keys.md raynas/sweep/file/trial.schema.json``
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.cli.keys import key_facts, key_names, written
from raynas.disk import disk_error
from raynas.sweep.file.schema import schema

INTRODUCTION = """# Keys

Every key of a trial file: `raynas show KEY` says the same, `raynas ls keys` lists them, and a word that other
programs use for one (`raynas show lr`) leads to it. A key of a group stands inside it or has a dot:
`data: {valid: 0.1}` or `data.valid: 0.1`. After a verb it has
the dot: `raynas show quickstart data.valid=0.1`. What a method, a space or a recipe brings along, as listed
here, stands where a file gives no value; `raynas show FILE KEY=VALUE` prints what would run.

Editors that know JSON schemas complete and check these keys: `raynas show schema` prints one, and a file's
first line `# yaml-language-server: $schema=trial.schema.json` names the file that you put it into.

This page is made by `python -m benchmarks.keys --write docs/keys.md raynas/sweep/file/trial.schema.json`."""


def page() -> str:
    """Return the page: one section for each key, groups before what is in them."""
    return "\n\n".join([INTRODUCTION, *(_section(key_facts(name)) for name in key_names())]) + "\n"


def _section(facts: Mapping[str, Any]) -> str:
    lines = [f"## {facts['name']}"]
    for kind, each in facts["in"].items():
        about = f"In files of {kind}: {each['about']}" if kind != "searches" else each["about"]
        takes = f"Takes {each['takes']}{_unit(each)}{_default(each)}{_varies(each)}."
        also = f" Elsewhere called {', '.join(f'`{also}`' for also in each['also'])}." if each["also"] else ""
        lines += ["", f"{about[0].upper()}{about[1:]}. {takes}{also} Example: `{each['example']}`"]
        lines += [""] if each["brought"] else []
        lines += [f"- `{value}`: {', '.join(names)}" for value, names in each["brought"].items()]
    return "\n".join(lines).rstrip()


def _unit(facts: Mapping[str, Any]) -> str:
    return f" ({facts['unit']})" if facts["unit"] else ""


def _default(facts: Mapping[str, Any]) -> str:
    return f"; default `{written(facts)}`" if written(facts) else ""


def _varies(facts: Mapping[str, Any]) -> str:
    return f"; may vary in {', '.join(f'`{each}`' for each in facts['varies'])}" if facts["varies"] else ""


def schema_text() -> str:
    """Return the schema as the file that comes with the package."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page (``.md``) and the schema (``.json``); return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.keys", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument(
        "--write", type=Path, nargs="+", required=True, metavar="FILE", help="as docs/keys.md"
    )
    for file in parser.parse_args(arguments).write:
        try:
            file.write_text(schema_text() if file.suffix == ".json" else page(), encoding="utf-8")
        except OSError as error:
            print(disk_error(error, file), file=sys.stderr)
            return 2
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
