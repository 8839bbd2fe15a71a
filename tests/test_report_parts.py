"""The parts of the report: its arithmetic against closed forms, how numbers print, colours of plots."""

import math
import random
from dataclasses import replace
from statistics import fmean, stdev

import pytest
from helpers.sweeping import report

from raynas.report import draw, figures, pictures, stats, text
from raynas.report.curves import Band, Curve, Frame
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.space_file import SpaceFile


def test_operation_shares_add_up() -> None:
    space = SpaceFile.model_validate(
        {
            "name": "x",
            "title": "x",
            "nodes": 1,
            "cells": {
                kind: {"edges": {"0->2": ["skip_connect", "none"], "1->2": ["sep_conv_3x3"]}}
                for kind in ("normal", "reduce")
            },
        }
    ).resolve()
    shares = stats.operation_shares(skeletons.groups(space)[0], [[0.75, 0.25], [1.0]])
    assert shares == {"none": 0.125, "skip_connect": 0.375, "sep_conv_3x3": 0.5}
    none_left = stats.operation_shares(skeletons.groups(space)[0], [[0.0, 0.0], [0.0]])
    assert none_left == {"none": 0.0, "skip_connect": 0.0, "sep_conv_3x3": 0.0}


def test_weights_of_another_shape_are_left_out_of_the_mix() -> None:
    group = skeletons.groups(load_space("tiny"))[0]
    whole = replace(report(0), weights={group.name: [[1.0] * len(row.options) for row in group.rows]})
    other = replace(report(1), weights={group.name: [[1.0]]})
    without = replace(report(2), weights={})
    mix = stats.mean_shares(group, [[whole, other, without]])
    assert mix is not None
    assert mix[0] == [1]
    assert sum(values[0] for values in mix[1].values()) == pytest.approx(1)


@pytest.mark.parametrize("name", ["tiny", "nas-bench-201", "nb1shot1-2"])
def test_chance_share_equals_that_of_many_random_cells(name: str) -> None:
    space, rng = load_space(name), random.Random(0)

    def draw() -> Genotype:
        cells: dict[str, list[Choice]] = {}
        for cell in space.cells:
            cells[cell.kind] = []
            for node in space.targets:
                edges = cell.into(node)
                shared = rng.choice(edges[0].ops)
                for edge in rng.sample(edges, space.kept(cell, node)):
                    own = rng.choice([op for op in edge.ops if op not in space.exclude])
                    op = own if space.skeleton != "blocks" else shared
                    cells[cell.kind].append(Choice(op, edge.source, edge.target))
        return Genotype.of(space.name, space.nodes, cells, space.skeleton)

    shares = [stats.common_share(draw(), draw()) for _ in range(4000)]
    assert skeletons.of(space).chance(space) == pytest.approx(
        fmean(shares), abs=4 * stdev(shares) / math.sqrt(4000)
    )


def test_alike_separates_pairs_within_and_between_settings() -> None:
    def cell(op: str, other: str) -> Genotype:
        choices = [Choice(op, 0, 2), Choice(other, 1, 2)]
        return Genotype.of("x", 1, {"normal": choices, "reduce": choices})

    skip, mixed, sep = (
        cell("skip_connect", "skip_connect"),
        cell("skip_connect", "noise"),
        cell("noise", "noise"),
    )
    found = stats.alike([skip, mixed, sep], ["a", "a", "b"])
    assert found.matrix == ((1, 0.5, 0), (0.5, 1, 0.5), (0, 0.5, 1))
    assert found.within == stats.Spread(0.5, None, 1)
    assert found.between is not None
    assert (found.between.mean, found.between.count) == (0.25, 2)
    assert found.by_group == {"a": found.within}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.83123, "0.8312"),
        (1.00234, "1.0023"),
        (0.0123456, "0.01235"),
        (0.00123456, "0.001235"),
        (12.3456, "12.346"),
        (12345.6, "12345.6"),
        (-0.5, "−0.5000"),
        (0.0, "0.0000"),
        (1.23456e-7, "1.235e−07"),
        (1.23456e7, "1.235e+07"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
        (None, "–"),
    ],
)
def test_numbers_keep_four_significant_digits(value: float | None, expected: str) -> None:
    assert text.format_number(value) == expected


def test_spreads_durations_and_slugs() -> None:
    assert text.spread(stats.Spread.of([0.81, 0.85, math.nan])) == "0.8300 ± 0.0283"
    assert text.spread(stats.Spread.of([0.81])) == "0.8100"
    assert text.spread(stats.Spread.of([math.nan, None])) == "–"
    assert text.spread_percent(stats.Spread(0.5, 0.25, 2)) == "50.00 ± 25.00"
    assert [text.duration(s) for s in (4.23, 59.96, 200, 7500)] == [
        "4.2 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert text.slug("../../x y") == "x-y"
    assert text.code_fence("a ```` b") == "`````"


def test_plots_take_all_colours_from_variables_with_both_grounds() -> None:
    curves = [Curve((0, 1), (1.0, 900.0), "s0", end="chosen"), Curve((0,), (2.0,), "#123456")]
    svg = figures.line_panel("x", curves, Frame.around(curves), "a $b$ <c> / nats")
    assert "#0102" not in svg
    assert "var(--s0, #0b6fb8)" in svg
    assert "#123456" in svg
    assert "a $b$ &lt;c&gt; / nats" in svg
    alone = figures.as_file(svg)
    assert "prefers-color-scheme: dark" in alone
    assert all(f"--{name}: {dark};" in alone for name, (_, dark) in figures.palette().items())


def test_frames_turn_logarithmic_only_over_two_decades_of_positive_values() -> None:
    def frame(*values: float) -> Frame:
        return Frame.around([Curve((0, 1), values, "s0")])

    assert frame(0.01, 5.0).log
    assert not frame(0.1, 5.0).log
    assert not frame(-0.01, 5.0).log
    low, high = frame(1.0, 1.0).values
    assert low < 1 < high


def test_every_operation_has_colours_of_its_own_in_its_family_and_unlisted_ones_are_grey() -> None:
    for dark in (0, 1):
        by_family: dict[str, list[str]] = {}
        for name, op in OPERATIONS.items():
            by_family.setdefault(op.family, []).append(figures.operation_colours(name)[dark])
        assert all(len(set(colours)) == len(colours) for colours in by_family.values())
    assert figures.operation_css("sep_conv_3x3") == "var(--op-sep_conv_3x3)"
    assert figures.operation_css("of_tomorrow") == "var(--s5)"
    assert "var(--s5" in figures.share_panel("new", [0, 1], {"of_tomorrow": [1.0, 1.0]}, 1)
    assert draw.style_of("of_tomorrow") == ("#51565e", ())


def curves(count: int, colours: int = 2) -> list[Curve]:
    return [Curve((0, 1), (float(place), float(place + 1)), f"s{place % colours}") for place in range(count)]


def test_many_lines_are_summed_up_by_colour_and_the_chosen_one_stays() -> None:
    many = curves(101, colours=1)
    band = Band.of(many)
    assert (band.epochs, band.low, band.middle, band.high) == (
        (0, 1),
        (10.0, 11.0),
        (50.0, 51.0),
        (90.0, 91.0),
    )
    assert pictures._summed_up(many[:40], 40, counts=False) == (many[:40], [])
    chosen = replace(many[7], end="chosen")
    drawn, bands = pictures._summed_up([*curves(60), chosen], 40, counts=False)
    assert drawn == [chosen]
    assert [band.colour for band in bands] == ["s0", "s1"]
    _, bands = pictures._summed_up(curves(60, colours=20), 40, counts=True)
    assert [band.colour for band in bands] == ["ink"]
    assert bands[0].middle == (29.5, 30.5)


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    frame = Frame((0, 1), (1e-3, 10.0), log=True)
    svg = figures.line_panel("x", [Curve((0, 1), (1e-3, 10.0), "s0")], frame, "λmax")
    assert "mathdefault" not in svg
    assert ">0.01<" in svg


def test_lines_of_three_kinds_of_cell_differ_and_then_begin_again() -> None:
    def drawn(place: int) -> str:
        curve = Curve((0, 1), (1.0, 2.0), "s0", place)
        return figures.line_panel("x", [curve], Frame.around([curve]), "skips")

    assert len({drawn(place) for place in range(3)}) == 3
    assert drawn(3) == drawn(0)
