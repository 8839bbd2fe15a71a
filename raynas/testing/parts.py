"""The contract of a part: plain frozen settings with a name, and what it says of itself is true."""

import re
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from raynas.bilevel.part import Part
from raynas.bilevel.policy import Policy
from raynas.bilevel.progress import Progress
from raynas.bilevel.settings import now
from raynas.bilevel.slots import (
    Annealing,
    CellProposer,
    Derivation,
    Hold,
    Limit,
    Proposals,
    Relaxation,
    Sampler,
    Schedule,
    StopRule,
    Store,
    WeightPenalty,
)
from raynas.parts import INNER_SLOTS, METHOD_SLOTS
from raynas.parts.relaxations import Softmax
from raynas.parts.samplers import Mean
from raynas.parts.stores import Table
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.library import load_space
from raynas.spaces.space import Space
from raynas.testing.broken import BrokenContract, claim

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LANES, ROWS, OPTIONS = 2, 6, 4
LEAST_WORDS = 4


def check_part(part: type[Part] | Part) -> None:
    """Check a class of parts, or one of its instances where it has settings without a default.

    It is a frozen dataclass below the base of its slot, has a name of its own and a docstring, can be hashed
    and built from plain values, and is what it says: a relaxation that ``sums_to_one`` does, a sampler that
    is not ``random`` draws the same twice, nothing dead has weight. Raises `BrokenContract`.
    """
    kind = part if isinstance(part, type) else type(part)
    _check_class(kind)
    made = _made(part)
    _check_settings(made)
    made = now(made, Progress(0, 50, last=50))
    for slot, check in _BY_SLOT.items():
        if isinstance(made, slot):
            check(made)


def _check_class(kind: type[Part]) -> None:
    name = kind.__name__
    claim(
        issubclass(kind, Part) and bool(kind.slots),
        f"{name} is not a part",
        [each.__name__ for each in kind.__mro__],
        "a class below one of raynas.bilevel.slots",
    )
    claim(is_dataclass(kind), f"{name} is not a frozen dataclass")
    claim(
        set(kind.slots) <= {*METHOD_SLOTS, *INNER_SLOTS},
        f"{name} is for slots that do not exist",
        kind.slots,
    )
    use = vars(kind).get("use", "")
    claim(
        bool(NAME.fullmatch(use)),
        f"{name} does not say by which name it is used",
        use,
        'use: ClassVar[str] = "small-words"',
    )
    first = (vars(kind).get("__doc__") or "").partition("\n")[0]
    # A dataclass without a docstring gets its signature as one.
    claim(
        len(first.split()) >= LEAST_WORDS and not first.startswith(f"{name}("),
        f"{name} does not say what it is",
        first,
        "a docstring whose first line does",
    )
    unsaid = [
        each
        for base in kind.__mro__
        for each in vars(base).get("__annotations__", {})
        if base.__module__.startswith("raynas.bilevel")
        and not hasattr(kind, each)
        and each not in ("weight_decay", "times")
    ]
    claim(not unsaid, f"{name} does not say whether it is {', '.join(unsaid)}")


def _made(part: type[Part] | Part) -> Part:
    if not isinstance(part, type):
        return part
    try:
        return part()
    except TypeError as error:
        raise BrokenContract(
            f"{part.__name__} cannot be made without settings",
            got=error,
            next_step="give check_part an instance",
        ) from error


def _check_settings(part: Part) -> None:
    kind = type(part)
    settings: dict[str, Any] = {each.name: getattr(part, each.name) for each in fields(part)}  # type: ignore[arg-type]
    hash(part)
    claim(
        TypeAdapter(kind).validate_python(settings) == part,
        f"{kind.__name__} is not what its settings make",
        settings,
    )
    try:
        part.anything = 1  # type: ignore[attr-defined]
    except (FrozenInstanceError, TypeError):
        return
    raise BrokenContract(f"{kind.__name__} is not frozen", expected="@dataclass(frozen=True)")


def _logits() -> tuple[Tensor, Tensor]:
    """Return logits [lanes, rows, options] of both signs and a mask with dead options and a dead row."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(LANES, ROWS, OPTIONS, generator=generator, dtype=torch.float64)
    mask = torch.rand(LANES, ROWS, OPTIONS, generator=generator) < 0.7
    mask[:, 0], mask[:, 1] = True, False
    return logits, mask


def _check_relaxation(part: Relaxation) -> None:
    name, (logits, mask) = type(part).__name__, _logits()
    leaf = logits.clone().requires_grad_()
    weights = part(leaf, mask)
    claim(
        weights.shape == logits.shape, f"{name} changes the shape", tuple(weights.shape), tuple(logits.shape)
    )
    claim(not bool(weights[~mask].any()), f"{name} gives weight to what is dead")
    [slope] = torch.autograd.grad(weights.square().sum(), leaf)
    claim(bool(slope.isfinite().all()), f"{name} has gradients that are not finite")
    sums = weights.detach().sum(-1)[mask.any(-1)]
    if part.sums_to_one:
        claim(
            bool(torch.allclose(sums, torch.ones_like(sums))),
            f"{name} says sums_to_one",
            f"sums {sums.tolist()[:3]}",
        )
    same = bool(torch.allclose(part(logits + 1, mask), weights, atol=1e-12))
    claim(
        same == part.shift_free,
        f"{name} says shift_free = {part.shift_free}",
        "a shift changes " + ("nothing" if same else "weights"),
    )
    if not part.zeros:
        claim(bool((weights[mask] != 0).all()), f"{name} gives weights of exactly 0", expected="zeros = True")
    if part.identity:
        claim(bool(torch.equal(weights[mask], leaf[mask])), f"{name} says identity, but changes logits")


def _policy(lanes: int = LANES, first: int = 0, **parts: Any) -> Policy:
    found: dict[str, Any] = {"store": Table(spread=1.0), "relaxation": Softmax(), "sampler": Mean(), **parts}
    seeds = range(first, first + lanes)
    return Policy(
        load_space("tiny"),
        generators=[torch.Generator().manual_seed(seed) for seed in seeds],
        dice=[torch.Generator().manual_seed(100 + seed) for seed in seeds],
        like=torch.zeros((), dtype=torch.float64),
        **found,
    )


def _pull(weights: Mapping[str, Tensor]) -> Tensor:
    """A loss per lane that no weights change, so that whoever looks for the worst stays where it begins."""
    return torch.stack([0 * rows.flatten(1).sum(1) for rows in weights.values()]).sum(0)


def _check_sampler(part: Sampler) -> None:
    name = type(part).__name__

    def drawn(policy: Policy) -> Mapping[str, Tensor]:
        return part(policy, policy.logits(policy.alphas).detach(), _pull).weights

    policy = _policy(sampler=part)
    first, second = drawn(policy), drawn(policy)
    for group, weights in first.items():
        claim(
            weights.shape == policy.masks[group].shape,
            f"{name} draws weights of another shape",
            tuple(weights.shape),
            tuple(policy.masks[group].shape),
        )
        claim(not bool(weights[~policy.masks[group]].any()), f"{name} gives weight to what is dead")
        claim(bool(weights.isfinite().all()), f"{name} draws weights that are not finite")
    same = all(torch.equal(weights, second[group]) for group, weights in first.items())
    claim(
        same != part.random,
        f"{name} says random = {part.random}",
        f"two draws are {'equal' if same else 'different'}",
    )
    alone = drawn(_policy(1, first=LANES - 1, sampler=part))
    for group, weights in alone.items():
        claim(
            bool(torch.allclose(weights[0], first[group][-1], atol=1e-12)),
            f"{name} draws for a lane what depends on the others",
        )


def _check_store(part: Store) -> None:
    name, policy = type(part).__name__, _policy(store=part)
    alphas, logits = policy.alphas, policy.logits(policy.alphas)
    wanted = (LANES, policy.layout.numbers)
    claim(tuple(logits.shape) == wanted, f"{name} gives logits of another shape", tuple(logits.shape), wanted)
    entrywise = alphas.shape == logits.shape and torch.equal(alphas, logits)
    claim(entrywise == part.entrywise, f"{name} says entrywise = {part.entrywise}")
    alone = _policy(1, first=LANES - 1, store=part)
    claim(
        bool(torch.allclose(alone.logits(alone.alphas)[0], logits[-1], atol=1e-12)),
        f"{name} gives a lane what depends on the others",
    )
    if part.uniform:
        sums = [rows.sum(-1) for rows in policy.layout.tables(logits).values()]
        claim(
            all(torch.allclose(each, torch.ones_like(each)) for each in sums),
            f"{name} says uniform, but rows do not sum to 1",
        )


def _check_schedule(part: Schedule) -> None:
    values = [part(Progress(epoch, 50, last=50)) for epoch in range(51)]
    claim(
        all(isinstance(each, float | int) and each == each and abs(each) < float("inf") for each in values),
        f"{type(part).__name__} gives values that are not numbers",
        values[:3],
    )


def _check_annealing(part: Annealing) -> None:
    rates = [part(0.01, 0.1, Progress(epoch, 50, last=50, warmup=5), ()) for epoch in range(50)]
    claim(
        all(0 <= each < 1 for each in rates),
        f"{type(part).__name__} gives rates out of reach of 0.01 to 0.1",
        rates[:3],
    )


def _check_stop(part: StopRule) -> None:
    claim(part((), load_space("tiny")) is None, f"{type(part).__name__} ends a search that has no report yet")
    claim(
        bool(part.returning) == (part.reach > 0),
        f"{type(part).__name__} does not say how far it goes back",
        part.reach,
    )


def _check_limit(part: Limit) -> None:
    gradient = _logits()[0].flatten(1)
    claim(part(gradient).shape == gradient.shape, f"{type(part).__name__} changes the gradient's shape")


def _check_hold(part: Hold) -> None:
    policy = _policy()
    values = policy.alphas.clone()
    part(values, policy.alphas, policy.layout)
    claim(bool(values.isfinite().all()), f"{type(part).__name__} gives numbers that are not finite")


def _check_weight_penalty(part: WeightPenalty) -> None:
    name, generator = type(part).__name__, torch.Generator().manual_seed(0)
    shapes = {"cells.0.weights": (LANES, 2, 4, 4, 3, 3), "head": (LANES, 3, 4), "bias": (LANES, 3)}
    weights = {
        each: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for each, shape in shapes.items()
    }
    terms = part(weights)
    claim(terms.shape == (LANES,), f"{name} gives no term a lane", tuple(terms.shape), (LANES,))
    slopes = torch.autograd.grad(terms[0], list(weights.values()), materialize_grads=True)
    claim(all(bool(each.isfinite().all()) for each in slopes), f"{name} has gradients that are not finite")
    claim(not any(bool(each[1:].any()) for each in slopes), f"{name}: a lane's term depends on another's")


def _check_derivation(part: Derivation) -> None:
    check_derivation(part, load_space("tiny"))


def check_derivation(part: Derivation, space: Space) -> None:
    """Check that a derivation finds a cell whatever the weights are, and the same for the same weights."""
    generator = torch.Generator().manual_seed(0)
    for kind in ("random", "equal", "nothing", "one"):
        tables = {}
        for group in skeletons.groups(space):
            rows = torch.rand(len(group.rows), group.width, generator=generator)
            for index, row in enumerate(group.rows):
                rows[index, len(row.options) :] = 0
            lone = rows * (rows == rows.amax(-1, keepdim=True))
            tables[group.name] = {"random": rows, "equal": torch.ones_like(rows), "nothing": 0 * rows}.get(
                kind, lone
            ).tolist()
        name = f"{type(part).__name__} on {space.name}, weights {kind}"
        try:
            genotype = part(space, tables)
        except Exception as error:
            raise BrokenContract(
                f"{name}: a derivation cannot fail", got=f"{type(error).__name__}: {error}"
            ) from error
        claim(genotype == part(space, tables), f"{name}: the same weights give another cell")
        targets = {choice.target for cell in space.cells for choice in genotype.cell(cell.kind)}
        claim(bool(targets), f"{name}: nothing is chosen")


def _check_proposals(part: Proposals) -> None:
    check_proposals(part, load_space("tiny"))


def check_proposals(part: Proposals, space: Space) -> None:
    """Check that proposals are cells of a space, the same for a seed, and go on from a state to the same."""
    name, count = type(part).__name__, 30

    def worth(cell: Genotype) -> float:
        return int(cell.digest(), 16) % 997 / 996

    def seen(proposer: CellProposer, count: int) -> list[Genotype]:
        cells = []
        for _ in range(count):
            cells.append(proposer.propose())
            proposer.tell(cells[-1], worth(cells[-1]))
        return cells

    first = part.start(space, "0")
    whole = seen(first, count)
    for cell in whole:
        told = "; ".join(skeletons.of(space).unsearchable(space, cell))
        claim(not told, f"{name} proposes what no search of {space.name} may find", told)
    claim(len(set(whole)) > 1, f"{name} proposes one cell only")
    claim(seen(part.start(space, "0"), count) == whole, f"{name} proposes other cells for the same seed")
    claim(seen(part.start(space, "1"), count) != whole, f"{name} proposes the same cells for every seed")
    begun, again = part.start(space, "0"), part.start(space, "other")
    before = seen(begun, count // 2)
    again.restore(begun.state())
    claim(before + seen(again, count - count // 2) == whole, f"{name} does not go on from its state")


_BY_SLOT: Mapping[type[Part], Callable[[Any], None]] = {
    Relaxation: _check_relaxation,
    Sampler: _check_sampler,
    Store: _check_store,
    Schedule: _check_schedule,
    Annealing: _check_annealing,
    StopRule: _check_stop,
    Limit: _check_limit,
    Hold: _check_hold,
    WeightPenalty: _check_weight_penalty,
    Derivation: _check_derivation,
    Proposals: _check_proposals,
}
