"""Opening whatever a table is kept in: one file, or the folder of a surrogate."""

from pathlib import Path

from raynas.tables.file import open_file
from raynas.tables.nasbench301 import is_surrogate, open_surrogate
from raynas.tables.table import AccuracyTable


def open_table(path: Path) -> AccuracyTable:
    """Open a table of trained accuracies by its path, as `open_file` and `open_surrogate` do."""
    return open_surrogate(path) if is_surrogate(path) else open_file(path)
