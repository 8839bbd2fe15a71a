"""The pages of the documentation taken apart: code blocks, inline code, commands, links, headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)

_FENCE = re.compile(r"^( *)```([a-z]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
_PROGRAMS = ("raynas ", "make ", "python ", "pytest ", "pip ", "ray ", ".venv/bin/", ".ci/")


@dataclass(frozen=True)
class Code:
    """A piece of code in a page: where it begins, its language (empty for inline code and bare fences)."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Code]:
    """Return the fenced blocks of a page, without the indentation of a list they stand in."""
    found = []
    for match in _FENCE.finditer(text_of(page)):
        lines = [line.removeprefix(match[1]) for line in match[3].splitlines()]
        line = text_of(page).count("\n", 0, match.start()) + 1
        found.append(Code(page, line, match[2], "\n".join(lines) + "\n"))
    return found


def spans(page: str) -> list[Code]:
    """Return the inline code of a page."""
    prose = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text_of(page))
    return [
        Code(page, prose.count("\n", 0, match.start()) + 1, "", match[1].replace("\\", ""))
        for match in _SPAN.finditer(prose)
    ]


def commands(page: str) -> Iterator[tuple[Code, list[str]]]:
    """Yield what a page says to type: the words of each line of a shell block, and of inline commands."""
    for block in blocks(page):
        if block.language in ("", "sh", "bash"):
            for line in block.text.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield block, words
    for span in spans(page):
        if span.text.startswith(_PROGRAMS):
            yield span, shlex.split(span.text)


def links(page: str) -> list[str]:
    """Return the targets of a page's links and pictures, addresses of other sites left out."""
    prose = _FENCE.sub("", text_of(page))
    found = [match[1] or match[2] for match in _LINK.finditer(prose)]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text_of(page)), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}
