"""How steady searches are, on records made by hand."""

import random
from statistics import fmean

import pytest
from helpers.simulated_sweep import simulate

from raynas.report import facts as f
from raynas.report.build import build_report
from raynas.report.facts import MethodSetting
from raynas.report.stability import changed, seeds_beside_settings, settled, stability_of


class Told:
    """An epoch's report as far as it matters here."""

    def __init__(self, genotype: str) -> None:
        self.genotype = genotype


@pytest.mark.parametrize(
    ("cells", "share", "after"), [("aaaa", 0, 1), ("abab", 1, 4), ("aabb", 1 / 3, 3), ("abbb", 1 / 3, 2)]
)
def test_changes_and_when_a_cell_settled(cells, share, after):
    reports = [Told(cell) for cell in cells]
    assert changed(reports) == pytest.approx(share)
    assert settled(reports) == after


def settings(apart: float, spread: float, seeds: int):
    source = random.Random(0)
    return {
        MethodSetting(name, ()): {seed: 1 + shift + spread * source.gauss(0, 1) for seed in range(seeds)}
        for name, shift in (("one", 0.0), ("other", apart))
    }


def test_seeds_that_differ_more_than_settings_are_told_with_a_paired_test():
    values = settings(0.01, 0.1, 8)
    words = seeds_beside_settings(values)
    assert "Seeds differ more than settings" in words
    assert "Paired by 8 seeds" in words
    # All 2^8 ways to flip signs, by hand.
    one, other = values.values()
    low, high = sorted((one, other), key=lambda each: fmean(each.values()))
    differences = [high[seed] - low[seed] for seed in range(8)]
    mean = abs(fmean(differences))
    means = [
        fmean(d * (1 if bits >> n & 1 else -1) for n, d in enumerate(differences)) for bits in range(256)
    ]
    p = sum(abs(each) >= mean - 1e-12 for each in means) / 256
    assert f"p = {p:.2g}" in words
    assert seeds_beside_settings(settings(1.0, 0.1, 8)) == ""
    assert "Paired" not in seeds_beside_settings(settings(0.01, 0.1, 3))


def test_the_report_has_a_row_for_each_setting(tmp_path):
    folder = simulate(tmp_path / "runs" / "robust")
    facts = f.gather(folder)
    rows = stability_of(facts).rows
    finished = {s for r, s in zip(facts.records, facts.settings, strict=True) if r.status == "finished"}
    assert len(rows) == len(finished)
    for page in build_report(folder):
        assert "How steady the searches are" in page.read_text()
