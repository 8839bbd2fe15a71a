"""Curvature: the eigenvalues of the validation loss's Hessian in α, epoch by epoch."""

from raynas import Search, SearchConfig, load_data, load_space, split

config = SearchConfig(
    space="tiny",
    method="darts",
    data={"name": "digits", "limit": 80},
    epochs=2,
    batch=32,
    channels=4,
    hessian={"every": 1, "spectrum": True},  # without `spectrum` the two ends alone, by Lanczos
)
for report in Search(config, load_space(config.space), split(load_data(config.data), config.data)):
    if curvature := report.curvature:  # None in the epochs between two measurements
        print(f"λmax {curvature.eig_max:.4f}, λmin {curvature.eig_min:.4f}, trace {curvature.trace:.4f}")
        print("spectrum", *(f"{value:.4f}" for value in curvature.spectrum or ()))
