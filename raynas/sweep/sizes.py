"""The network that a cell becomes when it is trained from scratch, and its size."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from raynas.config import DataConfig
from raynas.data.catalogue import image_shape
from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.library import load_space, names
from raynas.spaces.skeletons.plan import Usual
from raynas.spaces.trunk import LARGE_INPUT
from raynas.sweep.record import TrialRecord
from raynas.train.recipe import load_recipe

if TYPE_CHECKING:
    from raynas.nets.size import Size


def network_for(
    genotype: Genotype,
    recipe: str | None = None,
    known: Mapping[str, int] | None = None,
    asked: Mapping[str, int] | None = None,
) -> tuple[tuple[int, ...], Usual]:
    """Return what a cell's network reads, (channels, height, width) or () for texts, and how large it is.

    What is ``asked`` goes first (by the names of `Usual`), then what the recipe says, then what is ``known``
    of the images (``image``, ``classes``, ``colours``; not where the recipe names images of its own), then
    what is usual. Raises `RaynasError` for a recipe that cannot be read, and for one of a cell of texts.
    """
    images, given = dict(known or {}), dict(asked or {})
    if recipe is None:
        given = images | given
        usual = _usual(genotype, given.get("image"))
    else:
        usual, own = _by_recipe(genotype, recipe, images, given.get("image"))
        images = {} if own else images
    chosen = usual._replace(**{name: given[name] for name in Usual._fields if name in given})
    if skeletons.of(genotype).texts:
        return (), chosen
    return (images.get("colours", 3), chosen.image, chosen.image), chosen


def images_of(record: TrialRecord, data: DataConfig | None = None) -> dict[str, int]:
    """Return side, colours and classes of the images that a search ran on, as far as they are known.

    ``data`` says where they lie now, if that is elsewhere.
    """
    told = ((record.start or {}).get("data") or {}).get("classes")
    found = {"classes": told} if isinstance(told, int) and told > 0 else {}
    if (shape := image_shape(data or record.config.data)) is not None:
        found |= {"colours": shape[0], "image": max(shape[1:])}
    return found


def size_of_search(record: TrialRecord, recipe: str | None = None) -> "Size | None":
    """Return the size of the network of a search's derived cell; None where it has none yet.

    Raises `RaynasError` as `network_for` and as counting does.
    """
    if record.deciding is None:
        return None
    genotype = record.deciding.genotype
    texts = skeletons.of(genotype).texts
    shape, usual = network_for(genotype, None if texts else recipe, {} if texts else images_of(record))
    return counted_size(genotype, shape, usual)


@lru_cache(maxsize=16_384)
def counted_size(genotype: Genotype, shape: tuple[int, ...], usual: Usual) -> "Size":
    """Return what `raynas.nets.size.size_of` counts, once for each network: one of 20 cells takes 1 s."""
    from raynas.nets.size import size_of  # brings torch

    return size_of(genotype, shape, usual.classes, usual.channels, usual.cells)


def _by_recipe(
    genotype: Genotype, name: str, known: Mapping[str, int], image: int | None
) -> tuple[Usual, bool]:
    """Return the network that a recipe trains, and whether the recipe names its images.

    What it leaves open is as usual for images of that size.
    """
    if skeletons.of(genotype).texts:
        raise RaynasError("this cell reads texts: recipes are for images", got=f"--recipe {name}")
    recipe = load_recipe(name)
    config, images = recipe.config("any"), recipe.images
    side = image or (images.side if images else known.get("image"))
    usual = skeletons.of(genotype).usually(genotype, side)
    classes = images.classes if images else known.get("classes", usual.classes)
    made = Usual(side or usual.image, classes, config.channels or usual.channels, config.cells or usual.cells)
    return made, images is not None


def _usual(genotype: Genotype, image: int | None) -> Usual:
    """Return what the cell's space says of its networks; its skeleton's where it says nothing.

    A space speaks of small images or of large ones; of the others its skeleton does.
    """
    if genotype.space in names("search_spaces"):
        space = load_space(genotype.space)
        said = space.network
        same = said and (image is None or (image >= LARGE_INPUT) == (said.image >= LARGE_INPUT))
        if said and same and space.skeleton == genotype.skeleton:
            return Usual(**said.model_dump())
    return skeletons.of(genotype).usually(genotype, image)
