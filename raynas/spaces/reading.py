"""Genotypes from where they were written: JSON, files, other people's texts.

Whatever enters is checked against its skeleton here (`raynas.spaces.skeletons.checked`).
"""

from pathlib import Path

from pydantic import ValidationError

from raynas.disk import parse_json, read_json
from raynas.errors import RaynasError, short
from raynas.spaces import skeletons
from raynas.spaces.genotype import FORMAT, VERSION, Genotype
from raynas.spaces.graph import DEFAULT_SKELETON, Choice
from raynas.spaces.texts.snippet import choose, several_cells
from raynas.spaces.trunk import Trunk

KNOWN = "Genotype(normal=[('sep_conv_3x3', 0), ...], ...), |op~0|+|op~0|op~1|, ModelSpec(...), ENAS' numbers"
"""What a text of a cell looks like, in messages."""
MOST_CELLS = 200
"""Cells of a text that are compared, to see whether all are one."""


def genotype_from_json(data: object) -> Genotype:
    """Rebuild a genotype from `Genotype.to_json`'s data; raises `RaynasError` on anything else."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        got = repr(data.get("format")) if isinstance(data, dict) else type(data).__name__
        raise RaynasError("not a genotype", got=got, expected=f'a mapping with "format": "{FORMAT}"')
    version = data.get("version")
    if type(version) is not int or version < 1:
        raise RaynasError("the genotype's version is not a whole number from 1 on", got=repr(version))
    if version > VERSION:
        raise RaynasError(
            "the genotype was written by a later raynas",
            got=f"version {version}",
            expected=f"version {VERSION} or earlier",
            next_step="pip install --upgrade raynas",
        )
    if missing := [key for key in ("space", "nodes", "cells") if key not in data]:
        raise RaynasError(f"the genotype lacks {', '.join(missing)}", got=", ".join(map(str, data)))
    cells = data["cells"]
    if not isinstance(cells, dict) or not all(isinstance(rows, list) for rows in cells.values()):
        raise RaynasError("the genotype's cells are not lists by kind", got=short(repr(cells)))
    genotype = Genotype.of(
        data["space"],
        data["nodes"],
        {kind: [_choice(kind, row) for row in rows] for kind, rows in cells.items()},
        data.get("skeleton", DEFAULT_SKELETON),
        None if data.get("trunk") is None else _trunk(data["trunk"]),
        _outputs(data.get("outputs", {})),
    )
    return skeletons.checked(genotype)


def load_genotype(path: Path | str) -> Genotype:
    """Read a genotype that `Genotype.save` wrote; raises `RaynasError` when it is missing or damaged."""
    again = "check the path, or write the file again with `raynas report SWEEP`"
    try:
        return genotype_from_json(read_json(Path(path)))
    except OSError as error:
        raise RaynasError(
            f"cannot read the genotype: {error.strerror}",
            got=path,
            expected="a genotype.json, such as <runs>/<sweep>/best/genotype.json",
            next_step=again,
        ) from None
    except ValueError as error:
        raise RaynasError(
            "the genotype's file is damaged: it is not JSON", got=f"{path}: {error}", next_step=again
        ) from None
    except RaynasError as error:
        raise RaynasError(
            f"{path}: {error.what}",
            got=error.got,
            expected=error.expected,
            near=error.near,
            next_step=error.next_step or again,
        ) from None


def genotype_from_text(text: str, space: str | None = None, name: str | None = None) -> Genotype:
    """Parse the one cell that a text holds, in any skeleton's text form or as JSON; nothing is evaluated.

    What surrounds it does not matter: a text may be a line of a log or a whole Python module. Where
    it holds several cells, ``name`` says which, as ``DARTS_V2`` of ``DARTS_V2 = Genotype(…)``, or by the
    number of the line where it begins. ``space`` is the name the genotype gets; the one that such cells
    usually come from if left out. Raises `RaynasError` with the place of what is not the form itself, and
    `SeveralCells`.
    """
    if name is None and text.lstrip()[:1] == "{" and f'"{FORMAT}"' in text:
        try:
            return genotype_from_json(parse_json(text))
        except ValueError as error:
            raise RaynasError("the genotype is damaged: it is not JSON", got=short(str(error))) from None
    found = dict(skeletons.found_in(text))
    if name is not None:
        found = {snippet: found[snippet] for snippet in choose(text, list(found), name)}
    several = f"several cells are called {name}" if name else f"the text has {len(found)} cells"
    if not found:
        raise RaynasError("no genotype in the text", got=short(repr(text.strip())), expected=KNOWN)
    if len(found) > MOST_CELLS:
        raise several_cells(list(found), several)
    cells = set()
    for snippet, skeleton in found.items():
        try:
            written = skeleton.from_text(snippet)
            name_of, (nodes, chosen, trunk, outputs) = space or written.space, written[1:]
            cell = Genotype.of(name_of, nodes, chosen, skeleton.name, trunk, outputs)
            cells.add(skeletons.checked(cell))
        except RaynasError as error:
            if len(found) == 1:
                raise
            raise several_cells(list(found), several) from error
    if len(cells) > 1:
        raise several_cells(list(found), several)
    return cells.pop()


def genotype_to_text(genotype: Genotype) -> str:
    """Return the text form of the genotype's own field, such as DARTS' or NAS-Bench-201's.

    Raises `RaynasError` for cells that it cannot express.
    """
    return skeletons.of(genotype).to_text(genotype)


def _trunk(data: object) -> Trunk:
    try:
        return Trunk.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["trunk", *map(str, first["loc"])])
        raise RaynasError("the genotype's trunk is malformed", got=f"{place}: {first['msg']}") from None


def _outputs(data: object) -> dict[str, list[int]]:
    if isinstance(data, dict) and all(
        isinstance(states, list) and all(type(state) is int for state in states) for states in data.values()
    ):
        return data
    raise RaynasError(
        "the genotype's outputs are not lists of states by kind",
        got=short(repr(data)),
        expected='{"normal": [2, 3, 5]}',
    )


def _choice(kind: str, row: object) -> Choice:
    match row:
        case [str(op), int(source), int(target)] if bool not in (type(source), type(target)):
            return Choice(op, source, target)
    raise RaynasError(
        f"a choice of the {kind} cell is malformed",
        got=short(repr(row)),
        expected='["operation", source, target], as ["sep_conv_3x3", 0, 2]',
    )
