"""From a trial file's words to a method: parts by name, their settings checked, schedules nested.

Other distributions add a `Method` under the entry points ``raynas.methods``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from raynas.errors import RaynasError, quoted, short, unknown
from raynas.methods.identity import name_of
from raynas.methods.kinds import INNER, PARTS, Kinds, parts
from raynas.methods.recipes import ALL
from raynas.methods.record import Method, Order
from raynas.parts import BASES
from raynas.spaces.here import Wanted, file_here, find_here, looks_only
from raynas.spaces.outside import load_point, misfit, offered
from raynas.spaces.space import Space

_SEVERAL = ("penalties", "weight_penalties", "modifiers")
_OPTIONAL = ("weight_sampler", "estimator", "stages", "stop", "proposals")
_PLAIN: Mapping[str, Any] = {
    "order": Order,
    "every": Annotated[int, Field(ge=1)],
    "nesterov": bool,
    "without": tuple[str, ...],
}
_NEXT = "raynas show darts"


def proposes(method: str | Mapping[str, Any]) -> bool:
    """Tell whether a method only proposes cells and trains nothing; one that cannot be resolved does not."""
    try:
        return resolve(method).proposals is not None
    except RaynasError:
        return False  # told where the method is checked, and where its search starts


def resolve(method: str | Mapping[str, Any], space: Space | None = None) -> Method:
    """Return the method a trial file asks for, suited to a space where one is given.

    Own parts (``use: "module:Class"``) are imported from the working folder, unless this process only looks
    (`raynas.spaces.here.only_looking`): then the base keeps its own. Raises `RaynasError` with the nearest
    name.
    """
    if space is not None:
        return resolve(method).suited(space)
    if isinstance(method, str):
        if method not in (known := methods()):
            raise unknown("method", method, known, next_step="raynas ls methods")
        return known[method]
    base = resolve(method["base"])
    method = _without_own(method) if looks_only() else method
    changes = {key: value for key, value in method.items() if key not in {"base", "name", "add"}}
    found = {slot: _fill(slot, value) for slot, value in changes.items()}
    for slot, value in _additions(method.get("add", {})).items():
        found[slot] = (*found.get(slot, getattr(base, slot)), *_fill(slot, value))
    name = str(method.get("name", base.name))
    return base.with_(name, f"{base.title}, changed: {', '.join(found) or 'nothing'}", **found)


def _additions(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RaynasError("add must be a mapping", got=quoted(value), expected=f"keys {', '.join(_SEVERAL)}")
    for slot in value:
        if slot not in _SEVERAL:
            raise unknown("list of a method", slot, _SEVERAL, next_step=_NEXT)
    return value


_registered: dict[str, Method] = {}


def register_method(method: Method) -> Method:
    """Make a method of yours known by its name, in this process alone, and return it.

    Registered again, as when a cell of a notebook runs twice, the later one counts. A sweep on Ray runs in
    other processes: there a method comes from a package, by the entry point ``raynas.methods``. Raises
    `RaynasError` for a name that raynas or a package has given already.
    """
    if method.name in _installed():
        raise RaynasError(
            f"there is already a method {quoted(method.name)}",
            next_step='give yours another name: .with_("my-method", ...)',
        )
    _registered[method.name] = method
    return method


def methods() -> Mapping[str, Method]:
    """Return every method by name: raynas' own, those of other distributions, those registered here."""
    return {**_installed(), **_registered}


@cache
def _installed() -> Mapping[str, Method]:
    """Return every method but those registered in this process."""
    found = {method.name: method for method in ALL}
    for name, point in offered("raynas.methods").items():
        method = load_point(point)
        if not isinstance(method, Method):
            raise misfit(point, type(method).__name__, "a raynas.methods.Method")
        found.setdefault(name, method)
    return found


def _fill(slot: str, value: Any) -> Any:
    """Return what a slot gets for the value in a trial file."""
    if slot in _PLAIN:
        return _validated(_PLAIN[slot], value, slot)
    if slot not in PARTS:
        raise unknown("part of a method", slot, [*PARTS, *_PLAIN, "add"], next_step=_NEXT)
    if value is None and slot in _OPTIONAL:
        return None
    if slot in _SEVERAL:
        each = value if isinstance(value, list | tuple) else [value]
        return tuple(_part(slot, slot, item) for item in each)
    return _part(slot, slot, value)


def own_parts(value: Any, named: bool = False) -> Iterator[str]:
    """Yield every ``module:Class`` that a method as a file has it uses, importing none.

    ``named`` says that a text standing there is the name of a part.
    """
    if isinstance(value, str):
        yield from [value] if named and ":" in value else []
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from own_parts(each, key == "use" or key in PARTS or key in INNER)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from own_parts(each, named)


def check_own(name: str) -> None:
    """Raise `RaynasError` unless ``module:Class`` has a file in the working folder; nothing is imported."""
    file_here(name, _OWN)


_OWN = Wanted("part", "class", "raynas.parts", "is not imported")


def _without_own(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method without the parts whose code is not looked into."""
    known = {key: value for key, value in method.items() if not list(own_parts({key: value}))}
    if isinstance(added := method.get("add"), Mapping):
        known["add"] = {key: value for key, value in added.items() if not list(own_parts({key: value}))}
    return known


def _own_part(name: str, slot: str) -> type[Any]:
    """Return the class of parts behind ``module:Class`` of the working folder."""
    kind, file = find_here(name, _OWN)
    base = BASES[slot]
    if not (isinstance(kind, type) and issubclass(kind, base) and is_dataclass(kind)):
        raise RaynasError(
            f"{quoted(name)} is no part for {slot}",
            got=f"{getattr(kind, '__name__', type(kind).__name__)} of {file}",
            expected=f"a frozen dataclass below {base.__module__}.{base.__name__}",
            next_step="examples/own_penalty.py shows one",
        )
    if lacking := sorted(getattr(kind, "__abstractmethods__", ())):
        raise RaynasError(
            f"{quoted(name)} is no whole part for {slot}",
            got=f"{kind.__name__} of {file} without {', '.join(lacking)}",
            expected=f"what {base.__module__}.{base.__name__} says of {lacking[0]}",
            next_step="examples/own_penalty.py shows one",
        )
    return kind


def _part(where: str, slot: str, value: Any) -> Any:
    """Build the part a value asks for: a name, or `use:` with the part's settings."""
    kinds: Kinds = parts(slot)
    if not isinstance(value, str | Mapping):
        raise RaynasError(
            f"{where} must be a name or a mapping", got=quoted(value), expected=f"one of {', '.join(kinds)}"
        )
    settings = {"use": value} if isinstance(value, str) else dict(value)
    use = settings.pop("use", None)
    own = isinstance(use, str) and ":" in use
    if not own and (not isinstance(use, str) or use not in kinds):
        raise unknown(where, use, kinds, next_step=_NEXT)
    kind = _own_part(use, slot) if own else kinds[use]
    known = [field.name for field in fields(kind)]
    for key in settings:
        if key not in known:
            raise unknown(f"setting of {use}", key, known)
    built = {key: _setting(f"{where}.{use}", key, item) for key, item in settings.items()}
    try:
        return _validated(kind, built, f"{where}.{use}")
    except RaynasError:
        raise
    except Exception as error:  # the class may be the user's: anything may come out of it
        raise RaynasError(
            f"{where}.{use} cannot be built",
            got=f"{type(error).__name__}: {short(f'{error}', 200)}",
            next_step="`raynas --debug` before the verb shows where it failed",
        ) from error


def _setting(where: str, key: str, value: Any) -> Any:
    if key in INNER and isinstance(value, str | Mapping | list | tuple):
        if isinstance(value, list | tuple):
            return tuple(_part(f"{where}.{key}", key, item) for item in value)
        return _part(f"{where}.{key}", key, value)
    if isinstance(value, Mapping):
        return _part(f"{where}.{key}", "schedule", value)
    return tuple(value) if isinstance(value, list) else value


def _validated(kind: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(str(part) for part in (where, *detail["loc"]))
        raise RaynasError(f"{place}: {detail['msg']}", got=quoted(detail["input"])) from None


def as_written(part: Any) -> Any:
    """Return a part as a trial file would write it: `use` and its settings."""
    if isinstance(part, Sequence) and not isinstance(part, str):
        return [as_written(each) for each in part]
    if not is_dataclass(part) or isinstance(part, type):
        return part
    settings = {field.name: as_written(getattr(part, field.name)) for field in fields(part)}
    return {"use": name_of(type(part)), **settings}
