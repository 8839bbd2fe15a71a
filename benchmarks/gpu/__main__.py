"""Run section after section, each in a process of its own, and write every line as it comes."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

import benchmarks.gpu
from benchmarks.gpu import fast, methods, operations, page, real, repeat, shared
from benchmarks.gpu.where import Section, where
from benchmarks.lines import Line, Result, at_least, at_most


class Part(NamedTuple):
    """A section, its title, and how many seconds of a card it may take."""

    run: Section
    title: str
    seconds: int


PARTS = {
    "fast": Part(fast.run, "seconds, kernels and memory of a step", 120),
    "repeat": Part(repeat.run, "small searches under deterministic algorithms", 75),
    "shared": Part(shared.run, "several processes on one card, each fenced to its share", 120),
    "real": Part(real.run, "one epoch at a paper's size", 100),
    "methods": Part(methods.run, "one α-step and one weight step against the CPU, float64", 100),
    "operations": Part(operations.run, "outputs and gradients against the CPU, both forms", 120),
    "options": Part(fast.options, "options of a search against the plain search", 120),
}
"""In the order of what would be missed most."""

SECONDS = {"cuda": 460, "cpu": 580}
"""How long all of it may take: under 8 minutes of a card, 10 of a CPU."""
MARK = "@line "


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return 1 when a number misses its target or a section breaks."""
    chosen = _parser().parse_args(arguments)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before a child makes its first handle
    if chosen.section:
        torch.set_num_threads(1)
        for line in PARTS[chosen.section].run(where(chosen.device, chosen.external)):
            print(MARK + json.dumps(asdict(line)), flush=True)
        return 0
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device; rehearse with --device cpu", file=sys.stderr)
        return 2
    typed = shlex.join(["python", "-m", "benchmarks.gpu", "--device", chosen.device])
    files = (chosen.out / "docs" / "gpu.md", chosen.out / "benchmarks" / "results" / "gpu.json")
    about, results = page.described(chosen.device), list[Result]()
    for name, line in _lines(chosen):
        results = page.merged(results, name, PARTS[name].title, line)
        print(f"{name}: {line.what}: {line.number} {line.verdict} {line.note}".rstrip(), flush=True)
        page.write(results, about, typed, *files)
    met = [line.target.met(line.value) for each in results for line in each.lines if line.target]
    return 0 if met and all(met) else 1


def _lines(chosen: argparse.Namespace) -> Iterator[tuple[str, Line]]:
    """Yield every section's lines; one that breaks or runs out of time says so in a line of its own."""
    end = time.monotonic() + (chosen.seconds or SECONDS[chosen.device])
    for name in chosen.only:
        left = end - time.monotonic()
        allowed = left if chosen.device == "cpu" else min(left, PARTS[name].seconds)
        if allowed < 5:
            yield name, Line("not reached", float("nan"), "yes", at_least(1), "the time was over")
            continue
        started = time.monotonic()
        yield from ((name, line) for line in _section(name, chosen, allowed))
        yield name, Line("all of this section", time.monotonic() - started, "s")


def _section(name: str, chosen: argparse.Namespace, seconds: float) -> Iterator[Line]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--section", name, "--device", chosen.device]
    command += ["--external", str(chosen.external)] if chosen.external else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    timer = threading.Timer(seconds, _end, [process])
    timer.start()
    assert process.stdout is not None
    for text in process.stdout:
        if text.startswith(MARK):
            yield _parsed(json.loads(text.removeprefix(MARK)))
        else:
            print(text, end="", file=sys.stderr)
    timer.cancel()
    if code := process.wait():
        why = f"ended after {seconds:.0f} s" if code < 0 else "an exception; see the terminal"
        yield Line("the section was cut short", code, "", at_most(-1000), f"{why}; what it had is above")


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill a section and whatever it has started."""
    os.killpg(process.pid, 9)


def _parsed(data: dict[str, object]) -> Line:
    target = data.pop("target")
    made = Line(**data)  # type: ignore[arg-type]
    if not isinstance(target, dict):
        return made
    limit = at_least if target["at_least"] else at_most
    return Line(made.what, made.value, made.unit, limit(target["limit"]), made.note)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=benchmarks.gpu.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these sections")
    parser.add_argument("--seconds", type=int, help=f"for all of it; {SECONDS['cuda']} on a card")
    parser.add_argument("--external", type=Path, metavar="PATH", help="a checkout of the original DARTS code")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where docs/gpu.md goes")
    parser.add_argument("--section", choices=list(PARTS), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
