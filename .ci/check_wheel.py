"""Install dist/*.whl into a fresh environment and use it from another folder, as a user would."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = {
    "search_spaces": sorted(path.name for path in (ROOT / "search_spaces").glob("*.yaml")),
    "trials": sorted(path.name for path in (ROOT / "trials").glob("*.yaml")),
    "cells": sorted(path.name for path in (ROOT / "raynas/cells").glob("*.yaml")),
    "recipes": sorted(path.name for path in (ROOT / "raynas/recipes").glob("*.yaml")),
    "report/templates": sorted(path.name for path in (ROOT / "raynas/report/templates").iterdir()),
}

# Runs inside the fresh environment. Argument: DATA as JSON.
INSIDE = """
import importlib.resources, importlib.util, json, sys
names = ("trials", "search_spaces", "tests", "benchmarks")
leaked = [name for name in names if importlib.util.find_spec(name)]
assert not leaked, f"installing raynas made these importable: {leaked}"
package = importlib.resources.files("raynas")
assert package.joinpath("py.typed").is_file()
for folder, expected in json.loads(sys.argv[1]).items():
    shipped = {file.name for file in package.joinpath(folder).iterdir()} - {"__init__.py", "__pycache__"}
    assert shipped == set(expected), f"raynas/{folder} holds {sorted(shipped)}, not {expected}"
"""


def main() -> None:
    wheels = list((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"expected one wheel in dist/, found {len(wheels)}; next: make wheel")
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory(prefix="raynas-wheel-") as folder:
        elsewhere = Path(folder) / "elsewhere"
        elsewhere.mkdir()
        binaries = Path(folder) / "venv" / "bin"

        def run(*command: str | Path) -> str:
            print("$", Path(command[0]).name, *(part for part in command[1:] if part != INSIDE), flush=True)
            done = subprocess.run(command, cwd=elsewhere, check=True, stdout=subprocess.PIPE, text=True)
            return done.stdout

        run(sys.executable, "-m", "venv", binaries.parent)
        run(ROOT / ".ci" / "install", binaries / "python", "--quiet", wheels[0])
        run(binaries / "python", "-c", INSIDE, json.dumps(DATA))
        print(run(binaries / "raynas", "ls"))
        listed = run(binaries / "raynas", "ls", "spaces", "--json")
        missing = [name for name in DATA["search_spaces"] if Path(name).stem not in listed]
        if missing or not json.loads(listed):
            sys.exit(f"`raynas ls spaces --json` leaves out {missing}: {listed}")
    print(f"{wheels[0].name} installs and works on its own")


if __name__ == "__main__":
    main()
