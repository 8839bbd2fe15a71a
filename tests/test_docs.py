"""What the pages show is true: code runs, commands and keys exist, YAML loads, links lead somewhere."""

import ast
import importlib
import importlib.util
import os
import re
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import typer
import yaml
from helpers.pages import PAGES, ROOT, Code, anchors, blocks, commands, links, spans, text_of
from helpers.recipes import recipe_blocks

from raynas.cli.keys import key_named
from raynas.cli.main import app
from raynas.cli.options import Settings
from raynas.errors import FileProblems
from raynas.methods import build, method_names
from raynas.spaces import library
from raynas.sweep.file.keys import SEARCH_KEYS, SWEEP_KEYS
from raynas.sweep.file.load import load_sweep
from raynas.yaml_text import NotYaml, parse_yaml

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OTHERS = {"ray", "export", "mlflow", "tail", "ssh", "git", "docker"}
"""Programs that are not ours, whose words are not checked."""

THE_READERS = {"data.path", "benchmark", "benchmark.table", "benchmark.data"}
"""Keys that name files which only the reader has; that they are missing here is no mistake of the page."""

THE_READERS_FILES = ("there is no such table of costs", "there is no mymodule.py", "there is no stripes.py")

every_page = pytest.mark.parametrize("page", PAGES)


def test_every_language_of_a_block_is_known():
    assert {block.language for page in PAGES for block in blocks(page)} <= {
        "", "sh", "bash", "yaml", "python", "toml", "diff", "text",
    }  # fmt: skip


# Python


@every_page
def test_python_compiles_and_what_it_imports_is_there(page: str):
    for block in blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        assert importlib.util.find_spec(alias.name), f"{block}: {alias.name}"
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("raynas"):
                    for alias in node.names:
                        assert _exists(f"{node.module}.{alias.name}"), f"{block}: {node.module}.{alias.name}"


def test_the_readme_s_first_search_is_the_example():
    [block] = [block for block in blocks("README.md") if block.language == "python"]
    _, _, code = (ROOT / "examples/one_search.py").read_text(encoding="utf-8").partition('"""\n\n')
    assert block.text == code  # which tests/test_examples.py runs


@pytest.mark.slow
def test_the_pieces_of_the_python_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "_registered", {})
    names: dict[str, Any] = {"__name__": "page"}
    monkeypatch.setitem(sys.modules, "page", types.ModuleType("page"))  # where its classes say they are from
    pieces = [block for block in blocks("docs/python.md") if block.language == "python"]
    assert len(pieces) == 5
    for piece in pieces:
        exec(compile(piece.text, str(piece), "exec"), names)
    assert (tmp_path / "runs/two/report.html").is_file()
    assert (tmp_path / "losses.pdf").is_file()
    assert "Genotype(normal=[" in capsys.readouterr().out


def test_the_readme_counts_the_methods():
    assert f"`raynas ls methods` lists {len(method_names())}," in text_of("README.md")


@every_page
def test_dotted_names_of_ours_are_there(page: str):
    for span in spans(page):
        name = re.match(r"raynas(\.\w+)+", span.text)
        if name and not re.search(r"[{<…]", span.text):
            assert _exists(name[0]) or name[0] in _entry_points(), f"{span}: {name[0]}"


def _exists(dotted: str) -> bool:
    """Tell whether a dotted name is a module, or something that can be reached in one."""
    module, _, inside = dotted, "", ""
    while module:
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            inside = f"{last}.{inside}".rstrip(".")
            continue
        for name in inside.split(".") if inside else ():
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def _entry_points() -> set[str]:
    """Return the groups of entry points that the package reads."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "raynas").rglob("*.py"))
    return set(re.findall(r'"(raynas\.[a-z_]+)"', text))


# Commands


@every_page
def test_commands_can_be_typed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for block in _shown(page):
        if block.language == "yaml":
            for name in _file_names(block):
                Path(name).write_text(block.text, encoding="utf-8")
    for where, words in commands(page):
        for part in _ours(words) if where not in recipe_blocks() else ():
            try:
                _check(part)
            except (Exception, SystemExit) as error:
                raise AssertionError(f"{where}: {' '.join(part)}\n{error!r}: {error}") from error


def _shown(page: str) -> list[Code]:
    """Return a page's blocks but for the recipes, which tests/test_recipes.py carries out."""
    return [block for block in blocks(page) if block not in recipe_blocks()]


def _file_names(block: Code) -> Iterator[str]:
    """Yield what a block of YAML is called elsewhere in its page: by its first line, or by its `name:`."""
    if match := re.match(r"# (\S+\.yaml)\b", block.text):
        yield match[1]
    if match := re.search(r"^name: (\S+)", block.text, re.MULTILINE):
        yield f"{match[1]}.yaml"


def _ours(words: list[str]) -> Iterator[list[str]]:
    """Yield the commands of a line that are the project's, those handed to `ray job submit` or `exec` too."""
    line = ["FILE" if word in ("…", "...") else word for word in words]
    while "|" in line:
        yield from _ours(line[: line.index("|")])
        line = line[line.index("|") + 1 :]
    if line[0] not in OTHERS:
        yield line
        return
    if "--" in line and "raynas" in line:
        yield line[line.index("raynas") :]
    yield from (word.split() for word in line if word.startswith("raynas "))


def _check(words: list[str]) -> None:
    program, *rest = words
    program = program.removeprefix(".venv/bin/")
    if program == "raynas":
        _check_verb(rest)
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets), f"there are {targets}"
    elif program == "python" and rest[0] == "-m":
        _check_module(rest[1], rest[2:])
    elif program == "pip":
        for extra in re.findall(r"raynas\[(\w+)\]", " ".join(rest)):
            assert extra in PROJECT["optional-dependencies"]
    elif program in ("python", "pytest"):
        assert all((ROOT / word).exists() for word in rest if not word.startswith("-"))
    else:
        assert os.access(ROOT / program, os.X_OK), "no program of ours, nor one that is known"


def _check_module(module: str, options: list[str]) -> None:
    """Check that `python -m MODULE` exists, and that its source has every option."""
    spec = importlib.util.find_spec(f"{module}.__main__" if _is_package(module) else module)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    for option in (word for word in options if word.startswith("-")):
        assert f'"{option}"' in source, f"{module} has no {option}"


def _is_package(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


def _check_verb(words: list[str]) -> None:
    group = typer.main.get_command(app)
    verb, *arguments = words
    command = group.commands[verb]  # type: ignore[attr-defined]
    if not arguments and verb != "ls":
        return  # the verb alone is named
    given = command.make_context(verb, arguments, obj=Settings()).params
    if verb in ("sweep", "search", "check") and not given["file"].isupper():
        _check_file(given["file"], given.get("overrides") or [])
    if verb in ("show", "cp") and not given["name"].isupper():
        shelves = ("search_spaces", "trials", "cells", "recipes")
        known = {name for shelf in shelves for name in library.names(shelf)} | set(method_names())
        assert (
            given["name"] in {*known, "schema"} or Path(given["name"]).is_file() or key_named(given["name"])
        )
    if verb == "ls" and given["what"]:
        from raynas.cli.verbs import ls

        assert f'"{given["what"]}"' in Path(ls.__file__).read_text(encoding="utf-8")


def _check_file(file: str, overrides: list[str]) -> None:
    """Check a trial file with what is said on the command line, or a space."""
    if Path(file).is_file() and "nodes" in library.read_yaml(Path(file)):
        library.load_space(file)
        return
    try:
        load_sweep(library.locate("trials", file), overrides)
    except FileProblems as error:
        _leave_to_the_reader(error)


def _leave_to_the_reader(error: FileProblems) -> None:
    rest = [problem.message for problem in error.problems if problem.path not in THE_READERS]
    if [said for said in rest if not any(missing in said for missing in THE_READERS_FILES)]:
        raise error


# YAML

BASE = {"space": "tiny", "epochs": 60, "name": "fragment"}
"""What a fragment of a trial file is put into; long enough for every stop rule to fire."""


@every_page
def test_yaml_loads(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for block in _shown(page):
        if block.language == "yaml":
            for name in _file_names(block):  # a trial may name the space that stands above it
                Path(name).write_text(block.text, encoding="utf-8")
            for each in _mappings(block):
                _load(each, block)
    for span in spans(page):
        key, colon, _ = span.text.partition(": ")
        if (
            colon
            and key in (*SEARCH_KEYS, *SWEEP_KEYS)
            and "…" not in span.text
            and "{table}" not in span.text
        ):
            _load(_with_company(parse_yaml(span.text)), span)


def _mappings(block: Code) -> list[dict[str, Any]]:
    """Return a block's mapping, or one for each line where the lines are alternatives to each other."""
    try:
        return [parse_yaml(block.text)]
    except NotYaml:
        return [parse_yaml(line) for line in block.text.splitlines()]


def _load(data: dict[str, Any], where: Code) -> None:
    """Load a space, or a trial file; of a fragment what it lacks is added."""
    from raynas.sweep.file.load import load_any

    is_space = "skeleton" in data or "nodes" in data
    base = {"name": "fragment", "title": "a fragment"} if is_space else {} if "train" in data else BASE
    file = Path("fragment.yaml")
    file.write_text(yaml.safe_dump({**base, **data}, sort_keys=False), encoding="utf-8")
    try:
        if is_space:
            library.load_space(str(file))
        else:
            load_any(file)
    except FileProblems as error:
        try:
            _leave_to_the_reader(error)
        except FileProblems:
            raise AssertionError(f"{where}: {error}") from error


def _with_company(data: dict[str, Any]) -> dict[str, Any]:
    """Add to a key that is shown alone what it needs beside it."""
    if data.get("strategy", "grid") != "grid" or "sample" in data or "samples" in data:
        drawn = {"sample": {"weight_decay": {"log": [1e-4, 1e-2]}}, "samples": 2}
        data |= {"strategy": "random-paired", **drawn, **data}
    if data.get("select") == {"by": "table"}:
        data |= {"benchmark": {"table": "accuracy.csv", "data": "cifar10"}}
    inside = data["data"] if isinstance(data.get("data"), dict) else {}
    if any(f"data.{key}" not in SEARCH_KEYS for key in inside):  # one of trainings
        data |= {"train": "quick", "cell": "darts-v2", "data": {"name": "digits", **inside}}
    return data


# Paths and links


@every_page
def test_paths_of_the_repository_are_there(page: str):
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs"}
    for span in spans(page):
        if re.fullmatch(r"[\w.\-/]+", span.text) and span.text.split("/")[0] in ours and "/" in span.text:
            assert (ROOT / span.text).exists() or (ROOT / "docs" / span.text).exists(), f"{span}: {span.text}"


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_lead_somewhere(page: str):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(str(file.resolve().relative_to(ROOT))), f"{page}: {target}"
