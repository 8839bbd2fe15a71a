"""Methods that train nothing: they propose cells, and a table of trained accuracies judges them."""

from raynas.methods.record import Method
from raynas.parts.proposals import PolicyGradient, RegularisedEvolution, UniformCells

_BUDGET = {"epochs": 32, "hessian.every": 0}
"""Three of 96 evaluations an epoch: what 12,000 seconds buy on NAS-Bench-201, about."""

RANDOM = Method(
    "random",
    "Random search: the best of many uniformly drawn cells, by a table",
    "the control; as in Dong, Yang 2020 (NAS-Bench-201), whose 12,000 simulated seconds are 96 cells, about. "
    "Its epochs are shares of the budget",
    proposals=UniformCells(),
    defaults=_BUDGET,
)

EVOLUTION = Method(
    "evolution",
    "Regularised evolution: the best of a tournament has a mutated child, the oldest dies; by a table",
    "Real et al. 2019, with the population and tournament of Dong, Yang 2020 (NAS-Bench-201). Its epochs are "
    "shares of the budget",
    proposals=RegularisedEvolution(),
    defaults=_BUDGET,
)

REINFORCE = Method(
    "reinforce",
    "REINFORCE: independent categoricals over edges follow the accuracies of drawn cells, by a table",
    "Williams 1992, as in Dong, Yang 2020 (NAS-Bench-201). Its epochs are shares of the budget",
    proposals=PolicyGradient(),
    defaults=_BUDGET,
)
