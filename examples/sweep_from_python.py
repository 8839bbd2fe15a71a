"""A sweep from Python: the trials of a file, one after another in this process, and the report."""

from pathlib import Path

from raynas.launch.local import LocalLauncher
from raynas.report.build import build_report
from raynas.sweep.file.load import load_sweep
from raynas.sweep.folder import SweepFolder

file = Path(__file__).with_name("sweep_from_python.yaml")
sweep = load_sweep(file, ["grid.seed=[0]"])  # as on the command line
folder = SweepFolder(Path("runs") / sweep.name)
if not folder.exists:
    folder.create(sweep, file.read_text(encoding="utf-8"))
LocalLauncher().run(folder)  # goes on where it was stopped; `raynas sweep` uses RayLauncher
html, markdown = build_report(folder)
print(html)
