"""Three figures of a sweep's report side by side, as one small SVG for a page.

``python -m benchmarks.picture runs/quickstart --write docs/figures/quickstart.svg``
"""

import argparse
import sys
from pathlib import Path
from xml.etree import ElementTree

from raynas.report.build import build_report
from raynas.sweep.folder import SweepFolder

SVG = "http://www.w3.org/2000/svg"
GAP = 12.0
"""Between two figures, and around them."""

HEAD = 20.0
"""Of the line above each figure."""


def picture(folder: SweepFolder) -> str:
    """Return λmax over epochs, a panel a method, and the winner's first cell, in one SVG."""
    build_report(folder)
    panels = sorted((folder.path / "report").glob("eig_max-*.svg"))
    figures = [(path, f"λmax, {path.stem.split('-', 2)[2]}") for path in panels]
    figures += [(path, "the best cell") for path in sorted(folder.best.glob("cell-*.svg"))[:1]]
    ElementTree.register_namespace("", SVG)
    whole = ElementTree.Element(f"{{{SVG}}}svg")
    ElementTree.SubElement(whole, f"{{{SVG}}}title").text = f"From the report of {folder.name}"
    across, height = GAP, 0.0
    for path, title in figures:
        figure = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        wide, high = (float(number) for number in figure.attrib["viewBox"].split()[2:])
        where = {
            "x": f"{across:g}",
            "y": "15",
            "font-size": "12",
            "fill": "#656d76",
            "font-family": "sans-serif",
        }
        ElementTree.SubElement(whole, f"{{{SVG}}}text", where).text = title
        figure.attrib |= {"x": f"{across:g}", "y": f"{HEAD:g}", "width": f"{wide:g}", "height": f"{high:g}"}
        figure.attrib.pop("style", None)
        whole.append(figure)
        across, height = across + wide + GAP, max(height, high)
    whole.set("viewBox", f"0 0 {across:g} {HEAD + height + GAP:g}")
    return ElementTree.tostring(whole, encoding="unicode") + "\n"


def main() -> int:
    """Write the picture of the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path, required=True)
    given = parser.parse_args()
    given.write.write_text(picture(SweepFolder(given.folder.absolute())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
