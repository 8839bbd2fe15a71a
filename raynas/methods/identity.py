"""The identity of a search: the record of its method with a fingerprint, and what a checkpoint must match.

A part class whose arithmetic or default changes raises its ``version`` (a ClassVar; 1 where there is none), a
method whose composition or defaults change its own, and what lies outside all parts `LOOP_VERSION`. So a
search that was begun before a correction is never continued as another one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from raynas.config import LOOP_VERSION, SearchConfig
from raynas.errors import RaynasError
from raynas.methods.kinds import use_of

Record = Mapping[str, Any]
"""A method as plain JSON data: every slot's parts with all their settings and versions."""

UNRECORDED = "not recorded (raynas 0.1.0)"


class Recorded(Protocol):
    """What a record is of: a method, whose fields decide what it computes."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...


_OF_METHOD = frozenset({"method_fingerprint", "method_record"})
_OF_RECORD = frozenset({"use", "version", "loop"})


def record_of(method: Recorded) -> dict[str, Any]:
    """Return everything of a method that decides a number, as plain JSON data."""
    return {"loop": LOOP_VERSION, **{name: _plain(value) for name, value in _settings(method).items()}}


def fingerprint_of(record: Record) -> str:
    """Return a short hash of a `record_of`: the same in every process and version of Python."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def changes(then: Record | None, method: Recorded) -> list[str]:
    """Return what is not as a record has it, one text each; empty where the method computes the same.

    A setting that the record lacks counts as the part's default. No record at all is that of raynas 0.1.0,
    which kept none: there every version was 1.
    """
    if then is None:
        return list(_raised("", record_of(method)))
    loop = then.get("loop", 1)
    found = [] if loop == LOOP_VERSION else [_versions("the loop", loop, LOOP_VERSION)]
    return [*found, *_changed("", then, method)]


def identity_of(config: SearchConfig, method: Recorded, **others: str) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to fit: configuration, method, and ``others``."""
    record = record_of(method)
    return {
        **config.model_dump(mode="json"),
        **others,
        "method_fingerprint": fingerprint_of(record),
        "method_record": record,
    }


def check_identity(theirs: Record, config: SearchConfig, method: Recorded, **others: str) -> None:
    """Raise `RaynasError` unless a checkpoint's identity is that of this search.

    A key of the configuration that it lacks, because it is older than the key, counts as its default.
    """
    mine = {**config.model_dump(mode="json"), **others}
    kept = {key: theirs.get(key) for key in others}
    given = {key: value for key, value in theirs.items() if key not in others and key not in _OF_METHOD}
    try:
        found = {**SearchConfig.model_validate(given).model_dump(mode="json"), **kept}
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise another_search(f"{key}: {error.errors()[0]['msg']}", "the keys of this version") from None
    for key, value in mine.items():
        if found[key] != value:
            raise another_search(f"{key}: {found[key]}", f"{key}: {value}")
    then, now = theirs.get("method_fingerprint"), method.fingerprint
    if then != now and (found_changes := changes(theirs.get("method_record"), method)):
        raise another_search(
            f"{method.name}, fingerprint {then or UNRECORDED}: {'; '.join(found_changes)}",
            f"{method.name}, fingerprint {now}",
        )


def another_search(got: str, expected: str) -> RaynasError:
    """Return the error of a checkpoint that does not fit."""
    return RaynasError(
        "the checkpoint belongs to another search",
        got=got,
        expected=expected,
        next_step="resume with the configuration and the raynas it was made with, or delete the checkpoint",
    )


def _settings(part: Any) -> Mapping[str, Any]:
    """Return what a method, a part or a mapping is made of."""
    if isinstance(part, Mapping):
        return part
    if not is_dataclass(part):
        return dict(getattr(part, "__dict__", {}))
    prose, later = (getattr(type(part), name, ()) for name in ("prose", "later"))
    found = {each.name: getattr(part, each.name) for each in fields(part) if each.name not in prose}
    return {name: value for name, value in found.items() if name not in later or value}


def _plain(value: Any) -> Any:
    """Return a setting as JSON data; whole numbers are written alike, however they were typed."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return str(value)
    settings = {name: _plain(each) for name, each in _settings(value).items()}
    return {"use": name_of(type(value)), "version": getattr(type(value), "version", 1), **settings}


def name_of(kind: type) -> str:
    """Return the name by which a trial file uses a part, which outlasts that of the class."""
    return use_of(kind) or f"{kind.__module__}:{kind.__qualname__}"


def _changed(path: str, then: Any, value: Any) -> Iterator[str]:
    now = _plain(value) if path else record_of(value)
    if then == now:
        return
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for place, (old, new) in enumerate(zip(then, value, strict=True)):
            yield from _changed(f"{path}[{place}]", old, new)
        return
    alike = isinstance(then, Mapping) and isinstance(now, Mapping) and then.get("use") == now.get("use")
    if not alike:
        yield f"{path}: {_said(then)} then, {_said(now)} now"
        return
    if (version := then.get("version", 1)) != now.get("version", 1):
        yield _versions(f"{path} ({now['use']})" if path else "the method", version, now["version"])
    settings = _settings(value)
    for name in dict.fromkeys([*then, *settings]):
        if name in _OF_RECORD:
            continue
        where = f"{path}.{name}".lstrip(".")
        if name not in settings:
            yield f"{where}: {_said(then[name])} then, not there now"
        elif name in then:
            yield from _changed(where, then[name], settings[name])
        elif now[name] != _plain(_default(value, name)):
            yield f"{where}: not there then, {_said(now[name])} now"


def _default(part: Any, name: str) -> Any:
    for each in fields(part) if is_dataclass(part) else ():
        if each.name == name:
            return each.default if each.default_factory is MISSING else each.default_factory()
    return MISSING


def _raised(path: str, record: Any) -> Iterator[str]:
    """Yield every version of a record that is no longer 1."""
    for place, each in enumerate(record) if isinstance(record, list) else ():
        yield from _raised(f"{path}[{place}]", each)
    if not isinstance(record, Mapping):
        return
    if record.get("loop", 1) != 1:
        yield _versions("the loop", 1, record["loop"])
    if record.get("version", 1) != 1:
        yield _versions(f"{path} ({record['use']})" if path else "the method", 1, record["version"])
    for name, each in record.items():
        yield from _raised(f"{path}.{name}".lstrip("."), each)


def _versions(what: str, then: int, now: int) -> str:
    return f"{what}: version {then} then, {now} now"


def _said(record: Any) -> str:
    if isinstance(record, list):
        return ", ".join(map(_said, record)) or "none"
    return str(record["use"]) if isinstance(record, Mapping) and "use" in record else json.dumps(record)
