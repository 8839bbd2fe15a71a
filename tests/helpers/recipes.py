"""The recipes of CONTRIBUTING, carried out: blocks put files and lines into a copy, commands run in it."""

import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

from helpers.pages import Code, blocks

PAGE = "CONTRIBUTING.md"


def recipe_blocks() -> list[Code]:
    """Return the blocks of the page's section that says how things are added, in order."""
    from helpers.pages import text_of

    before, _, rest = text_of(PAGE).partition("## Add…")
    first = before.count("\n")
    last = first + rest.partition("\n## ")[0].count("\n")
    return [block for block in blocks(PAGE) if first < block.line <= last]


def apply(block: Code, root: Path) -> None:
    """Do to the files under ``root`` what a block says; raises `ValueError` when it cannot be done."""
    if block.language == "diff":
        head, *lines = block.text.splitlines()
        file = root / head.removeprefix("--- ")
        text = file.read_text(encoding="utf-8")
        for hunk in "\n".join(lines).split("\n@@\n"):
            text = _changed(text, hunk.splitlines(), f"{block}, {file.name}")
        file.write_text(text, encoding="utf-8")
    elif block.language == "toml":
        _install(tomllib.loads(block.text)["project"], root)
    else:
        match = re.match(r"# (\S+\.\w+)\n", block.text)
        if match is None:
            raise ValueError(f"{block} does not begin with the name of a file")
        file = root / match[1]
        if file.exists():
            raise ValueError(f"{block} would overwrite {match[1]}")
        file.write_text(block.text, encoding="utf-8")


def _install(project: dict[str, Any], root: Path) -> None:
    """Put there what pip leaves of a package: its name and its entry points. Its modules lie in ``root``."""
    info = root / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    metadata = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    (info / "METADATA").write_text("".join(f"{key}: {value}\n" for key, value in metadata.items()))
    points = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in members.items())
        for group, members in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))


def _changed(text: str, hunk: list[str], where: str) -> str:
    """Return a text with one hunk in: lines with a plus stand where those with a minus stood."""
    old = "".join(f"{line[1:]}\n" for line in hunk if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in hunk if not line.startswith("-"))
    if (found := f"\n{text}".count(f"\n{old}")) != 1:
        raise ValueError(f"{where}: these lines stand there {found} times:\n{old}")
    return f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:]


def typed(block: Code) -> list[list[str]]:
    """Return the commands of a shell block."""
    return [shlex.split(line, comments=True) for line in block.text.splitlines() if line.strip()]


def run(words: list[str]) -> int:
    """Run one command of ours in this process."""
    program, *rest = words
    if program == "raynas":
        from raynas.cli.main import main

        return main(rest)
    if Path(program).name == "pytest":
        import pytest

        return int(pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", *rest]))
    if Path(program).name == "python" and rest[0] == "-m":
        from importlib import import_module

        return int(import_module(rest[1]).main(rest[2:]))
    raise ValueError(f"no program that a recipe may call: {program}")


if __name__ == "__main__":  # in the copy: every command of the recipes, one after another
    for each in recipe_blocks():
        for command in typed(each) if each.language == "sh" else ():
            print("$", *command, flush=True)
            if code := run(command):
                sys.exit(f"{each}: {shlex.join(command)} ended with {code}")
