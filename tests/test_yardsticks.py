"""The yardsticks of `helpers/yardsticks.py`, on a package of two small files and on this one."""

import textwrap

import pytest
from helpers import yardsticks


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two files that import each other, one of them inside a function."""
    package = tmp_path / "raynas"
    package.mkdir()
    (package / "one.py").write_text(
        textwrap.dedent('''
            from raynas.two import Thing

            def told(x: Tensor) -> Thing:
                """Return [N, C] doubled."""

            def silent(x: Tensor) -> Thing: ...

            def _private(x: Tensor) -> Tensor: ...
        ''')
    )
    (package / "two.py").write_text(
        textwrap.dedent('''
            class Thing:
                def __call__(self) -> "list[Tensor]":
                    """Return nothing of the kind."""
                    import raynas.one

            def told(x: int) -> int: ...  # why not
        ''')
    )
    monkeypatch.setattr(yardsticks, "ROOT", tmp_path)
    monkeypatch.setattr(yardsticks, "PACKAGE", package)
    return package


def test_circles_names_and_shapes_are_counted_as_written(small):
    assert yardsticks.circles() == [{small / "one.py", small / "two.py"}]
    assert {name for name, count in yardsticks.public_names().items() if count > 1} == {"told"}
    assert yardsticks.shapes() == (["one.py: told"], ["one.py: silent", "two.py: Thing.__call__"])
    assert yardsticks.comments() == pytest.approx(1000 / 16)


def test_one_batch_passes_from_the_feeds_to_the_operations():
    files, run = yardsticks.batch()
    passed = {str(path.relative_to(yardsticks.PACKAGE)) for path in files}
    assert {"data/feeds.py", "search/loop.py", "nets/supernet.py", "nets/ops/fused.py"} <= passed
    assert len(files) < run < sum(map(yardsticks.lines, files))
    assert not {path for path in passed if path.startswith(("sweep", "launch", "cli", "report"))}


def test_the_loop_is_read_in_one_sitting():
    assert yardsticks.lines(yardsticks.PACKAGE / "search" / "loop.py") <= 200
