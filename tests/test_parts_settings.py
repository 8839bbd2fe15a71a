"""Settings of parts: parts inside parts, and ranges that are enforced."""

import pytest
from pydantic import TypeAdapter, ValidationError

from raynas.parts.cell_samplers import Categorical
from raynas.parts.cost import Cost
from raynas.parts.modifiers import DropPath, PartialChannels, SkipDropout
from raynas.parts.objectives import Importance, Reinforce
from raynas.parts.penalties import ZeroOne
from raynas.parts.perturbations import Attack, UniformNoise
from raynas.parts.relaxations import Softmax
from raynas.parts.rules import AdamRule, Adaptive, Clamp, ClipNorm, KeepMass, Proximal
from raynas.parts.samplers import Gaussian, Gumbel, Mean
from raynas.parts.schedules import BoldDriver, Exponential, Linear, PhasedDropout, PowerCosine
from raynas.parts.stages.base import DropWeak, FixEarly
from raynas.parts.stages.deepen_widen import Deepen
from raynas.parts.stages.greedy import Greedy
from raynas.parts.stages.perturb_and_project import PerturbAndProject
from raynas.parts.stages.sparsify import Sparsify
from raynas.parts.stages.training_free import TrainingFree
from raynas.parts.stops import AnyOf, EigenvalueGrowth, RankStable, Regularise, SkipCount
from raynas.parts.stores import Generator, Table


def test_parts_may_hold_parts():
    rule = TypeAdapter(AdamRule).validate_python({"before": [ClipNorm(5)], "after": [Clamp(), KeepMass()]})
    assert rule == AdamRule(before=(ClipNorm(5),), after=(Clamp(), KeepMass()))
    assert TypeAdapter(AnyOf).validate_python({"rules": [SkipCount(), RankStable()]}).rules[1] == RankStable()
    stop = TypeAdapter(EigenvalueGrowth).validate_python({"then": Regularise()})
    assert stop.then == Regularise()
    for kind, settings in ((AnyOf, {"rules": ["skips"]}), (AdamRule, {"after": [3]})):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Softmax, {"temperature": 0}),
        (Gumbel, {"temperature": -1}),
        (Gumbel, {"samples": 0}),
        (Gumbel, {"execute": "one"}),
        (Gaussian, {"std": -1}),
        (Categorical, {"gradient": "magic"}),
        (Mean, {"execute": "nothing"}),
        (UniformNoise, {"epsilon": 1}),
        (Attack, {"steps": 0}),
        (Importance, {"samples": 1}),
        (Reinforce, {"samples": 1}),
        (Table, {"spread": -1}),
        (Generator, {"hidden": [0]}),
        (AdamRule, {"betas": [0.5, 1]}),
        (Proximal, {"strength": -1}),
        (Adaptive, {"alpha": 1}),
        (ClipNorm, {"largest": 0}),
        (ZeroOne, {"strength": -1}),
        (ZeroOne, {"power": 3}),
        (Cost, {"measure": "time"}),
        (Cost, {"reference": 0}),
        (Deepen, {"cells": [0, 1, 2]}),
        (TrainingFree, {"prunes": 0}),
        (Sparsify, {"strength": 0}),
        (Exponential, {"start": 1, "factor": 0}),
        (PhasedDropout, {"rates": [1.0]}),
        (PowerCosine, {"power": 0.5}),
        (BoldDriver, {"cut": 1}),
        (DropWeak, {"share": 1}),
        (PartialChannels, {"k": 0}),
        (DropPath, {"probability": 1}),
        (SkipDropout, {"rate": -0.1}),
        (FixEarly, {"margin": 0}),
        (Greedy, {"criterion": 3}),
        (PerturbAndProject, {"interval": 0}),
        (EigenvalueGrowth, {"factor": 1}),
        (Regularise, {"weight_decay": 1}),
        (SkipCount, {"most": 0}),
        (Linear, {"start": "high", "end": 0}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "-".join(value),
)
def test_nonsense_settings_are_refused(kind, settings):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(settings)
