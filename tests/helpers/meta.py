"""The meta device as a card that nobody may wait for.

Its tensors have shapes but no numbers, so whatever needs a number on the host (``.item()``, ``.cpu()``, a
branch on a value) raises, and so does a tensor left on another device. Random numbers and autocast, which
PyTorch has no meta form of, are let through.
"""

import contextlib

import pytest
import torch
import torch.utils.flop_counter  # these look for `torch.Generator` when they are imported
from torch import Tensor

REAL = torch.Generator
DRAWS = ("rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal")
FILLS = ("uniform_", "normal_", "exponential_", "bernoulli_", "random_")


class _Generator:
    """A generator of the meta device: it is asked, and nobody sees what it says."""

    def __init__(self):
        self.device = torch.device("meta")

    def manual_seed(self, seed):
        return self

    def get_state(self):
        return torch.zeros(8, dtype=torch.uint8)

    def set_state(self, state):
        pass


def _generator(device="cpu"):
    return _Generator() if torch.device(device).type == "meta" else REAL(device)


def _without(function):
    def call(*arguments, **more):
        if isinstance(more.get("generator"), _Generator):
            del more["generator"]
        return function(*arguments, **more)

    return call


@pytest.fixture
def meta(monkeypatch):
    """Let a search run on ``meta``, the name that is returned."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "Generator", _generator)
    for name in DRAWS:
        monkeypatch.setattr(torch, name, _without(getattr(torch, name)))
    for name in FILLS:
        monkeypatch.setattr(Tensor, name, _without(getattr(Tensor, name)))
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda device, *rest, **more: (
            contextlib.nullcontext() if device == "meta" else autocast(device, *rest, **more)
        ),
    )
    return "meta"
