"""What a GPU makes of raynas, in one command: correct, fast, shared, and at the size of a paper.

    python -m benchmarks.gpu                      on a machine with a card, at most 8 minutes
    python -m benchmarks.gpu --device cpu         the rehearsal: the same code at sizes for two cores

It needs a checkout with torch, numpy, scipy, pyyaml and pydantic; neither raynas has to be installed nor
Ray, MLflow or a network to be there. Every number is written the moment it is known, to ``docs/gpu.md`` and
to ``benchmarks/results/gpu.json`` below ``--out``. Each section is a process of its own, so that a card that
hangs or fails in one of them leaves the others alone.
"""

import sys

import search_spaces

# A bare checkout has the folder beside the package; an installation maps it into the package.
sys.modules.setdefault("raynas.search_spaces", search_spaces)
