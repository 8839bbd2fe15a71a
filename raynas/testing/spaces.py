"""The contract of a space and of a skeleton: supernet, derivation and derived network agree on what it is."""

import json

import torch

from raynas.bilevel.bilevel import Bilevel
from raynas.bilevel.policy import Policy
from raynas.data.batch import Batch
from raynas.errors import RaynasError, unknown
from raynas.nets.network import Network
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.recurrent import RecurrentSupernet
from raynas.parts.derivations import Strongest
from raynas.parts.objectives import OneDraw
from raynas.parts.relaxations import Softmax
from raynas.parts.samplers import Mean
from raynas.parts.stores import Table
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.library import load_space, names
from raynas.spaces.reading import genotype_from_json
from raynas.spaces.skeletons import SKELETONS
from raynas.spaces.space import Space
from raynas.testing.broken import BrokenContract, claim
from raynas.testing.parts import check_derivation

SHAPE, CLASSES, CHANNELS, IMAGES, WORDS = (3, 8, 8), 3, 4, 4, 5


def check_space(space: Space | str) -> None:
    """Check a space, or one by name or path: every weight and every α counts, and cells can be derived.

    A small supernet is built and differentiated, a cell derived from random weights, written and read again,
    and the cell's network run where it is one of images. Raises `BrokenContract`.
    """
    found = load_space(space) if isinstance(space, str) else space
    problem = _problem(found)
    _check_gradients(found, problem)
    check_derivation(Strongest(), found)
    genotype = _derived(found)
    again = genotype_from_json(json.loads(json.dumps(genotype.to_json())))
    claim(again == genotype, f"{found.name}: a cell is not read as it is written", again, genotype)
    alone = problem.policy.one_hot([genotype])
    with torch.no_grad():
        logits = problem.forward(_batch(found), alone)
    claim(bool(logits.isfinite().all()), f"{found.name}: a derived cell alone gives no finite numbers")
    if not skeletons.of(found).texts:
        _check_network(found, genotype)


def check_skeleton(name: str) -> None:
    """Check a skeleton by name on every space of it that comes with raynas. Raises `BrokenContract`."""
    if name not in SKELETONS:
        raise unknown("skeleton", name, SKELETONS)
    spaces = [
        space for each in sorted(names("search_spaces")) if (space := load_space(each)).skeleton == name
    ]
    claim(
        bool(spaces),
        f"there is no space of the skeleton {name}",
        expected=f"a YAML file with `skeleton: {name}`",
    )
    for space in spaces:
        genotype = _derived(space)
        claim(
            genotype.skeleton == name, f"{space.name}: its cells are of another skeleton", genotype.skeleton
        )
        for kind in space.kinds:
            claim(bool(genotype.cell(kind)), f"{space.name}: nothing is chosen in the {kind} cell")


def _problem(space: Space) -> Bilevel:
    generators = [torch.Generator().manual_seed(0)]
    net: Supernet | RecurrentSupernet
    if skeletons.of(space).texts:
        net = RecurrentSupernet(space, (), WORDS, 4, 1, generators, dtype=torch.float64)
    else:
        net = Supernet(space, SHAPE, CLASSES, CHANNELS, _cells(space), generators, torch.float64)
    policy = Policy(
        space,
        Table(spread=1.0),
        Softmax(),
        Mean(),
        generators=[torch.Generator().manual_seed(1)],
        dice=[torch.Generator().manual_seed(2)],
        like=next(net.parameters()).detach(),
    )
    problem = Bilevel(space, net, policy, objective=OneDraw())
    problem.noise = [torch.Generator().manual_seed(3)]
    return problem


def _cells(space: Space) -> int:
    """Return as few cells as show everything a space has; layers of its own halve the resolution."""
    cells = 4 if "normal" in space.kinds else 1
    cells = space.nodes if space.trunk else cells
    return skeletons.of(space).most_cells or cells


def _batch(space: Space) -> Batch:
    generator = torch.Generator().manual_seed(4)
    if skeletons.of(space).texts:
        words = torch.randint(WORDS, (2, 1, 2, 6), generator=generator)
        return Batch(words[0], words[1])
    images = torch.randn(1, IMAGES, *SHAPE, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(IMAGES).unsqueeze(0) % CLASSES)


def _check_gradients(space: Space, problem: Bilevel) -> None:
    alphas = problem.alphas.clone().requires_grad_()
    try:
        problem.losses(_batch(space), alphas).sum().backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, RaynasError) as error:
        raise BrokenContract(f"{space.name}: its supernet cannot be run", got=error) from error
    idle = [
        name
        for name, each in problem.supernet.named_parameters()
        if each.grad is None or not bool(each.grad.any())
    ]
    claim(not idle, f"{space.name}: weights of its supernet that change nothing", ", ".join(idle[:5]))
    slopes = alphas.grad if alphas.grad is not None else torch.zeros_like(alphas)
    for group, rows in problem.policy.layout.tables(slopes).items():
        several = problem.policy.layout.masks[group].sum(-1, keepdim=True) > 1
        real = problem.policy.layout.masks[group] & several
        claim(
            bool((rows[0][real] != 0).all()),
            f"{space.name}: numbers of α in the {group} group change nothing",
        )


def _derived(space: Space) -> Genotype:
    generator = torch.Generator().manual_seed(5)
    tables = {
        group.name: torch.rand(len(group.rows), group.width, generator=generator).tolist()
        for group in skeletons.groups(space)
    }
    return Strongest()(space, tables)


def _check_network(space: Space, genotype: Genotype) -> None:
    network = Network(genotype, SHAPE, CLASSES, CHANNELS, _cells(space)).double()
    logits = network(torch.randn(IMAGES, *SHAPE, dtype=torch.float64))
    got = tuple(logits.shape), bool(logits.isfinite().all())
    claim(got == ((IMAGES, CLASSES), True), f"{space.name}: a derived network gives no logits", got)
