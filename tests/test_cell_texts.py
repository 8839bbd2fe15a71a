"""Texts of cells: found in arguments, modules and logs, read in all their ways, refused with the reason."""

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.cell_texts import DARTS_V2, EDGE_ALL, FAIR_A, FAIR_B, GDAS_V1, NASP, READ, REFUSED, RESNET
from helpers.cli_folders import raynas

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.reading import genotype_from_text, genotype_to_text
from raynas.spaces.skeletons.blocks import to_matrix
from raynas.spaces.texts.snippet import SeveralCells

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|"
RESNET_201 = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
INCEPTION = "ModelSpec(matrix=[[0, 1, 1], [0, 0, 1], [0, 0, 0]], ops=['input', 'conv3x3-bn-relu', 'output'])"
ARC = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1", "1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"
V2 = genotype_from_text(DARTS_V2)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_genotype_cannot_hold_is_refused_for_that_reason_and_with_its_place(name: str) -> None:
    text, reason = REFUSED[name]
    with pytest.raises(RaynasError) as caught:
        genotype_from_text(f"\n{name.split()[0]} = {text}")
    assert reason in caught.value.what
    assert "(line 2, column " in str(caught.value.got)


def test_triples_are_edges() -> None:
    cell = genotype_from_text(FAIR_B)
    assert cell.cell("normal")[2:5] == (
        Choice("sep_conv_3x3", 1, 3),
        Choice("dil_conv_3x3", 0, 4),
        Choice("sep_conv_5x5", 1, 4),
    )
    forth = FAIR_B.replace(
        "2, 0)", "0, 2)"
    )  # a source is the smaller of the two, so the order does not matter
    assert genotype_from_text(forth) == cell


def test_triples_without_a_node_leave_out_what_reads_it() -> None:
    """As `DCOCell` of xiaomi-automl/FairDARTS 270cfc9 builds it, whatever its concat says."""
    absent = genotype_from_text(FAIR_A)
    assert (absent.nodes, absent.outputs) == (4, (("normal", (2, 4, 5)),))
    assert {choice.target for choice in absent.cell("normal")} == {2, 4, 5}
    reading = FAIR_A.replace("5, 0)], normal", "5, 0), ('max_pool_3x3', 5, 3)], normal")
    assert reading != FAIR_A
    assert genotype_from_text(reading) == absent
    only = FAIR_A.replace("5, 0)], normal", "5, 3)], normal")
    with pytest.raises(RaynasError, match="node 5 of the normal cell reads nothing, and is output"):
        genotype_from_text(only)
    with pytest.raises(RaynasError, match="normal_concat is not all nodes"):
        genotype_from_text(FAIR_A.replace("normal_concat=range(2, 6)", "normal_concat=[1, 4, 5]"))


def test_other_names_of_the_same_operations() -> None:
    cell = genotype_from_text(NASP)
    assert {choice.op for choice in cell.cell("normal")} == {
        "conv_1x3_3x1",
        "nor_conv_3x3",
        "dil_conv_3x3",
        "skip_connect",
    }


def test_every_edge_node_by_node() -> None:
    cell = genotype_from_text(EDGE_ALL)
    assert (cell.nodes, len(cell.cell("normal"))) == (4, 14)
    assert skeletons.of(cell).count(cell, "none") == {"normal": 6, "reduce": 6}
    assert Choice("dil_conv_3x3", 1, 3) in cell.cell("normal")
    with pytest.raises(RaynasError, match="not each edge once"):
        genotype_from_text(
            EDGE_ALL.replace("('none', 2), ('skip_connect', 0)", "('none', 1), ('skip_connect', 0)")
        )


def test_pairs_in_groups_are_those_without() -> None:
    flat = GDAS_V1.replace("((", "(").replace("))", ")").replace(", connectN=None, connects=None", ")")
    assert genotype_from_text(GDAS_V1).digest() == genotype_from_text(flat.replace("6))", "6)")).digest()


def test_a_structure_leaves_out_what_is_none() -> None:
    assert skeletons.same_network(genotype_from_text(RESNET), genotype_from_text(RESNET_201))


@pytest.mark.parametrize(
    "text",
    [
        f"2019-07-16 21:35:03,411 genotype = {DARTS_V2}\n",
        f"\ufeffBEST = genotypes.{DARTS_V2}  # found",
        f"12/28 10:11:12 AM epoch 3 {DARTS_V2.replace('Genotype', 'DARTSGenotype')} valid 97.2",
        f"one = {DARTS_V2}\ntwo = {DARTS_V2}\n",
        f"class Genotype(NamedTuple):\n  normal: list\nX = {DARTS_V2}\ndef f():\n  return Genotype(normal=n)",
        DARTS_V2.replace("normal=", "")
        .replace("normal_concat=", "")
        .replace("reduce=", "")
        .replace("reduce_concat=", ""),
        json.dumps(
            {
                "normal": [[c.op, c.source] for c in V2.cell("normal")],
                "reduce": [[c.op, c.source] for c in V2.cell("reduce")],
                "reduce_concat": None,
            }
        ),
        str({kind: [(c.op, c.source, c.target) for c in V2.cell(kind)] for kind in V2.kinds}),
        json.dumps(V2.to_json()),
    ],
    ids=["log", "mark", "other name", "twice", "module", "positions", "JSON", "dictionary", "own"],
)
def test_wherever_a_cell_of_darts_stands_it_is_the_same(text: str) -> None:
    assert genotype_from_text(text) == V2


def test_nas_bench_201_in_logs_with_spaces_and_line_breaks() -> None:
    cell = genotype_from_text(RESNET_201)
    for text in (
        f"[07-16] Structure(4 nodes with {RESNET_201}) FLOP=12",
        RESNET_201.replace("~", " ~ ").replace("+", "\n  + "),
        f'{{"arch": "{RESNET_201}", "accuracy": 91.2}}',
    ):
        assert genotype_from_text(text) == cell
    with pytest.raises(RaynasError, match="text form"):
        genotype_from_text(f"{SKIPS}+|none~0")  # cut off: not the shorter cell before


def test_a_matrix_is_read_back_and_loose_vertices_are_not_part_of_it() -> None:
    cell = genotype_from_text(INCEPTION)
    assert (cell.skeleton, cell.nodes, genotype_to_text(cell)) == ("blocks", 1, INCEPTION)
    loose = "api.ModelSpec(matrix=np.array([[0,1,1,1],[0,0,0,1],[0,0,0,0],[0,0,0,0]]), ops=[INPUT, CONV3X3, "
    assert genotype_from_text(f"{loose}MAXPOOL3X3, OUTPUT])") == cell
    assert to_matrix(cell)[0] == ((0, 1, 1), (0, 0, 1), (0, 0, 0))
    for old, new, reason in (
        ("[0, 0, 1]", "[0, 1, 1]", "row 1 of the matrix"),
        ("'conv3x3-bn-relu'", "'conv3x3'", "unknown operation 'conv3x3'"),
        ("[[0, 1, 1], [0, 0, 1]", "[[0, 1, 1], [0, 0, 0]", "no operation between"),
    ):
        with pytest.raises(RaynasError, match=reason):
            genotype_from_text(INCEPTION.replace(old, new))


def test_arcs_as_enas_prints_them() -> None:
    cell = genotype_from_text("\n".join(ARC))
    printed = f"epoch=3\n[{ARC[0]}]\n[{ARC[1][:20]}\n {ARC[1][20:]}]\nval_acc=0.81\n"
    assert genotype_from_text(printed) == cell
    network = genotype_from_text("[0]\n[3 0]\n[0 1 0]\n[2 0 0 1]\n")
    assert (network.skeleton, genotype_to_text(network)) == ("macro", "0\n3 0\n0 1 0\n2 0 0 1")


def test_one_of_several_is_named() -> None:
    text = f"A = {DARTS_V2}\n\nB = {FAIR_B}\nBEST = B\n"
    with pytest.raises(SeveralCells, match="2 cells") as caught:
        genotype_from_text(text)
    assert caught.value.got == "A (line 1), B (line 3)"
    for name in ("B", "3", "BEST"):
        assert genotype_from_text(text, name=name) == genotype_from_text(FAIR_B)
    with pytest.raises(RaynasError, match="unknown cell in the text 'C'"):
        genotype_from_text(text, name="C")


def test_names_that_others_give_an_operation() -> None:
    cell = genotype_from_text(DARTS_V2.replace("dil_conv_3x3", "conv_7x1_1x7"))
    assert skeletons.of(cell).count(cell, "conv_1x7_7x1") == {"normal": 1, "reduce": 0}
    with pytest.raises(RaynasError) as caught:
        genotype_from_text(DARTS_V2.replace("dil_conv_3x3", "conv_7x1_1x77"))
    assert caught.value.near == "conv_1x7_7x1"


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(" * 25_000,
        "Genotype(" + "a" * 250_000,
        "|none~0" * 40_000 + "|",
        "1 " * 120_000,
        "a." * 120_000 + "Genotype('",
        "[" * 250_000,
        '{"normal":' * 25_000,
        "ModelSpec(matrix=" * 15_000,
        " " * 250_000 + "|none~",
        "chain 1," + " |1/1:a" * 30_000,
        "dense 3:" + " 1=a(0)" * 40_000,
    ],
    ids=lambda text: text.strip()[:9],
)
def test_a_long_text_of_anything_is_told_at_once(text: str) -> None:
    """Some 250 kB each, in which a scan of quadratic time would take minutes."""
    before = time.process_time()
    with pytest.raises(RaynasError):
        genotype_from_text(text)
    assert time.process_time() - before < 3


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_verb_takes_whatever_says_a_cell(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "genotypes.py").write_text(f"A = {DARTS_V2}\nB = {FAIR_B}\n")
    (here / "log.txt").write_bytes(f"x genotype = {DARTS_V2}\r\n".encode("utf-16"))
    (here / "cells.json").write_text(json.dumps({"normal": [["noise", 2]] * 2, "reduce": [["noise", 0]] * 2}))
    for cell in (DARTS_V2, "genotypes.py:A", "./genotypes.py:1", "log.txt"):
        found = json.loads(raynas(capsys, "size", cell, "--json", "--cells", "3", "--channels", "4").out)
        assert (found["cell"], found["channels"]) == (V2.digest(), 4)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(DARTS_V2.encode())))
    drawn = raynas(capsys, "draw", "-", "--to", "drawings")
    assert (drawn.code, drawn.err) == (0, "")
    several = raynas(capsys, "draw", "genotypes.py")
    assert several.code == 2
    assert "A (line 1), B (line 2)" in several.err
    assert "next:     name it, as genotypes.py:A" in several.err
    assert "cells.json: node 2 cannot read state 2" in raynas(capsys, "size", "cells.json").err
    assert "no file 'gone.py'" in raynas(capsys, "size", "gone.py").err
    assert "no sweep" in raynas(capsys, "draw", "gone").err
    long = raynas(capsys, "lookup", DARTS_V2, "--table", "none.csv")
    assert (long.code, "no such table" in long.err) == (2, True)


def test_all_that_is_read_stands_for_all_ways() -> None:
    found = {name: genotype_from_text(text) for name, text in READ.items()}
    assert {cell.skeleton for cell in found.values()} == {"darts", "residual", "recurrent"}


def darts(normal: list[tuple[str, int, int]], skeleton: str = "darts") -> Genotype:
    """A cell of DARTS, the same of both kinds, or a reduction cell alone."""
    choices = [Choice(*edge) for edge in normal]
    kinds = ("reduce",) if "reducing" in skeleton else ("normal", "reduce")
    return Genotype.of("x", max(c.target for c in choices) - 1, dict.fromkeys(kinds, choices), skeleton)


FIRST = [("sep_conv_3x3", 0, 2), ("skip_connect", 1, 2), ("max_pool_3x3", 0, 3), ("noise", 1, 3)]
SWAPPED = [("max_pool_3x3", 0, 2), ("noise", 1, 2), ("sep_conv_3x3", 0, 3), ("skip_connect", 1, 3)]


def test_a_cell_of_darts_has_no_numbers_of_nodes() -> None:
    tail = [("dil_conv_3x3", 2, 4), ("skip_connect", 3, 4)], [("dil_conv_3x3", 3, 4), ("skip_connect", 2, 4)]
    one, other = darts(FIRST + tail[0]), darts(SWAPPED + tail[1])
    assert one.digest() != other.digest()
    assert skeletons.same_network(one, other)
    assert not skeletons.same_network(one, darts(SWAPPED + tail[0]))
    assert not skeletons.same_network(
        one, darts([("sep_conv_3x3", 1, 2), ("skip_connect", 0, 2), *FIRST[2:], *tail[0]])
    )
    assert skeletons.same_network(darts([*FIRST, ("none", 2, 3)]), darts(FIRST))


@pytest.mark.parametrize("nodes", [8, 60, 100])
def test_nodes_that_all_look_alike_are_compared_in_bounded_time(nodes: int) -> None:
    twins = darts(
        [(op, state, node) for node in range(2, 2 + nodes) for op, state in (("noise", 0), ("noise", 1))]
    )
    ring = [("noise", 0, 2), ("noise", 1, 2), ("noise", 0, 3), ("noise", 1, 3)]
    for node in range(4, 2 + nodes):  # layers of two nodes that both read both of the layer before
        first = node - node % 2 - 2
        ring += [("noise", first, node), ("noise", first + 1, node)]
    before = time.process_time()
    assert skeletons.same_network(twins, twins)
    assert skeletons.same_network(darts(ring), darts(ring))
    assert time.process_time() - before < 5


def test_dense_blocks_have_no_numbers_either() -> None:
    first = "dense 16: 1=sep3x3-bn-relu(0) 5=max3x3-bn-relu(0+1) out=(1+5)"
    for other, same in (
        ("dense 4: 2=sep3x3-bn-relu(0) 3=max3x3-bn-relu(0+2) out=(2+3)", True),
        ("dense 4: 2=sep3x3-bn-relu(0) 3=max3x3-bn-relu(0) out=(2+3)", False),
    ):
        assert skeletons.same_network(genotype_from_text(first), genotype_from_text(other)) is same


@pytest.mark.parametrize("skeleton", ["darts", "darts-skipping", "darts-reducing", "darts-reducing-skipping"])
def test_a_text_says_whether_every_edge_has_a_skip(skeleton: str) -> None:
    cell = darts(FIRST, skeleton)
    assert genotype_from_text(genotype_to_text(cell), "x") == cell
    assert ("skeleton=" in genotype_to_text(cell)) == skeletons.of(cell).skips


def test_a_drawing_says_that_every_edge_has_a_skip() -> None:
    from raynas.report.draw import draw_cell

    plain, skipping = (draw_cell(darts(FIRST, name), "normal") for name in ("darts", "darts-skipping"))
    assert "+ skip<" not in plain
    for words in (
        "sep 3×3 + skip<",
        "c_{k-2} → node 0: sep_conv_3x3 + skip_connect",
        "(noise + skip_connect)(",
    ):
        assert words in skipping


def test_cells_beyond_what_can_be_followed_are_not_drawn() -> None:
    from raynas.report.draw import draw_cell

    every = darts([("noise", s, t) for t in range(2, 52) for s in range(t)])
    with pytest.raises(RaynasError, match="too many edges to draw"):
        draw_cell(every, "normal")
    with pytest.raises(RaynasError, match="from 1 to 100"):
        darts([("noise", 0, t) for t in range(2, 103)])
