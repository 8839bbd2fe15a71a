"""The fingerprints of all methods as they were last looked at, and writing them anew.

After a method or part was changed on purpose, and its version raised:
``python tests/helpers/fingerprints.py``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from raynas.methods import method_names, resolve
from raynas.methods.identity import changes, record_of

KEPT = Path(__file__).parents[1] / "data" / "methods.json"


def kept() -> dict[str, Any]:
    """Return each method's fingerprint and record as they were written last."""
    return dict(json.loads(KEPT.read_text(encoding="utf-8")))


def present() -> dict[str, Any]:
    """Return each method's fingerprint and record as they are."""
    methods = {name: resolve(name) for name in method_names()}
    return {
        name: {"fingerprint": method.fingerprint, "record": record_of(method)}
        for name, method in methods.items()
    }


def unraised() -> list[str]:
    """Return what has changed in which method although no version of it was raised."""
    return [
        f"{name}: {'; '.join(found)}"
        for name, then in kept().items()
        if name in method_names()
        and (found := changes(then["record"], resolve(name)))
        and not any(": version " in each for each in found)
    ]


def main() -> int:
    """Write all fingerprints, unless a change was not declared."""
    if KEPT.exists() and (found := unraised()):
        print("raise `version` of the part or method, or restore it:", *found, sep="\n  ")
        return 1
    lines = [f"{json.dumps(name)}: {json.dumps(each, sort_keys=True)}" for name, each in present().items()]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
