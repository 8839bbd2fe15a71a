"""Mutated inputs through the command line: `python -m tests.helpers.fuzz 20000` (`--only 1234` for one).

Every input is made from a seed and its number alone, so that a number names it for ever: trial files, spaces,
overrides, texts of cells, tables, and the files of a recorded sweep, changed by the byte, the word, the line
or the value, then given to one verb in this process. A verb may refuse what it gets; it may not raise, print
a traceback, or take more than `PATIENCE` seconds of CPU.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 10
"""Seconds of CPU that one call may take; six times as many on the clock, for what waits instead."""

DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), "
    "('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)
NB201 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|"
RNN = "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1)], concat=range(1, 9))"
OVERRIDES = (
    "seed=0",
    "epochs=10",
    "grid.seed=[0,1]",
    "data.name=digits",
    "data.path=set #2",
    "method.base=drnas",
    "resources.gpu=0.5",
    "track.mlflow=http://user:pw@host:5000",
    "name=mine",
    "sample.clip={log: [1, 5]}",
    "method={base: sdarts-adv, stages: perturb-and-project}",
    "zip.seed=[1,2]",
    "strategy=optuna",
    "samples=3",
)
SWEEP = (
    "name: small\nspace: tiny\nepochs: 1\nbatch: 16\nchannels: 4\ncells: 3\ndata: {name: digits, limit: 64}\n"
)
SWEEP += "grid: {method: [darts, gdas]}\nresources: {pack: 1}\nhessian: {every: 0}\ntrack: {mlflow: null}\n"

NUMBERS = (
    "0",
    "-1",
    "1",
    "3",
    "1e308",
    "-1e-308",
    "NaN",
    "Infinity",
    "010",
    "0x10",
    "1" + "0" * 30,
    "9" * 5000,
    ".5",
)
WORDS = (
    "null",
    "true",
    "no",
    "~",
    "",
    "none",
    "darts",
    "tiny",
    "*a",
    "&a",
    "<<",
    "!!python/object:os.system",
    "\x1b[31m",
    "\u202e",
    "é",
    "λ",
    "\ufeff",
    "\ud800",
    "../..",
    "/dev/zero",
    "CON",
    "a" * 300,
    "range(10**9)",
    "skip_connect",
    "|",
    "~0|",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "'",
    '"',
    "#",
    "\\",
    "%",
    "\t",
    "\r",
    "\n",
    "\n  ",
    "2026-11-28",
    "x: y",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**30,
    0.5,
    1e308,
    float("nan"),
    "",
    "x",
    "a" * 300,
    "\x1b[31mred",
    "../..",
    [],
    {},
    [[]],
    {"a": {}},
    [None],
    "2026-11-28",
    "sqlite:///x.db",
    {"base": "darts"},
    {"use": "cost"},
    [0, 1],
    {"1": 1},
)
VERBS = {
    "check": 36,
    "status": 14,
    "select": 12,
    "resume": 12,
    "size": 10,
    "lookup": 8,
    "draw": 5,
    "report": 3,
}
"""How often each verb gets an input, in a hundred."""


STEP = 250
"""Inputs between two lines of progress."""


class TooLong(BaseException):
    """A call took longer than it may; no verb can catch this."""


@dataclass
class Failure:
    """What a verb did that it may not, with the number of the first input and the words typed."""

    number: int
    words: list[str]
    what: str
    text: str
    count: int = 1

    def __str__(self) -> str:
        words = str(self.words)[:300]
        return f"\n== {self.what}, first with --only {self.number}: {words}\n{self.text[-1500:]}"


@dataclass
class Mutator:
    """Changes made by one stream of random numbers."""

    rng: random.Random
    makers: list[Callable[[str], str]] = field(init=False)

    def __post_init__(self) -> None:
        self.makers = [
            self._cut,
            self._insert,
            self._repeat,
            self._number,
            self._word,
            self._lines,
            self._end,
        ]

    def text(self, text: str, most: int = 4) -> str:
        """Change a text in one to ``most`` places."""
        for _ in range(self.rng.randint(1, most)):
            text = self.rng.choice(self.makers)(text)
        return text

    def plain(self, data: Any) -> Any:
        """Change one value of plain data, or one key, or take one away."""
        if isinstance(data, dict) and data and self.rng.random() < 0.9:
            key = self.rng.choice(list(data))
            how = self.rng.random()
            if how < 0.08:
                return {each: value for each, value in data.items() if each != key}
            if how < 0.16:
                return {**data, self.rng.choice(["x", "", key + "s"]): self.rng.choice(VALUES)}
            return {**data, key: self.plain(data[key])}
        if isinstance(data, list) and data and self.rng.random() < 0.9:
            place = self.rng.randrange(len(data))
            how = self.rng.random()
            if how < 0.1:
                return data[:place] + data[place + 1 :]
            if how < 0.2:
                return [*data, data[place]] * self.rng.choice([1, 2, 50])
            return [*data[:place], self.plain(data[place]), *data[place + 1 :]]
        return self.rng.choice(VALUES)

    def _place(self, text: str) -> int:
        return self.rng.randint(0, len(text))

    def _span(self, text: str) -> tuple[int, int]:
        start = self._place(text)
        return start, min(len(text), start + self.rng.choice([1, 1, 2, 5, 20, 100]))

    def _cut(self, text: str) -> str:
        start, end = self._span(text)
        return text[:start] + text[end:]

    def _insert(self, text: str) -> str:
        place = self._place(text)
        new = self.rng.choice(
            [self.rng.choice(WORDS), self.rng.choice(NUMBERS), chr(self.rng.randrange(0x250))]
        )
        return text[:place] + new + text[place:]

    def _repeat(self, text: str) -> str:
        start, end = self._span(text)
        times = self.rng.choice([2, 2, 3, 10, 1000, 30_000 // max(end - start, 1)])
        return text[:start] + text[start:end] * times + text[end:]

    def _number(self, text: str) -> str:
        places = [place for place, letter in enumerate(text) if letter.isdigit()]
        if not places:
            return text
        place = self.rng.choice(places)
        return text[:place] + self.rng.choice(NUMBERS) + text[place + 1 :]

    def _word(self, text: str) -> str:
        words = text.split(" ")
        words[self.rng.randrange(len(words))] = self.rng.choice([*WORDS, *words])
        return " ".join(words)

    def _lines(self, text: str) -> str:
        lines = text.split("\n")
        first, second = self.rng.randrange(len(lines)), self.rng.randrange(len(lines))
        lines[first], lines[second] = (
            lines[second],
            lines[first] + self.rng.choice(["", "", "\n" + lines[second]]),
        )
        return "\n".join(lines)

    def _end(self, text: str) -> str:
        return text[: self._place(text)]


class Fuzz:
    """The seeds in a folder of their own, and one input after another."""

    def __init__(self, folder: Path, seed: int = 0, verbs: Collection[str] = tuple(VERBS)) -> None:
        self.folder, self.seed, self.verbs = folder, seed, verbs
        self.failures: dict[str, Failure] = {}
        self.slowest = (0.0, 0)
        self.codes: dict[str, int] = {}
        packaged = [
            *sorted((ROOT / "trials").glob("*.yaml")),
            *sorted((ROOT / "search_spaces").glob("*.yaml")),
        ]
        self.files = [path.read_text(encoding="utf-8") for path in packaged]
        self.table = (
            "cell,cifar10-test\n" + f"{NB201},94.37\n" + NB201.replace("none", "nor_conv_3x3") + ",93.1\n"
        )

    def prepare(self) -> None:
        """Record a small sweep, as a user would."""
        from raynas.cli.main import main
        from raynas.sweep.file.load import load_sweep
        from raynas.sweep.folder import SweepFolder

        os.chdir(self.folder)
        Path("small.yaml").write_text(SWEEP)
        SweepFolder(self.folder / "runs" / "small").create(load_sweep(Path("small.yaml")), SWEEP)
        with _quiet():
            if main(["resume", "small", "--local"]) != 0:
                raise RuntimeError("the seed sweep did not run")
        for path in (self.folder / "runs").rglob("*"):
            if path.suffix in (".svg", ".html", ".png"):
                path.unlink()
        shutil.copytree("runs", "pristine")
        self.records = [
            path for path in sorted(Path("pristine").rglob("*")) if path.suffix in (".json", ".jsonl")
        ]
        cell = Path("pristine/small/best/genotype.json").read_text()
        self.cells = [DARTS, NB201, RNN, cell, *(RNN.replace("sigmoid", word) for word in ("tanh", "none"))]

    def run(self, numbers: Iterator[int] | range) -> None:
        """Give each input to its verb."""
        for number in numbers:
            rng = random.Random(f"{self.seed}/{number}")
            verb = rng.choices(list(VERBS), list(VERBS.values()))[0]
            if verb not in self.verbs:
                continue
            made = {"check": self._file, "draw": self._cell, "size": self._cell, "lookup": self._cell}
            words = made.get(verb, self._sweep)(verb, rng, Mutator(rng))
            self._call(number, words)

    def _file(self, verb: str, rng: random.Random, change: Mutator) -> list[str]:
        text = rng.choice(self.files)
        if rng.random() < 0.4:
            text = yaml.safe_dump(change.plain(yaml.safe_load(text)), allow_unicode=True)
        if rng.random() < 0.7:
            text = change.text(text)
        _write(Path("mutated.yaml"), text)
        more = [change.text(rng.choice(OVERRIDES), 2) for _ in range(rng.choice([0, 0, 1, 2]))]
        return [verb, "mutated.yaml", *rng.choice([[], ["--json"]]), "--", *more]

    def _cell(self, verb: str, rng: random.Random, change: Mutator) -> list[str]:
        text = rng.choice(self.cells)
        if text.startswith("{") and rng.random() < 0.6:
            text = json.dumps(change.plain(json.loads(text)))
        else:
            text = change.text(text)
        words = [verb, *rng.choice([[], ["--json"]])]
        if verb == "draw":
            words += ["--to", "drawn"]
        if verb == "lookup":
            _write(Path("table.csv"), change.text(self.table, 2) if rng.random() < 0.3 else self.table)
            words += ["--table", "table.csv"]
        if rng.random() < 0.3 and "\0" not in text:
            return [*words, "--", text.encode("utf-8", "replace").decode()]
        name = rng.choice(["cell.json", "cell.txt"])
        _write(Path(name), text)
        return [*words, name]

    def _sweep(self, verb: str, rng: random.Random, change: Mutator) -> list[str]:
        shutil.rmtree("runs", ignore_errors=True)
        shutil.copytree("pristine", "runs")
        for _ in range(rng.choice([1, 1, 1, 2])):
            path = Path("runs", *rng.choice(self.records).parts[1:])
            how = rng.random()
            if how < 0.1:
                _spoil(path, rng)
            elif path.is_file() and how < 0.6:
                lines = (
                    path.read_text(errors="replace").splitlines()
                    if path.suffix == ".jsonl"
                    else [path.read_text()]
                )
                place = rng.randrange(len(lines)) if lines else 0
                try:
                    lines[place] = json.dumps(change.plain(json.loads(lines[place])))
                except (ValueError, IndexError):
                    lines.append(rng.choice(WORDS))
                _write(path, "\n".join(lines) + "\n")
            elif path.is_file():
                _write(path, change.text(path.read_text(errors="replace")))
        return [verb, "small", *(["--local"] if verb == "resume" else rng.choice([[], ["--json"]]))]

    def _call(self, number: int, words: list[str]) -> None:
        from raynas.cli.main import main

        started, before = time.process_time(), Path.cwd()
        with _quiet() as output:
            try:
                with _limited():
                    code = main(words)
                what = "a traceback was printed" if "Traceback (most recent" in output() else ""
                text = output()[-2000:] if what else ""
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                code, text = -1, traceback.format_exc()
                frames = [
                    each for each in traceback.extract_tb(error.__traceback__) if "raynas" in each.filename
                ]
                where = frames[-1] if frames else None
                place = f"{Path(where.filename).name}:{where.lineno}" if where else "?"
                what = f"{type(error).__name__} at {place}"
        os.chdir(before)
        self.slowest = max(self.slowest, (time.process_time() - started, number))
        self.codes[f"{words[0]} {code}"] = self.codes.get(f"{words[0]} {code}", 0) + 1
        if what and what in self.failures:
            self.failures[what].count += 1
        elif what:
            self.failures[what] = Failure(number, words, what, text)


def _write(path: Path, text: str) -> None:
    if path.is_dir() or path.is_symlink():
        return
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _spoil(path: Path, rng: random.Random) -> None:
    """Put something else in a file's place: nothing, an empty file, a folder, a link to itself, a pipe."""
    if not path.is_file():
        return
    path.unlink()
    match rng.randrange(5):
        case 1:
            path.write_text("")
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to(path.name)
        case 4:
            os.mkfifo(path)


@contextmanager
def _quiet() -> Iterator[Callable[[], str]]:
    """Catch what is printed, as bytes in UTF-8, so that what cannot be encoded shows."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams

    def read() -> str:
        for stream in streams:
            stream.flush()
        return "".join(stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]

    try:
        yield read
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def _limited() -> Iterator[None]:
    """Raise `TooLong` after `PATIENCE` seconds of CPU, or six times as many on the clock."""

    def stop(*_: object) -> None:
        raise TooLong

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, PATIENCE),
        signal.SIGALRM: (signal.ITIMER_REAL, 6 * PATIENCE),
    }
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopped_at_trials() -> Iterator[None]:
    """Let `resume` go as far as the point where trials would start, and nothing draw or upload after it."""
    from raynas import track
    from raynas.cli import observers
    from raynas.errors import RaynasError
    from raynas.launch.local import LocalLauncher

    def here(*_: object, **__: object) -> None:
        raise RaynasError("here the trials would start")

    places: list[tuple[Any, str, Any]] = [
        (LocalLauncher, "_measure", here),
        (track, "trackers_for", lambda _: []),
        (observers.ReportWriter, "on_end", lambda *_: None),
    ]
    before = [getattr(owner, name) for owner, name, _ in places]
    for owner, name, new in places:
        setattr(owner, name, new)
    try:
        yield
    finally:
        for (owner, name, _), old in zip(places, before, strict=True):
            setattr(owner, name, old)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, nargs="?", default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number to begin with")
    parser.add_argument("--only", type=int, default=None, help="one input alone, and what it prints")
    parser.add_argument(
        "--verbs", nargs="+", choices=VERBS, default=list(VERBS), help="the inputs of these alone"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), options.seed, options.verbs)
        fuzz.prepare()
        resource.setrlimit(resource.RLIMIT_DATA, (12 * 2**30, 12 * 2**30))
        first = options.only if options.only is not None else options.first
        count = 1 if options.only is not None else options.count
        with stopped_at_trials():
            for start in range(first, first + count, STEP):
                known = set(fuzz.failures)
                done = min(start + STEP, first + count)
                fuzz.run(range(start, done))
                new = [str(fuzz.failures[what]) for what in fuzz.failures if what not in known]
                print(f"{done - first} of {count}: {len(fuzz.failures)} failures", *new, sep="\n", flush=True)
        os.chdir(ROOT)
    seconds, number = fuzz.slowest
    print(f"\n{dict(sorted(fuzz.codes.items()))}\nslowest: {seconds:.1f} s of CPU, input {number}; ", end="")
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
    return int(bool(fuzz.failures))


if __name__ == "__main__":
    sys.exit(main())
