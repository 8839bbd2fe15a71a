"""Read what a sweep found: every trial's record, the ranking with its reasons, the best genotype."""

from pathlib import Path

from raynas import genotype_to_text, load_genotype
from raynas.sweep.folder import SweepFolder
from raynas.sweep.select import rank

folder = SweepFolder.find(Path("runs"), "from-python")  # as `sweep_from_python.py` made it
for record in folder.records():
    print(f"{record.id}: {record.status}, {len(record.reports)} epochs, {record.axes}")
    for report in record.reports:
        print(f"  validation loss {report.valid_loss:.4f}, of its cell alone {report.discrete_loss:.4f}")

selection = rank(folder.records(), folder.sweep().select)
print(*selection.reasons, sep="\n")
for ranked in selection.top:
    print(f"{ranked.trial.id} is the best with {ranked.value:.4f}")

best = load_genotype(folder.best / "genotype.json")
print(genotype_to_text(best))
