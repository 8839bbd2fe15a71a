"""How others' search code is measured beside ours: a small interface, and adapters that provide it.

An adapter is a module, or a file given by path, with one function `build`. It imports the code of the given
checkout and returns something with a `step`; see `benchmarks/adapters/darts.py`, which does so for the
original DARTS code.
"""

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast

from torch import Tensor

from benchmarks.sizes import Size
from raynas.errors import RaynasError, unknown

SHIPPED = sorted(path.stem for path in (Path(__file__).parent / "adapters").glob("[!_]*.py"))


class Loop(Protocol):
    """One search by somebody's code."""

    def step(self, images: Tensor, labels: Tensor, valid_images: Tensor, valid_labels: Tensor) -> None:
        """Move α once on the validation batch, then the weights once on the training batch.

        Images are float32 [N, 3, side, side], contiguous, labels int64 [N], both on the device.
        """

    def parameters(self) -> Iterable[Tensor]:
        """Return every tensor that is trained, weights and α."""


class Adapter(Protocol):
    """What an adapter's module must hold."""

    def build(self, path: Path, size: Size, device: str, second_order: bool) -> Loop:
        """Build a search of the DARTS space from the code in ``path``, for 10 classes of RGB images."""


def load_adapter(name: str) -> Adapter:
    """Import an adapter by its name or from its file; raises `RaynasError` when there is none."""
    if name.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        if spec is None or spec.loader is None or not Path(name).is_file():
            raise RaynasError("no such adapter", got=name, expected=f"a Python file, or one of {SHIPPED}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    elif name in SHIPPED:
        module = importlib.import_module(f"benchmarks.adapters.{name}")
    else:
        raise unknown("adapter", name, SHIPPED)
    if not hasattr(module, "build"):
        raise RaynasError("an adapter needs a function `build`", got=name, next_step="see benchmarks/loop.py")
    return cast("Adapter", module)
