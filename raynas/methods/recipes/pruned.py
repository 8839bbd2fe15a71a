"""Methods that take operations away while they search, or rebuild the supernet between stages."""

from raynas.methods.recipes.mixtures import DARTS
from raynas.methods.recipes.sampled import DRNAS
from raynas.parts.derivations import FewSkips, Threshold
from raynas.parts.modifiers import DropPath, SkipDropout
from raynas.parts.relaxations import Scales, Softmax
from raynas.parts.rules import AdamRule, Clamp, ClipEach, ClipNorm, Proximal, SgdRule
from raynas.parts.schedules import Cosine, Exponential, Linear, PhasedDropout, TwoPhases
from raynas.parts.stages.base import DropWeak, DropZeros
from raynas.parts.stages.deepen_widen import Deepen, Widen
from raynas.parts.stages.greedy import Greedy
from raynas.parts.stages.sparsify import Relevance, Sparsify
from raynas.parts.stages.training_free import TrainingFree
from raynas.parts.stops import AllDecided
from raynas.parts.stores import Table

DSO_NAS = DARTS.with_(
    "dso-nas",
    "DSO-NAS: learned scales with a sparse penalty; every five epochs what has reached 0 is gone for good",
    "Zhang et al. 2020, and its code, with the pre-training of weights it recommends as warm-up; its own "
    "space is dso-nas. There the reductions' convolutions have scales too, and gradients of the weights are "
    "cut number by number at 2 instead of clipped by their norm",
    version=2,
    store=Table(mean=1, spread=0),
    without=("none",),
    relaxation=Scales(),
    updater=Proximal(0.001, 0.9, (ClipEach(2.0),)),
    order="weights-first",
    nesterov=True,
    annealing=TwoPhases(0.5, falls=False),
    stages=DropZeros(5),
    derivation=Threshold(0.0, most=None),
    defaults={
        "epochs": 240,
        "warmup": 0.5,
        "batch": 128,
        "learning_rate": 0.1,
        "weight_decay": 1e-4,
        "arch_learning_rate": 0.1,
        "arch_weight_decay": 0.0,
    },
)

ASAP = DARTS.with_(
    "asap",
    "ASAP: the softmax cools down, and operations whose weight falls below a threshold go for good",
    "Noy et al. 2020; drop path as in a re-implementation (uninas), no code of its authors was found. Its "
    "curve is that of 50 epochs, stretched to those of the search, so that α is trained from where the "
    "temperature falls below 1 (a fifth of the epochs)",
    version=2,
    relaxation=Softmax(Exponential(1.6, 0.95, over=50)),
    stages=DropWeak(0.4),
    stop=AllDecided(),
    modifiers=(DropPath(Linear(0.0, 0.2, reach=False)),),
    defaults={"warmup": 0.2},
)

SGAS = DARTS.with_(
    "sgas",
    "SGAS: decide one edge after the other, the most important and most certain first",
    "Li et al. 2020, criterion 1, and its code, whose batch grows by 8 with each decision and whose weights "
    "train on for five epochs after the last",
    stages=Greedy(criterion=1),
    stop=AllDecided(),
)

P_DARTS = DARTS.with_(
    "p-darts",
    "P-DARTS: three stages, each deeper and with fewer operations; dropout keeps skips from winning",
    "Chen et al. 2019, and its code; its skip dropout and its two skips at most are the paper's",
    version=2,
    updater=AdamRule(before=(ClipNorm(5),)),
    modifiers=(SkipDropout(PhasedDropout()),),
    annealing=Cosine("stage"),
    stages=Deepen(),
    derivation=FewSkips(2),
    defaults={
        "epochs": 75,
        "batch": 96,
        "learning_rate_min": 0.0,
        "arch_learning_rate": 6e-4,
        "warmup": 0.134,
        "cells": 17,
    },
    on={
        "residual": {"defaults": {"cells": 5}},
        "tiny": {"defaults": {"cells": 3}},
    },
)

DRNAS_PROGRESSIVE = DRNAS.with_(
    "drnas-progressive",
    "DrNAS in two stages: first a sixth of the channels, then a quarter of them and four operations per edge",
    stages=Widen(),
    defaults={"channels": 36, "cells": 20},
    on={
        "residual": {
            **DRNAS.on["residual"],
            "stages": Widen((4, 2), (5, 3)),
            "defaults": {**DRNAS.on["residual"]["defaults"], "channels": 16, "cells": 5, "warmup": 0.1},
        },
        "darts-imagenet": {**DRNAS.on["darts-imagenet"], "stages": Widen((6, 3), (7, 4))},
    },
)

BAYES_NAS = DARTS.with_(
    "bayes-nas",
    "BayesNAS: an operation or edge whose scale stays small although its prior is wide is irrelevant",
    "Zhou et al. 2019, and its code; that scales are not negative and die below a least variance is assumed. "
    "Zeros have no scale, as in the code's spaces. There edges have scales of their own, and two epochs "
    "(1 + 1, batches of 18) are all: variances are learned once, here before every epoch after the warm-up",
    version=2,
    without=("none", "zero"),
    store=Table(mean=1.0, spread=0.0),
    relaxation=Scales(),
    penalties=(Relevance(),),
    updater=SgdRule(0.9, after=(Clamp(0.0, None),)),
    order="joint",
    stages=Sparsify(),
    defaults={
        "learning_rate": 0.1,
        "weight_decay": 1e-4,
        "arch_learning_rate": 0.1,
        "arch_weight_decay": 0.0,
        "warmup": 0.5,
    },
)

TE_NAS = DARTS.with_(
    "te-nas",
    "TE-NAS: nothing is trained; what is missed least by kernel and linear regions is pruned, round by round",
    "Chen, Gong, Wang 2021, and its code; here all candidates of a round are measured on the same draws",
    version=2,
    store=Table(spread=0.0),
    estimator=None,
    stages=TrainingFree(3),
    defaults={"hessian.every": 0},
    on={"residual": {"stages": TrainingFree(1, images=72)}},
)
