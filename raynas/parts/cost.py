"""Expected costs: operations, parameters or a user's latencies as a term of the loss."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raynas.core.cost import option_costs
from raynas.core.objective import Costs
from raynas.core.policy import Draw, Policy
from raynas.core.recurrent import AnySupernet
from raynas.core.skeletons.base import Group
from raynas.core.space import Space
from raynas.errors import RaynasError, unknown
from raynas.library import read_yaml
from raynas.parts.penalties import Strength, Term, shares

LEAST = 2.0
"""The multiplicative form takes logarithms: expected costs below 2 count as 2."""


@dataclass(frozen=True)
class Cost(Term):
    """The expected cost E = Σ p·cost of the cells, against a ``reference`` R.

    ``add`` gives loss + strength·(E − R)/R, ``log`` loss + strength·log(E/R) (SNAS), ``multiply``
    loss·(log E/log R)^strength (ProxylessNAS' code; its factor 0.2 before the loss, which Adam does not feel,
    is left out). ``above`` charges only while E exceeds R (DSNAS).

    ``measure`` counts a supernet's ``flops`` (multiply-adds for one image) or ``parameters``; ``table`` names
    a YAML or JSON file instead: what each operation costs on an edge, in any unit, `skip_connect: 0.1`, for
    all cells alike or under the name of each group (`normal:`, `reduce:`). Without a ``reference``, in the
    same unit, R is the expected cost where all options weigh the same. The probabilities are what is
    differentiated, whatever was drawn; those of `Pair` are the pair's, as in ProxylessNAS' code. Sources: Cai
    et al. 2019, section 3.2.2 (eq. 3), and its code; Xie et al. 2019, section 3.3.
    """

    version: ClassVar[int] = 2

    strength: Strength = 0.1
    form: Literal["add", "log", "multiply"] = "add"
    measure: Literal["flops", "parameters"] = "flops"
    table: str | None = None
    reference: Annotated[float, Field(gt=0)] | None = None
    above: bool = False

    def costs(self, space: Space, supernet: AnySupernet) -> Costs:
        """Count, or read the table; raises `RaynasError` when it lacks an operation or has an unknown one."""
        if self.table is None:
            return option_costs(space, supernet, self.measure)
        return read_costs(self.table, space)

    def __call__(
        self, losses: Tensor, policy: Policy, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Charge the present probabilities; raises `RaynasError` where the form has no logarithm to take."""
        if costs is None:
            raise TypeError("expected costs need the cost of every operation")
        expected, reference = torch.zeros_like(losses), 0.0
        for name, weights in shares(policy, flat, draw).items():
            price = costs[name]
            expected = expected + (weights * price.to(weights)).flatten(1).sum(1)
            considered = policy.layout.alive[name].to(price)
            even = considered / considered.sum(-1, keepdim=True).clamp_min(1)
            reference += float((even * price).sum())
        reference = self.reference or reference
        self._check(reference)
        charged = self._charge(losses, expected, reference)
        return torch.where(expected > reference, charged, losses) if self.above else charged

    def _charge(self, losses: Tensor, expected: Tensor, reference: float) -> Tensor:
        if self.form == "add":
            return losses + self.strength * (expected - reference) / reference
        if self.form == "log":
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


def read_costs(table: str, space: Space) -> Costs:
    """Return a table of costs, [rows, options] by group of α, read from a YAML or JSON file.

    Raises `RaynasError` when the file is missing, lacks an option or has one that the space does not have.
    """
    path = Path(table).expanduser()
    if not path.is_file():
        raise RaynasError("there is no such table of costs", got=str(path), expected="a YAML or JSON file")
    data = read_yaml(path)
    groups = [group for group in space.groups if group.operations]
    by_group = any(isinstance(value, dict) for value in data.values())
    known = {group.name for group in groups} if by_group else _options(groups)
    for key in data:
        if key not in known:
            raise unknown(f"entry of {path}", str(key), sorted(known))
    return {
        group.name: _table(group, data.get(group.name, {}) if by_group else data, path)
        if group.operations
        else torch.zeros(len(group.rows), group.width, dtype=torch.float64)
        for group in space.groups
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
