"""Schedules and annealings against closed forms and the sources' numbers."""

import math
from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter, ValidationError

from raynas.bilevel.progress import Progress
from raynas.bilevel.settings import Value, now, number, scheduled
from raynas.methods import defaults_of, resolve
from raynas.parts.samplers import Gumbel
from raynas.parts.schedules import (
    BoldDriver,
    Cosine,
    Exponential,
    Linear,
    PhasedDropout,
    PowerCosine,
    Steady,
    TwoPhases,
)


def at(epoch, epochs=50, **more):
    return Progress(epoch, epochs, **more)


def test_linear_reaches_its_end_in_the_last_epoch_or_one_later():
    gdas = Linear(10, 0.1)
    assert [gdas(at(epoch, 250)) for epoch in (0, 249)] == [10, pytest.approx(0.1)]
    assert gdas(at(100, 250)) == pytest.approx(10 - 9.9 * 100 / 249)
    sdarts = Linear(0.03, 0.3, reach=False)
    assert [sdarts(at(epoch)) for epoch in (0, 25, 49)] == pytest.approx([0.03, 0.165, 0.03 + 0.27 * 49 / 50])
    assert sdarts(at(60)) == pytest.approx(0.3)
    assert Linear(3, 5)(at(0, 1)) == 3


def test_asaps_temperature():
    schedule = Exponential(1.6, 0.95)
    assert schedule(at(0)) == 1.6
    assert schedule(at(10)) == pytest.approx(0.958, abs=5e-4)


def test_asap_has_its_course_in_a_search_of_any_length():
    asap = resolve("asap").relaxation.temperature
    for epochs in (4, 20, 50, 150):
        warmup = defaults_of("asap", epochs)["warmup"]
        assert asap(at(epochs // 2, epochs)) == pytest.approx(1.6 * 0.95**25)
        trained = [asap(at(epoch, epochs)) < 1 for epoch in range(epochs)]
        # α begins to move as the temperature falls below 1, to the roundings of both.
        assert abs(trained.index(True) - warmup) <= 1 + epochs / 50
    assert [asap(at(epoch, 50)) for epoch in (0, 10)] == pytest.approx([1.6, 1.6 * 0.95**10])


def test_p_darts_dropout_jumps_back_when_alpha_training_starts():
    schedule = PhasedDropout((0.1, 0.4))

    def rate(epoch, stage=1):
        return schedule(at(25 + epoch, 75, stage=stage, first=25, last=50, warmup=10))

    assert [rate(0), rate(9), rate(10)] == pytest.approx([0.384, 0.24, 0.4])
    assert rate(24) == pytest.approx(0.024, abs=5e-4)
    assert rate(10, stage=5) == pytest.approx(0.4)
    assert schedule(at(0, 75, stage=0, first=0, last=25, warmup=10)) == pytest.approx(0.1 * 24 / 25)


def test_now_replaces_schedules_by_numbers_and_nothing_else():
    part = Gumbel(Linear(1, 0), hard=True)
    settled = now(part, at(49))
    assert settled == Gumbel(0.0, hard=True)
    assert scheduled(part, at(49)) == {"temperature": 0.0}
    fixed = Gumbel(0.5)
    assert now(fixed, at(3)) is fixed
    with pytest.raises(TypeError, match="now"):
        number(Linear(1, 0))


def test_settings_take_numbers_in_their_range_or_schedules():
    @dataclass(frozen=True)
    class Any:
        value: Value

    assert TypeAdapter(Any).validate_python({"value": "3"}).value == 3
    assert TypeAdapter(Gumbel).validate_python({"temperature": Linear(1, 0)}).temperature == Linear(1, 0)
    with pytest.raises(ValidationError):
        TypeAdapter(Gumbel).validate_python({"temperature": 0})


def test_progress_within_a_stage():
    progress = at(30, 75, stage=1, first=25, last=50)
    assert (progress.stage_epoch, progress.stage_epochs, progress.share) == (5, 25, 0.4)
    assert at(7).stage_epochs == 50
    assert [at(49).fine_tuning, at(50).fine_tuning] == [False, True]


def test_cosine_over_the_search_and_over_a_stage():
    assert Cosine()(0.001, 0.025, at(0), []) == 0.025
    assert Cosine()(0.0, 1.0, at(25), []) == pytest.approx(0.5)
    staged = at(37, 75, stage=1, first=25, last=50)
    assert Cosine("stage")(0.0, 1.0, staged, []) == pytest.approx((1 + math.cos(math.pi * 12 / 25)) / 2)


@pytest.mark.parametrize(
    ("power", "high", "low", "values"),
    [
        (2, 0.025, 1e-4, [0.025, 0.0202, 0.0104, 0.0028, 1e-4]),
        (10, 0.1, 7.5e-4, [0.1, 0.0684, 0.0246, 0.0052, 7.5e-4]),
    ],
)
def test_cosine_power_annealing_has_the_published_values(power, high, low, values):
    found = [PowerCosine(power)(low, high, at(epoch, 10_000), []) for epoch in (0, 2499, 4999, 7499, 9999)]
    assert found == pytest.approx(values, abs=5e-5)
    every = [PowerCosine(power)(low, high, at(epoch, 100), []) for epoch in range(101)]
    assert every == sorted(every, reverse=True)


def test_cosine_power_annealing_is_that_of_its_authors_epoch_by_epoch():
    """Numbers that cnn/cosine_power_annealing.py of ahundt/sharpDARTS 6f593d4b gave."""
    warm = [0.00425, 0.0084, 0.01255, 0.0167, 0.02085, 0.025, 0.02352998, 0.02181048, 0.01960466, 0.01707664]
    cold = [0.01439458, 0.01171299, 0.00916106, 0.00683754, 0.00481126, 0.00312545, 0.00180389, 0.00085736]
    for warmup in (5, 0.25):
        annealing = PowerCosine(2, warmup=warmup)
        found = [annealing(1e-4, 0.025, at(epoch, 20), []) for epoch in range(20)]
        assert found == pytest.approx([*warm, *cold, 0.0002893, 0.0001], abs=5e-9)
    found = [PowerCosine(10)(0.001, 0.1, at(epoch, 5), []) for epoch in range(5)]
    assert found == pytest.approx([0.1, 0.0505051, 0.01812803, 0.00446511, 0.001], abs=5e-9)
    share = resolve("sharp-darts").annealing
    assert [share(0.0, 1.0, at(epoch, 120), []) for epoch in (0, 5)] == pytest.approx([1 / 6, 1.0])
    assert [share(0.0, 1.0, at(epoch, 4), []) for epoch in (0, 3)] == [1.0, 0.0]


def test_cosine_power_annealing_with_power_one_is_a_cosine():
    found = [PowerCosine(1)(0.0, 1.0, at(epoch, 50), []) for epoch in range(50)]
    cosine = [(1 + math.cos(math.pi * (epoch + 1) / 50)) / 2 for epoch in range(50)]
    assert found == pytest.approx([height / cosine[0] for height in cosine])


def test_a_warm_up_has_a_curve_of_its_own():
    # mit-han-lab/proxylessnas at bf58b5c, nas_manager.py: warm_up is half a cosine from .05 over 40 epochs,
    # train one from .025 over 120.
    proxyless = TwoPhases(2.0)
    found = [proxyless(0.0, 0.025, at(epoch, 160, warmup=40), []) for epoch in (0, 20, 40, 100, 159)]
    last = 0.0125 * (1 + math.cos(math.pi * 119 / 120))
    assert found == pytest.approx([0.05, 0.025, 0.025, 0.0125, last])
    steady = TwoPhases(0.5, falls=False)
    assert [steady(0.0, 0.1, at(epoch, 240, warmup=120), []) for epoch in (0, 119, 120, 239)] == [
        0.05,
        0.05,
        0.1,
        0.1,
    ]


@dataclass
class Report:
    train_loss: float
    learning_rate: float


def test_the_bold_driver_follows_the_loss():
    losses, rates, reports = [3, 2, 2.5, 2.4, 2.3], [], []
    for loss in losses:
        rates.append(BoldDriver(1.1, 0.5)(0.3, 1.0, at(len(reports)), reports))
        reports.append(Report(loss, rates[-1]))
    rates.append(BoldDriver(1.1, 0.5)(0.3, 1.0, at(5), reports))
    assert rates == pytest.approx([1, 1, 1.1, 0.55, 0.605, 0.6655])
    reports.append(Report(9.0, 0.4))
    assert BoldDriver(1.1, 0.5)(0.3, 1.0, at(6), reports) == 0.3
    assert Steady()(0.1, 0.2, at(40), reports) == 0.2
