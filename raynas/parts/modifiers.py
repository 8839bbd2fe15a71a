"""Modifiers: what else an edge does with its weights.

A modifier may weigh whole edges of a draw (``weigh``, with the numbers it learns in ``extras``), ask for a
supernet that is built differently (``build``), and set fields of every training pass (``run``, with the
numbers of the epoch), or of ``every`` pass. What it does not say stays as it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, InstanceOf
from torch import Tensor

from raynas.bilevel.exchange import Draw, PassFields, SupernetBuild, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.settings import Chance, Value, number
from raynas.bilevel.slots import Modifier, Schedule
from raynas.bilevel.views import PolicyView
from raynas.nets.ops.lanes import WordDrops
from raynas.parts.objectives import OneDraw
from raynas.parts.schedules import Linear
from raynas.spaces import skeletons
from raynas.spaces.space import Space

NotNegative = Annotated[float, Field(ge=0)] | InstanceOf[Schedule]
"""A setting from 0 up."""

FADING = Linear(1.0, 0.0, reach=False)
"""From 1 in the first epoch to 0 in the one that would follow the last."""
RISING = Linear(0.0, 1.0)
"""From 0 in the first epoch to 1 in the last."""


@dataclass(frozen=True)
class EdgeNormalisation(Modifier):
    """PC-DARTS: one more logit per edge; a node weighs its edges by their softmax (Xu et al. 2020, eq. 3).

    Edges without a live operation take no part. Channels that by-pass the operations are weighed alike.
    """

    use: ClassVar[str] = "edge-normalisation"
    for_images: ClassVar[bool] = True
    extras: ClassVar[tuple[str, ...]] = ("edge",)

    def weigh(self, draw: Draw, policy: PolicyView, flat: Tensor) -> Draw:
        """Multiply the weights [lanes, rows, options] by each edge's share; rows that are not edges stay."""
        logits = policy.layout.column(flat, "edge")
        shares: Tables = {
            name: self._shares(rows, policy.masks[name].any(-1), policy.layout.nodes[name])
            for name, rows in logits.items()
        }
        weights = {name: rows * shares[name].unsqueeze(-1) for name, rows in draw.weights.items()}
        return draw._replace(weights=weights, carry=shares)

    def _shares(self, logits: Tensor, alive: Tensor, nodes: tuple[int, ...] | None) -> Tensor:
        if nodes is None:
            return torch.ones_like(logits)
        counts = [nodes.count(node) for node in dict.fromkeys(nodes)]
        pieces = zip(torch.split(logits, counts, 1), torch.split(alive, counts, 1), strict=True)
        shares = [
            edges.masked_fill(~live & live.any(1, keepdim=True), -float("inf")).softmax(1)
            for edges, live in pieces
        ]
        return torch.cat(shares, 1).masked_fill(~alive, 0.0)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It compares the edges of a node."""
        if space is None:
            return
        if space.keep == "all":
            yield f"edge-normalisation compares edges, but the space keeps all of them ({space.name})"
        if not skeletons.of(space).edgewise:
            yield f"edge-normalisation compares edges, but here rows of α are not edges ({space.name})"


@dataclass(frozen=True)
class PartialChannels(Modifier):
    """PC-DARTS: operations see the first 1/``k`` of the channels, the rest by-passes them (Xu et al. 2020).

    ``k`` has to divide the supernet's channels; 1 is the plain supernet.
    """

    use: ClassVar[str] = "partial-channels"
    for_images: ClassVar[bool] = True
    k: Annotated[int, Field(ge=1)] = 4

    def build(self) -> SupernetBuild:
        """Ask for a supernet with partial channels."""
        return SupernetBuild(partial=self.k)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """Only cells of operations on edges are built so."""
        yield from unbuilt(space)


@dataclass(frozen=True)
class DropPath(Modifier):
    """Drops what an edge gives, image by image, with a chance; what stays is scaled up to the same mean.

    SNAS trains with a chance of 0.3 (Xie et al. 2019), R-DARTS with one that grows from 0 (Zela et al. 2020).
    """

    use: ClassVar[str] = "drop-path"
    for_images: ClassVar[bool] = True
    probability: Chance = 0.3

    def run(self) -> PassFields:
        """Give the chance of this epoch."""
        return PassFields(drop_path=number(self.probability))

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It drops whole edges, and needs another way past each."""
        if method.sampler.leaves_out:
            yield "drop-path would drop the numbers that stand for what gumbel leaves out: `execute: all`"
        if space is not None and skeletons.of(space).has_trunk:
            yield f"drop-path would cut a chain where a block has no shortcut ({space.name})"
        yield from _no_edges(space)


@dataclass(frozen=True)
class CutoutChance(Modifier):
    """R-DARTS (DP): the cutout that `data.cutout` asks for strikes an image with a chance only.

    In the code of Zela et al. 2020 it grows with that of drop path, from 0 to 1 in the last epoch. Without
    `data.cutout` this changes nothing.
    """

    use: ClassVar[str] = "cutout-chance"
    for_images: ClassVar[bool] = True
    chance: Annotated[float, Field(ge=0, le=1)] | InstanceOf[Schedule] = RISING

    def cutout(self) -> float:
        """Give the chance of this epoch."""
        return number(self.chance)


@dataclass(frozen=True)
class SkipDropout(Modifier):
    """P-DARTS: dropout, entry by entry, on skip connections at stride 1 (Chen et al. 2019, section 3.3)."""

    use: ClassVar[str] = "skip-dropout"
    for_images: ClassVar[bool] = True
    needs_skips: ClassVar[bool] = True
    rate: Chance = 0.4

    def run(self) -> PassFields:
        """Give the rate of this epoch."""
        return PassFields(skip_dropout=number(self.rate))

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It is about the edges that skip."""
        yield from _no_edges(space)


@dataclass(frozen=True)
class TextDropout(Modifier):
    """The dropouts of DARTS' search of a recurrent cell (quark0/darts f276dd3, rnn/train_search.py).

    Chances to blank a word of the vocabulary, and to drop entries of the embedded words, of what the cell
    reads of a word and of its states, and of its output. A mask holds for a segment; they act on the steps
    of weights and of α, and not where a search is validated or its curvature is measured.
    """

    use: ClassVar[str] = "text-dropout"
    words: Chance = 0.0
    embedding: Chance = 0.2
    input: Chance = 0.75
    hidden: Chance = 0.25
    output: Chance = 0.75

    def run(self) -> PassFields:
        """Give the chances of this epoch."""
        chances = (self.words, self.embedding, self.input, self.hidden, self.output)
        return PassFields(word_drops=WordDrops(*map(number, chances)))

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It drops words."""
        yield from _for_texts("text-dropout drops words", space)


@dataclass(frozen=True)
class TextSlowness(Modifier):
    """The regularisers of what a recurrent cell outputs in DARTS' search (quark0/darts f276dd3, rnn).

    The steps of the weights, and not those of α, have in their loss ``slowness`` (β) times the mean square of
    how far the output moves from word to word, and ``activation`` (α) times that of the output after dropout,
    as AWD-LSTM has them (Merity et al. 2018). Reported losses are without.
    """

    use: ClassVar[str] = "text-slowness"
    slowness: NotNegative = 1e-3
    activation: NotNegative = 0.0

    def run(self) -> PassFields:
        """Give the factors of this epoch."""
        return PassFields(slowness=number(self.slowness), activation=number(self.activation))

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It is about outputs of a cell that reads a text, in one pass of each step."""
        yield from _for_texts("text-slowness slows a text's hidden state down", space)
        if not isinstance(method.objective, OneDraw):
            yield f"text-slowness regularises a step of one pass, and {method.objective.use} scores several"


@dataclass(frozen=True)
class TextSegments(Modifier):
    """Segments that are half as long with a ``chance`` (quark0/darts f276dd3, rnn/train_search.py).

    Of those that the weights train on; a step's learning rate is in proportion. Which ones is drawn for the
    epoch, and the same for all seeds. An epoch reads the same words as without, in more steps.
    """

    use: ClassVar[str] = "text-segments"
    chance: Chance = 0.05

    def halved(self) -> float:
        """Give the chance of this epoch."""
        return number(self.chance)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It cuts texts."""
        yield from _for_texts("text-segments cuts a text", space)


@dataclass(frozen=True)
class AuxiliarySkip(Modifier):
    """DARTS-: one more skip on every edge, scaled by β, which falls to 0 (Chu et al. 2021, section 3.3).

    It is part of the supernet in every pass, validation and curvature included, as in the authors' code; a
    derived cell has none, so it is evaluated without.
    """

    use: ClassVar[str] = "auxiliary-skip"
    for_images: ClassVar[bool] = True
    needs_skips: ClassVar[bool] = True
    every: ClassVar[bool] = True
    version: ClassVar[int] = 2
    beta: Value = FADING

    def build(self) -> SupernetBuild:
        """Ask for a supernet with auxiliary skips."""
        return SupernetBuild(auxiliary=True)

    def run(self) -> PassFields:
        """Give the factor β of this epoch."""
        return PassFields(auxiliary=number(self.beta))

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It adds what must not be there yet, where it can be built."""
        if space is not None and skeletons.of(space).skips:
            yield (
                "auxiliary-skip adds a skip to every edge, but in this space every edge has one "
                f"({space.name})"
            )
        yield from unbuilt(space)


def _for_texts(what: str, space: Space | None) -> Iterator[str]:
    if space is not None and not skeletons.of(space).texts:
        yield f"{what}, and this space reads images ({space.name})"


def unbuilt(space: Space | None) -> Iterator[str]:
    """Yield why a space's supernet cannot be built with fewer channels or more skips, if it cannot."""
    if space is not None and not skeletons.of(space).extras:
        yield (
            "partial-channels, widen and auxiliary-skip are built for cells of operations on edges "
            f"({space.name})"
        )


def _no_edges(space: Space | None) -> Iterator[str]:
    if space is not None and not skeletons.of(space).edgewise:
        yield f"drop-path and skip-dropout drop edges, but here rows of α are not edges ({space.name})"
