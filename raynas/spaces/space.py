"""A search space as data: cells, edges, the candidate operations of every edge, and how cells are stacked.

A space knows no tensors, and its skeleton by name only. It comes from a YAML file (see
`search_spaces/darts.yaml` for the commented original, `raynas.spaces.space_file` for how it is read) and can
be hashed, compared and written into every run's record.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, ValidationError, model_validator

from raynas.config import Frozen, SearchConfig, folder_name
from raynas.errors import quoted
from raynas.spaces.graph import DEFAULT_SKELETON, MOST_NODES, Cell, Edge, known_name, known_operations
from raynas.spaces.trunk import Trunk


def _pairs(values: object) -> object:
    return tuple(values.items()) if isinstance(values, dict) else values


def _settings(pairs: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
    for key, _ in pairs:
        known_name("key of a search", key, [name for name in SearchConfig.model_fields if name != "space"])
    try:
        SearchConfig.model_validate({"space": "-", **dict(pairs)})
    except ValidationError as error:
        detail = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}") from None
    return pairs


def _counts(keep: object) -> object:
    numbers = keep if isinstance(keep, list | tuple) else [keep]
    if keep != "all" and (not numbers or not all(type(n) is int and n > 0 for n in numbers)):
        raise ValueError(
            "expected how many edges a node keeps: a number, `all`, or a list, a number for each node; "
            f"got {quoted(keep)}"
        )
    return keep


Defaults = Annotated[
    tuple[tuple[str, bool | int | float | str], ...], BeforeValidator(_pairs), AfterValidator(_settings)
]
"""Keys of a search and their values; in a file a mapping, here pairs, so that a space can be hashed."""

Keep = Annotated[int | Literal["all"] | tuple[int, ...], BeforeValidator(_counts)]
"""How many incoming edges a node keeps when the cell is derived: a number, all of them, or node by node."""


class DerivedNetwork(Frozen):
    """How the networks of a space's cells are trained from scratch, where its skeleton's are not like that.

    ``image`` is the side of the images in pixels; ``cells`` counts as in the space's skeleton.
    """

    image: PositiveInt = 32
    classes: PositiveInt = 10
    channels: PositiveInt
    cells: PositiveInt


class SpaceFacts(Frozen):
    """What a space's file and the space itself have in common."""

    name: Annotated[str, AfterValidator(folder_name)]
    title: str
    source: str = ""
    skeleton: str = DEFAULT_SKELETON
    trunk: Trunk | None = None
    nodes: Annotated[int, Field(gt=0, le=MOST_NODES)]
    keep: Keep = 2
    exclude: Annotated[tuple[str, ...], AfterValidator(known_operations)] = ("none",)
    default_channels: PositiveInt = Field(16, le=4096)
    default_cells: PositiveInt = Field(8, le=1000)
    network: DerivedNetwork | None = None
    defaults: Defaults = ()


class Space(SpaceFacts):
    """A search space: what its cells read, are made of and output is said by its skeleton, by name.

    ``network`` says how large the derived network usually is, for `raynas size`.
    ``keep`` is the number of incoming edges a node keeps when the cell is derived, and ``exclude`` lists
    operations that may be mixed in but never chosen. ``defaults`` are values of a search's configuration that
    the space's source uses.

    Construction checks what holds in any graph: edges lead to later states, and into every node lead as many
    as it keeps. What its skeleton demands is checked where spaces enter: files (`load_space`) and records
    (`raynas.spaces.reading.space_from_json`).
    """

    cells: tuple[Cell, ...]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len(self.targets) > MOST_NODES + 1:
            raise ValueError(f"edges lead to more than {MOST_NODES} nodes and an output: {self.targets}")
        wrong = [*chain(*(graph_problems(self, cell, self.targets) for cell in self.cells))]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def cell(self, kind: str) -> Cell:
        """Return the cell of one kind, such as ``normal``."""
        return next(cell for cell in self.cells if cell.kind == kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cell, in the skeleton's order."""
        return tuple(cell.kind for cell in self.cells)

    @property
    def targets(self) -> range:
        """The numbers of the states that edges lead to: the nodes, and the output where it chooses."""
        targets = [edge.target for cell in self.cells for edge in cell.edges]
        return range(min(targets, default=0), max(targets, default=-1) + 1)

    def allowed(self, edge: Edge) -> tuple[str, ...]:
        """Return the operations of an edge that may be chosen, in index order."""
        return tuple(op for op in edge.ops if op not in self.exclude)

    def usable(self, cell: Cell, target: int) -> tuple[Edge, ...]:
        """Return the edges into a node that hold an operation which may be chosen."""
        return tuple(edge for edge in cell.into(target) if self.allowed(edge))

    def kept(self, cell: Cell, target: int) -> int:
        """Return how many incoming edges a node keeps when the cell is derived."""
        if self.keep == "all":
            return len(self.usable(cell, target))
        return self.keep if isinstance(self.keep, int) else self.keep[target - self.targets[0]]


def graph_problems(space: Space, cell: Cell, targets: range) -> Iterator[str]:
    """Yield what is wrong with a cell whose edges should lead to ``targets``, whatever its skeleton."""
    first, last = targets[0], targets[-1]
    for edge in cell.edges:
        if not (edge.source < edge.target and first <= edge.target <= last):
            yield (
                f"cells.{cell.kind}: edge {edge.source}->{edge.target} is impossible; a target is a node "
                f"({first} to {last}) and its source comes before it"
            )
    if isinstance(space.keep, tuple) and len(space.keep) != len(targets):
        return
    for place, node in enumerate(targets):
        kept = space.keep[place] if isinstance(space.keep, tuple) else space.kept(cell, node)
        usable = len(space.usable(cell, node))
        if usable < max(kept, 1):
            yield (
                f"cells.{cell.kind}: node {node} has {usable} usable incoming edges, "
                f"and keep asks for {max(kept, 1)}"
            )
