"""YAML as people write it: plain values only, read as YAML 1.2 means them, within bounds, nothing twice.

YAML 1.1, which PyYAML follows, has surprises: `010` is 8, `1:30` is 90, `2026-11-28` is a date, `3e-4` is
text, a key given twice loses its first value, aliases of aliases fill the memory. Here the first is refused,
dates and times are text, numbers are numbers, and what is too large or too deep is never built.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from raynas.errors import short

MOST_BYTES = 256 * 1024
"""Of a file; the longest packaged one has 2,000."""

MOST_VALUES = 20_000
"""Keys and values of a file, each alias counted as what it stands for; a list of 10,000 seeds fits."""

DEEPEST = 32
"""Levels of lists and mappings within each other."""

_TAG = "tag:yaml.org,2002:"
_KNOWN = {
    yaml.ScalarNode: {_TAG + name for name in ("null", "bool", "int", "float", "str", "merge")},
    yaml.SequenceNode: {_TAG + "seq"},
    yaml.MappingNode: {_TAG + "map"},
}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
)
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+$")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class NotYaml(ValueError):
    """What is wrong with a text, and where: ``line 3, column 5``, or empty."""

    def __init__(self, message: str, mark: yaml.Mark | None = None) -> None:
        self.where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        super().__init__(message)


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document: mappings, lists, texts, numbers, booleans, None.

    Raises `NotYaml` for anything that is not YAML, is unsafe, ambiguous, or beyond the bounds of this module.
    """
    return _parse(text)[1]


def parse_value(text: str) -> Any:
    """Return the value that was typed after ``key=``, where nobody writes comments: `set #2` is a text.

    Raises `NotYaml`, as `parse_yaml` and for what follows a quoted text, a list or a mapping.
    """
    node, value = _parse(text)
    rest = text.strip() if node is None else text[node.end_mark.index :].strip()
    if not rest:
        return value
    if node is None or (isinstance(node, yaml.ScalarNode) and node.style is None):
        return text.strip()
    raise NotYaml(
        f"{short(rest)!r} would be taken for a comment; put it inside the quotes or brackets, or leave it out"
    )


def _parse(text: str) -> tuple[yaml.Node | None, Any]:
    if len(text) > MOST_BYTES:
        raise NotYaml(f"more than {MOST_BYTES:,} characters")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        # Some of PyYAML's problems are half a sentence, whose other half is the context.
        half = error.context if (error.problem or "").startswith("but ") else None
        told = ", ".join(each for each in (half, error.problem or "not YAML") if each)
        raise NotYaml(short(told, 200), error.problem_mark) from None
    except RecursionError:
        raise NotYaml(f"lists and mappings are nested deeper than {DEEPEST} levels") from None
    except (ValueError, LookupError, AttributeError, yaml.YAMLError) as error:
        raise NotYaml(f"not YAML text: {short(str(error), 200)}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the bounds and the resolution of this module."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._composed = 0
        self._extents: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, with what an alias stands for counted wherever it occurs."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._composed += 1
        self._depth += 1
        self._bound(self._composed, self._depth, mark)
        alias = self.check_event(yaml.AliasEvent)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if node not in self._extents:
            if alias:
                raise yaml.composer.ComposerError(None, None, "an alias of what contains it", mark)
            _check(node)
            self._extents[node] = self._extent(node)
        size, depth = self._extents[node]
        self._bound(size, depth, mark)
        return node

    def _extent(self, node: yaml.Node) -> tuple[int, int]:
        """Return how many values a node holds, itself included and long texts as several, and its depth."""
        if isinstance(node, yaml.ScalarNode):
            return 1 + len(node.value) // 100, 1
        pairs = isinstance(node, yaml.MappingNode)
        inner = [each for pair in node.value for each in pair] if pairs else node.value
        extents = [self._extents[each] for each in inner]
        return 1 + sum(size for size, _ in extents), 1 + max((depth for _, depth in extents), default=0)

    def _bound(self, size: int, depth: int, mark: yaml.Mark) -> None:
        if size > MOST_VALUES:
            problem = f"more than {MOST_VALUES:,} values, aliases counted as what they stand for"
            raise yaml.composer.ComposerError(None, None, problem, mark)
        if depth > DEEPEST:
            problem = f"lists and mappings are nested deeper than {DEEPEST} levels"
            raise yaml.composer.ComposerError(None, None, problem, mark)


def _check(node: yaml.Node) -> None:
    """Refuse what would not be a plain value, or another one than it seems."""
    problem = None
    if node.tag not in _KNOWN[type(node)]:
        problem = f"the tag {short(node.tag.removeprefix(_TAG))!r} is not read here; write plain values"
    elif isinstance(node, yaml.ScalarNode):
        if strange := _UNPRINTABLE.search(node.value):
            problem = f"a text holds the unprintable character U+{ord(strange[0]):04X}"
        elif node.style is None and _LEADING_ZERO.match(node.value):
            number = node.value.replace("_", "").lstrip("+-0") or "0"
            number = "-" * node.value.startswith("-") + number
            given = short(node.value, 40)
            problem = f"{given} would be octal to some: write {short(number, 40)}, or '{given}' for a text"
    if problem:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Build a mapping: a key given twice is an error; what `<<` merges gives way to what is written out."""
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            problem = f"a list or a mapping cannot be a key: {short(repr(key))}"
        elif key in seen:
            problem = f"key {short(repr(key))} is given twice"
        else:
            seen.add(key)
            continue
        raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


def _merge_key(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(node.value)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value.replace("_", ""), 0)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag in {_TAG + n for n in ("null", "bool", "merge")}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+0123456789."))
_Loader.add_constructor(_TAG + "map", _mapping)
_Loader.add_constructor(_TAG + "merge", _merge_key)
_Loader.add_constructor(_TAG + "int", _int)
