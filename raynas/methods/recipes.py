"""The methods that come with raynas: each differs in a few parts from one that stands above it.

What a source leaves open follows DARTS: Adam (0.5, 0.999) on α, architecture rate 3e-4 and decay 1e-3.
"""

from raynas.methods.record import Method
from raynas.parts.cost import Cost, Resources
from raynas.parts.derivations import EveryEdge, Threshold
from raynas.parts.estimators import SecondOrder
from raynas.parts.greedy import Greedy
from raynas.parts.modifiers import AuxiliarySkip, CutoutChance, DropPath, EdgeNormalisation, PartialChannels
from raynas.parts.objectives import Importance, Natural
from raynas.parts.penalties import SampleDistance, ZeroOne
from raynas.parts.perturbations import Attack, UniformNoise
from raynas.parts.projection import PerturbAndProject
from raynas.parts.relaxations import DirichletMean, MaxWeight, ReluShare, Scales, Sigmoid, Softmax
from raynas.parts.rules import AdamRule, Adaptive, Clamp, ClipEach, ClipNorm, KeepMass, Proximal, SgdRule
from raynas.parts.samplers import Categorical, Dirichlet, Gaussian, Gumbel, Mean, Pair, Projection
from raynas.parts.schedules import Exponential, Linear, PowerCosine, TwoPhases
from raynas.parts.stages import DropWeak, DropZeros, FixEarly
from raynas.parts.stops import (
    AllDecided,
    AnyOf,
    Converged,
    EigenvalueGrowth,
    RankStable,
    Regularise,
    SkipCount,
)
from raynas.parts.stores import Generator, Table

DARTS = Method(
    "darts",
    "DARTS, first order: descend α on the validation loss at the current weights",
    "Liu, Simonyan, Yang 2019, eq. 2 and 3 with ξ = 0",
)
DARTS_2ND = DARTS.with_(
    "darts-2nd",
    "DARTS, second order: differentiate through one step of the weights, by finite differences",
    "Liu, Simonyan, Yang 2019, eq. 5 to 8, and its code",
    version=2,
    estimator=SecondOrder(),
)
DARTS_NOISE = DARTS.with_(
    "darts-noise",
    "DARTS with VIM-NAS' noise on the logits and its optimiser: the control of its ablation",
    "Wang et al. 2021, ablation; that it is bilevel and moves α by SGD is assumed",
    sampler=Gaussian(),
    updater=SgdRule(0.9),
    defaults={"arch_learning_rate": 0.025},
)
SDARTS_RS = DARTS.with_(
    "sdarts-rs",
    "SDARTS-RS: train the weights under uniform noise on the mixture",
    "Chen, Hsieh 2020, and its code",
    weight_sampler=UniformNoise(Linear(0.03, 0.3, reach=False)),
)
SDARTS_ADV = SDARTS_RS.with_(
    "sdarts-adv",
    "SDARTS-ADV: train the weights under the worst small change of the mixture",
    weight_sampler=Attack(Linear(0.03, 0.3, reach=False), steps=7),
)
GDAS_ST = DARTS.with_(
    "gdas-st",
    "GDAS with every operation computed: one operation an edge, the gradient of a Gumbel softmax",
    "Dong, Yang 2019; straight through all operations instead of the chosen ones. Cells of the DARTS space "
    "keep two inputs a node, where the authors' code keeps the two best pairs of input and operation, be "
    "they of one input",
    version=2,
    nesterov=True,
    sampler=Gumbel(Linear(10, 0.1), hard=True),
    order="weights-first",
    defaults={"epochs": 250, "weight_decay": 5e-4},
)
GDAS = GDAS_ST.with_(
    "gdas",
    "GDAS: one Gumbel-sampled operation an edge, the only one that is computed",
    "Dong, Yang 2019, and its code; α's gradient is no part of the norm at which the weights' is clipped. α "
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
    penalties=(Resources(1.5e-3),),
    updater=AdamRule(before=(ClipNorm(10),)),
    order="joint",
    modifiers=(DropPath(0.3),),
    derivation=EveryEdge(),
    defaults={"epochs": 150},
)
DSNAS = DARTS.with_(
    "dsnas",
    "DSNAS: sample one operation an edge; α learns from each edge's own credit, together with the weights",
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
    "Chen et al. 2021, and its code: `none` is no candidate in the DARTS space, and one in NAS-Bench-201's",
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
    "ProxylessNAS: two sampled operations an edge compete, one of them is switched on",
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
R_DARTS_L2 = DARTS_2ND.with_(
    "r-darts-l2",
    "R-DARTS (L2): more weight decay keeps the curvature in α low; 3e-4·3^k is the published grid",
    "Zela et al. 2020, section 5, and its code, whose grid has no cutout",
    defaults={"weight_decay": 2.7e-3, "hessian.every": 2},
)
R_DARTS_DP = DARTS_2ND.with_(
    "r-darts-dp",
    "R-DARTS (DP): drop paths and cut squares out of images, with chances that grow over the search",
    "Zela et al. 2020, section 5, and its code; its squares have 16 of 32 pixels (`data.cutout: 16`)",
    modifiers=(DropPath(Linear(0.0, 0.2)), CutoutChance()),
    defaults={"hessian.every": 2},
)
R_DARTS_ES = DARTS_2ND.with_(
    "r-darts-es",
    "R-DARTS-ES: stop when the largest eigenvalue grows, with the cell from before it did",
    "Zela et al. 2020, section 4, and its code",
    stop=EigenvalueGrowth(),
    defaults={"hessian.every": 2},
)
R_DARTS_ADA = R_DARTS_ES.with_(
    "r-darts-ada",
    "R-DARTS-ADA: when the largest eigenvalue grows, go back and on with ten times the weight decay",
    "Zela et al. 2020, section 5, and its code",
    stop=EigenvalueGrowth(then=Regularise()),
)
DARTS_PLUS = DARTS.with_(
    "darts-plus",
    "DARTS+: stop at two skip connections, or when no order of operations has changed for 10 epochs",
    "Liang et al. 2019; that skips count from epoch 10 on is assumed, as the first epochs' cells are noise",
    stop=AnyOf((SkipCount(2), RankStable(10))),
)
DARTS_MINUS = DARTS.with_(
    "darts-minus",
    "DARTS-: one more skip on every edge, which fades, so that the searched one need not help training",
    "Chu et al. 2021, and its code",
    modifiers=(AuxiliarySkip(),),
)
FAIR_DARTS = DARTS.with_(
    "fair-darts",
    "FairDARTS: operations do not compete, and are pushed to be on or off",
    "Chu et al. 2020, and its code, in which a node with no operation from 0.85 on leaves the cell: here it "
    "keeps its best edge, counted as nodes_below in each epoch's report",
    version=2,
    store=Table(spread=0),
    without=("none",),
    relaxation=Sigmoid(),
    penalties=(ZeroOne(10),),
    updater=AdamRule((0.9, 0.999)),
    derivation=Threshold(0.85),
    defaults={"batch": 128, "learning_rate": 0.005, "arch_learning_rate": 3e-3},
)
SHARP_DARTS = DARTS.with_(
    "sharp-darts",
    "sharpDARTS: the leading operation has weight 1, and the rate falls by a power of the cosine",
    "Hundt, Jain, Hager 2019, and its code; its operations belong to the space",
    relaxation=MaxWeight(),
    version=2,
    annealing=PowerCosine(2, warmup=5 / 120),
    defaults={"epochs": 120, "learning_rate_min": 1e-4},
)
PC_DARTS = DARTS.with_(
    "pc-darts",
    "PC-DARTS: operations see a quarter of the channels, edges are weighed by a softmax of their own",
    "Xu et al. 2020, and its code",
    modifiers=(PartialChannels(4), EdgeNormalisation()),
    defaults={
        "batch": 256,
        "learning_rate": 0.1,
        "learning_rate_min": 0.0,
        "arch_learning_rate": 6e-4,
        "warmup": 0.3,
    },
)
DATA = DARTS.with_(
    "data",
    "DATA: two sampled operations an edge share its weight, in proportion to what is positive in α",
    "Chang et al. 2019, and its code, whose temperature stays at 1 (its schedule from 5 is never told the "
    "epoch). A cell derived here has one operation an edge; there it may have several, chosen node by node, "
    "which is the method's point: 2 a node in its code, 4 and 7 in its tables. So the gap between supernet "
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
    "ASNG-NAS: natural gradient steps on the probabilities, two sampled architectures a step",
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
DARTS_PT = DARTS.with_(
    "darts-pt",
    "DARTS-PT: after the search, decide each edge by what the supernet loses without an operation",
    "Wang et al. 2021 (Rethinking architecture selection), and its code, whose DARTS space has no `none`",
    stages=PerturbAndProject(interval=5),
)
DARTS_PT_FIXED = DARTS_PT.with_(
    "darts-pt-fixed",
    "DARTS-PT with α that is never trained",
    estimator=None,
)

ALL: tuple[Method, ...] = (
    DARTS,
    DARTS_2ND,
    DARTS_NOISE,
    SDARTS_RS,
    SDARTS_ADV,
    SNAS,
    GDAS,
    GDAS_ST,
    DSNAS,
    PARSEC,
    DRNAS,
    VIM_NAS,
    VIM_NAS_P,
    VIM_NAS_S,
    VIM_NAS_L,
    VIM_NAS_D,
    PROXYLESS,
    R_DARTS_L2,
    R_DARTS_DP,
    R_DARTS_ES,
    R_DARTS_ADA,
    DARTS_PLUS,
    DARTS_MINUS,
    FAIR_DARTS,
    SHARP_DARTS,
    PC_DARTS,
    DATA,
    ASNG_NAS,
    NASP,
    DSO_NAS,
    ASAP,
    SGAS,
    DARTS_PT,
    DARTS_PT_FIXED,
)
