"""The layout of flat logits: which number of a space's α is where."""

from collections.abc import Sequence

import torch
from torch import Tensor

from raynas.bilevel.exchange import Tables
from raynas.spaces import skeletons
from raynas.spaces.space import Space


class Layout:
    """Where everything is in flat logits: first each group's [rows, options], then each extra's rows.

    ``masks`` [rows, options] mark the options a row has, ``nodes`` the state each row's edge leads to (None
    for groups whose rows are not edges). ``without`` names options that are never alive.
    """

    def __init__(self, space: Space, extras: Sequence[str] = (), without: Sequence[str] = ()) -> None:
        self.extras = tuple(extras)
        self.options = {
            group.name: tuple(row.options for row in group.rows) for group in skeletons.groups(space)
        }
        self.shapes = {group.name: (len(group.rows), group.width) for group in skeletons.groups(space)}
        self.masks: Tables = {
            name: torch.tensor(
                [[column < len(row) for column in range(self.shapes[name][1])] for row in rows]
            )
            for name, rows in self.options.items()
        }
        self.alive: Tables = {
            name: torch.tensor(
                [
                    [
                        column < len(row) and row[column] not in without
                        for column in range(self.shapes[name][1])
                    ]
                    for row in rows
                ]
            )
            for name, rows in self.options.items()
        }
        self.nodes: dict[str, tuple[int, ...] | None] = {
            name: tuple(edge.target for edge in space.cell(name).edges)
            if skeletons.of(space).edgewise
            else None
            for name in self.shapes
        }
        self.entries = sum(rows * width for rows, width in self.shapes.values())
        self.rows = sum(rows for rows, _ in self.shapes.values())

    @property
    def numbers(self) -> int:
        """How many logits there are."""
        return self.entries + self.rows * len(self.extras)

    def tables(self, flat: Tensor) -> Tables:
        """Cut flat logits [lanes, numbers] into [lanes, rows, options] by group."""
        pieces = torch.split(flat[:, : self.entries], [a * b for a, b in self.shapes.values()], 1)
        return {
            name: piece.reshape(-1, *shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def column(self, flat: Tensor, name: str) -> Tables:
        """Cut one extra's numbers [lanes, rows] out of flat logits, by group."""
        first = self.entries + self.rows * self.extras.index(name)
        pieces = torch.split(
            flat[:, first : first + self.rows], [rows for rows, _ in self.shapes.values()], 1
        )
        return dict(zip(self.shapes, pieces, strict=True))
