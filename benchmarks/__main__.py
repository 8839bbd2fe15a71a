"""Run topics, print each as it is done."""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

import benchmarks
from benchmarks import (
    convolution_forms,
    curvature,
    data,
    floor,
    memory,
    mixed,
    options,
    order,
    pack,
    step,
    sweep,
)
from benchmarks.lines import Line, Result, dump, markdown
from benchmarks.loop import SHIPPED, Adapter, load_adapter
from benchmarks.setting import Setting, machine
from benchmarks.sizes import SIZES
from raynas.errors import RaynasError


class Topic(NamedTuple):
    """What is measured, at which sizes unless told otherwise; a topic with a ``title`` knows no size."""

    run: Callable[[Setting], Iterator[Line]]
    sizes: tuple[str, ...] = ("tiny",)
    title: str = ""


TOPICS = {
    "step": Topic(step.run),
    "order": Topic(order.run),
    "mixed": Topic(mixed.run, ("micro",)),
    "curvature": Topic(curvature.run),
    "pack": Topic(pack.run, ("micro", "tiny")),
    "memory": Topic(memory.run),
    "data": Topic(data.run, ("micro",), "random crops and flips of 32×32 images in batches of 64"),
    "sweep": Topic(sweep.run, ("micro",), "what the slots of a sweep did"),
    "floor": Topic(floor.run),
    "forms": Topic(convolution_forms.run),
    "options": Topic(options.run),
}


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    chosen = _parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        external = (chosen.external, load_adapter(chosen.adapter)) if chosen.external else None
    except RaynasError as error:
        print(error, file=sys.stderr)
        return 2
    settings = list(_settings(chosen, external))
    results = [result for name, setting in settings if (result := _measure(name, setting))]
    described = machine(chosen.device, chosen.threads)
    typed = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if arguments is None else arguments)])
    if chosen.markdown:
        about = ", ".join(f"{key} {value}" for key, value in described.items())
        text = f"`{typed}`\n\n{about}\n\n{markdown(results)}\n"
        chosen.markdown.write_text(text, encoding="utf-8")
    if chosen.json:
        chosen.json.write_text(dump(results, described, typed), encoding="utf-8")
    return 0 if len(results) == len(settings) else 1


def _settings(
    chosen: argparse.Namespace, external: tuple[Path, Adapter] | None
) -> Iterator[tuple[str, Setting]]:
    clock = time.process_time if chosen.clock == "cpu" else time.perf_counter
    for name in chosen.only:
        topic = TOPICS[name]
        for size in topic.sizes if topic.title else chosen.size or topic.sizes:
            yield (
                name,
                Setting(SIZES[size], chosen.device, chosen.runs, clock, external, chosen.folder),
            )


def _measure(name: str, setting: Setting) -> Result | None:
    """Measure one topic and print what was found; a topic that fails says why and ends nothing else."""
    topic = TOPICS[name]
    try:
        result = Result(name, topic.title or str(setting.size), tuple(topic.run(setting)))
    except RaynasError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None
    print(result.text(), flush=True)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=benchmarks.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=_names(TOPICS), default=list(TOPICS), help=f"of {','.join(TOPICS)}")
    parser.add_argument("--size", type=_names(SIZES), help=f"of {','.join(SIZES)}; each topic's own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs, after one that warms up")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: where others compute too"
    )
    parser.add_argument("--external", type=Path, metavar="PATH", help="a checkout of others' code")
    parser.add_argument("--adapter", default="darts", help=f"of {','.join(SHIPPED)}, or a Python file")
    parser.add_argument("--folder", type=Path, help="of a sweep that was run, for the topic sweep")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write tables for docs/performance.md")
    return parser


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wrong = [name for name in text.split(",") if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: not one of {', '.join(known)}")
        return text.split(",")

    return parse


if __name__ == "__main__":
    sys.exit(main())
