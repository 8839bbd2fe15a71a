"""Policies of a few lanes without a supernet, for tests of the parts that live in them."""

import torch

from raynas.bilevel.policy import Policy
from raynas.parts.relaxations import Softmax
from raynas.parts.samplers import Mean
from raynas.parts.stores import Table
from raynas.spaces.library import load_space
from raynas.spaces.space_file import SpaceFile


def make_policy(space="tiny", lanes=2, seed=0, **parts):
    """Return a policy in float64; every lane has generators of its own."""
    parts = {"store": Table(), "relaxation": Softmax(), "sampler": Mean(), **parts}
    return Policy(
        load_space(space) if isinstance(space, str) else space,
        generators=[torch.Generator().manual_seed(seed + lane) for lane in range(lanes)],
        dice=[torch.Generator().manual_seed(100 + seed + lane) for lane in range(lanes)],
        like=torch.zeros((), dtype=torch.float64),
        **parts,
    )


def small_space(ops=("skip_connect", "sep_conv_3x3", "max_pool_3x3"), nodes=1, edges=None, **more):
    """Return a space with the same operations on every edge of both cells, or with the given edges."""
    cell = {"edges": edges} if edges else {"ops": list(ops)}
    data = {"name": "small", "title": "small", "nodes": nodes, "cells": {"normal": cell, "reduce": cell}}
    return SpaceFile.model_validate({**data, **more}).resolve()


def randomly(policy, scale=1.0, seed=5):
    """Give a policy's α other numbers, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(policy.alphas.shape, generator=generator, dtype=policy.alphas.dtype)
    policy.alphas = scale * drawn
    return policy
