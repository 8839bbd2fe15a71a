"""The comments of a copied trial file: every key says what it means."""

import re

from raynas.sweep.file.words import SEARCHES, TRAININGS
from raynas.yaml_text import parse_yaml

_KEY_LINE = re.compile(r"(?P<indent> *)(?P<key>[a-z_.]+):(?P<rest>[^#]*)$")
_WIDTH = 110


def commented(text: str) -> str:
    """Return a trial file in which every key that stands on a line of its own says what it means.

    Lines that have a comment keep theirs; what the file holds stays the same.
    """
    words = TRAININGS if re.search(r"^train:", text, re.MULTILINE) else SEARCHES
    groups: list[tuple[int, str]] = []
    lines = []
    for line in text.splitlines():
        match = _KEY_LINE.fullmatch(line)
        if match is not None:
            indent = len(match["indent"])
            groups = [(depth, name) for depth, name in groups if depth < indent]
            path = ".".join([*(name for _, name in groups if name not in ("grid", "zip")), match["key"]])
            groups += [] if match["rest"].strip() else [(indent, match["key"])]
            about = words[path].about if path in words else ""
            line = _with_comment(line, indent, about) if about else line
        lines.append(line)
    made = "\n".join(lines) + "\n"
    return made if parse_yaml(made) == parse_yaml(text) else text


def _with_comment(line: str, indent: int, about: str) -> str:
    """Put a comment behind a line, or above it where the line would be too long."""
    behind = f"{line.rstrip():<34} # {about}"
    return behind if len(behind) <= _WIDTH else f"{' ' * indent}# {about}\n{line}"
