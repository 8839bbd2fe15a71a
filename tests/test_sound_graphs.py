"""Genotypes that no search derives: some nodes output, several operations on an edge, nodes absent."""

from pathlib import Path

import pytest
import torch
from helpers.cell_texts import AMOEBANET, FAIR_A, NASNET, RELATIVE

from raynas.errors import RaynasError
from raynas.nets.network import Network
from raynas.nets.size import size_of
from raynas.report.draw import draw_cell
from raynas.spaces import skeletons
from raynas.spaces.derive import genotype_in
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_json, genotype_from_text, genotype_to_text, load_genotype

SKIP = "skip_connect"
TWICE = [Choice("sep_conv_3x3", 0, 2), Choice("max_pool_3x3", 0, 2), Choice(SKIP, 1, 3), Choice(SKIP, 2, 3)]


def cell(
    choices: list[Choice], outputs: list[int] | None = None, nodes: int = 2, skeleton: str = "darts"
) -> Genotype:
    kinds = ("normal", "reduce")
    said = None if outputs is None else dict.fromkeys(kinds, outputs)
    return skeletons.checked(Genotype.of("x", nodes, dict.fromkeys(kinds, choices), skeleton, None, said))


def absent() -> Genotype:
    return cell([Choice(SKIP, 0, 2), Choice("noise", 1, 2), Choice("sep_conv_3x3", 2, 4)], [2, 4], nodes=3)


@pytest.mark.parametrize(
    ("text", "normal", "reduce"),
    [
        (NASNET, (2, 3, 4, 5, 6), (4, 5, 6)),
        (AMOEBANET, (4, 5, 6), (3, 4, 6)),
        (RELATIVE, (2, 3, 4, 5), (2, 3, 4, 5)),
    ],
    ids=["NASNet", "AmoebaNet", "RelativeNAS"],
)
def test_texts_of_such_cells_are_read_and_written(
    text: str, normal: tuple[int, ...], reduce: tuple[int, ...], tmp_path: Path
) -> None:
    genotype = genotype_from_text(text)
    for kind, states in (("normal", normal), ("reduce", reduce)):
        assert skeletons.of(genotype).gathered(genotype, kind) == states
    assert genotype_from_text(genotype_to_text(genotype)) == genotype
    genotype.save(tmp_path / "genotype.json")
    assert load_genotype(tmp_path / "genotype.json") == genotype
    assert genotype.to_json()["version"] == (2 if genotype.outputs else 1)


@pytest.mark.parametrize(
    "genotype", [genotype_from_text(NASNET), genotype_from_text(FAIR_A), cell(TWICE), absent()]
)
def test_the_network_is_the_source_one(genotype: Genotype) -> None:
    """A plain cell as in quark0/darts' model.py, on the network's own operations."""
    torch.manual_seed(0)
    network = Network(genotype, (3, 8, 8), 4, 4, 3).double().eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    s0 = s1 = network.stem[0](images)
    for layer, kind in zip(network.cells, ("normal", "reduce", "reduce"), strict=True):
        states = {0: layer.inputs[0](s0), 1: layer.inputs[1](s1)}
        for choice, operation in zip(genotype.cell(kind), layer.operations, strict=True):
            if choice.op != "noise":  # which gives other numbers every time
                before = states.get(choice.target, 0)
                states[choice.target] = before + operation(states[choice.source])
        outputs = dict(genotype.outputs).get(kind, range(2, 2 + genotype.nodes))
        s0, s1 = s1, torch.cat([states[state] for state in outputs], 1)
    if not any(choice.op == "noise" for choice in genotype.cell("normal")):
        assert torch.allclose(network(images), network.head(s1.mean((2, 3))))
    assert network(images).shape == (2, 4)
    assert size_of(genotype, (3, 8, 8), 4, 4, 3).parameters == sum(p.numel() for p in network.parameters())


def test_all_nodes_are_the_usual_outputs() -> None:
    plain, said = cell(TWICE), cell(TWICE, [3, 2])
    assert (said, said.digest(), said.to_json()) == (plain, plain.digest(), plain.to_json())
    assert cell(TWICE, [3]).digest() != plain.digest()


def test_what_does_not_reach_the_output_is_no_other_network() -> None:
    choices = [Choice(SKIP, 0, 2), Choice(SKIP, 1, 2), Choice("noise", 0, 3), Choice("noise", 1, 3)]
    other = [*choices[:2], Choice("max_pool_3x3", 0, 3), Choice(SKIP, 1, 3)]
    assert skeletons.same_network(cell(choices, [2]), cell(other, [2]))
    assert not skeletons.same_network(cell(choices, [3]), cell(other, [3]))
    assert not skeletons.same_network(cell(choices, [2]), cell(choices))
    swapped = [Choice("noise", 0, 2), Choice("noise", 1, 2), Choice(SKIP, 0, 3), Choice(SKIP, 1, 3)]
    assert skeletons.same_network(cell(choices, [2]), cell(swapped, [3]))


def test_such_cells_are_drawn() -> None:
    for genotype in (genotype_from_text(NASNET), cell(TWICE), absent()):
        for kind in genotype.kinds:
            svg = draw_cell(genotype, kind)
            assert svg.count("<svg") == 1
    assert "all nodes" not in draw_cell(cell(TWICE, [3]), "normal")


@pytest.mark.parametrize(
    ("choices", "outputs", "skeleton", "reason"),
    [
        (TWICE[:2], None, "darts", "node 3 of the normal cell has no incoming edge"),
        (TWICE, [1, 3], "darts", "the normal cell cannot output 1, 3"),
        (TWICE, [4], "darts", "cannot output 4"),
        (TWICE, [2, 2], "darts", "not states, each once"),
        (TWICE, [], "darts", "not states, each once"),
        ([*TWICE[:1], *TWICE[2:], Choice("noise", 2, 4), Choice("noise", 5, 6)], [2], "darts", "impossible"),
        (TWICE, None, "darts-skipping", "two operations on one edge"),
        ([*TWICE, TWICE[2]][1:], [3], "pairs", "cannot output 3"),
    ],
)
def test_what_no_network_is_built_of_is_refused(
    choices: list[Choice], outputs: list[int] | None, skeleton: str, reason: str
) -> None:
    with pytest.raises(RaynasError, match=reason):
        cell(choices, outputs, skeleton=skeleton)


def test_outputs_in_json_are_checked() -> None:
    data = cell(TWICE, [3]).to_json()
    assert genotype_from_json(data) == cell(TWICE, [3])
    for outputs in ([3], {"normal": 3}, {"normal": [True]}, {"normal": ["3"]}, {"other": [3]}):
        with pytest.raises(RaynasError, match=r"outputs|kind of cell"):
            genotype_from_json({**data, "outputs": outputs})


def test_a_search_derives_none_of_them() -> None:
    space = load_space("darts")
    skeleton = skeletons.of(space)
    kinds = ("normal", "reduce")
    whole = [*TWICE[1:], Choice(SKIP, 0, 4), Choice(SKIP, 0, 5)]

    def why_not(choices: list[Choice], nodes: int = 4, **more: object) -> str:
        genotype = Genotype.of("x", nodes, dict.fromkeys(kinds, choices), **more)  # type: ignore[arg-type]
        return "; ".join(skeleton.unsearchable(space, genotype))

    assert why_not(whole) == ""
    assert why_not(whole, outputs={"reduce": [5]}).startswith("its reduce cell outputs 5 only")
    assert "several operations on 0->2" in why_not([*whole, TWICE[0]])
    assert "the normal cell lacks node 5" in why_not(whole[:-1])
    assert "no noise to choose on 0->5" in why_not([*whole[:-1], Choice("noise", 0, 5)])
    assert "not the space's" in why_not(whole, nodes=5)
    assert why_not(whole, skeleton="residual").startswith("its skeleton is residual")
    with pytest.raises(RaynasError, match="no search of darts derives"):
        genotype_in(space, {kind: [*whole, TWICE[0]] for kind in kinds})
