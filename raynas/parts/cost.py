"""Costs as a term of the loss: expected operations, parameters or latencies, or those of what was drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import Costs, Draw
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Penalty
from raynas.bilevel.views import PolicyView
from raynas.disk import expanded
from raynas.errors import RaynasError, unknown
from raynas.nets.cost import costs_by_cell, option_costs
from raynas.nets.supernets.recurrent import AnySupernet
from raynas.parts.penalties import Strength, shares
from raynas.spaces import skeletons
from raynas.spaces.graph import Group
from raynas.spaces.library import read_yaml
from raynas.spaces.space import Space

LEAST = 2.0
"""The multiplicative form takes logarithms: expected costs below 2 count as 2."""


@dataclass(frozen=True)
class Cost(Penalty):
    """The expected cost E = Σ p·cost of the cells, against a ``reference`` R.

    ``add`` gives loss + strength·(E − R)/R, ``log`` loss + strength·log(E/R), ``multiply`` loss·(log
    E/log R)^strength (ProxylessNAS' code; its factor 0.2 before the loss, which Adam does not feel, is left
    out). ``above`` charges only while E exceeds R. With ``drawn`` E is the cost of what was drawn, each
    option at its probability, and ``above`` compares the whole cost of it with R, as DSNAS' code does: where
    K options are as probable, that is 1/K of what the expected cost charges, on average.

    ``measure`` counts a supernet's ``flops`` (multiply-adds for one image) or ``parameters``; ``table`` names
    a YAML or JSON file instead: what each operation costs on an edge, in any unit, `skip_connect: 0.1`, for
    all cells alike or under the name of each group (`normal:`, `reduce:`). Without a ``reference``, in the
    same unit, R is the expected cost where all options weigh the same. The probabilities are what is
    differentiated, whatever was drawn; those of `Pair` are the pair's, as in ProxylessNAS' code. Source: Cai
    et al. 2019, section 3.2.2 (eq. 3), and its code.
    """

    use: ClassVar[str] = "cost"
    version: ClassVar[int] = 2

    strength: Strength = 0.1
    form: Literal["add", "log", "multiply"] = "add"
    measure: Literal["flops", "parameters"] = "flops"
    table: str | None = None
    reference: Annotated[float, Field(gt=0)] | None = None
    above: bool = False
    drawn: bool = False

    def costs(self, space: Space, supernet: AnySupernet) -> Costs:
        """Count, or read the table; raises `RaynasError` when it lacks an operation or has an unknown one."""
        if self.table is None:
            return option_costs(space, supernet, self.measure)
        return read_costs(self.table, space)

    def __call__(
        self, losses: Tensor, policy: PolicyView, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Charge the present probabilities [lanes, rows, options].

        Raises `RaynasError` where the form has no logarithm to take."""
        if costs is None:
            raise TypeError("expected costs need the cost of every operation")
        expected, reference = torch.zeros_like(losses), 0.0
        spent = torch.zeros_like(losses)
        for name, weights in shares(policy, flat, draw).items():
            price = costs[name]
            charged = weights * price.to(weights)
            if self.drawn:
                # By the drawn weights, not by `active`: a sampler may compute options that it has given the
                # weight 0.
                chosen = draw.weights[name].detach() > 0
                charged = charged.masked_fill(~chosen, 0.0)
                spent = spent + price.to(weights).expand_as(chosen).masked_fill(~chosen, 0.0).flatten(1).sum(
                    1
                )
            expected = expected + charged.flatten(1).sum(1)
            considered = policy.layout.alive[name].to(price)
            even = considered / considered.sum(-1, keepdim=True).clamp_min(1)
            reference += float((even * price).sum())
        reference = self.reference or reference
        self._check(reference)
        total = self._charge(losses, expected, reference)
        dear = (spent if self.drawn else expected) > reference
        return torch.where(dear, total, losses) if self.above else total

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """Its table has to fit the space, and without one α has to choose among operations."""
        if space is None:
            return
        if self.table is None:
            yield from _uncounted(space)
            return
        try:
            read_costs(self.table, space)
        except RaynasError as error:
            yield str(error)

    def _charge(self, losses: Tensor, expected: Tensor, reference: float) -> Tensor:
        if self.form == "add":
            return losses + self.strength * (expected - reference) / reference
        if self.form == "log":
            # All of α on options without a cost makes E 0, whose logarithm is −∞: 1e-6 bounds the term at
            # −13.8·strength.
            return losses + self.strength * (expected / reference).clamp_min(1e-6).log()
        ratio = expected.clamp_min(LEAST).log() / torch.tensor(reference).to(losses).log()
        return losses * ratio.pow(self.strength)

    def _check(self, reference: float) -> None:
        least = LEAST if self.form == "multiply" else 0.0
        if reference <= least:
            raise RaynasError(
                f"the cost's form {self.form} needs a reference above {least:g}",
                got=f"{reference:g}",
                next_step="give the table in a smaller unit, or take form: add"
                if reference
                else "give costs above 0 to some operation",
            )


@dataclass(frozen=True)
class ResourceCost(Penalty):
    """SNAS: strength·Σ over edges of the mean logarithm of what the drawn operations take.

    Three things are taken, in numbers for one image: the weights, the multiply-adds (of pooling, whatever its
    windows look at), and the memory accesses, see `raynas.nets.cost.Counts`. Each is the sum over an edge's
    options, by the drawn weights, and counts as 1 where it is less. The cells that share a row of α are
    averaged. As every edge has a logarithm of its own, a cheap edge is charged for a share of its cost as a
    dear one is; the term of `Cost` with ``form: log`` is 18 to 64 times weaker at the same strength.

    Source: Xie et al. 2019, section 3.3, and its code, SNAS-Series/SNAS-Series 9a43adb, `reparametrization`
    with `log_penalty` (SNAS/model_search.py, train_search.py); its ratio of reduction to normal cells is 1.
    """

    use: ClassVar[str] = "resources"
    strength: Strength = 1.5e-3

    def costs(self, space: Space, supernet: AnySupernet) -> Costs:
        """Count weights, multiply-adds and memory accesses, [3, layers, rows, options] by group."""
        return {
            name: torch.stack([parameters, flops + pooled, memory])
            for name, (parameters, flops, pooled, memory) in costs_by_cell(space, supernet).items()
        }

    def __call__(
        self, losses: Tensor, policy: PolicyView, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Charge what was drawn, [lanes, rows, options], so that α learns through the draw."""
        if costs is None:
            raise TypeError("resources need what every operation takes")
        for name, prices in costs.items():
            taken = torch.einsum("nro,tcro->ntcr", draw.weights[name], prices.to(draw.weights[name]))
            logs = torch.where(taken < 1, 1.0, taken).log().mean(1)
            cells = (prices > 0).any(3).any(0).sum(0).clamp_min(1).to(logs)
            losses = losses + self.strength * (logs.sum(1) / cells).sum(1)
        return losses

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """α learns through what was drawn, from operations that can be counted."""
        if method.sampler.leaves_alpha or method.sampler.leaves_out:
            yield (
                "resources charges what was drawn, through which α has to learn: a sampler that computes "
                "everything"
            )
        if space is not None:
            yield from _uncounted(space)


def _uncounted(space: Space) -> Iterator[str]:
    """Yield why the operations of a space cannot be counted, if they cannot."""
    if skeletons.of(space).texts or not any(group.operations for group in skeletons.groups(space)):
        yield (
            "cost counts the kernels of operations, but α chooses among none here: take cost with a "
            f"`table:`, or write `penalties: []` ({space.name})"
        )


def read_costs(table: str, space: Space) -> Costs:
    """Return a table of costs, [rows, options] by group of α, read from a YAML or JSON file.

    Raises `RaynasError` when the file is missing, lacks an option or has one that the space does not have.
    """
    path = expanded(table)
    if not path.is_file():
        raise RaynasError("there is no such table of costs", got=str(path), expected="a YAML or JSON file")
    data = read_yaml(path)
    groups = [group for group in skeletons.groups(space) if group.operations]
    by_group = any(isinstance(value, dict) for value in data.values())
    known = {group.name for group in groups} if by_group else _options(groups)
    for key in data:
        if key not in known:
            raise unknown(f"entry of {path}", str(key), sorted(known))
    return {
        group.name: _table(group, data.get(group.name, {}) if by_group else data, path)
        if group.operations
        else torch.zeros(len(group.rows), group.width, dtype=torch.float64)
        for group in skeletons.groups(space)
    }


def _options(groups: list[Group]) -> set[str]:
    return {option for group in groups for row in group.rows for option in row.options}


def _table(group: Group, prices: Any, path: Path) -> Tensor:
    table = torch.zeros(len(group.rows), group.width, dtype=torch.float64)
    for place, row in enumerate(group.rows):
        for column, option in enumerate(row.options):
            price = prices.get(option) if isinstance(prices, dict) else None
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < float("inf"):
                raise RaynasError(
                    f"{path} has no cost for {option} in the {group.title}",
                    got=repr(price),
                    expected="a number from 0 on for every operation of the space",
                )
            table[place, column] = float(price)
    return table
