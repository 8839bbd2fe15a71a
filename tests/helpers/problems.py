"""Small bilevel problems for tests."""

from collections.abc import Sequence

import torch

from raynas.bilevel.bilevel import Bilevel
from raynas.bilevel.policy import Policy
from raynas.methods import Method, resolve
from raynas.nets.supernet import Supernet
from raynas.spaces.space import Space


def bilevel(space: Space, net: Supernet, generators: Sequence[torch.Generator], method="darts") -> Bilevel:
    """Return the problem of a method, or of a method's name, on a supernet; ``generators`` start α."""
    found = method if isinstance(method, Method) else resolve(method)
    found = found.suited(space)
    policy = Policy(
        space,
        found.store,
        found.relaxation,
        found.sampler,
        found.modifiers,
        generators=generators,
        dice=[torch.Generator().manual_seed(5 + lane) for lane in range(len(generators))],
        like=next(net.parameters()),
        without=found.without,
    )
    problem = Bilevel(
        space,
        net,
        policy,
        weight_sampler=found.weight_sampler,
        objective=found.objective,
        penalties=found.penalties,
    )
    problem.noise = [torch.Generator().manual_seed(9 + lane) for lane in range(len(generators))]
    return problem


def relaxed(problem: Bilevel, alphas: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the mean weights at flat α."""
    return problem.policy.relax(problem.policy.logits(alphas))
