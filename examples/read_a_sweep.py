"""Read what a sweep found: a row per trial, a row per epoch, the ranking's reasons, the best genotype."""

from raynas import genotype_to_text, load

results = load("runs/from-python")  # as `sweep_from_python.py` made it; wherever it was run
frame = results.frame()  # pandas; the names are those of `raynas status --json`
print(frame[["status", "epoch", "valid_loss", "valid_accuracy", "discrete_loss", "place"]])
print(results.history()["valid_loss"].unstack("epoch"))

print(*results.facts.selection.reasons, sep="\n")
print(f"{results.best} is the best with {frame.loc[results.best, 'valid_loss']:.4f}")
print(genotype_to_text(results.genotype()))
