"""From a trial file to resolved trials: keys, grid, sampling, overrides, checks."""
