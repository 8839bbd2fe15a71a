"""NAS-Bench-101's own records (Ying et al. 2019), read without TensorFlow.

A ``.tfrecord`` frames records by their length; each is JSON: hash, epochs, matrix, operations, and a protocol
buffer in base64, of three evaluations (before, halfway, at the end of training) and the number of weights.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from pathlib import Path

from raynas.errors import RaynasError

_EVALUATION, _PARAMETERS = 1, 2
_VALIDATION, _TEST = 4, 5


def read_records(source: Path) -> tuple[list[str], list[list[object]]]:
    """Return header and rows of a table by hash: accuracies at the end of training, averaged over repeats.

    The checksums of the file are not checked. Raises `RaynasError` for a file that is something else.
    """
    sums: dict[str, dict[int, tuple[int, float, float]]] = {}
    sizes: dict[str, int] = {}
    try:
        for record in _records(source):
            name, epochs, _, _, raw = json.loads(record)
            valid, test, sizes[name] = _metrics(base64.b64decode(raw))
            count, valids, tests = sums.setdefault(name, {}).get(epochs, (0, 0.0, 0.0))
            sums[name][epochs] = (count + 1, valids + valid, tests + test)
    except (OSError, ValueError, TypeError, IndexError, KeyError, struct.error, binascii.Error) as error:
        raise RaynasError(
            "not NAS-Bench-101's records",
            got=f"{source}: {type(error).__name__}: {error}",
            expected="nasbench_only108.tfrecord or nasbench_full.tfrecord",
        ) from error
    lengths = sorted({epochs for found in sums.values() for epochs in found})
    header = [f"cifar10_{part}_{epochs}" for epochs in lengths for part in ("val", "test")]
    rows = [[name, *_means(found, lengths), sizes[name]] for name, found in sums.items()]
    return ["hash", *header, "parameters"], rows


def _means(found: dict[int, tuple[int, float, float]], lengths: list[int]) -> Iterator[object]:
    for epochs in lengths:
        count, valids, tests = found.get(epochs, (0, 0.0, 0.0))
        yield from (valids / count, tests / count) if count else ("", "")


def _records(source: Path) -> Iterator[bytes]:
    """Yield the records of a file: length (8 bytes), its checksum (4), the record, its checksum (4)."""
    with source.open("rb") as file:
        while head := file.read(12):
            (length,) = struct.unpack("<Q", head[:8])
            if length > 1 << 20:
                raise ValueError("a record of more than a megabyte")
            body = file.read(length + 4)
            if len(body) < length + 4:
                raise ValueError("the last record is cut off")
            yield body[:length]


def _metrics(message: bytes) -> tuple[float, float, int]:
    """Return validation and test accuracy of the last evaluation, and the number of weights."""
    last, parameters = b"", 0
    for field, value in _fields(message):
        if field == _EVALUATION and isinstance(value, bytes):
            last = value
        elif field == _PARAMETERS and isinstance(value, int):
            parameters = value
    found = dict(_fields(last))
    valid, test = found[_VALIDATION], found[_TEST]
    if not isinstance(valid, float) or not isinstance(test, float):
        raise TypeError("an accuracy that is not a number")
    return valid, test, parameters


def _fields(message: bytes) -> Iterator[tuple[int, float | int | bytes]]:
    """Yield number and value of each field of a protocol buffer, as far as these messages use its types."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        match key & 7:
            case 0:
                value, place = _varint(message, place)
                yield key >> 3, value
            case 1:
                yield key >> 3, struct.unpack_from("<d", message, place)[0]
                place += 8
            case 2:
                length, place = _varint(message, place)
                yield key >> 3, message[place : place + length]
                place += length
            case other:
                raise ValueError(f"a field of type {other}")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, place
