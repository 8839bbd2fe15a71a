"""The files of a trial's run: genotypes, pictures of the cell, the history of the weights."""

import re
import shutil
from collections.abc import Set
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from raynas.bilevel.records import EpochReport
from raynas.spaces.genotype import Genotype
from raynas.sweep.feed import SpoolFeed
from raynas.sweep.trial_folder import NETWORK, TrialFolder
from raynas.track.content import pictured, turns, write_history, write_json
from raynas.track.store import MlflowStore, Run
from raynas.train.records import CARD, WEIGHTS

if TYPE_CHECKING:
    from raynas.report.drawer import Drawer

_LARGEST_LOG = 2**20

LARGEST_NETWORK = 64 * 2**20
"""Bytes of the weights that go to a store; those of DARTS for CIFAR-10, of 3.3 M parameters, take 13 MB."""


@dataclass
class Files:
    """What a run already has: names under ``genotypes``, and the steps whose pictures are complete."""

    genotypes: set[str]
    pictures: set[int]

    @classmethod
    def of(cls, store: MlflowStore, run: Run, kinds: Set[str]) -> "Files":
        """Ask the store; also right when an earlier uploader was killed half-way.

        ``kinds`` are the kinds of cell that an epoch's pictures show.
        """
        kinds_by_step: dict[int, set[str]] = {}
        for name in store.files(run, "images"):
            # MLflow's name, as cell~normal+step+7+timestamp+…; the small copy is the last thing it writes.
            if match := re.fullmatch(r"cell\W(\w+?)\Wstep\W(\d+)\W.*\.webp", name):
                kinds_by_step.setdefault(int(match[2]), set()).add(match[1])
        complete = {step for step, found in kinds_by_step.items() if found >= kinds}
        return cls(store.files(run, "genotypes"), complete)


def send_files(
    store: MlflowStore, run: Run, files: Files, log: Path, feed: SpoolFeed, ended: bool, drawer: "Drawer"
) -> int:
    """Write what the run still lacks, and with ``ended`` what sums it up; returns how many files."""
    record = feed.record
    with TemporaryDirectory(prefix="raynas-") as scratch:
        folder = Path(scratch)
        genotypes = {_genotype_name(report): report for report in turns(record.reports)}
        if ended and record.deciding is not None:
            genotypes[_genotype_name(record.deciding)] = record.deciding
            _write_summary(record.deciding, record.reports, folder, drawer)
        if ended:
            _copy(log, folder / "log.txt", _LARGEST_LOG)
        for name in genotypes.keys() - files.genotypes:
            write_json(genotypes[name].genotype.to_json(), folder / "genotypes" / name)
        written = sum(path.is_file() for path in folder.rglob("*"))
        if written:
            store.upload(run, folder)
            files.genotypes |= set(genotypes)
    for report in pictured(record, ended):
        step = record.ran.index(report)
        if step not in files.pictures:
            _send_pictures(store, run, report, step, feed.time(report), drawer)
            files.pictures.add(step)
            written += 1
    return written


def send_network(store: MlflowStore, run: Run, trial: TrialFolder[Any, Any], drawer: "Drawer") -> int:
    """Write the cell of a training that has ended, its network and its log; returns how many files.

    A network of more than `LARGEST_NETWORK` stays where it is; the run's tag says where.
    """
    with TemporaryDirectory(prefix="raynas-") as scratch:
        folder = Path(scratch)
        _write_cell(trial.genotype(), folder, drawer)
        _copy(trial.log, folder / "log.txt", _LARGEST_LOG)
        for name in (WEIGHTS, CARD):
            _copy(trial.network / name, folder / NETWORK / name, LARGEST_NETWORK)
        store.upload(run, folder)
        return sum(path.is_file() for path in folder.rglob("*"))


def _copy(source: Path, target: Path, largest: int) -> None:
    """Copy a file that is there and not larger than so many bytes."""
    if source.is_file() and source.stat().st_size <= largest:
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)


def _write_summary(
    final: EpochReport, reports: tuple[EpochReport, ...], folder: Path, drawer: "Drawer"
) -> None:
    _write_cell(final.genotype, folder, drawer)
    write_history(reports, folder)


def _write_cell(genotype: Genotype, folder: Path, drawer: "Drawer") -> None:
    from raynas.report.draw import draw_cell

    write_json(genotype.to_json(), folder / "genotype.json")
    (folder / "cells").mkdir()
    for kind in genotype.kinds:
        stem = folder / "cells" / f"cell-{kind}"
        stem.with_suffix(".svg").write_text(draw_cell(genotype, kind), encoding="utf-8")
        stem.with_suffix(".png").write_bytes(drawer.draw(genotype, kind))


def _send_pictures(
    store: MlflowStore, run: Run, report: EpochReport, step: int, time: float, drawer: "Drawer"
) -> None:
    for kind in report.genotype.kinds:
        picture = drawer.draw(report.genotype, kind)
        store.image(run, BytesIO(picture), f"cell/{kind}", step, time)


def _genotype_name(report: EpochReport) -> str:
    again = f"_restart_{report.restart}" if report.restart else ""
    return f"epoch_{report.epoch:03d}{again}.json"
