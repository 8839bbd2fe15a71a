"""The original code of DARTS (github.com/quark0/darts), as a checkout has it: `cnn/` or the folder above.

Its networks and its `Architect` run unchanged; the few lines around them in `train_search.py` and `train.py`,
which no longer parse (``async`` became a keyword), are written again here.
"""

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.sizes import CLASSES, Size
from raynas.errors import RaynasError

MODULES = ("model_search", "architect", "model", "utils", "operations", "genotypes")
RATE = 0.025


def build(path: Path, size: Size, device: str, second_order: bool) -> "DartsLoop":
    """Build the original's search; raises `RaynasError` when the checkout does not hold it."""
    model_search, architect = _import(_code(path, "model_search.py"), "model_search", "architect")
    return DartsLoop(model_search, architect, size, device, second_order)


def build_training(path: Path, size: Size, auxiliary: float, drop_path: float) -> "DartsTraining":
    """Build the original's training from scratch of DARTS V2; raises `RaynasError` as `build` does."""
    model, genotypes = _import(_code(path, "model.py"), "model", "genotypes")
    with redirect_stdout(StringIO()):  # it prints three numbers per cell
        network = model.NetworkCIFAR(size.channels, CLASSES, size.cells, auxiliary > 0, genotypes.DARTS_V2)
    return DartsTraining(network, auxiliary, drop_path)


class DartsLoop:
    """One search, first order or unrolled."""

    def __init__(
        self, model_search: ModuleType, architect: ModuleType, size: Size, device: str, unrolled: bool
    ) -> None:
        self.device, self.unrolled = device, unrolled
        with _on(device):
            criterion = nn.CrossEntropyLoss()
            self.model: Any = model_search.Network(size.channels, CLASSES, size.cells, criterion).to(device)
            self.sgd = torch.optim.SGD(self.model.parameters(), RATE, momentum=0.9, weight_decay=3e-4)
            settings = {"momentum": 0.9, "weight_decay": 3e-4}
            settings |= {"arch_learning_rate": 3e-4, "arch_weight_decay": 1e-3}
            self.architect = architect.Architect(self.model, SimpleNamespace(**settings))

    def parameters(self) -> list[Tensor]:
        """Return weights and α."""
        return [*self.model.parameters(), *self.model.arch_parameters()]

    def step(self, images: Tensor, labels: Tensor, valid_images: Tensor, valid_labels: Tensor) -> None:
        """Do what one pass through the loop of `train_search.py` does."""
        with _on(self.device):
            self.architect.step(images, labels, valid_images, valid_labels, RATE, self.sgd, self.unrolled)
            self.sgd.zero_grad()
            self.model._loss(images, labels).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.sgd.step()


class DartsTraining:
    """One training from scratch on a CPU by the loop of `train.py`, without its meter of accuracy."""

    def __init__(self, network: Any, auxiliary: float, drop_path: float) -> None:
        self.network, self.auxiliary, self.loss = network, auxiliary, 0.0
        self.network.drop_path_prob = drop_path
        self.criterion = nn.CrossEntropyLoss()
        self.sgd = torch.optim.SGD(self.network.parameters(), RATE, momentum=0.9, weight_decay=3e-4)

    def parameters(self) -> Iterator[Tensor]:
        """Yield every weight: stem, cells (inputs, then operations by target and source), heads."""
        modules: list[nn.Module] = [self.network.stem]
        for cell in self.network.cells:
            order = sorted(range(len(cell._indices)), key=lambda place: (place // 2, cell._indices[place]))
            modules += [cell.preprocess0, cell.preprocess1, *(cell._ops[place] for place in order)]
        modules += [self.network.classifier, *([self.network.auxiliary_head] if self.auxiliary else [])]
        for module in modules:
            yield from module.parameters()

    def gradients(self, images: Tensor, labels: Tensor) -> None:
        """Leave the gradients of one batch, images [N, 3, side, side], in the weights."""
        self.sgd.zero_grad()
        logits, second = self.network(images)
        loss = self.criterion(logits, labels)
        if self.auxiliary:
            loss += self.auxiliary * self.criterion(second, labels)
        loss.backward()
        self.loss = loss.item()

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Do what one pass through the loop of `train.py` does."""
        with _on("cpu"):
            self.gradients(images, labels)
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.sgd.step()


def _code(path: Path, file: str) -> Path:
    """Return the folder of a checkout that holds a file; raises `RaynasError` where none does."""
    code = path / "cnn" if (path / "cnn").is_dir() else path
    if not (code / file).is_file():
        raise RaynasError("this is no checkout of DARTS", got=path, expected=f"a folder with cnn/{file}")
    return code


def _import(code: Path, *wanted: str) -> list[ModuleType]:
    """Import the checkout's modules, whose names are anybody's, and forget the names again."""
    before = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(code.resolve()))
    try:
        return [importlib.import_module(name) for name in wanted]
    finally:
        sys.path.remove(str(code.resolve()))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(before)


@contextmanager
def _on(device: str) -> Iterator[None]:
    """Let code of 2018 run: ``.cuda()`` is harmless on a CPU, and deprecated overloads warn nobody."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore", category=UserWarning))
        if device == "cpu":
            for kind in (Tensor, nn.Module):
                stack.enter_context(patch.object(kind, "cuda", lambda self, *_: self))
            stack.enter_context(patch.object(torch.cuda, "FloatTensor", torch.FloatTensor))
        yield
