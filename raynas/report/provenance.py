"""Where a sweep's numbers come from: command, versions, device, data; and the sweep as a file again."""

import json
from typing import Any

import yaml

from raynas.data.catalogue import is_text
from raynas.report.facts import Facts
from raynas.sweep.plan import Sweep


def provenance(facts: Facts) -> dict[str, str]:
    """Return where the numbers come from, as label and text; what was not recorded is left out."""
    sweep, starts = facts.sweep, [record.start for record in facts.records if record.start]
    versions = _distinct(_pairs({**sweep.versions, **start.get("versions", {})}) for start in starts)
    data = [start.get("data") or {} for start in starts]
    things = "tokens" if any(is_text(record.config.data.name) for record in facts.records) else "images"
    halves = (
        f"{part['train']} train, {part['valid']} validation {things}"
        + (f", {part['select']} to choose by" if part.get("select") else "")
        for part in data
        if "train" in part
    )
    classes = _distinct(str(part.get("classes", "")) for part in data)
    found = {
        "begun with": sweep.command,
        "created": sweep.created,
        "versions": versions or _pairs(sweep.versions),
        "device": _distinct(str(start.get("device", "")) for start in starts),
        "host": _distinct(str(start.get("host", "")) for start in starts),
        "CPU threads per trial": _distinct(str(start.get("threads", "")) for start in starts),
        "git": _git(sweep.git),
        "data": _distinct(record.config.data.name for record in facts.records),
        "words in the vocabulary" if things == "tokens" else "classes": classes,
        "class names": _distinct(", ".join(map(str, part.get("class_names", ()))) for part in data),
        "data hash": _distinct(str(part.get("hash", "")) for part in data),
        "split": _distinct(halves),
        "split seed": _distinct(str(record.config.data.split_seed) for record in facts.records),
    }
    return {label: text for label, text in found.items() if text}


def resolved_yaml(sweep: Sweep[Any]) -> str:
    """Return the resolved sweep as a YAML file that `raynas sweep` takes."""
    plain = json.loads(json.dumps(sweep.resolved, default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def _distinct(texts: Any) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _pairs(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _git(git: dict[str, Any] | None) -> str:
    if not git:
        return ""
    return f"{git.get('commit', '')}{' with uncommitted changes' if git.get('dirty') else ''}".strip()
