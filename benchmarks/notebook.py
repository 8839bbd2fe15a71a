"""Run the notebooks of `examples/` and keep what they show in them: `python -m benchmarks.notebook`.

Plain JSON and the code's own output, so that no notebook server is needed.
"""

import ast
import base64
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells that hold code, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(notebook: dict[str, Any]) -> None:
    """Run a notebook's code in the working directory, and put what it shows into it.

    Figures that are open already belong to somebody else, and are closed: the first cell would show them.
    """
    from matplotlib import pyplot

    pyplot.close("all")
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), start=1):
        cell["execution_count"] = number
        cell["outputs"] = list(_outputs("".join(cell["source"]), names, number))


def _outputs(source: str, names: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """Run a cell: what it prints, the value of its last expression, and the figures it leaves open."""
    from matplotlib import pyplot

    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, f"cell {number}", "exec"), names)
        code = compile(ast.Expression(last.value), f"cell {number}", "eval") if last else None  # type: ignore[attr-defined]
        value = eval(code, names) if code else None
    if text := printed.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}
    if value is not None and not source.rstrip().endswith(";"):  # which says that nobody wants to see it
        yield {
            "output_type": "execute_result",
            "execution_count": number,
            "metadata": {},
            "data": _shown(value),
        }
    for figure in map(pyplot.figure, pyplot.get_fignums()):
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=72, metadata={"Software": None})
        data = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": [repr(figure)]}
        yield {"output_type": "display_data", "metadata": {}, "data": data}
    pyplot.close("all")


def _shown(value: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    if (page := getattr(value, "_repr_html_", None)) and (text := page()):
        shown["text/html"] = text.splitlines(keepends=True)
    return shown


def main() -> None:
    """Run every notebook in an empty folder of its own."""
    import matplotlib as mpl

    mpl.use("Agg")
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            here = Path.cwd()
            os.chdir(folder)
            try:
                run(notebook)
            finally:
                os.chdir(here)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
