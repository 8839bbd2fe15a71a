"""Descriptions of parts: a docstring, its settings, where it may be used, and who uses it."""

import inspect
import types
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from raynas.bilevel.part import Part
from raynas.methods.build import as_written, methods
from raynas.methods.kinds import INNER, PARTS, parts

_SIGNS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    type(None): "null",
}


def known_parts() -> dict[str, list[type[Part]]]:
    """Return every part by the name a trial file uses it by, in slot order; mostly one per name."""
    found: dict[str, list[type[Part]]] = {}
    for slot in (*PARTS, *INNER):
        for use, kind in parts(slot).items():
            if kind not in found.setdefault(use, []):
                found[use].append(kind)
    return found


def part_facts(use: str, kind: type[Part]) -> dict[str, Any]:
    """Return a part as plain data: its words, slots, settings with defaults, and the methods that use it."""
    text = inspect.getdoc(kind) or ""
    return {
        "name": use,
        "title": text.partition("\n\n")[0].replace("\n", " ").replace("``", "`"),
        "slots": list(kind.slots),
        "about": text,
        "settings": [
            {"name": each.name, "default": _default(each), "takes": takes(hint)}
            for each, hint in _hinted(kind)
        ],
        "methods": [name for name, method in methods().items() if _uses(method, kind)],
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "version": kind.version,
    }


def _hinted(kind: type[Part]) -> Iterator[tuple["Field[Any]", Any]]:
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):  # type: ignore[arg-type]
        yield each, hints[each.name]


def _default(each: "Field[Any]") -> Any:
    """Return a setting's default as a trial file would write it; ``required`` where it has none."""
    if each.default is MISSING and each.default_factory is MISSING:
        return "required"
    return as_written(each.default if each.default_factory is MISSING else each.default_factory())


def _uses(value: Any, kind: type) -> bool:
    """Tell whether a part occurs anywhere in a method, inside other parts included."""
    if isinstance(value, tuple):
        return any(_uses(each, kind) for each in value)
    if type(value) is kind:
        return True
    inside = getattr(value, "__dataclass_fields__", {})
    return any(_uses(getattr(value, name), kind) for name in inside)


def takes(hint: Any, limits: Sequence[Any] = ()) -> str:
    """Return in words what a setting of this type takes."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return takes(arguments[0], [*limits, *(rule for each in arguments[1:] for rule in _rules(each))])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(takes(each) for each in arguments))
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin is tuple:
        each = takes(arguments[0])
        size = "a list, each" if Ellipsis in arguments else f"a list of {len(arguments)}, each"
        return f"{size} {each}"
    if isinstance(hint, type) and issubclass(hint, Part):
        inner = next((slot for slot in hint.slots if slot in INNER), hint.slots[0])
        return f"a part for `{inner}`" if inner != "schedule" else "a schedule"
    words = _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
    bounds = [
        f"{text} {getattr(limit, sign):g}"
        for limit in limits
        for sign, text in _SIGNS.items()
        if getattr(limit, sign, None) is not None
    ]
    return f"{words} {' and '.join(bounds)}" if bounds else words


def _rules(annotation: Any) -> Sequence[Any]:
    """Return the bounds that an annotation of pydantic's holds."""
    return getattr(annotation, "metadata", None) or [annotation]
