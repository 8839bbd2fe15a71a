"""What building and training a cell's network would refuse, told before anything is loaded."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from raynas.config import DataConfig
from raynas.data.catalogue import check_data, count_of, has_parts, image_shape, is_text
from raynas.errors import Problem, RaynasError
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space
from raynas.train.config import TrainConfig


def data_problems(config: TrainConfig) -> Iterator[Problem]:
    """Yield what is wrong with a training's data, as far as that is known without loading it."""
    wrong = check_data(config.data)
    yield from wrong
    if wrong or (count := count_of(config.data)) is None:
        return
    limit = config.data.limit
    if limit is not None and limit > count.images:
        yield Problem(
            "data.limit", f"is {limit}, and {config.data.name} has {count.images:,} training images"
        )
        return
    images = limit or count.images
    for key, share in (("valid", config.data.valid), ("select", config.data.select)):
        held_out = round(images * share)
        if not share or 0 < held_out < images:
            continue
        yield Problem(
            f"data.{key}",
            f"leaves one part empty: {held_out} of {images} training images held out, "
            f"{images - held_out} to train on",
        )


def network_problems(config: TrainConfig, genotype: Genotype, called: str) -> Iterator[Problem]:
    """Yield why there is no network of a cell for such images, or none with an auxiliary head.

    ``called`` is what the messages call the cell. Nothing is said of data whose images only loading them can
    tell; the launcher looks once more.
    """
    skeleton, data = skeletons.of(genotype), config.data
    if skeleton.texts or check_data(data):
        return
    try:
        shape = image_shape(data)
    except RaynasError as error:
        yield Problem("data.path", str(error))
        return
    if shape is None:
        return
    usual = skeleton.usually(genotype, shape[1])
    if (wrong := _refused(genotype, shape, usual.channels, usual.cells)) is not None:
        yield Problem("data.size" if data.size else "data.name", f"{called}: {wrong}")
        return
    channels, cells = config.channels or usual.channels, config.cells or usual.cells
    if (wrong := _refused(genotype, shape, channels, cells)) is not None:
        yield Problem("cells", f"{called} cannot be of this depth: {wrong}")
    elif config.auxiliary and (wrong := _headless(genotype, shape, channels, cells)) is not None:
        yield Problem("auxiliary", f"{wrong} ({called} on {data.name})")


def kind_problems(config: TrainConfig, genotype: Genotype, called: str) -> Iterator[Problem]:
    """Yield what mixes texts and images: the cell, the data, the recipe, and how many devices share it."""
    texts = skeletons.of(genotype).texts
    reads = f"the cell {called} reads {'a text' if texts else 'images'}"
    if texts != is_text(config.data.name):
        other = "python-docs, text, ptb" if texts else "images, as digits or cifar10"
        where = "cell" if texts else "data.name"
        yield Problem(where, f"{reads}; got the data {config.data.name}, expected {other}")
    if texts != (config.text is not None):
        other = "one for texts, as quick-text or darts-ptb" if texts else "one for images, as quick"
        yield Problem("train", f"{reads}; got the recipe {config.recipe}, expected {other}")
    elif (
        config.text
        and config.text.patience
        and not (has_parts(config.data) or config.data.valid or config.data.select)
    ):
        yield Problem(
            "data.valid",
            "averaging begins by the words held out, and none are: data.valid=0.1, or text.patience=null",
        )


def device_problems(values: Mapping[str, Any], gpu: float) -> Iterator[Problem]:
    """Yield the options among a training's values that the device cannot do, as this machine can tell."""
    wishes = [wish for wish in ("precision", "compile") if values.get(wish) in ("bfloat16", True)]
    if not wishes:
        return
    from raynas.search.abilities import lacks_bfloat16, lacks_compiler  # brings torch

    for wish in wishes:
        lacks = lacks_bfloat16 if wish == "precision" else lacks_compiler
        if (why := lacks("cuda" if gpu else "cpu")) is not None:
            yield Problem(wish, why)


def some_cell(space: Space) -> Genotype | None:
    """Return a cell that a search of a space may find: the one that equal weights derive; None for none."""
    groups = skeletons.groups(space)
    try:
        return derive(
            space, {group.name: [[1.0] * len(row.options) for row in group.rows] for group in groups}
        )
    except RaynasError:
        return None


def trained_data(data: DataConfig) -> dict[str, Any]:
    """Return the data of a search as a training of its cell takes it, without the split."""
    given = data.model_dump(mode="json", exclude_defaults=True)
    kept = ("path", "download", "test", "limit", "size", "storage", "options", "words", "min_count", "bptt")
    return {"name": data.name, **{key: given[key] for key in kept if key in given}}


def _line(error: RaynasError) -> str:
    """Return an error in one line."""
    parts = (("got", error.got), ("expected", error.expected), ("next:", error.next_step))
    return "; ".join([error.what, *(f"{word} {part}" for word, part in parts if part is not None)])


@lru_cache(maxsize=256)
def _refused(genotype: Genotype, shape: tuple[int, int, int], channels: int, cells: int) -> str | None:
    """Say why there is no stack of so many cells for such images, if there is none."""
    try:
        skeletons.of(skeletons.checked(genotype)).plan(
            shape, genotype.nodes, cells, channels, genotype, genotype.trunk
        )
    except RaynasError as error:
        return _line(error)
    return None


@lru_cache(maxsize=256)
def _headless(genotype: Genotype, shape: tuple[int, int, int], channels: int, cells: int) -> str | None:
    """Say why a network can have no auxiliary head, if it cannot: built without memory for its weights."""
    import torch

    from raynas.nets.network import Network
    from raynas.train.network import TrainedNetwork

    try:
        with torch.device("meta"):
            network = Network(genotype, shape, 2, channels, cells)
            TrainedNetwork(network, torch.Generator("cpu"), auxiliary=True, shape=shape)
    except RaynasError as error:
        return _line(error)
    return None
