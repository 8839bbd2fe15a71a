"""Methods that train the mixture of all operations: DARTS and what changes its steps, its net or its end."""

from raynas.methods.record import Method
from raynas.parts.derivations import Threshold
from raynas.parts.estimators import SecondOrder
from raynas.parts.modifiers import AuxiliarySkip, CutoutChance, DropPath, EdgeNormalisation, PartialChannels
from raynas.parts.penalties import ZeroOne
from raynas.parts.perturbations import Attack, UniformNoise
from raynas.parts.relaxations import MaxWeight, Sigmoid
from raynas.parts.rules import AdamRule, SgdRule
from raynas.parts.samplers import Gaussian
from raynas.parts.schedules import Linear, PowerCosine
from raynas.parts.stages.perturb_and_project import PerturbAndProject
from raynas.parts.stops import AnyOf, EigenvalueGrowth, RankStable, Regularise, SkipCount
from raynas.parts.stores import Table

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
