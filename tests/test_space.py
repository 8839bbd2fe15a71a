"""Search spaces as data: the published ones exactly, and every mistake of a file at once."""

import json
import re
from pathlib import Path

import pytest
from helpers.cli_folders import raynas

from raynas.errors import FileProblems
from raynas.spaces import skeletons
from raynas.spaces.library import load_space, names
from raynas.spaces.reading import load_genotype
from raynas.spaces.space import Space

DARTS_OPS = [
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
]
S1_NORMAL = (
    "skip/dil3 skip/dil5 skip/dil5 skip/sep3 skip/dil3 max/skip skip/sep3 skip/sep3 skip/dil3 skip/sep3 "
)
S1_NORMAL += "max/skip skip/dil3 dil3/dil5 dil3/dil5"
S1_REDUCE = "max/avg max/dil3 max/avg max/avg skip/dil5 max/avg max/sep3 skip/dil3 skip/dil5 max/avg max/avg "
S1_REDUCE += "skip/dil5 skip/dil5 skip/dil5"
SHORT = {
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}


def ops(space, kind):
    return [list(edge.ops) for edge in space.cell(kind).edges]


def test_the_darts_space_has_14_edges_of_8_operations():
    space = load_space("darts")
    for kind in ("normal", "reduce"):
        edges = space.cell(kind).edges
        expected = [(source, target) for target in (2, 3, 4, 5) for source in range(target)]
        assert [(edge.source, edge.target) for edge in edges] == expected
        assert ops(space, kind) == [DARTS_OPS] * 14
    assert (space.keep, space.exclude) == (2, ("none",))


def test_s1_is_zelas_edge_by_edge():
    space = load_space("s1")
    for kind, text in (("normal", S1_NORMAL), ("reduce", S1_REDUCE)):
        assert ops(space, kind) == [[SHORT[name] for name in pair.split("/")] for pair in text.split()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s2", ["skip_connect", "sep_conv_3x3"]),
        ("s3", ["none", "skip_connect", "sep_conv_3x3"]),
        ("s4", ["noise", "sep_conv_3x3"]),
    ],
)
def test_s2_to_s4_have_one_list_for_all_edges(name, expected):
    space = load_space(name)
    assert ops(space, "normal") == ops(space, "reduce") == [expected] * 14


def test_nas_bench_201_keeps_one_of_five_operations_on_each_of_six_edges():
    space = load_space("nas-bench-201")
    [cell] = space.cells
    assert [(edge.source, edge.target) for edge in cell.edges] == [
        (0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3),
    ]  # fmt: skip
    expected = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    assert ops(space, "normal") == [expected] * 6
    assert [space.kept(cell, node) for node in space.targets] == [1, 2, 3]
    assert (space.exclude, space.default_channels, space.default_cells) == ((), 16, 5)


def test_spaces_of_before_keep_the_fingerprints_their_records_have():
    known = {"darts": "9e114feab315", "s1": "507c792c35e1", "tiny": "3b878f9e2e76"}
    assert {name: skeletons.fingerprint(load_space(name)) for name in known} == known


def test_an_edge_list_of_blocks_may_leave_edges_out(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\ntitle: mine\nnodes: 2\nskeleton: blocks\nkeep: 1\ncells:\n  normal: {edges: {0->1: "
        "[maxpool3x3], 0->2: [maxpool3x3], 1->2: [maxpool3x3], 1->3: [identity], 2->3: [identity]}}\n"
    )
    rows = {row.name: row.options for group in skeletons.groups(load_space(str(file))) for row in group.rows}
    assert rows["block 2: parents"] == ("0", "1")
    assert rows["output: parents"] == ("1", "2")


@pytest.mark.parametrize("name", sorted(names("search_spaces")))
def test_a_space_survives_json_and_can_be_hashed(name):
    space = load_space(name)
    again = Space.model_validate_json(space.model_dump_json())
    assert again == space
    assert hash(again) == hash(space)
    assert skeletons.fingerprint(again) == skeletons.fingerprint(space)
    assert skeletons.fingerprint(again.model_copy(update={"title": "other"})) == skeletons.fingerprint(space)
    assert skeletons.fingerprint(again.model_copy(update={"nodes": 99})) != skeletons.fingerprint(space)


def problems(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(FileProblems) as caught:
        load_space(str(file))
    return {problem.path: problem.message for problem in caught.value.problems}


def test_every_mistake_of_a_file_is_told_at_once(tmp_path):
    found = problems(
        tmp_path,
        "name: a b\ntitel: x\nnodes: two\nskeleton: dart\nexclude: [nothing]\ncells:\n"
        "  normal: {ops: [skip_conect, sep_conv_3x3]}\n  reduce: {edges: {0-2: [none]}}\n",
    )
    cells = {"cells.normal.ops", "cells.reduce.edges.0-2"}
    assert set(found) == {"name", "titel", "title", "nodes", "skeleton", "exclude"} | cells
    assert "nearest: title" in found["titel"]
    assert "nearest: skip_connect" in found["cells.normal.ops"]
    assert "source->target" in found["cells.reduce.edges.0-2"]


HEAD = "name: mine\ntitle: mine\nnodes: 2\n"
NORMAL = "cells: {normal: {ops: [noise]}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "cells: {normal: {ops: [none]}, reduce: {ops: [none]}}", "usable incoming edges"),
        (HEAD + "keep: 3\ncells: {normal: {ops: [noise]}, reduce: {ops: [noise]}}", "keep asks for 3"),
        (
            HEAD + "cells: {normal: {ops: [noise]}, reduce: {edges: {3->2: [noise]}}}",
            "3->2 is impossible",
        ),
        (HEAD + "cells: {normal: {ops: [noise]}}", "stacks normal and reduce cells"),
        (HEAD + "cells: {normal: {ops: [noise]}, reduce: {}}", "either `ops:`"),
        (HEAD + "cells: {normal: {ops: [noise, noise]}, reduce: {ops: [noise]}}", "listed twice"),
        (HEAD + "cells: {normal: {ops: []}, reduce: {ops: [noise]}}", "at least 1 item"),
        (
            HEAD + "cells: {normal: {edges: {0->2: [noise], 0 -> 2: [none]}}, reduce: {ops: [noise]}}",
            "edge is listed",
        ),
        (HEAD + "name: again\ncells: {}", "given twice"),
        (HEAD + "keep: 0\ncells: {normal: {ops: [noise]}, reduce: {ops: [noise]}}", "how many edges"),
        (HEAD + "keep: most\ncells: {normal: {ops: [noise]}, reduce: {ops: [noise]}}", "got 'most'"),
        (HEAD + "keep: [1]\ncells: {normal: {ops: [noise]}, reduce: {ops: [noise]}}", "2 nodes; got 1"),
        (HEAD + "keep: [1, 3]\n" + NORMAL + "skeleton: residual", "node 2 has 2 usable"),
        (HEAD + "skeleton: residual\ncells: {normal: {ops: [none]}}\nkeep: all", "node 1 has 0 usable"),
        (
            HEAD + "default_cells: 2\ncells: {normal: {ops: [noise]}, reduce: {ops: [noise]}}",
            "at least 3 cells",
        ),
        (HEAD + "skeleton: blocks\nkeep: [1, 1]\n" + NORMAL, "2 nodes and the output; got 2"),
        (
            HEAD + "skeleton: blocks\nkeep: 1\ncells: {normal: {edges: {0->1: [noise], 0->2: [noise], "
            "1->2: [maxpool3x3], 2->3: [identity]}}}",
            "all edges into block 2",
        ),
        (
            HEAD + "skeleton: blocks\nkeep: 1\ncells: {normal: {edges: {0->1: [noise], 0->2: [noise], "
            "2->3: [noise]}}}",
            "edges into 3, the output",
        ),
        ("- a list", "expected a mapping"),
        ("name: [unclosed", "expected ',' or ']'"),
    ],
)
def test_an_impossible_space_says_why(tmp_path, text, message):
    assert message in " ".join(problems(tmp_path, text).values())


PAGE = (Path(__file__).parents[1] / "docs" / "spaces.md").read_text(encoding="utf-8")


def test_the_space_in_the_docs_is_one_that_can_be_checked_shown_and_searched(tmp_path, capsys, monkeypatch):
    """The page's own two files and its own number."""
    monkeypatch.chdir(tmp_path)
    for name, block in zip(("mine.yaml", "first.yaml"), PAGE.split("```yaml\n")[1:], strict=False):
        Path(name).write_text(block.split("```")[0], encoding="utf-8")
    space = load_space("./mine.yaml")
    assert [space.kept(space.cells[0], node) for node in space.targets] == [1, 1, 3]
    assert raynas(capsys, "check", "mine.yaml").code == 0
    shown = json.loads(raynas(capsys, "show", "mine.yaml", "--json").out)["space"]
    assert int(re.search(r"# (\d+) cells can be derived", PAGE)[1]) == shown["architectures"]
    small = ["data.limit=64", "batch=16", "channels=2", "cells=1"]
    assert raynas(capsys, "search", "first.yaml", *small).code == 0
    genotype = load_genotype(next(Path("runs").glob("*/best/genotype.json")))
    assert [len([c for c in genotype.cell("normal") if c.target == n]) for n in (1, 2, 3)] == [1, 1, 3]


def test_every_space_has_a_row_in_the_docs():
    rows = {}
    for line in PAGE.split("## A space of your own")[0].splitlines():
        if line.startswith("| `"):
            name, *facts, _ = [cell.strip(" `") for cell in line.strip("|").split("|")]
            rows[name] = facts
    expected = {}
    for name in names("search_spaces"):
        space = load_space(name)
        expected[name] = [
            "+".join(str(len(cell.edges)) for cell in space.cells),
            str(max(len(edge.ops) for cell in space.cells for edge in cell.edges)),
            f"{skeletons.of(space).architectures(space):.1e}",
            space.skeleton,
            f"{space.default_cells} × {space.default_channels}",
        ]
    assert rows == expected
