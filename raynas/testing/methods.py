"""The contract of a method: it can be written, found again, drawn from, and moves what it says it moves."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.autograd import grad

from raynas.bilevel.bilevel import Bilevel
from raynas.bilevel.exchange import Draw
from raynas.bilevel.policy import Policy
from raynas.data.batch import Batch
from raynas.methods import Method, reasons, resolve
from raynas.methods.build import as_written
from raynas.methods.kinds import PARTS, use_of
from raynas.nets.ops.lanes import Statistics
from raynas.nets.supernet import Supernet
from raynas.parts.updaters import Sgd
from raynas.spaces.library import load_space
from raynas.testing.broken import claim
from raynas.testing.parts import check_derivation, check_proposals

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SHAPE, CLASSES, IMAGES = (1, 8, 8), 3, 4
SPACES = ("tiny", "s1", "darts", "nas-bench-201")


def check_method(method: Method | str, space: str | None = None) -> None:
    """Check a method, or one by name, on a space of images: what it says, draws, moves and derives.

    Without a ``space`` that is the first of `SPACES` that it can search.

    It can search the space, is told by its parts alone, gives nothing dead a weight, moves α in an α-step
    and nothing else, and derives a cell whatever the weights are. Whole searches, their resumption and packs
    are left to tests that may take longer. One that proposes cells proposes the same ones again. Raises
    `BrokenContract`.
    """
    method = resolve(method) if isinstance(method, str) else method
    _check_words(method)
    space = space or next((each for each in SPACES if not _against(method, each)), SPACES[0])
    found = load_space(space)
    suited = method.suited(found)
    against = _against(method, space)
    claim(not against, f"{method.name} cannot search {space}", against)
    if suited.proposals is not None:
        check_proposals(suited.proposals, found)
        return
    problem = _problem(suited, space)
    _check_draws(suited, problem)
    _check_steps(suited, _problem(suited, space))
    check_derivation(suited.derivation, found)


def _against(method: Method, space: str) -> str:
    return "; ".join(reasons(method, load_space(space), {}))


def _check_words(method: Method) -> None:
    name = method.name
    claim(bool(NAME.fullmatch(name)), "a method's name is of small letters, digits and hyphens", name)
    claim(bool(method.title and method.source), f"{name} has no title or no source")
    renamed = method.with_("another", "another title", "another source")
    claim(renamed.fingerprint == method.fingerprint, f"{name}: its words are in its fingerprint")
    unnamed = [
        f"{slot}: {type(part).__name__}" for slot, part in method.parts() if use_of(type(part)) is None
    ]
    if unnamed:  # of a part that no file can name there is nothing to be written
        return
    slots = {slot: as_written(getattr(method, slot)) for slot in PARTS if slot not in ("modifiers",)}
    parts = {slot: part for slot, part in slots.items() if part is not None}
    again = resolve({"base": "darts", **parts})
    for slot in parts:
        claim(
            getattr(again, slot) == getattr(method, slot),
            f"{name}: {slot} is not read as it is written",
            parts[slot],
        )


def _problem(method: Method, space: str) -> Bilevel:
    """Build the bilevel problem of a small supernet, one lane in float64."""
    found = load_space(space)
    generators = [torch.Generator().manual_seed(0)]
    built = {name: value for each in method.modifiers for name, value in each.build().given().items()}
    net = Supernet(found, SHAPE, CLASSES, 4, 3, generators, torch.float64, **built)
    policy = Policy(
        found,
        method.store,
        method.relaxation,
        method.sampler,
        method.modifiers,
        generators=[torch.Generator().manual_seed(1)],
        dice=[torch.Generator().manual_seed(5)],
        like=next(net.parameters()).detach(),
        without=method.without,
    )
    problem = Bilevel(
        found,
        net,
        policy,
        weight_sampler=method.weight_sampler,
        objective=method.objective,
        penalties=method.penalties,
        weight_penalties=method.weight_penalties,
    )
    problem.noise = [torch.Generator().manual_seed(9)]
    problem.drops = [torch.Generator().manual_seed(10)]
    return problem


def prune_at_random(policy: Policy, seed: int) -> None:
    """Let about half of what lives die, and something live in every row."""
    generator = torch.Generator().manual_seed(seed)
    alive = {}
    for group, mask in policy.alive.items():
        scores = torch.rand(mask.shape, generator=generator).masked_fill(~mask, -1)
        best = torch.zeros_like(mask).scatter(-1, scores.argmax(-1, keepdim=True), True)
        alive[group] = mask & ((scores > 0.5) | best)
    policy.prune(alive)


def _check_draws(method: Method, problem: Bilevel) -> None:
    policy = problem.policy
    # Numbers between 0 and 1 are in reach of every method: logits, scales and probabilities.
    policy.alphas.mul_(torch.rand(policy.alphas.shape, generator=torch.Generator().manual_seed(2)))
    for seed in (None, 3, 4):
        if seed is not None:
            prune_at_random(policy, seed)
        _check_draw(method, policy, policy.mean(policy.logits(policy.alphas)))
        _check_draw(method, policy, policy.draw(policy.alphas))
        if problem.weight_sampler is not None:
            _check_draw(method, policy, policy.draw(policy.alphas, problem.weight_sampler, _pull))


def _pull(weights: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([rows.square().flatten(1).sum(1) for rows in weights.values()]).sum(0)


def _check_draw(method: Method, policy: Policy, draw: Draw) -> None:
    for group, rows in draw.weights.items():
        dead = rows[~policy.masks[group]]
        claim(not bool(dead.any()), f"{method.name} gives weight to what is dead in the {group} group")
        claim(bool((rows >= 0).all()), f"{method.name} draws negative weights", float(rows.min()))
        sums = rows.sum(-1)
        if policy.relaxation.sums_to_one:
            shares = torch.ones_like(sums) if draw.carry is None else draw.carry[group]
            if policy.sampler.keeps_edges:
                shares = torch.where(sums > 0, shares, 0.0)  # edges that were left out have no weight
            claim(
                bool(torch.allclose(sums, shares)),
                f"{method.name}: rows of a draw do not sum to 1",
                sums.tolist(),
            )
        if group in (draw.active or {}):
            idle = rows[~(draw.active or {})[group]]
            claim(not bool(idle.any()), f"{method.name} weighs what it says not to compute")


def _check_steps(method: Method, problem: Bilevel) -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 1, IMAGES, *SHAPE, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (2, 1, IMAGES), generator=generator)
    train, valid = (Batch(each, label) for each, label in zip(images, labels, strict=True))
    rate = torch.full((1, 1), 0.025, dtype=torch.float64)
    sgd = Sgd(problem.values, 0.9 * torch.ones_like(rate), 3e-4 * torch.ones_like(rate), method.nesterov)
    updater = method.updater.start(problem.policy, rate, torch.zeros_like(rate))
    alphas, values = problem.alphas.clone(), problem.values.clone()
    buffers = {name: buffer.clone() for name, buffer in problem.supernet.named_buffers()}
    if method.order == "joint":
        flat = problem.alphas.detach().clone().requires_grad_()
        losses, _ = problem.outcome(train, flat, Statistics.UPDATE)
        slope, *slopes = grad(losses.sum(), [flat, *problem.parameters], materialize_grads=True)
        updater.step(slope)
        claim(
            any(bool(each.any()) for each in slopes),
            f"{method.name}: a joint step gives no weight a gradient",
        )
    elif method.estimator is not None:
        updater.step(method.estimator(problem, train, valid, sgd, rate))
        unmoved = torch.equal(problem.values, values) and not bool(sgd.velocity.any())
        claim(unmoved, f"{method.name}: an α-step moves the weights")
        kept = all(torch.equal(buffers[name], each) for name, each in problem.supernet.named_buffers())
        claim(kept, f"{method.name}: an α-step moves running statistics")
    rests = method.order != "joint" and method.estimator is None
    claim(
        rests == torch.equal(problem.alphas, alphas),
        f"{method.name}: α {'moves' if rests else 'does not move'}",
    )
    claim(bool(problem.alphas.isfinite().all()), f"{method.name}: α is not finite after a step")
