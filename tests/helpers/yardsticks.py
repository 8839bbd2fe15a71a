"""The yardsticks of this house, counted anew each time: ``python tests/helpers/yardsticks.py`` prints them.

Each is one number with the goal beside it. None of them is a test; those that are held are in
`tests/test_packaging.py`, which counts with the functions of this file.
"""

import ast
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "raynas"


class Yardstick(NamedTuple):
    """What is counted, the number, what it is to be."""

    name: str
    found: str
    goal: str


def modules(room: str = "") -> list[Path]:
    """Return the files of the package, or of one of its rooms."""
    return sorted((PACKAGE / room).rglob("*.py"))


@cache
def lines(path: Path) -> int:
    """Return how many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


@cache
def tree(path: Path) -> ast.Module:
    """Return a file's syntax."""
    return ast.parse(path.read_text(encoding="utf-8"))


def biggest_room() -> tuple[str, float]:
    """Return the largest folder right under the package, and its share of all lines."""
    size = Counter(
        {path.name: sum(map(lines, modules(path.name))) for path in PACKAGE.iterdir() if path.is_dir()}
    )
    [(name, most)] = size.most_common(1)
    return name, most / sum(map(lines, modules()))


def imported(path: Path) -> set[Path]:
    """Return the package's files that a file names in an import, wherever in it that stands."""
    found = set()
    for node in ast.walk(tree(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            found |= {file for file in (_file(name) or _file(name.rpartition(".")[0]),) if file}
    return found - {path}


def _file(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if name.startswith("raynas.") and file.is_file()), None)


def circles() -> list[set[Path]]:
    """Return the groups of files that import each other, in a circle or several."""
    reach = {path: imported(path) for path in modules()}
    for middle in reach:  # Warshall: 230 files, so 230² unions at most
        for path in reach:
            if middle in reach[path]:
                reach[path] = reach[path] | reach[middle]
    together = {path: frozenset(other for other in reach[path] if path in reach[other]) for path in reach}
    return [set(group) for group in {group for group in together.values() if group}]


def public_names() -> Counter[str]:
    """Return in how many files each public class and function is defined.

    What several text forms (`raynas.spaces.texts`) define counts once: ``read``, ``write`` and ``spans`` are
    the interface that these modules share, always called by the module's name. The verbs of the command line
    are left out: a verb is named as it is typed, whatever does the work.
    """
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    defined = {
        (node.name, path.parent if path.parent.name == "texts" else path)
        for path in modules()
        if path.parent.name != "verbs"
        for node in tree(path).body
        if isinstance(node, kinds) and not node.name.startswith("_")
    }
    return Counter(name for name, _ in defined)


def functions(body: Iterable[ast.AST], within: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the public functions and methods of a module, and what makes an object callable."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (node.name == "__call__" or node.name[0] != "_"):
            yield f"{within}{node.name}", node


def shapes() -> tuple[list[str], list[str]]:
    """Return the public functions that take or return a tensor: those that state a shape, and the others.

    A shape is what stands in brackets, as [lanes, N, classes].
    """
    told: tuple[list[str], list[str]] = ([], [])
    for path in modules():
        for name, function in functions(tree(path).body):
            arguments = function.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            hints = [each.annotation for each in every] + [function.returns]
            if any(hint and re.search(r"\bTensor\b", ast.unparse(hint)) for hint in hints):
                stated = re.search(r"\[[^\[\]]+\]", ast.get_docstring(function) or "")
                told[not stated].append(f"{path.relative_to(PACKAGE)}: {name}")
    return told


def judged_by_class() -> int:
    """Return how often methods ask whether a part is of a class that they know by name."""
    count = 0
    for path in modules("methods"):
        known = {
            alias.asname or alias.name
            for node in ast.walk(tree(path))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raynas.parts")
            for alias in node.names
        }
        asked = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and len(node.args) == 2]
        for call in asked:
            # A class taken from a table (``BASES[slot]``) is none that the asking module knows by name.
            tables = {each.value for each in ast.walk(call.args[1]) if isinstance(each, ast.Subscript)}
            names = {
                each.id
                for each in ast.walk(call.args[1])
                if isinstance(each, ast.Name) and each not in tables
            }
            count += ast.unparse(call.func) == "isinstance" and bool(names & known)
    return count


def documented_parts() -> tuple[int, int]:
    """Return how many parts the README or a page names, and how many there are."""
    from raynas.methods import PARTS

    text = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
    )
    names = {name for slot in PARTS.values() for name in slot}
    return sum(bool(re.search(rf"(?<![\w-]){name}(?![\w-])", text)) for name in names), len(names)


def longest_function() -> tuple[int, str]:
    """Return the lines and the name of the longest function."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return max(
        ((node.end_lineno or 0) - node.lineno + 1, node.name)
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, kinds)
    )


def comments() -> float:
    """Return how many lines of comments there are in 1,000 lines; those for tools alone do not count."""
    count = 0
    for path in modules():
        with path.open("rb") as file:
            found = [
                each.string for each in tokenize.tokenize(file.readline) if each.type == tokenize.COMMENT
            ]
        count += sum(not re.match(r"# (type: ignore|noqa)", text) for text in found)
    return 1000 * count / sum(map(lines, modules()))


def lines_per_method() -> tuple[float, float]:
    """Return how many lines of recipes there are for each method, and how many are title and source."""
    from raynas.methods import method_names

    told = sum(
        (argument.end_lineno or argument.lineno) - argument.lineno + 1
        for path in modules("methods/recipes")
        for call in ast.walk(tree(path))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith((".with_", "Method"))
        for argument in [
            *call.args,
            *(each.value for each in call.keywords if each.arg in ("title", "source")),
        ]
    )
    count = len(method_names())
    return sum(map(lines, modules("methods/recipes"))) / count, told / count


def entered(work: Callable[[], object], room: str = "") -> tuple[set[Path], int]:
    """Return the files of the package, or of a room, that some work enters, and its functions' lines."""
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        codes.add(frame.f_code)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    files = {str(path): path for path in modules(room)}
    within = [code for code in codes if code.co_filename in files]
    run = {
        (code.co_filename, line)
        for code in within
        for line in range(code.co_firstlineno, max(line for *_, line in code.co_lines() if line) + 1)
    }
    return {files[code.co_filename] for code in within}, len(run)


def batch() -> tuple[set[Path], int]:
    """Return what one batch of plain DARTS enters, from the images to the step of the weights."""
    from raynas.config import SearchConfig
    from raynas.nets.ops.flat import column
    from raynas.search.measure import random_pack
    from raynas.spaces.library import load_space

    config = SearchConfig(space="tiny", method="darts", batch=4, channels=4, cells=3)
    pack = random_pack([config], load_space("tiny"), (3, 8, 8), 3)
    return entered(lambda: pack.train_epoch(column([0.1], pack.problem.values)))


def yaml_to_trials() -> set[Path]:
    """Return the files of `raynas.sweep` that reading the quickstart's trials enters."""
    from raynas.sweep.file.load import load_sweep

    return entered(lambda: load_sweep(ROOT / "trials" / "quickstart.yaml", []), "sweep")[0]


def yardsticks() -> Iterator[Yardstick]:
    """Yield all of them."""
    (passed, run), (stated, silent), (named, parts) = batch(), shapes(), documented_parts()
    twice, (room, share) = [name for name, count in public_names().items() if count > 1], biggest_room()
    module = max(modules(), key=lines)
    length, function = longest_function()
    chosen = sum(path.is_relative_to(PACKAGE / "parts") for path in passed)
    yield Yardstick(
        "files entered by a batch of DARTS, traced",
        f"{len(passed)} ({chosen} of them parts)",
        "fewer (≤ 14 was set beside a count by hand: 19)",
    )
    yield Yardstick("all lines of these files", f"{sum(map(lines, passed)):,}", "fewer (≤ 2,500 by hand)")
    yield Yardstick("lines of the functions that run in them", f"{run:,}", "fewer")
    yield Yardstick("lines of search/loop.py", str(lines(PACKAGE / "search" / "loop.py")), "≤ 200")
    yield Yardstick("rooms from YAML to a trial", str(len(yaml_to_trials())), "≤ 8")
    yield Yardstick("biggest folder's share of lines", f"{share:.0%} ({room})", "≤ 16 %")
    yield Yardstick("circles of imports", ", ".join(f"{len(each)} files" for each in circles()) or "0", "0")
    yield Yardstick("public names defined twice", str(len(twice)), "0")
    yield Yardstick(
        "tensor functions that state a shape", f"{len(stated) / len(stated + silent):.0%}", "≥ 90 %"
    )
    yield Yardstick("isinstance on concrete parts in methods", str(judged_by_class()), "0")
    yield Yardstick("parts named in README and docs", f"{named} of {parts}", "all")
    yield Yardstick("tested examples", str(len(list(ROOT.glob("examples/*.py")))), "≥ 10")
    yield Yardstick("longest module", f"{lines(module)} ({module.relative_to(PACKAGE)})", "≤ 400")
    yield Yardstick("longest function", f"{length} ({function})", "≤ 60")
    yield Yardstick("comments in 1,000 lines", f"{comments():.1f}", "≥ 10")
    each, told = lines_per_method()
    yield Yardstick("lines per method", f"{each:.1f} ({told:.1f} title and source)", "≤ 12")


if __name__ == "__main__":
    for each in yardsticks():
        print(f"{each.name:42}{each.found:>36}   {each.goal}")
