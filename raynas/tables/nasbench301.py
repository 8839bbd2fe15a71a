"""NAS-Bench-301 (Zela, Siems et al. 2022): a model that predicts what a DARTS cell reaches once trained.

Its package `nasbench301` runs the model; what it is called with and what it returns are the package's own
(``load_ensemble``, ``predict``).
"""

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space
from raynas.tables.table import TableEntry

COLUMN = "cifar10_val_100"
"""Validation accuracy on CIFAR-10 after 100 epochs, of a network of 8 cells and 32 channels."""

NODES, EDGES = 4, 2
OPERATIONS = frozenset(
    {
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    }
)
_MEMBER = "surrogate_model.model"


class _Cells(NamedTuple):
    """A genotype as the package reads it: DARTS' own fields."""

    normal: list[tuple[str, int]]
    normal_concat: list[int]
    reduce: list[tuple[str, int]]
    reduce_concat: list[int]


@dataclass(frozen=True)
class Surrogate:
    """A surrogate of NAS-Bench-301, ``path`` being its folder; ``runtime`` is the model of training times.

    It predicts: nothing that it says was measured, and nobody knows its best cell.
    """

    path: Path
    model: Any
    runtime: Any | None
    columns: ClassVar[tuple[str, ...]] = (COLUMN,)
    predicts: ClassVar[bool] = True
    _known: dict[Genotype, TableEntry] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The folder's name, said to be a surrogate's."""
        return f"{self.path.name} (a surrogate of NAS-Bench-301)"

    @property
    def best(self) -> Mapping[str, float]:
        """Nothing: the best of 10^18 cells is unknown."""
        return {}

    def best_in(self, space: Space) -> Mapping[str, float]:
        """Return nothing, as `best`."""
        return {}

    def look_up(self, genotype: Genotype) -> TableEntry | None:
        """Return the prediction for a cell, without noise; None for a cell it was not made for."""
        if not _fits(genotype):
            return None
        if genotype not in self._known:
            self._known[genotype] = self._predict(genotype)
        return self._known[genotype]

    def _predict(self, genotype: Genotype) -> TableEntry:
        nodes = list(skeletons.of(genotype).targets(genotype.nodes))
        normal, reduce = (
            [(choice.op, choice.source) for choice in genotype.cell(kind)] for kind in ("normal", "reduce")
        )
        cells = _Cells(normal, nodes, reduce, nodes)
        percent, seconds = (
            None if model is None else float(model.predict(cells, "genotype", with_noise=False))
            for model in (self.model, self.runtime)
        )
        return TableEntry({} if percent is None else {COLUMN: percent / 100}, seconds=seconds)

    def misfit(self, space: Space) -> str | None:
        """Say why it cannot predict the cells of a space; None when it can."""
        if space.skeleton != "darts" or space.nodes != NODES or space.keep != EDGES:
            return (
                f"{self.name} predicts cells of DARTS: {NODES} nodes that keep {EDGES} edges each; "
                f"those of {space.name} are others"
            )
        used = {op for cell in space.cells for edge in cell.edges for op in edge.ops} - set(space.exclude)
        if foreign := used - OPERATIONS:
            return f"{self.name} knows no cell with {', '.join(sorted(foreign))}, as {space.name} has"
        return None


def _fits(genotype: Genotype) -> bool:
    return (
        genotype.skeleton == "darts"
        and genotype.nodes == NODES
        and not genotype.outputs
        and all({c.op for c in choices} <= OPERATIONS for _, choices in genotype.cells)
        and all(
            len({choice.source for choice in choices if choice.target == node})
            == sum(choice.target == node for choice in choices)
            == EDGES
            for _, choices in genotype.cells
            for node in skeletons.of(genotype).targets(genotype.nodes)
        )
    )


def is_surrogate(path: Path) -> bool:
    """Tell whether a path is a folder with a surrogate of NAS-Bench-301 in it."""
    return path.is_dir() and any(path.rglob(f"*{_MEMBER}"))


def open_surrogate(path: Path) -> Surrogate:
    """Load the surrogate in a folder, as ``nb_models_1.0/xgb_v1.0``.

    A model of training times beside it (``lgb_runtime_v1.0``) is loaded as well. The package unpickles what
    it reads: name only models that you trust. Raises `RaynasError` when the package is missing, and for a
    folder that does not hold one surrogate of accuracies.
    """
    kinds = _kinds(path)
    if len(kinds) != 1 or _is_runtime(kinds):
        raise RaynasError(
            "not one surrogate of accuracies",
            got=f"{path}: {', '.join(sorted(kinds)) or 'no model_config.json'}",
            expected="the folder of one, as nb_models_1.0/xgb_v1.0",
        )
    try:
        import nasbench301
    except ImportError as error:
        raise RaynasError(
            "predicting accuracies needs nasbench301 and the packages that its models need",
            got=f"{path}: {error}",
            next_step="pip install 'raynas[nasbench301]', and what the package's own README lists",
        ) from None
    beside = sorted(p for p in path.parent.iterdir() if p != path and _is_runtime(_kinds(p)))
    try:
        with _streams_kept():
            model, *runtime = (nasbench301.load_ensemble(str(each)) for each in (path, *beside[:1]))
    except Exception as error:  # whatever pickle, its models' packages and its own asserts raise
        raise RaynasError(
            "the surrogate cannot be loaded",
            got=f"{path}: {type(error).__name__}: {error}",
            expected="models of the version of nasbench301 that is installed",
        ) from error
    return Surrogate(path, model, runtime[0] if runtime else None)


def _kinds(path: Path) -> set[str]:
    """Return what the models in a folder call themselves; ``?`` where that cannot be read."""
    found = set()
    for member in path.rglob(f"*{_MEMBER}"):
        try:
            found.add(str(json.loads((member.parent / "model_config.json").read_bytes())["model"]))
        except (OSError, ValueError, KeyError, TypeError):
            found.add("?")
    return found


def _is_runtime(kinds: set[str]) -> bool:
    return bool(kinds) and all(kind.endswith("time") for kind in kinds)


@contextmanager
def _streams_kept() -> Iterator[None]:
    """Undo what loading a model sets: the seeds of Python, NumPy and torch, and cuDNN's choice of kernels."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    cudnn = torch.backends.cudnn
    kernels = cudnn.benchmark, cudnn.enabled
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            cudnn.benchmark, cudnn.enabled = kernels
