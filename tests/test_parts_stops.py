"""Stop rules on recorded curves."""

from dataclasses import replace

import pytest

from raynas.bilevel.records import Curvature, EpochReport
from raynas.methods import resolve
from raynas.parts.stops import (
    AllDecided,
    AnyOf,
    Converged,
    EigenvalueGrowth,
    RankStable,
    Regularise,
    SkipCount,
)
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.library import load_space

SPACE = load_space("tiny")
FLAT = [[0.25] * 4 for _ in range(5)]


def report(epoch, normal=None, eig=None):
    weights = {"normal": normal or FLAT, "reduce": FLAT}
    genotype = derive(SPACE, weights)
    curvature = None if eig is None else Curvature(eig, -1.0, 0.0, 0.0)
    return EpochReport(
        epoch,
        0,
        0,
        0,
        0,
        0,
        0,
        0.1,
        genotype,
        weights,
        {},
        skeletons.of(genotype).count(genotype, "skip_connect"),
        curvature,
    )


def first_stop(rule, reports):
    """Return the epoch after which a rule ends the search, and its ending."""
    for last in range(1, len(reports) + 1):
        if ending := rule(reports[:last], SPACE):
            return reports[last - 1].epoch, ending
    return None


def curve(value, epochs=50, every=2):
    return [report(epoch, eig=value(epoch) if epoch % every == 0 else None) for epoch in range(epochs)]


def stops_at(value, rule=EigenvalueGrowth(), **more):  # noqa: B008 - a frozen part
    found = first_stop(rule, curve(value, **more))
    return found and (found[0], found[1].epoch)


def test_growth_by_a_fifth_per_measurement_from_epoch_20_stops_at_28_and_returns_16():
    assert stops_at(lambda epoch: 1.2 ** max((epoch - 20) / 2, 0)) == (28, 16)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda epoch: 1.0, None),
        (lambda epoch: 1.03**epoch, None),
        (lambda epoch: 1.04**epoch, (22, 10)),
        (lambda epoch: 1.3 if epoch == 30 else 1.0, None),
        (lambda epoch: 3.0 if epoch == 30 else 1.0, (30, 18)),
        (lambda epoch: -(1.2**epoch), None),
    ],
    ids=["constant", "three per cent", "four per cent", "small spike", "large spike", "negative"],
)
def test_published_behaviour_of_eigenvalue_stopping(value, expected):
    assert stops_at(value) == expected


PUBLISHED = {
    "s1/cifar10/0.4_0.0003, task 2": (
        None,
        """.08191 .19424 .13137 .15443 .19247 .18534 .15697 .18027 .14764 .20872 .22856 .18281 .16906
        .18022 .20133 .17081 .14415 .15981 .30357 .20086 .14747 .23318 .22915 .40983 .22343 .23546""",
    ),
    "s3/svhn/0.2_0.0003, task 2": (
        None,
        """.16538 .18488 .11916 .14639 .18442 .12172 .12504 .12088 .08547 .11572 .10706 .10193 .13815
        .09887 .1539 .12642 .10461 .24722 .13099 .15453 .16961 .12025 .09243 .18348 .10334 .28499""",
    ),
    "s1/cifar10/0.0_0.0003, task 1": (
        (22, 10),
        """.17784 .14717 .1693 .14541 .12014 .24783 .23013 .35854 .22356 .38495 .20747 .42876 .50726
        .22769 .40884 .5014 .49873 .24895 .45638 .51577 .64277 .45816 .70612 1.3182 .52615 .52017""",
    ),
    "s3/svhn/0.0_0.0003, task 1": (
        (34, 22),
        """.10938 .08414 .10837 .20199 .09816 .11614 .11878 .13286 .13112 .09607 .12179 .11308 .14927
        .10947 .17701 .16707 .17535 .28787 .09482 .14674 .24864 .19664 .29125 .25857 .18572 .21121""",
    ),
}
"""λmax of published runs at epochs 0, 2, …, 48, 49, without the 1e-3 of their diagonal, and where
`EVLocalAvg` of automl/RobustDARTS 3dec3fed stops and returns to. On the first two 1e-3 decides."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_runs_stop_where_their_authors_code_stops_them(name):
    expected, text = PUBLISHED[name]
    found = dict(zip([*range(0, 50, 2), 49], map(float, text.split()), strict=True))
    # The last epoch is left out: no rule is asked after it.
    reports = [report(epoch, eig=found.get(epoch)) for epoch in range(49)]
    stopped = first_stop(EigenvalueGrowth(), reports)
    assert (stopped and (stopped[0], stopped[1].epoch)) == expected
    if expected is None:
        assert first_stop(EigenvalueGrowth(diagonal=0), reports)


def test_the_paper_form_and_earlier_starts():
    paper = EigenvalueGrowth(factor=1 / 0.75, delta=5, after=4)
    assert stops_at(lambda epoch: 1.2**epoch, paper, every=1) == (11, 4)
    assert stops_at(lambda epoch: 1.2**epoch, EigenvalueGrowth(after=0)) == (12, 0)
    assert stops_at(lambda epoch: 1.2**epoch, EigenvalueGrowth(after=0, window=1, delta=1)) == (2, 0)


def test_unmeasured_epochs_say_nothing_and_the_rule_says_why():
    growing = curve(lambda epoch: 1.2**epoch)
    [epoch, ending] = first_stop(EigenvalueGrowth(), growing)
    assert EigenvalueGrowth()(growing[: epoch + 2], SPACE) is None
    assert "eigenvalue rose" in ending.reason
    assert ending.again is None
    again = EigenvalueGrowth(then=Regularise(10.0, 2))
    assert first_stop(again, growing)[1].again == Regularise(10.0, 2)
    assert [EigenvalueGrowth().solo, again.solo, AnyOf((SkipCount(), again)).solo] == [False, True, True]
    assert not AnyOf((SkipCount(),)).solo


SKIP, SEP = [0.1, 0.1, 0.6, 0.2], [0.1, 0.1, 0.2, 0.6]


def test_darts_plus_counts_skips_of_the_derived_cell():
    cells = [
        [SKIP, SEP, SEP, SEP, SEP],
        [SKIP, SEP, SEP, SEP, SKIP],
        [SKIP, SEP, SKIP, SEP, [0.1, 0.2, 0.3, 0.4]],
    ]
    reports = [report(epoch, cell) for epoch, cell in enumerate(cells)]
    assert [r.skips["normal"] for r in reports] == [1, 1, 2]
    epoch, ending = first_stop(SkipCount(2, after=0), reports)
    assert (epoch, ending.epoch) == (2, 2)
    assert first_stop(SkipCount(2, "reduce", after=0), reports) is None
    assert first_stop(SkipCount(3, after=0), reports) is None


@pytest.mark.parametrize("after", [0, 1, 10])
def test_skips_count_from_an_epoch_on(after):
    reports = [report(epoch, [SKIP] * 5) for epoch in range(12)]
    assert first_stop(SkipCount(after=after), reports)[0] == after
    assert SkipCount().after == 10


def misfits(rule, space, **values):
    """What a rule in a method that is otherwise DARTS has against a search."""
    return "; ".join(rule.misfits(replace(resolve("darts"), stop=rule), space, values))


def test_rules_that_cannot_mean_anything_say_so():
    for name in ("s2", "s3", "s4", "tiny"):
        assert "no edge has two" in misfits(RankStable(), load_space(name), epochs=50)
    for name in ("s1", "darts", "nas-bench-201"):
        assert not misfits(RankStable(), load_space(name), epochs=12)
    # Epoch 10 is the first that either can end a search after, and of 11 epochs it is the last.
    assert "compares 11 epochs" in misfits(RankStable(), None, epochs=11)
    assert "from epoch 11 on" in misfits(SkipCount(), None, epochs=11)
    assert "from epoch 11 on" in misfits(AnyOf((AllDecided(), SkipCount())), None, epochs=11)
    assert not misfits(SkipCount(), SPACE, epochs=12)
    assert not misfits(SkipCount(), SPACE)


def test_rank_stability_ignores_operations_without_weights():
    space = load_space("darts")

    def cell(first, second, third):
        row = [0.05, third, 0.01, 0.02, first, second, 0.03, 0.04]
        return {kind: [list(row) for _ in range(14)] for kind in ("normal", "reduce")}

    def made(epoch, weights):
        genotype = derive(space, weights)
        return EpochReport(epoch, 0, 0, 0, 0, 0, 0, 0.1, genotype, weights, {}, {})

    rule = RankStable(3)
    shuffled = [made(e, cell(0.5, 0.3, third)) for e, third in enumerate((0.1, 0.9, 0.4, 0.2))]
    assert rule(shuffled, space).epoch == 3
    assert rule(shuffled[:3], space) is None
    swapped = [*shuffled[:2], made(2, cell(0.3, 0.5, 0.1)), *shuffled[3:]]
    assert rule(swapped, space) is None


def test_convergence_is_the_largest_divergence_of_any_row():
    near, far = [0.26, 0.25, 0.25, 0.24], [0.7, 0.1, 0.1, 0.1]
    rows = [[far, *FLAT[1:]], FLAT, [near, *FLAT[1:]], [near, *FLAT[1:]]]
    reports = [report(epoch, cell) for epoch, cell in enumerate(rows)]
    assert first_stop(Converged(1e-2), reports)[0] == 2
    assert first_stop(Converged(1e-5), reports)[0] == 3
    assert first_stop(Converged(1e-2, patience=2), reports)[0] == 3
    assert first_stop(Converged(1e-5, patience=2), reports) is None
    assert first_stop(Converged(10.0), [report(0, [[0.0, 0.0, 0.5, 0.5], *FLAT[1:]]), report(1)]) is None


def test_weights_that_have_chosen_end_a_search_at_its_first_report():
    sure, surer = [0.01, 0.01, 0.96, 0.02], [0.0, 0.0, 2.0, 0.0]
    weights = {"normal": [sure, surer, [0.0] * 4, sure, sure], "reduce": [surer] * 5}
    chosen = replace(report(0), weights=weights)
    assert Converged()([chosen], SPACE).epoch == 0
    assert Converged(certain=0.97)([chosen], SPACE) is None
    assert Converged(certain=None)([chosen], SPACE) is None


def test_all_decided():
    one, gone = [0.0, 0.0, 1.0, 0.0], [0.0] * 4
    done = report(3, [one, one, gone, one, one])
    decided = EpochReport(
        3,
        0,
        0,
        0,
        0,
        0,
        0,
        0.1,
        done.genotype,
        {"normal": done.weights["normal"], "reduce": [one] * 5},
        {},
        {},
    )
    assert AllDecided()([decided], SPACE).epoch == 3
    assert AllDecided()([done], SPACE) is None


def test_any_of_several_rules():
    reports = [report(epoch, [SKIP] * 5) for epoch in range(3)]
    either = AnyOf((RankStable(1), SkipCount(9, after=0)))
    assert first_stop(either, reports)[0] == 1
    assert first_stop(AnyOf((SkipCount(2, after=0), RankStable(1))), reports)[0] == 0
    rules = (EigenvalueGrowth(), SkipCount(), RankStable(), Converged(), AllDecided())
    assert all(rule([], SPACE) is None for rule in rules)
