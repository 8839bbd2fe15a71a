"""The benchmarks' own files, read once and written down as a table."""

import csv
import io
from pathlib import Path

from raynas.disk import write_atomic
from raynas.tables import nasbench101, nats
from raynas.tables.table import missing


def write_table(source: Path, to: Path) -> int:
    """Write a benchmark's own files as a CSV table; returns the number of cells.

    ``source`` is NATS-Bench's topology folder or file (see `nats.read_results`), or a ``.tfrecord`` of
    NAS-Bench-101 (see `nasbench101.read_records`). Raises `RaynasError` when it is missing or not that, when
    a package is missing, and when ``to`` cannot be written.
    """
    if not source.exists():
        raise missing(source)
    header, rows = (
        nasbench101.read_records(source) if source.suffix == ".tfrecord" else nats.read_results(source)
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(to, text.getvalue().encode())
    return len(rows)
