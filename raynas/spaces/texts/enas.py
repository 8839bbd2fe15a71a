"""ENAS' flat texts of its cells and of its networks, and the same with operations named.

Micro (Pham et al. 2018; the authors' `micro_controller`): four whole numbers per block, ``state operation
state operation``, first all of the normal cell, then all of the reduction cell. States 0 and 1 are the cell's
inputs. Where an operation is none of ENAS' five, names stand for the operations' numbers.

Macro (`general_controller`): for each layer its operation, then a bit for each state that a skip may come
from: layer l has l of them, for the network's input and the layers 0 to l − 2.
"""

import re
from collections.abc import Iterator, Sequence
from math import isqrt

from raynas.errors import RaynasError, short
from raynas.spaces.operations import canonical_name, unknown_operation
from raynas.spaces.texts.snippet import Span, Triple

MICRO = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect")
"""ENAS' five operations of a cell, by their numbers."""
MACRO = ("nor_conv_3x3", "sep_conv_3x3", "nor_conv_5x5", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
"""ENAS' six operations of a layer, by their numbers."""

_NOTATION = "state operation state operation for each block, of the normal and then of the reduction cell"


_LISTS = re.compile(r"(?:\[\s*\d+(?:[\s,]+\d+)*,?\s*\],?\s*)+")
_WRAPPING = str.maketrans("[](),\"'", " " * 7)


def spans(text: str) -> Iterator[Span]:
    """Yield the runs of lists of numbers in a text, as ENAS' code prints its arcs (``[0 2 0 0 ...]``)."""
    for found in _LISTS.finditer(text):
        if len(found[0].split()) > 1:
            yield found.start(), found.start() + len(found[0].rstrip())


def bare(text: str) -> str:
    """Return a text without the brackets, commas and quotes of lists, a line for each list."""
    if "[" not in text:
        return text.translate(_WRAPPING)
    lists = (part.partition("[")[2] for part in text.split("]")[:-1])
    return "\n".join(" ".join(each.translate(_WRAPPING).split()) for each in lists)


def is_enas(text: str) -> bool:
    """Tell whether a text begins with a whole number, as all of these and no other text form do."""
    return _is_number((text[:100].split(maxsplit=1) or [""])[0])


def is_macro(text: str) -> bool:
    """Tell whether a text is a macro one: numbers only, not in two lines, as many as whole layers have."""
    words, lines = text.split(), text.strip().splitlines()
    return is_enas(text) and all(map(_is_number, words)) and len(lines) != 2 and _layers(len(words)) > 0


def write_micro(cells: Sequence[Sequence[Triple]]) -> str:
    """Write (operation, source, block) triples, two per block and in order, a line for each cell."""
    numbered = all(op in MICRO for cell in cells for op, _, _ in cell)
    lines = []
    for cell in cells:
        slots = ((source, MICRO.index(op) if numbered else op) for op, source, _ in cell)
        lines.append(" ".join(f"{source} {op}" for source, op in slots))
    return "\n".join(lines)


def read_micro(text: str) -> list[list[Triple]]:
    """Parse two cells; raises `RaynasError` with the place of a mistake."""
    words = text.split()
    if not words or len(words) % 8:
        raise RaynasError("not ENAS' text form of two cells", got=f"{len(words)} words", expected=_NOTATION)
    half = len(words) // 2
    return [list(_slots(words[:half], "normal")), list(_slots(words[half:], "reduction"))]


def _slots(words: Sequence[str], cell: str) -> Iterator[Triple]:
    for place in range(0, len(words), 2):
        block = 2 + place // 4
        where = f"block {place // 4} of the {cell} cell"
        source = _number(words[place], f"state of {where}", block)
        op = words[place + 1]
        if _is_number(op):
            op = MICRO[_number(op, f"operation of {where}", len(MICRO))]
        elif known := canonical_name(op):
            op = known
        else:
            raise unknown_operation(op)
        yield op, source, block


def write_macro(layers: Sequence[tuple[str, Sequence[bool]]]) -> str:
    """Write each layer's operation and bits, a line per layer; raises `RaynasError` for other operations."""
    for op, _ in layers:
        if op not in MACRO:
            raise RaynasError(
                "ENAS' text form of a network has six operations",
                got=op,
                expected=", ".join(MACRO),
                next_step="save the genotype as JSON instead",
            )
    return "\n".join(" ".join(map(str, [MACRO.index(op), *map(int, bits)])) for op, bits in layers)


def read_macro(text: str) -> list[tuple[str, list[bool]]]:
    """Parse a network; raises `RaynasError` with the place of a mistake."""
    words = iter(text.split())
    count = _layers(len(text.split()))
    layers = []
    for layer in range(count):
        op = MACRO[_number(next(words), f"operation of layer {layer}", len(MACRO))]
        bits = [_number(next(words), f"bit {bit} of layer {layer}", 2) == 1 for bit in range(layer)]
        layers.append((op, bits))
    return layers


def _layers(words: int) -> int:
    """Return how many layers have so many numbers, 1 + 2 + …; 0 if none."""
    layers = (isqrt(8 * words + 1) - 1) // 2
    return layers if layers * (layers + 1) == 2 * words else 0


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def _number(word: str, what: str, limit: int) -> int:
    if not _is_number(word) or len(word) > 9 or int(word) >= limit:
        raise RaynasError(
            f"not a number for the {what}", got=short(word), expected=f"a number from 0 to {limit - 1}"
        )
    return int(word)
