"""The random numbers of a pack's samplers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Dice:
    """Random numbers of all lanes, each lane's from its own generator on the CPU.

    So a lane draws what it would draw alone, and the same on every device.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = list(generators)

    def uniform(self, like: Tensor) -> Tensor:
        """Return numbers in (0, 1), up to rounding, shaped as ``like`` [lanes, ...]."""
        # In float64 whatever α is: a float32 has 2²⁴ values in [0, 1), so one in 17 million draws would be 0.
        drawn = self.each(lambda g: torch.rand(like.shape[1:], generator=g, dtype=torch.float64))
        return drawn.clamp_min(torch.finfo(torch.float64).tiny).to(like)

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers shaped as ``like`` [lanes, ...]."""
        return self.each(lambda g: torch.randn(like.shape[1:], generator=g, dtype=torch.float64)).to(like)

    def gumbel(self, like: Tensor) -> Tensor:
        """Return standard Gumbel numbers −log(−log U) shaped as ``like`` [lanes, ...], always finite."""
        drawn = self.each(lambda g: torch.rand(like.shape[1:], generator=g, dtype=torch.float64))
        floor = torch.finfo(torch.float64).tiny
        # 1 - U is exact and never 0, as U < 1; at U = 0 the logarithm is held off 0.
        return -(-torch.log1p(-drawn)).clamp_min(floor).log().to(like)

    def each(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Return one draw [...] per lane, stacked to [lanes, ...]."""
        return torch.stack([draw(generator) for generator in self.generators])
