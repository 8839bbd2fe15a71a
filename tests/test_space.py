"""Search spaces as data: the published ones exactly, and every mistake of a file at once."""

import pytest

from raynas.core.space import Space
from raynas.errors import FileProblems
from raynas.library import load_space, names

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


@pytest.mark.parametrize("name", sorted(names("search_spaces")))
def test_a_space_survives_json_and_can_be_hashed(name):
    space = load_space(name)
    again = Space.model_validate_json(space.model_dump_json())
    assert again == space
    assert hash(again) == hash(space)
    assert again.fingerprint() == space.fingerprint()
    assert again.model_copy(update={"title": "other"}).fingerprint() == space.fingerprint()
    assert again.model_copy(update={"keep": 1}).fingerprint() != space.fingerprint()


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "cells: {normal: {ops: [none]}, reduce: {ops: [none]}}", "usable incoming edges"),
        (HEAD + "keep: 3\ncells: {normal: {ops: [noise]}, reduce: {ops: [noise]}}", "keep asks for 3"),
        (
            HEAD + "cells: {normal: {ops: [noise]}, reduce: {edges: {3->2: [noise]}}}",
            "3->2 is impossible",
        ),
        (HEAD + "cells: {normal: {ops: [noise]}}", "Field required"),
        (HEAD + "cells: {normal: {ops: [noise]}, reduce: {}}", "either `ops:`"),
        (HEAD + "cells: {normal: {ops: [noise, noise]}, reduce: {ops: [noise]}}", "listed twice"),
        (HEAD + "cells: {normal: {ops: []}, reduce: {ops: [noise]}}", "at least 1 item"),
        (
            HEAD + "cells: {normal: {edges: {0->2: [noise], 0 -> 2: [none]}}, reduce: {ops: [noise]}}",
            "edge is listed",
        ),
        (HEAD + "name: again\ncells: {}", "given twice"),
        ("- a list", "expected a mapping"),
        ("name: [unclosed", "expected ',' or ']'"),
    ],
)
def test_an_impossible_space_says_why(tmp_path, text, message):
    assert message in " ".join(problems(tmp_path, text).values())
