"""Texts that tell networks apart whose cells add up edges: without the numbers of their nodes."""

from raynas.spaces.genotype import Genotype
from raynas.spaces.isomorphism import Arrow, first_text
from raynas.spaces.operations import OPERATIONS


def canonical_edges(genotype: Genotype, targets: range) -> str:
    """Return a text of all cells' edges without their nodes' numbers; states that cells read keep theirs.

    Operations that compute the same are the same, and `none` adds nothing. Where a cell outputs some nodes
    only, arrows lead from these to its output, and nodes on no way to it are left out.
    """
    return "\n".join(_canonical(genotype, kind, targets) for kind in genotype.kinds)


def _canonical(genotype: Genotype, kind: str, targets: range) -> str:
    arrows = [
        Arrow(OPERATIONS[choice.op].computes, choice.source, choice.target)
        for choice in genotype.cell(kind)
        if OPERATIONS[choice.op].family != "none"
    ]
    if kind not in dict(genotype.outputs):
        return first_text(range(targets[0]), targets, arrows)
    output = targets[-1] + 1
    arrows += [Arrow("output", state, output) for state in dict(genotype.outputs)[kind]]
    needed = {output}
    for target in reversed(range(output + 1)):
        needed |= {arrow.source for arrow in arrows if arrow.target == target and target in needed}
    kept = [arrow for arrow in arrows if arrow.target in needed]
    return first_text([*range(targets[0]), output], needed & set(targets), kept)
