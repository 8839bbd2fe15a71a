"""What a method's validation loss is, computed once more with one plain supernet."""

import torch
import torch.nn.functional as F

from helpers.oracle import Extras, plain_forward
from raynas.bilevel.bilevel import cross_entropy
from raynas.bilevel.dice import Dice
from raynas.data.batch import Batch
from raynas.nets.ops.lanes import Statistics
from raynas.search.streams import stream

CELLS = {"gdas", "gdas-st", "snas", "dsnas", "parsec", "data", "proxyless", "asng-nas", "nasp"} | {"rsps"}
"""Methods that train single cells (or nearly single ones): the mean over drawn cells is validated."""

NOISY = {"drnas", "drnas-progressive", "darts-noise", "sdarts-rs", "sdarts-adv"}
NOISY |= {"vim-nas", "vim-nas-s", "vim-nas-l", "vim-nas-d"}
"""Methods whose weights are trained under other mixtures than the one that is validated."""


def plainly_validated(search):
    """Return the validation loss of a search as it stands after its last epoch."""
    name, problem, config = search.pack.method.name, search.pack.problem, search.pack.config
    [(images, labels)] = search.pack.valid.each[0].plain(len(search.pack.splits.valid))
    if name not in CELLS | NOISY:
        whole = Batch(images[None], labels[None])  # running statistics know no batches
        logits = problem.forward(whole, problem.mean(), Statistics.RUNNING)
        return float(cross_entropy(logits, whole.labels).detach())
    order = range(len(labels))
    parts = [order[start : start + config.batch] for start in order[:: config.batch]]
    policy = problem.policy
    if name in CELLS:
        epoch = search.pack.history[0][-1].epoch
        policy.dice = Dice([stream(config.seed, f"dice/validate/{epoch}")])
        parts *= -(-8 // len(parts)) if name != "nasp" else 1
    total = count = 0
    with torch.no_grad():
        for part in parts:
            draw = policy.draw(policy.alphas, problem.weight_sampler) if name in CELLS else problem.mean()
            tables = {"weights": draw.weights, "offsets": draw.offsets or {}, "carry": draw.carry or {}}
            lane = {key: {group: rows[0] for group, rows in table.items()} for key, table in tables.items()}
            weights = lane.pop("weights")
            logits = plain_forward(problem.supernet, images[list(part)], weights, 0, Extras(**lane))
            total += float(F.cross_entropy(logits, labels[list(part)], reduction="sum"))
            count += len(part)
    return total / count
