"""Genotypes: JSON and DARTS text round trips, the digest, and what is refused with which words."""

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.reading import genotype_from_json, genotype_from_text, genotype_to_text, load_genotype
from raynas.spaces.skeletons.blocks import to_matrix

# As published in Liu et al. 2019 (Figures 4 and 5) and in the genotypes file of their code.
DARTS_V2 = """
DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0),
  ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
  normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
  ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
  reduce_concat=[2, 3, 4, 5])
"""
PAIR = "[('skip_connect', 0), ('skip_connect', 1)]"
SMALL = f"Genotype(normal={PAIR}, normal_concat=range(2, 3), reduce={PAIR}, reduce_concat=range(2, 3))"


def small() -> Genotype:
    skips = [Choice("skip_connect", 1, 2), Choice("skip_connect", 0, 2)]
    return Genotype.of("tiny", 1, {"reduce": skips, "normal": skips})


def random_genotype(seed: int) -> Genotype:
    draw = random.Random(seed)
    ops = ["max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5", "noise"]
    cells = {
        kind: [
            Choice(draw.choice(ops), source, node)
            for node in range(2, 6)
            for source in draw.sample(range(node), 2)
        ]
        for kind in ("reduce", "normal")
    }
    return Genotype.of("darts", 4, cells)


def test_published_cell_reads_as_drawn_in_the_paper() -> None:
    cell = genotype_from_text(DARTS_V2)
    assert cell.nodes == 4
    assert cell.cell("normal") == (
        Choice("sep_conv_3x3", 0, 2),
        Choice("sep_conv_3x3", 1, 2),
        Choice("sep_conv_3x3", 0, 3),
        Choice("sep_conv_3x3", 1, 3),
        Choice("skip_connect", 0, 4),
        Choice("sep_conv_3x3", 1, 4),
        Choice("skip_connect", 0, 5),
        Choice("dil_conv_3x3", 2, 5),
    )
    assert skeletons.of(cell).count(cell, "skip_connect") == {"normal": 2, "reduce": 3}
    assert skeletons.of(cell).count(cell, "noise") == {"normal": 0, "reduce": 0}
    assert cell.kinds == ("normal", "reduce")


def test_darts_text_is_exact() -> None:
    assert genotype_to_text(small()) == SMALL


@pytest.mark.parametrize("seed", range(20))
def test_round_trips(seed: int) -> None:
    genotype = random_genotype(seed)
    assert genotype_from_text(genotype_to_text(genotype)) == genotype
    assert genotype_from_json(json.loads(json.dumps(genotype.to_json()))) == genotype


def test_darts_text_tolerates_layout() -> None:
    texts = [
        f"\n\n  best =\\\n {SMALL}  # found",
        SMALL.replace(", ", ",\n\t"),
        SMALL.replace("range(2, 3)", "[2]"),
        SMALL.replace("range(2, 3)", "(2,)").replace("'", '"'),
    ]
    assert {genotype_from_text(text, space="tiny") for text in texts} == {small()}


def test_concat_may_list_the_nodes_in_any_order() -> None:
    assert genotype_from_text(DARTS_V2.replace("[2, 3, 4, 5]", "[5, 2, 4, 3]")) == genotype_from_text(
        DARTS_V2
    )


def test_one_canonical_order_makes_equal_cells_equal() -> None:
    one = random_genotype(1)
    draw = random.Random(0)
    shuffled = {kind: draw.sample(one.cell(kind), 8) for kind in ("reduce", "normal")}
    other = Genotype.of("darts", 4, shuffled)
    assert other == one
    assert hash(other) == hash(one)
    assert other.cell("normal") == tuple(sorted(one.cell("normal"), key=lambda c: (c.target, c.source)))


def test_digest_is_the_hash_of_the_plain_text() -> None:
    row = '[["skip_connect",0,2],["skip_connect",1,2]]'
    text = f'[1,{{"normal":{row},"reduce":{row}}}]'
    assert small().digest() == hashlib.sha256(text.encode()).hexdigest()[:10]
    # Pinned: tracking stores and file names written by earlier versions hold it.
    assert genotype_from_text(DARTS_V2).digest() == "322dfe14cd"


def test_digest_ignores_the_space_and_sees_every_choice() -> None:
    ops, pairs = ["skip_connect", "sep_conv_3x3"], list(product(range(2), repeat=4))
    digests = set()
    for bits in pairs:
        names = [ops[bit] for bit in bits]
        cells = {
            "normal": [Choice(names[0], 0, 2), Choice(names[1], 1, 2)],
            "reduce": [Choice(names[2], 0, 2), Choice(names[3], 1, 2)],
        }
        a, b = Genotype.of("a", 1, cells), Genotype.of("b", 1, cells)
        assert a.digest() == b.digest()
        digests.add(a.digest())
    assert len(digests) == len(pairs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no genotype in the text"]),
        ("Genotype(normal=[", ["not DARTS' text form", "line 1, column 1"]),
        (
            SMALL.replace("skip_connect", "skip_conect", 1),
            ["skip_conect", "line 1, column 19", "skip_connect"],
        ),
        ("\n\n" + SMALL.replace("1)", "2)", 1), ["node 2 cannot read state 2", "line 3"]),
        ("\n  " + SMALL.replace("0)", "True)", 1), ["not a whole number", "True", "line 2, column 37"]),
        (SMALL.replace("0)", "-1)", 1), ["not a whole number", "-1"]),
        (SMALL.replace(PAIR, "[('skip_connect', 0)]", 1), ["1 pairs", "two pairs per node"]),
        (SMALL.replace(PAIR, "[]", 1), ["0 pairs"]),
        (
            SMALL.replace(PAIR, PAIR[:-1] + ", " + PAIR[1:], 1),
            ["the cells differ in size: 2 and 1 nodes"],
        ),
        (SMALL.replace("('skip_connect', 0)", "'skip_connect'", 1), ["not a pair"]),
        (SMALL.replace("('skip_connect', 0)", "(1, 0)", 1), ["not an operation's name"]),
        (SMALL.replace("range(2, 3)", "[]", 1), ["normal_concat is not all nodes", "range(2, 3)"]),
        (
            SMALL.replace("range(2, 3)", "range(2, 9999999999999999999)", 1),
            ["normal_concat is not all nodes"],
        ),
        (DARTS_V2.replace("[2, 3, 4, 5]", "[3, 4, 4]", 1), ["normal_concat", "[3, 4, 4]", "line 4"]),
        (SMALL.replace("range(2, 3)", "span(2, 3)", 1), ["not a list"]),
        (SMALL.replace("reduce=", "recurrent="), ["unexpected or repeated field recurrent"]),
        (SMALL.replace("reduce=", "normal="), ["field normal"]),
        (SMALL[: SMALL.index(", reduce=")] + ")", ["reduce missing"]),
        (SMALL.replace("Genotype", "Genome"), ["no genotype in the text", "Genome"]),
        (f"A = {SMALL}\n{DARTS_V2}", ["the text has 2 cells", "A (line 1), DARTS_V2 (line 3)"]),
        ("Genotype(normal=''" + "+-" * 60_000 + "1)", ["not DARTS' text form"]),
        ("Genotype\0", ["no genotype in the text"]),
    ],
)
def test_bad_darts_text_says_what_and_where(text: str, words: list[str]) -> None:
    with pytest.raises(RaynasError) as caught:
        genotype_from_text(text)
    for word in words:
        assert word in str(caught.value)


def test_darts_text_is_never_run(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    call = f"__import__('pathlib').Path({str(target)!r}).touch()"
    for text in (call, SMALL.replace("'skip_connect'", call, 1), SMALL.replace("range(2, 3)", call)):
        with pytest.raises(RaynasError):
            genotype_from_text(text)
    assert not target.exists()


def test_to_darts_needs_two_edges_per_node() -> None:
    one = [Choice("noise", 0, 2)]
    with pytest.raises(RaynasError, match="exactly two edges") as caught:
        genotype_to_text(Genotype.of("s4", 1, {"normal": one, "reduce": one}))
    assert "1 into node 2 of the normal cell" in str(caught.value)


def changed(**changes: object) -> dict[str, object]:
    return {**small().to_json(), **changes}


def with_row(row: object) -> dict[str, object]:
    rows = small().to_json()["cells"]["normal"]
    return changed(cells={"normal": [*rows, row], "reduce": rows})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], ["not a genotype", "list"]),
        (changed(format="other"), ["not a genotype", "'other'", "raynas.genotype"]),
        (changed(version=3), ["later raynas", "version 3", "pip install --upgrade raynas"]),
        (changed(version="1"), ["version is not a whole number"]),
        (changed(version=True), ["version is not a whole number"]),
        ({"format": "raynas.genotype", "version": 1, "space": "x"}, ["lacks nodes, cells"]),
        (changed(space="../x"), ["space is not a name", "../x"]),
        (changed(space=3), ["space is not a name", "3"]),
        (changed(nodes=0), ["nodes is not a whole number"]),
        (changed(nodes=True), ["nodes is not a whole number"]),
        (changed(nodes=10**12), ["from 1 to 100"]),
        (changed(cells=[1]), ["not lists by kind"]),
        (changed(cells={"normal": None}), ["not lists by kind"]),
        (changed(cells={"normal": []}), ["one normal and one reduce cell"]),
        (changed(cells={"normal": [], "reduced": []}), ["kind of cell 'reduced'", "nearest:  reduce"]),
        (with_row(["sep_conv_3x", 0, 2]), ["operation in the normal cell 'sep_conv_3x'", "sep_conv_3x3"]),
        (with_row(["noise", 2, 2]), ["impossible edge", "2->2"]),
        (with_row(["noise", 0, 3]), ["impossible edge", "0->3", "from 2 to 2"]),
        (with_row(["noise", -1, 2]), ["impossible edge", "-1->2"]),
        (with_row(["noise", 0]), ["malformed", "['noise', 0]"]),
        (with_row(["noise", False, 2]), ["malformed"]),
        (with_row(["noise", 0.0, 2]), ["malformed"]),
        (with_row("noise"), ["malformed"]),
    ],
)
def test_bad_json_is_refused(data: object, words: list[str]) -> None:
    with pytest.raises(RaynasError) as caught:
        genotype_from_json(data)
    for word in words:
        assert word in str(caught.value)


def test_unknown_kind_and_operation_name_the_nearest() -> None:
    with pytest.raises(RaynasError, match="unknown kind of cell 'norma'") as caught:
        small().cell("norma")
    assert caught.value.near == "normal"
    with pytest.raises(RaynasError, match="unknown operation 'skip'"):
        skeletons.of(small()).count(small(), "skip")


def test_save_and_load(tmp_path: Path) -> None:
    genotype, path = random_genotype(3), tmp_path / "genotype.json"
    genotype.save(path)
    assert load_genotype(path) == genotype
    assert json.loads(path.read_text()) == genotype.to_json()
    first = genotype.cell("normal")[0]
    assert f'["{first.op}", {first.source}, 2],' in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "genotype.json"
    small().save(path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RaynasError, match="disk full"):
        random_genotype(0).save(path)
    assert load_genotype(path) == small()
    assert list(tmp_path.iterdir()) == [path]


def test_load_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "genotype.json"
    with pytest.raises(RaynasError, match="cannot read the genotype: No such file") as missing:
        load_genotype(path)
    assert str(path) in str(missing.value)
    assert "next:" in str(missing.value)
    with pytest.raises(RaynasError, match="cannot read the genotype"):
        load_genotype(tmp_path)
    with pytest.raises(RaynasError, match="cannot write"):
        small().save(tmp_path / "missing" / "genotype.json")
    for damaged in (b"", b'{"format": "raynas.geno', b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(damaged)
        with pytest.raises(RaynasError, match="damaged") as caught:
            load_genotype(path)
        assert caught.value.next_step
    path.write_text(json.dumps(changed(nodes=-1)))
    with pytest.raises(RaynasError, match=r"genotype\.json: the genotype's nodes"):
        load_genotype(path)


def test_importing_needs_no_torch() -> None:
    code = "import sys, raynas.spaces.genotype, raynas.spaces.derive; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def residual(**changes: object) -> dict[str, object]:
    rows = [["none", 0, 1], ["skip_connect", 0, 2], ["nor_conv_1x1", 1, 2]]
    data = {"format": "raynas.genotype", "version": 1, "space": "x", "nodes": 2, "skeleton": "residual"}
    return {**data, "cells": {"normal": rows}, **changes}


def test_other_skeletons_are_named_in_json_and_digest() -> None:
    genotype = genotype_from_json(residual())
    assert genotype.to_json() == residual()
    assert genotype.kinds == ("normal",)
    assert skeletons.of(genotype).count(genotype, "none") == {"normal": 1}
    assert genotype_to_text(genotype) == "|none~0|+|skip_connect~0|nor_conv_1x1~1|"
    assert "skeleton" not in small().to_json()
    assert (
        genotype.digest()
        != genotype_from_json(residual(cells={"normal": [["noise", 0, 1], ["noise", 1, 2]]})).digest()
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skeleton": "residul"}, "unknown skeleton"),
        ({"skeleton": ["residual"]}, "unknown skeleton"),
        ({"skeleton": "darts"}, "one normal and one reduce"),
        ({"cells": {"normal": [["none", 0, 1]]}}, "node 2 of the normal cell has no incoming edge"),
        ({"cells": {"reduce": [["none", 0, 1]]}}, "unknown kind"),
        ({"cells": {"normal": [["none", 0, 3]]}}, "impossible edge"),
        ({"skeleton": "blocks", "nodes": 1}, "two operations in one block"),
        (
            {"skeleton": "blocks", "nodes": 1, "cells": {"normal": [["noise", 0, 1], ["noise", 1, 2]]}},
            "must be identity",
        ),
    ],
)
def test_cells_of_other_skeletons_are_checked_as_well(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RaynasError, match=message):
        genotype_from_json(residual(**changes))


def test_a_block_has_one_operation() -> None:
    rows = [["maxpool3x3", 0, 1], ["maxpool3x3", 0, 2], ["conv1x1-bn-relu", 1, 2], ["identity", 2, 3]]
    with pytest.raises(RaynasError, match="two operations in one block"):
        genotype_from_json(residual(skeleton="blocks", cells={"normal": rows}))


def test_only_choice_blocks_have_a_matrix() -> None:
    with pytest.raises(RaynasError, match="only a cell of choice blocks"):
        to_matrix(genotype_from_json(residual()))


def test_text_is_told_apart_by_its_form() -> None:
    assert genotype_from_text(SMALL, "tiny") == small()
    assert genotype_from_text(DARTS_V2).skeleton == "darts"
    assert genotype_from_text(" |none~0|\n", "mine").space == "mine"
