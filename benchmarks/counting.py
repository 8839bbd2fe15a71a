"""What a piece of work calls, computes, moves and keeps, counted rather than timed."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MIB = 2**20
CONVOLUTION = torch.ops.aten.convolution.default
CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class Call:
    """One call into PyTorch's operators: flops of convolutions, bytes read and written.

    A ``view`` computes nothing; every other call is counted as a kernel.
    """

    flops: int
    moved: int
    view: bool


class Calls(TorchDispatchMode):
    """Counts calls into PyTorch's operators, views included, and what each computes and moves."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count and pass on."""
        result = func(*args, **(kwargs or {}))
        moved = 0 if func.is_view else _bytes((args, kwargs)) + _bytes(result)
        self.found.append(Call(_flops(func, args, result), moved, func.is_view))
        return result


def calls(work: Callable[[], object]) -> list[Call]:
    """Run a piece of work and return what it called."""
    counted = Calls()
    with counted:
        work()
    return counted.found


def kernels(found: Iterable[Call]) -> int:
    """Return how many calls are no views."""
    return sum(not call.view for call in found)


def _bytes(values: Any) -> int:
    """Return the bytes of all different tensors among ``values``; a broadcast one counts what is stored."""
    tensors = {id(leaf): leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in tensors.values())


def _flops(func: Any, args: Any, result: Any) -> int:
    """Return 2 · multiplications of a convolution; each of its two gradients costs as much as itself."""
    if func is CONVOLUTION:
        return int(2 * result.numel() * prod(args[1].shape[1:]))
    if func is CONVOLUTION_BACKWARD:
        wanted = sum(gradient is not None for gradient in result[:2])
        return int(2 * args[0].numel() * prod(args[2].shape[1:]) * wanted)
    return 0


def stored(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the different storages under ``tensors``."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def growth(work: Callable[[], object], device: str) -> int:
    """Return by how many bytes the tensors that are alive grow, at most, while ``work`` runs."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    # `profiled.events()` attributes allocations to operators and loses them as such; these are the raw ones.
    assert profiled.profiler is not None
    raw = profiled.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in raw if event.name() == "[memory]")
    alive = peak = 0
    for _, change in changes:
        alive += change
        peak = max(peak, alive)
    return peak


class _Kept:
    """A tensor that autograd keeps; tells when it is let go."""

    def __init__(self, tensor: Tensor, count: "_Storages") -> None:
        self.tensor = tensor
        self._count = count
        count.add(tensor)

    def __del__(self) -> None:
        self._count.remove(self.tensor)


class _Storages:
    """Bytes of the storages that are kept now, each counted once, and the most there ever were."""

    def __init__(self, but: Iterable[Tensor]) -> None:
        self._but = {tensor.untyped_storage().data_ptr() for tensor in but}
        self._held: Counter[int] = Counter()
        self.now = self.most = 0

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() in self._but:
            return
        if not self._held[storage.data_ptr()]:
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
        self._held[storage.data_ptr()] += 1

    def remove(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() in self._but:
            return
        self._held[storage.data_ptr()] -= 1
        if not self._held[storage.data_ptr()]:
            self.now -= storage.nbytes()


def saved(work: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Return the most bytes kept for a backward pass at any moment of ``work``, without the parameters."""
    storages = _Storages(parameters)
    # Detached on both ways: a tensor that knows its graph would keep alive the graph that keeps it.
    with saved_tensors_hooks(lambda x: _Kept(x.detach(), storages), lambda kept: kept.tensor.detach()):
        work()
    return storages.most
