"""Names of trials: the method, what varies, the seed; short, readable, safe in paths and URLs, unique."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

ABBREVIATIONS = {
    "arch_learning_rate": "alr",
    "arch_weight_decay": "awd",
    "batch": "b",
    "cells": "n",
    "channels": "c",
    "data": "",
    "data.name": "",
    "epochs": "e",
    "learning_rate": "lr",
    "space": "",
    "weight_decay": "wd",
}
"""How a key is written in a trial's id; any other key is written as its last dotted part."""

_LONGEST = 120
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def method_label(method: str | Mapping[str, Any]) -> str:
    """Return a method's name, or for a mapping its base with its ``name`` (or a short hash)."""
    if isinstance(method, str):
        return _safe(method)
    base, name = str(method["base"]), method.get("name")
    if name is None:
        return _safe(f"{base}-{short_hash(method)}")
    return _safe(name if str(name).startswith(base) else f"{base}-{name}")


def axis_label(key: str, value: object) -> str:
    """Return an axis' value as it stands in an id: ``wd0.0003`` for ``weight_decay`` 0.0003."""
    if key == "method" and isinstance(value, str | Mapping):
        return method_label(value)
    prefix = ABBREVIATIONS.get(key, key.rpartition(".")[2])
    if isinstance(value, float):
        text = f"{value:.6g}".replace("+", "")
    elif key == "space":
        text = PurePath(str(value)).name.removesuffix(".yaml").removesuffix(".yml")
    elif isinstance(value, Mapping):
        name = value.get("name") if key == "data" else None
        text = str(name) if name is not None else short_hash(value)
    else:
        text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return _safe(prefix + text)


def group_labels(groups: Sequence[tuple[Mapping[str, Any], Mapping[str, object]]]) -> list[str]:
    """Name groups of trials that differ only by their seed: one (configuration, axes) each, all different.

    Labels are ``<method>-<axis><value>…``; different configurations (the seed apart) that would get the
    same label get a hash of their own.
    """
    labels = []
    for config, axes in groups:
        parts = [axis_label(key, value) for key, value in axes.items() if key not in ("method", "seed")]
        labels.append("-".join([method_label(config["method"]), *parts]))
    hashes = [short_hash({key: config[key] for key in config if key != "seed"}) for config, _ in groups]
    clashes = Counter(label for label, _ in set(zip(labels, hashes, strict=True)))
    return [
        f"{label[:_LONGEST]}-{digest}" if clashes[label] > 1 or len(label) > _LONGEST else label
        for label, digest in zip(labels, hashes, strict=True)
    ]


def trial_id(group: str, seed: int) -> str:
    """Return the id of one seed of a group."""
    return f"{group}-s{seed}"


def short_hash(value: object) -> str:
    """Return 8 hex digits that depend on the value alone, not on the order of its keys."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _safe(text: object) -> str:
    return _UNSAFE.sub("-", str(text)).strip("-.") or "x"
