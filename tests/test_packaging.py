"""The house rules: what is shipped, which floor may use what, how long things may be, what stays out."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.yardsticks import judged_by_class, public_names, shapes

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "raynas"
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]

# From the ground up: a module may import from its own floor and from those below it.
FLOORS = (
    {"errors", "disk", "yaml_text", "cpus"},
    {"config"},
    {"spaces", "data", "cells", "recipes"},
    {"nets", "tables"},
    {"bilevel"},
    {"parts"},
    {"methods"},
    {"search"},
    {"testing"},
    {"train"},
    {"sweep"},
    {"trust"},
    {"launch", "track", "report"},
    {"cli"},
)
GROUND = set().union(*FLOORS[:10])
SURROUNDINGS = {"ray", "mlflow", "typer", "click", "rich"}


def modules() -> list[Path]:
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def part_of(module: Path) -> str:
    """The name that stands right under raynas/ in a module's path."""
    return Path(module.parts[0]).stem


def ground_modules() -> list[Path]:
    return [module for module in modules() if part_of(module) in GROUND]


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imports(module: Path) -> Iterator[str]:
    """Every module name that is imported, at the top or inside a function."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(module: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, ast.Call))


def dotted_name(module: Path) -> str:
    parts = module.with_suffix("").parts
    return ".".join(("raynas", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imported_by(statement: str) -> set[str]:
    """Top-level names in sys.modules after a statement ran in a new interpreter."""
    script = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_every_package_is_declared():
    found = {dotted_name(path) for path in modules() if path.name == "__init__.py"}
    assert set(SETUPTOOLS["packages"]) == found | {"raynas.search_spaces", "raynas.trials"}


def test_every_data_file_is_declared():
    declared = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / SETUPTOOLS["package-dir"].get(package, package.replace(".", "/"))).glob(pattern)
    }
    found = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    shelves = {path for shelf in ("search_spaces", "trials") for path in (ROOT / shelf).glob("*.yaml")}
    assert PACKAGE / "py.typed" in found
    assert found | shelves <= declared


def test_no_common_name_is_installed():
    """Names as common as `trials` and `tests` are importable from the checkout only."""
    script = "import importlib.util, sys; sys.exit(any(map(importlib.util.find_spec, sys.argv[1:])))"
    command = [sys.executable, "-I", "-c", script, "trials", "search_spaces", "tests", "benchmarks"]
    assert subprocess.run(command, check=False, cwd=PACKAGE).returncode == 0


def test_every_module_is_short_enough_to_read():
    too_long = []
    for module in modules():
        lines = len((PACKAGE / module).read_text(encoding="utf-8").splitlines())
        too_long += [f"{module}: {lines} lines"] if lines > 400 else []
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                too_long += [f"{module}: {node.name} has {lines} lines"] if lines > 60 else []
    assert not too_long


def test_public_functions_with_a_tensor_state_a_shape():
    """At least nine of ten, in the letters of `raynas/nets/__init__.py` and `raynas/bilevel/slots.py`."""
    stated, silent = shapes()
    assert len(stated) >= 0.9 * len(stated + silent), silent


def test_nothing_is_evaluated_or_unpickled():
    forbidden = {"eval", "exec", "compile", "__import__"}
    forbidden |= {
        f"{name}.{verb}" for name in ("pickle", "cloudpickle", "dill") for verb in ("load", "loads")
    }
    found = []
    for module in modules():
        for call in calls(module):
            name = ast.unparse(call.func)
            arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name in forbidden or (name == "torch.load" and arguments.get("weights_only") != "True"):
                found.append(f"{module}:{call.lineno}: {name}")
    assert not found


def test_every_module_stands_on_one_floor():
    standing = [part for floor in FLOORS for part in floor]
    assert sorted(standing) == sorted({part_of(module) for module in modules()} - {"__init__", "__main__"})


def test_every_module_uses_only_its_floor_and_those_below():
    upward = []
    for height, floor in enumerate(FLOORS):
        above = set().union(*FLOORS[height + 1 :])
        for module in (module for module in modules() if part_of(module) in floor):
            used = {name.split(".")[1] for name in imports(module) if name.startswith("raynas.")}
            upward += [f"{module} imports raynas.{name}" for name in used & above]
    assert not upward


def imported_modules(module: Path) -> set[str]:
    """The modules of raynas that a module imports by name: at the top, in functions, for types only."""
    names = {dotted_name(path) for path in modules()}
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & names
        elif isinstance(node, ast.ImportFrom):
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= within & names if within <= names else {node.module or "", *within} & names
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules that reach each other (the strongly connected components of more than one)."""

    def reached(start: str, arrows: dict[str, set[str]]) -> set[str]:
        found, waiting = {start}, [start]
        while waiting:
            waiting += (new := arrows.get(waiting.pop(), set()) - found)
            found |= new
        return found

    back: dict[str, set[str]] = {}
    for source, targets in graph.items():
        for target in targets:
            back.setdefault(target, set()).add(source)
    parts = {frozenset(reached(module, graph) & reached(module, back)) for module in graph}
    return [set(part) for part in parts if len(part) > 1]


def test_circles_are_seen() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "e"}}
    assert circles(graph) == [{"b", "c"}]


def test_no_modules_import_each_other() -> None:
    """Imports inside functions and for types count: what names a thing depends on it."""
    graph = {dotted_name(module): imported_modules(module) for module in modules()}
    assert circles(graph) == []


def test_a_public_name_is_defined_once() -> None:
    """One word for one thing; the modules of text forms are one interface, as methods of a class are."""
    assert {name for name, files in public_names().items() if files > 1} == set()


def test_no_method_is_judged_by_the_class_of_its_parts() -> None:
    """A part says itself what it is, or a part from elsewhere would be taken for none of them."""
    assert judged_by_class() == 0


def test_spaces_are_data_without_torch() -> None:
    within = [dotted_name(module) for module in modules() if part_of(module) == "spaces"]
    assert "torch" not in imported_by("import " + ", ".join(within))


def test_the_core_knows_nothing_of_its_surroundings():
    found = []
    world = {"os.environ", "os.getenv", "os.putenv", "sys.stdout", "sys.stderr", "sys.argv"}
    for module in ground_modules():
        names = set(imports(module))
        names |= {ast.unparse(node) for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
        names |= {ast.unparse(call.func) for call in calls(module)} & {"print", "input"}
        found += [
            f"{module}: {name}"
            for name in names
            if name in world | {"print", "input"} or name.split(".")[0] in SURROUNDINGS
        ]
    assert not found


def test_importing_the_core_loads_none_of_its_surroundings():
    everything = "import " + ", ".join(map(dotted_name, ground_modules()))
    assert not imported_by(everything) & SURROUNDINGS


def test_the_command_line_starts_without_the_heavy_libraries():
    heavy = {"torch", "torchvision", "ray", "mlflow", "sklearn", "optuna", "matplotlib", "pandas"}
    assert not imported_by("import raynas.cli.main") & heavy


def test_no_registry_and_no_machine_is_named():
    """Put together from pieces, so that this file does not name them either."""
    hosts = [".".join(pieces) for pieces in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
    places = ["/".join(("", *pieces, "")) for pieces in (("work", "main"), ("work", "shared"), ("root",))]
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout: no list of files")
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    named = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in files
        if path.is_file()
        for word in (*hosts, *places)
        if word.encode() in path.read_bytes()
    ]
    assert files
    assert not named
