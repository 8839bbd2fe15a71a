"""Drawing in another process: the same picture, once, and an end that no thread waits for."""

from pathlib import Path

import pytest
from helpers.sweeping import GENOTYPE

from raynas.report.draw import draw_png
from raynas.report.drawer import Drawer


def test_a_cell_is_drawn_once_and_as_it_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "raynas").mkdir()  # as in the clone's parent
    monkeypatch.chdir(tmp_path)
    drawer = Drawer()
    try:
        picture = drawer.draw(GENOTYPE, "normal")
        assert picture == draw_png(GENOTYPE, "normal")
        assert drawer.draw(GENOTYPE, "normal") is picture
    finally:
        drawer.close()
    with pytest.raises(EOFError):
        drawer.draw(GENOTYPE, "reduce")
