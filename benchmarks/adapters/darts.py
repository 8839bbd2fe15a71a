"""The original code of DARTS (github.com/quark0/darts), as a checkout has it: `cnn/` or the folder above.

Its network and its `Architect` run unchanged; the few lines around them in `train_search.py`, which no
longer parse (``async`` became a keyword), are written again here.
"""

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.sizes import CLASSES, Size
from raynas.errors import RaynasError

MODULES = ("model_search", "architect", "operations", "genotypes")
RATE = 0.025


def build(path: Path, size: Size, device: str, second_order: bool) -> "DartsLoop":
    """Build the original's search; raises `RaynasError` when the checkout does not hold it."""
    code = path / "cnn" if (path / "cnn").is_dir() else path
    if not (code / "model_search.py").is_file():
        raise RaynasError(
            "this is no checkout of DARTS", got=path, expected="a folder with cnn/model_search.py"
        )
    model_search, architect = _import(code)
    return DartsLoop(model_search, architect, size, device, second_order)


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


def _import(code: Path) -> tuple[ModuleType, ModuleType]:
    """Import the checkout's modules, whose names are anybody's, and forget the names again."""
    before = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(code.resolve()))
    try:
        return importlib.import_module("model_search"), importlib.import_module("architect")
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
        yield
