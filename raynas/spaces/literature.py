"""Cells of the literature: shipped as data, each with its source, what was published of it, and a recount."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from raynas.config import Frozen
from raynas.errors import FileProblems, Problem, RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.library import explain, locate, read_yaml
from raynas.spaces.reading import genotype_from_text

Per = Annotated[float | None, Field(ge=0, le=100)]


class Published(Frozen):
    """What a cell's authors print: errors in per cent, their deviation over trainings, sizes.

    Sizes are of 36 channels and 20 cells on CIFAR, 48 and 14 on ImageNet, unless its note says more;
    ``parameters`` and ``multiply_adds`` are those of the network that `LiteratureCell.trained` describes.
    ``perplexity`` is a recurrent cell's on the test words of its text.
    """

    cifar10_error: Per = None
    deviation: Per = None
    cifar100_error: Per = None
    imagenet_top1: Per = None
    imagenet_top5: Per = None
    perplexity: float | None = Field(None, gt=1)
    cifar_parameters: PositiveInt | None = None
    cifar_multiply_adds: PositiveInt | None = None
    imagenet_parameters: PositiveInt | None = None
    imagenet_multiply_adds: PositiveInt | None = None
    parameters: PositiveInt | None = None
    multiply_adds: PositiveInt | None = None


class Recounted(Frozen):
    """The same sizes as `raynas size` counts them, one way for all cells (a recurrent one's: of one word)."""

    cifar_parameters: PositiveInt | None = None
    cifar_multiply_adds: PositiveInt | None = None
    imagenet_parameters: PositiveInt | None = None
    imagenet_multiply_adds: PositiveInt | None = None
    parameters: PositiveInt | None = None
    multiply_adds: PositiveInt | None = None


class Trained(Frozen):
    """The network that a cell's own source trains, where it is neither of the two usual ones.

    ``image`` is the side of the images in pixels, 0 for texts: there ``classes`` counts words, ``channels``
    units.
    """

    image: NonNegativeInt
    classes: PositiveInt
    channels: PositiveInt
    cells: PositiveInt

    @property
    def shape(self) -> tuple[int, ...]:
        """The images' channels, height and width; empty for texts."""
        return (3, self.image, self.image) if self.image else ()


class LiteratureCell(Frozen):
    """One published cell, its text as its own repository prints it."""

    name: str
    title: str
    source: str
    note: str = ""
    space: str
    cell: str
    trained: Trained | None = None
    published: Published = Published()
    recounted: Recounted = Recounted()

    @property
    def genotype(self) -> Genotype:
        """The cell itself; raises `RaynasError` for a text that cannot be read."""
        return genotype_from_text(self.cell, self.space)


def load_cell(name: str) -> LiteratureCell:
    """Load a cell by its name on the shelf or by the path of its YAML.

    Raises `RaynasError` for an unknown name and `FileProblems` with every mistake in the file.
    """
    path = locate("cells", name)
    content = read_yaml(path)
    try:
        found = LiteratureCell.model_validate({"name": path.stem, **content})
        _ = found.genotype
    except ValidationError as error:
        raise FileProblems(str(path), explain(error, LiteratureCell)) from None
    except RaynasError as error:
        raise FileProblems(str(path), [Problem("cell", str(error))]) from None
    return found
