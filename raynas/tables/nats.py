"""NAS-Bench-201's official files, as the package `nats_bench` reads them, as rows of a table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raynas.errors import RaynasError

EPOCHS = 200
_TESTS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16_120": "ImageNet16-120"}
_VALIDATIONS = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet16_120": "ImageNet16-120"}
"""A table's name of a data set, and the benchmark's: its test accuracies of CIFAR-10 are of networks trained
on all training images, the validation accuracies of ones trained on half of them."""
_HEADER = (
    "arch",
    *(f"{data}_test_{EPOCHS}" for data in _TESTS),
    *(f"{data}_val_{EPOCHS}" for data in _VALIDATIONS),
    "parameters",
    "flops",
)


def read_results(source: Path) -> tuple[list[str], list[list[object]]]:
    """Return header and rows of a table: accuracies after 200 epochs, averaged over seeds.

    ``source`` is NATS-Bench's topology folder (``NATS-tss-v1_0-3ffb9-simple``) or its one file
    (``….pickle.pbz2``); parameters and FLOPs are those on CIFAR-10, in the benchmark's megas. The package
    unpickles what it reads: name only files that you trust. Raises `RaynasError` without the package, and
    for a source that is not such files.
    """
    try:
        from nats_bench import create
    except ImportError:
        raise RaynasError(
            "reading NAS-Bench-201's own files needs nats_bench",
            got=source,
            next_step="pip install 'raynas[nats]'",
        ) from None
    try:
        api = create(str(source), "tss", fast_mode=source.is_dir(), verbose=False)
        return list(_HEADER), list(_rows(api))
    except Exception as error:  # the package raises whatever pickle, bz2 and its own asserts do
        raise RaynasError(
            "not NATS-Bench's topology files",
            got=f"{source}: {type(error).__name__}: {error}",
            expected="the folder NATS-tss-v1_0-3ffb9-simple, or NATS-tss-v1_0-3ffb9.pickle.pbz2",
        ) from error


def _rows(api: Any) -> Iterator[list[object]]:
    for index in range(len(api)):
        tests = [_accuracy(api, index, data, "test-accuracy") for data in _TESTS.values()]
        validations = [_accuracy(api, index, data, "valid-accuracy") for data in _VALIDATIONS.values()]
        cost = api.get_cost_info(index, "cifar10", hp=str(EPOCHS))
        yield [api.arch(index), *tests, *validations, cost["params"], cost["flops"]]
        # A folder is read cell by cell, and all of them at once would fill many GB.
        api.arch2infos_dict.pop(index, None)


def _accuracy(api: Any, index: int, data: str, name: str) -> float:
    """Return an accuracy in percent, averaged over seeds."""
    return float(api.get_more_info(index, data, hp=str(EPOCHS), is_random=False)[name])
