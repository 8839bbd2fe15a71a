"""The methods that come with raynas, by family: each differs in a few parts from one defined above it.

What a source leaves open follows DARTS: Adam (0.5, 0.999) on α, architecture rate 3e-4 and decay 1e-3.
"""

from raynas.methods.recipes import mixtures, proposed, pruned, sampled
from raynas.methods.record import Method

ALL: tuple[Method, ...] = tuple(
    {
        method.name: method
        for family in (mixtures, sampled, pruned, proposed)
        for method in vars(family).values()
        if isinstance(method, Method)
    }.values()
)
"""Every record of every family, in the order in which they are written down."""
