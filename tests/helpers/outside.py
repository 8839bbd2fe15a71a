"""A distribution of somebody else that brings one of everything, installed into a folder."""

from pathlib import Path

CODE = '''
"""Somebody's additions; nothing here imports torch."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from raynas.bilevel.slots import Penalty, Relaxation
from raynas.methods.recipes.mixtures import DARTS
from raynas.spaces.operations import Family, Operation
from raynas.spaces.skeletons.residual import Residual
from raynas.track import Tracker
from raynas.track.content import metrics, params, tags


@dataclass(frozen=True)
class Flat(Penalty):
    """Pull all logits to 0."""

    strength: float = 0.5

    def __call__(self, losses, policy, flat, draw, costs=None):
        return losses + self.strength * flat.square().sum(1)


@dataclass(frozen=True)
class Twice(Relaxation):
    """The softmax of twice the logits."""

    shift_free: ClassVar[bool] = True
    sums_to_one: ClassVar[bool] = True

    def __call__(self, logits, mask):
        from raynas.parts.relaxations import masked_softmax

        return masked_softmax(2 * logits, mask)


@dataclass(frozen=True)
class Picky(Twice):
    """The same, but not with noise and not on tiny."""

    def misfits(self, method, space, values):
        if method.sampler.random:
            yield "picky wants no chance"
        if space is not None and space.name == "tiny":
            yield "picky wants a larger space"


flat_darts = DARTS.with_("flat-darts", "DARTS whose logits are pulled to 0", "nowhere", penalties=(Flat(),))

CONV_9X9 = Operation("nor_conv_9x9", "convolution", "conv 9×9", "9×9 convolution", 9)
THRESHOLD = Family(
    "threshold", colour="#123456", fused="outside_torch:Threshold", plain="outside_torch:plain"
)
RAMP = Operation("ramp", "threshold", "ramp", "max(x, 0), as an operation")


class Body(Residual):
    """NAS-Bench-201's cell under a kind of its own, in one stage."""

    name = "body"
    notation = "nobody’s"
    kinds = ("body",)
    table_key = benchmark = ""

    def to_text(self, genotype):
        return "; ".join(f"{c.op} {c.source}->{c.target}" for c in genotype.cell("body"))

    def canonical(self, genotype):
        return self.to_text(genotype)

    def reads(self, text):
        return False

    def spans(self, text):
        return iter(())

    def stack(self, side, nodes, cells, channels, genotype):
        from raynas.spaces.skeletons.plan import CellPlan, Plan

        layers = [CellPlan("body", channels, (channels,))] * cells
        return Plan("small", channels, tuple(layers), channels, channels, "norm")


def stripes(count=64):
    images = np.arange(count * 64, dtype=np.uint8).reshape(count, 8, 8)
    return images, np.arange(count) % 2


class Lines(Tracker):
    """A line for each epoch, of what MLflow would get to see."""

    def __init__(self, folder, setting):
        self.folder, self.path, self.known = folder, folder.path / setting, {}

    def on_trial(self, record):
        for report in record.reports[self.known.get(record.id, 0):]:
            with self.path.open("a") as file:
                file.write(json.dumps([params(record), tags(record, "mine"), metrics(report)]) + "\\n")
        self.known[record.id] = len(record.reports)

    def on_end(self, folder):
        self.message = "lines were written"
'''

TORCH = """
import torch

from raynas.nets.ops.fused import Shared
from raynas.nets.ops.paths import pick


class Threshold(Shared):
    def once(self, source, path):
        return pick(source.relu.x, self.lanes, path.maps)[:, :, :: self.stride, :: self.stride]


class Thin(torch.nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return torch.relu(x)[:, :, :: self.stride, :: self.stride]


def plain(operation, channels, stride, affine):
    return Thin(stride)
"""

POINTS = {
    "raynas.methods": "flat-darts = outside:flat_darts",
    "raynas.parts": "penalties.flat = outside:Flat\nrelaxation.twice = outside:Twice\n"
    "relaxation.picky = outside:Picky",
    "raynas.operations": "nor_conv_9x9 = outside:CONV_9X9\nramp = outside:RAMP",
    "raynas.families": "threshold = outside:THRESHOLD",
    "raynas.skeletons": "body = outside:Body",
    "raynas.data": "stripes = outside:stripes",
    "raynas.trackers": "lines = outside:Lines",
}

SPACE = """\
name: bodies
title: a space of somebody's skeleton and operations
skeleton: body
nodes: 2
keep: all
default_cells: 1
cells: {body: {ops: [none, skip_connect, nor_conv_3x3, nor_conv_9x9, ramp]}}
"""

TRIALS = """\
name: mine
space: bodies.yaml
epochs: 1
channels: 2
cells: 1
batch: 16
data: stripes
hessian: {every: 0}
track: {mlflow: null, lines: lines.jsonl}
grid:
  method: [flat-darts, {base: darts, penalties: [{use: flat, strength: 2}]}]
"""


def install(folder: Path, points: dict[str, str] = POINTS) -> Path:
    """Install the distribution, with some of its entry points, and write its space and trial file."""
    (folder / "outside.py").write_text(CODE)
    (folder / "outside_torch.py").write_text(TORCH)
    (folder / "bodies.yaml").write_text(SPACE)
    (folder / "mine.yaml").write_text(TRIALS)
    info = folder / "outside-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{line}\n" for group, line in points.items()))
    return folder
