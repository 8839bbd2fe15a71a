"""Methods that draw what a step computes or weighs: operations, weights of a mixture, or noise on logits."""

from raynas.methods.recipes.mixtures import DARTS
from raynas.parts.cell_samplers import Categorical, Pair, Projection
from raynas.parts.cost import Cost, ResourceCost
from raynas.parts.derivations import EveryEdge
from raynas.parts.modifiers import DropPath
from raynas.parts.objectives import Importance, Natural
from raynas.parts.penalties import SampleDistance
from raynas.parts.relaxations import DirichletMean, ReluShare, Scales
from raynas.parts.rules import AdamRule, Adaptive, Clamp, ClipNorm, KeepMass, SgdRule
from raynas.parts.samplers import Dirichlet, Gaussian, Gumbel, Mean
from raynas.parts.schedules import Linear, TwoPhases
from raynas.parts.stages.base import FixEarly
from raynas.parts.stages.sample_and_rank import RankInRounds
from raynas.parts.stops import Converged
from raynas.parts.stores import Generator, Table
from raynas.parts.uniform_paths import UniformPaths

GDAS_ST = DARTS.with_(
    "gdas-st",
    "GDAS with every operation computed: one operation per edge, the gradient of a Gumbel softmax",
    "Dong, Yang 2019; straight through all operations instead of the chosen ones. Cells of the DARTS space "
    "keep two inputs per node, where the authors' code keeps the two best pairs of input and operation, be "
    "they of one input",
    version=2,
    nesterov=True,
    sampler=Gumbel(Linear(10, 0.1), hard=True),
    order="weights-first",
    defaults={"epochs": 250, "weight_decay": 5e-4},
)

GDAS = GDAS_ST.with_(
    "gdas",
    "GDAS: one Gumbel-sampled operation per edge, the only one that is computed",
    "Dong, Yang 2019, and its code; α's gradient is not part of the norm at which the weights' is clipped. α "
    "learns as in the code for NAS-Bench-201: that for the DARTS space drops the weights of what was not "
    "chosen. Cells of the DARTS space keep two inputs per node, where that code keeps the two best pairs of "
    "input and operation, be they of one input",
    sampler=Gumbel(Linear(10, 0.1), hard=True, execute="chosen"),
)

SNAS = DARTS.with_(
    "snas",
    "SNAS: a Gumbel softmax that cools down, α and weights together on the training loss",
    "Xie et al. 2019, and its code: the last temperature is 0.03, resources cost 1.5e-3 of the logarithms of "
    "every edge. α moves by Adam, as in the paper and where the code runs on several GPUs; on one it takes "
    "plain SGD. The temperature is one epoch behind the code's",
    version=2,
    store=Table(mean=1.0, spread=0.01),
    sampler=Gumbel(Linear(1, 0.03)),
    penalties=(ResourceCost(1.5e-3),),
    updater=AdamRule(before=(ClipNorm(10),)),
    order="joint",
    modifiers=(DropPath(0.3),),
    derivation=EveryEdge(),
    defaults={"epochs": 150},
)

DSNAS = DARTS.with_(
    "dsnas",
    "DSNAS: sample one operation per edge; α learns from each edge's own credit, together with the weights",
    "Hu et al. 2020, and its code: 1e-6 for each million multiply-adds of what was drawn, at its "
    "probability, where it takes 290 million or more. Its own space is a chain of ShuffleNet blocks for "
    "ImageNet, whose weights learn at 0.5 in batches of 1,024; here rates are DARTS'",
    version=2,
    sampler=Categorical("score"),
    order="joint",
    penalties=(Cost(2.9e-4, reference=290e6, above=True, drawn=True),),
    stages=FixEarly(0.3),
    derivation=EveryEdge(),
    defaults={"epochs": 240, "arch_learning_rate": 1e-3, "arch_weight_decay": 0.0},
)

PARSEC = DARTS.with_(
    "parsec",
    "PARSEC: weigh 16 sampled architectures by their likelihood",
    "Casale, Gordon, Fusi 2019; rates and epochs are DARTS', as none were found. Only operations are sampled "
    "here, and a cell may keep all its edges; by a summary of the paper it samples each node's two inputs as "
    "well, as α does in enas-micro",
    version=2,
    store=Table(spread=0),
    sampler=Categorical("none"),
    objective=Importance(16),
    derivation=EveryEdge(),
)

DRNAS = DARTS.with_(
    "drnas",
    "DrNAS: the mixture is a Dirichlet draw, its concentrations are learned",
    "Chen et al. 2021, and its code: `none` is not a candidate in the DARTS space, but one in that of "
    "NAS-Bench-201",
    version=2,
    without=("none",),
    relaxation=DirichletMean(),
    sampler=Dirichlet(),
    defaults={
        "learning_rate": 0.1,
        "learning_rate_min": 0.0,
        "arch_learning_rate": 6e-4,
        "warmup": 0.2,
    },
    on={
        "residual": {
            "without": (),
            "defaults": {
                "epochs": 100,
                "learning_rate": 0.025,
                "learning_rate_min": 0.001,
                "arch_learning_rate": 3e-4,
                "warmup": 0,
            },
        },
        "darts-imagenet": {
            "defaults": {
                "batch": 512,
                "learning_rate": 0.5,
                "arch_learning_rate": 6e-3,
                "channels": 48,
                "cells": 14,
            }
        },
    },
)

VIM_NAS = DARTS.with_(
    "vim-nas",
    "VIM-NAS: a small network generates α from fixed noise and is trained with the weights",
    "Wang et al. 2021; optimiser, stop and derivation are not published and assumed, and so is that the "
    "generator ends in a convolution: with the ReLU of its last block many edges never choose",
    version=2,
    store=Generator(),
    sampler=Gaussian(),
    order="joint",
    updater=SgdRule(0.9),
    stop=Converged(),
    defaults={"arch_learning_rate": 0.025, "arch_weight_decay": 3e-4},
)

VIM_NAS_P = VIM_NAS.with_("vim-nas-p", "VIM-NAS, ablation P: a point estimate, no noise", sampler=Mean())

VIM_NAS_S = VIM_NAS.with_(
    "vim-nas-s", "VIM-NAS, ablation S: a generator of one block", store=Generator(hidden=())
)

VIM_NAS_L = VIM_NAS.with_(
    "vim-nas-l", "VIM-NAS, ablation L: a generator of five blocks", store=Generator(hidden=(14, 14, 14, 14))
)

VIM_NAS_D = VIM_NAS.with_(
    "vim-nas-d",
    "VIM-NAS, ablation D: noise in proportion to the logits, its variance learned",
    sampler=Gaussian(learned=True),
)

PROXYLESS = DARTS.with_(
    "proxyless",
    "ProxylessNAS: two sampled operations per edge compete, one of them is switched on",
    "Cai, Zhu, Han 2019, section 3.2.1, and its code in mode two (its default, full_v2, runs all paths). Not "
    "taken over: label smoothing of 0.1 in weight steps; that α rests for one more epoch after the warm-up; "
    "one path, not each of the ten, in the weight steps of its REINFORCE",
    version=2,
    sampler=Pair(),
    weight_sampler=Categorical("none"),
    penalties=(Cost(0.3, "multiply"),),
    updater=AdamRule((0.0, 0.999), after=(KeepMass(),)),
    order="weights-first",
    every=5,
    nesterov=True,
    annealing=TwoPhases(2.0),
    derivation=EveryEdge(),
    defaults={
        "epochs": 160,
        "warmup": 0.25,
        "batch": 256,
        "learning_rate_min": 0.0,
        "weight_decay": 4e-5,
        "arch_learning_rate": 1e-3,
        "arch_weight_decay": 0.0,
    },
)

DATA = DARTS.with_(
    "data",
    "DATA: two sampled operations per edge share its weight, in proportion to what is positive in α",
    "Chang et al. 2019, and its code, whose temperature stays at 1 (its schedule from 5 is never told the "
    "epoch). A cell derived here has one operation per edge; there it may have several, chosen node by node, "
    "which is the method's point: 2 per node in its code, 4 and 7 in its tables. So the gap between supernet "
    "and cell is larger here",
    version=2,
    store=Table(mean=1.0),
    relaxation=ReluShare(),
    sampler=Gumbel(hard=True, samples=2),
    penalties=(SampleDistance(0.1),),
    defaults={"epochs": 100, "arch_weight_decay": 0.0},
)

ASNG_NAS = DARTS.with_(
    "asng-nas",
    "ASNG-NAS: natural gradient steps on the probabilities, two sampled architectures per step",
    "Akimoto et al. 2019, and its code (its cutout is left to the data). Only operations are sampled here; "
    "the code samples each node's two inputs too, in ENAS' space (enas-micro)",
    version=2,
    store=Table(start_from="uniform"),
    relaxation=Scales(),
    sampler=Categorical("none"),
    objective=Natural(2),
    updater=Adaptive(),
    order="weights-first",
    derivation=EveryEdge(),
    defaults={"epochs": 100, "learning_rate_min": 0.0, "arch_weight_decay": 0.0},
)

NASP = DARTS.with_(
    "nasp",
    "NASP: α stays continuous in a box, the supernet always is its projection to single operations",
    "Yao et al. 2020, and its code; `none` is never considered, as in its spaces",
    store=Table(mean=0.5, spread=0),
    without=("none",),
    relaxation=Scales(),
    sampler=Projection(),
    weight_sampler=Projection(execute="chosen"),
    updater=AdamRule(after=(Clamp(0, 1),)),
)

RSPS = DARTS.with_(
    "rsps",
    "RSPS: random search with shared weights: uniform paths train them, then random cells are ranked",
    "Li, Talwalkar 2019, and its code (liamcli/randomNAS_release 6513a0a), which draws `none` too while the "
    "weights train. Not taken over: its batches roll on from cell to cell, so that part of its ranking is "
    "that of the batches (here all cells of a round see the same ones); running statistics, which were "
    "gathered over other cells (here each batch's own); that its ranking knows `none`, which no cell of the "
    "DARTS space may have. Until the ranking, in the last epoch, the derived cell means nothing",
    store=Table(spread=0.0),
    sampler=UniformPaths(),
    estimator=None,
    stages=RankInRounds(),
    defaults={"epochs": 100, "clip": 0.25},
)
