"""What every test shares: one CPU thread, deterministic kernels, small searches on embedded data."""

import signal

import pytest
import torch

from raynas.config import SearchConfig
from raynas.data.load import load_data
from raynas.data.split import split
from raynas.spaces.library import load_space


def pytest_configure():
    """Obey Ctrl-C: what a shell starts in the background ignores it, and so would all that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Keep what starts a cluster or a server in one process per file, beside the rest; all of it is slow.

    Drills come last.
    """
    for item in items:
        if kind := next((kind for kind in ("ray", "server") if kind in item.keywords), None):
            tier = "drill" if "drill" in item.keywords else "test"
            item.add_marker(pytest.mark.xdist_group(f"{kind} {tier} {item.path.stem}"))
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: "drill" in item.keywords)


@pytest.fixture(autouse=True)
def _ctrl_c():
    """Take back what an interrupted verb does in this process: it lets no second Ctrl-C in, and so would
    every process that a later test starts."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@pytest.fixture
def make_search_config():
    """Return a factory of tiny searches: about a second an epoch."""

    def make(**changes):
        data = {"name": "digits", "limit": 160, **changes.pop("data", {})}
        defaults = {"space": "tiny", "epochs": 3, "batch": 32, "channels": 4, "cells": 3, "seed": 0}
        return SearchConfig(**{**defaults, **changes, "data": data})

    return make


@pytest.fixture
def build():
    """Return a function that gives a configuration's space and split data."""

    def make(config):
        return load_space(config.space), split(load_data(config.data), config.data)

    return make
